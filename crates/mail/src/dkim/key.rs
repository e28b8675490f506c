//! Keys that sign, and what the DNS says of them.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The smallest RSA key that signs (RFC 8301 §3.2).
const RSA_BITS_MIN: usize = 2048;
/// The largest: verifiers need not take more than 2048, and many take 4096.
const RSA_BITS_MAX: usize = 4096;

/// How a key signs (`a=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// `rsa-sha256`, which every verifier knows.
    RsaSha256,
    /// `ed25519-sha256` (RFC 8463).
    Ed25519Sha256,
}

impl Algorithm {
    /// As `a=` names it.
    pub fn word(self) -> &'static str {
        match self {
            Algorithm::RsaSha256 => "rsa-sha256",
            Algorithm::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

/// Why a key is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyTrouble {
    /// It is none that could be read.
    #[error("is no RSA or Ed25519 key: {0}")]
    Unreadable(String),
    /// RSA keys have a size.
    #[error("is an RSA key of {0} bits; DKIM takes {RSA_BITS_MIN} (RFC 8301), and verifiers up to {RSA_BITS_MAX}")]
    Size(usize),
    /// The library did not sign.
    #[error("did not sign")]
    Refuses,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// A private key. It is never printed.
pub struct SigningKey {
    pair: Pair,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.algorithm().word())
    }
}

impl SigningKey {
    /// Reads PKCS #8 (RFC 5208), either kind.
    ///
    /// # Errors
    /// When it is none, or an RSA key of a size that DKIM does not take.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyTrouble> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(Self { pair: Pair::Ed25519(Box::new(pair)) });
        }
        Self::rsa(RsaKeyPair::from_pkcs8(der).map_err(|trouble| KeyTrouble::Unreadable(trouble.to_string()))?)
    }

    /// Reads an RSA key in the form of PKCS #1 (RFC 8017 A.1.2), as OpenDKIM keeps it.
    ///
    /// # Errors
    /// As [`SigningKey::from_pkcs8`].
    pub fn from_pkcs1(der: &[u8]) -> Result<Self, KeyTrouble> {
        Self::rsa(RsaKeyPair::from_der(der).map_err(|trouble| KeyTrouble::Unreadable(trouble.to_string()))?)
    }

    fn rsa(pair: RsaKeyPair) -> Result<Self, KeyTrouble> {
        let bits = pair.public_modulus_len() * 8;
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(KeyTrouble::Size(bits));
        }
        Ok(Self { pair: Pair::Rsa(Box::new(pair)) })
    }

    /// Makes a new key; gives it as PKCS #8. RSA keys have 2048 bits, and take a tenth of a second and more.
    ///
    /// # Errors
    /// When the library cannot.
    pub fn generate(algorithm: Algorithm) -> Result<Vec<u8>, KeyTrouble> {
        let trouble = |_| KeyTrouble::Unreadable("a new one could not be made".to_owned());
        match algorithm {
            Algorithm::RsaSha256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(trouble)?;
                let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).map_err(trouble)?;
                Ok(der.as_ref().to_vec())
            }
            Algorithm::Ed25519Sha256 => {
                let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(trouble)?;
                Ok(document.as_ref().to_vec())
            }
        }
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Rsa(_) => Algorithm::RsaSha256,
            Pair::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// The TXT record at `SELECTOR._domainkey.DOMAIN` (RFC 6376 §3.6.1, RFC 8463 §4.2).
    pub fn record(&self) -> String {
        match &self.pair {
            Pair::Rsa(pair) => {
                // The library cannot fail to write down a key that it has read.
                let der = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).map_or_else(|_| Vec::new(), |der| der.as_ref().to_vec());
                format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(der))
            }
            Pair::Ed25519(pair) => format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(pair.public_key().as_ref())),
        }
    }

    /// Signs octets, whose SHA-256 is what the signature is over: PKCS #1 hashes by itself, for Ed25519 the hash is the message (RFC 8463 §3).
    pub(crate) fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, KeyTrouble> {
        Ok(match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                // RSASSA-PKCS1-v1_5 needs no chance; the library's interface asks for some all the same.
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), octets, &mut signature).map_err(|_| KeyTrouble::Refuses)?;
                signature
            }
            Pair::Ed25519(pair) => {
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, octets);
                pair.sign(hash.as_ref()).as_ref().to_vec()
            }
        })
    }
}
