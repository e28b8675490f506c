//! Private keys at rest.
//!
//! **Promises.** What stands in the database is sealed with AES-256-GCM under a key that stands elsewhere, so a stolen database signs nothing. Each seal is bound to what it is
//! for: a key that was moved to another domain's row does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// Octets of the key.
pub const SEAL_KEY_OCTETS: usize = 32;

/// The key that seals.
pub struct Seal(LessSafeKey);

/// A seal that does not open: another key made it, or it is for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed key does not open: the registry's key file is not the one it was sealed with")]
pub struct SealBroken;

impl Seal {
    /// A seal with this key.
    pub fn new(key: &[u8; SEAL_KEY_OCTETS]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has the algorithm's length");
        Self(LessSafeKey::new(key))
    }

    /// Seals a secret for one purpose.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).expect("the system gives randomness");
        let mut sealed = secret.to_vec();
        let done = self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut sealed);
        done.expect("a key is short enough to be sealed");
        [&nonce[..], &sealed].concat()
    }

    /// Opens what was sealed for this purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, SealBroken> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealBroken)?;
        let mut octets = sealed.to_vec();
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(purpose), &mut octets);
        let length = opened.map_err(|_| SealBroken)?.len();
        octets.truncate(length);
        Ok(octets)
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_opens_and_only_for_the_same_purpose() {
        let (seal, other) = (Seal::new(&[1; 32]), Seal::new(&[2; 32]));
        let sealed = seal.seal("shop brand.example a", b"secret");
        assert_eq!(seal.open("shop brand.example a", &sealed).unwrap(), b"secret");
        assert_ne!(seal.seal("shop brand.example a", b"secret"), sealed, "no two seals are the same");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        for (seal, purpose, sealed) in [
            (&other, "shop brand.example a", sealed.clone()),
            (&seal, "shop other.example a", sealed.clone()),
            (&seal, "shop brand.example a", sealed[..20].to_vec()),
            (&seal, "shop brand.example a", Vec::new()),
            (&seal, "shop brand.example a", {
                let mut changed = sealed.clone();
                changed[15] ^= 1;
                changed
            }),
        ] {
            assert_eq!(seal.open(purpose, &sealed), Err(SealBroken));
        }
    }
}
