//! What the DNS says of a key (RFC 6376 §3.6.1, RFC 8463 §4.2, RFC 8301).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaParameters, UnparsedPublicKey};
use base64::Engine;

use super::Algorithm;
use super::tags::{Tags, unfolded};
use super::verify::{BASE64, Fault, Outcome};

/// The smallest RSA key whose signature counts (RFC 8301 §3.2).
const RSA_BITS_MIN: u32 = 1024;
/// The largest: verifiers must take 4096. What is beyond would cost more than it proves.
const RSA_BITS_MAX: u32 = 8192;
/// Octets of such a key, with all that is around it; larger ones are not even read.
const RSA_OCTETS_MAX: usize = 1100;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    algorithm: Algorithm,
    octets: Vec<u8>,
    /// Signatures of it mean nothing yet (`t=y`).
    pub(super) is_tested: bool,
    /// `i=` must be `d=` (`t=s`).
    pub(super) is_strict: bool,
}

impl PublicKey {
    /// The key among the TXT records of a name. Where there are several, the first that is one counts (RFC 6376 §3.6.2.2 leaves it open).
    pub(super) fn among(texts: &[Vec<u8>]) -> Result<Self, Fault> {
        let mut first = None;
        for text in texts {
            match Self::read(text) {
                Ok(key) => return Ok(key),
                Err(fault) => drop(first.get_or_insert(fault)),
            }
        }
        Err(first.unwrap_or(NO_KEY))
    }

    fn read(text: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(text).map_err(|_| NO_KEY)?;
        let tags = Tags::read(text).ok_or(NO_KEY)?;
        match tags.get("v") {
            Some(version) if version.value != "DKIM1" || tags.first() != Some(version) => return Err(NO_KEY),
            Some(_) | None => {}
        }
        let has = |name, word: &str| {
            tags.value(name).is_none_or(|list| list.split(':').any(|one| one.trim_ascii() == word || one.trim_ascii() == "*"))
        };
        if !has("s", "email") {
            return Err(Fault(Outcome::PermError, "the key is not for mail"));
        }
        // An empty list names none (RFC 6376 §3.6.1).
        if tags.get("h").is_some() && !has("h", "sha256") {
            return Err(Fault(Outcome::PermError, "the key is not for SHA-256"));
        }
        let octets = BASE64.decode(unfolded(tags.value("p").ok_or(NO_KEY)?)).map_err(|_| NO_KEY)?;
        if octets.is_empty() {
            return Err(Fault(Outcome::PermError, "the key was revoked"));
        }
        let algorithm = match tags.value("k") {
            None | Some("rsa") => Algorithm::RsaSha256,
            Some("ed25519") => Algorithm::Ed25519Sha256,
            Some(_) => return Err(Fault(Outcome::PermError, "the key is of an unknown kind")),
        };
        check_size(algorithm, &octets)?;
        let flag = |word: &str| tags.value("t").is_some_and(|flags| flags.split(':').any(|flag| flag.trim_ascii() == word));
        Ok(Self { algorithm, octets, is_tested: flag("y"), is_strict: flag("s") })
    }

    /// Whether a signature over these octets is this key's.
    pub(crate) fn verify(&self, algorithm: Algorithm, octets: &[u8], signature: &[u8]) -> Result<(), Fault> {
        if algorithm != self.algorithm {
            return Err(Fault(Outcome::PermError, "the key is of another kind than the signature"));
        }
        let right = match algorithm {
            Algorithm::RsaSha256 => {
                UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &self.octets).verify(octets, signature)
            }
            // The hash is the message (RFC 8463 §3).
            Algorithm::Ed25519Sha256 => UnparsedPublicKey::new(&ED25519, &self.octets).verify(digest(&SHA256, octets).as_ref(), signature),
        };
        right.map_err(|_| Fault(Outcome::Fail, "the signature is not over this header"))
    }
}

const TOO_LARGE: Fault = Fault(Outcome::Policy, "the key has more than 8192 bits");
const NO_KEY: Fault = Fault(Outcome::PermError, "the record is no key");

fn check_size(algorithm: Algorithm, octets: &[u8]) -> Result<(), Fault> {
    match algorithm {
        Algorithm::Ed25519Sha256 if octets.len() == 32 => Ok(()),
        Algorithm::Ed25519Sha256 => Err(NO_KEY),
        Algorithm::RsaSha256 if octets.len() > RSA_OCTETS_MAX => Err(TOO_LARGE),
        Algorithm::RsaSha256 => {
            let key = rsa::PublicKey::from_der(octets).map_err(|_| NO_KEY)?;
            match RsaParameters::public_modulus_len(key.as_ref()).map_err(|_| NO_KEY)? {
                small if small < RSA_BITS_MIN => Err(Fault(Outcome::Policy, "the key has fewer than 1024 bits")),
                large if large > RSA_BITS_MAX => Err(TOO_LARGE),
                _ => Ok(()),
            }
        }
    }
}
