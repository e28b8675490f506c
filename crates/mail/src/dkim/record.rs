//! A key that the DNS tells, as a verifier takes it (RFC 6376 §6.1.2, RFC 8463 §4.2, RFC 8301).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaParameters, UnparsedPublicKey};
use base64::Engine;

use super::Algorithm;
use super::verify::{BASE64, Fault, Outcome};
use crate::records::KeyRecord;

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
        let record = KeyRecord::parse(text).map_err(|_| NO_KEY)?;
        if !record.is_for_mail() {
            return Err(Fault(Outcome::PermError, "the key is not for mail"));
        }
        if !record.takes_sha256() {
            return Err(Fault(Outcome::PermError, "the key is not for SHA-256"));
        }
        if record.is_revoked() {
            return Err(Fault(Outcome::PermError, "the key was revoked"));
        }
        let octets = BASE64.decode(record.key.as_bytes()).map_err(|_| NO_KEY)?;
        let algorithm = match &*record.kind {
            "rsa" => Algorithm::RsaSha256,
            "ed25519" => Algorithm::Ed25519Sha256,
            _ => return Err(Fault(Outcome::PermError, "the key is of an unknown kind")),
        };
        check_size(algorithm, &octets)?;
        Ok(Self { algorithm, octets, is_tested: record.is_a_test(), is_strict: record.is_strict() })
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
