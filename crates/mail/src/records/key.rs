//! The record of a key, at `SELECTOR._domainkey.DOMAIN` (RFC 6376 §3.6.1).

use super::tags::{TagTrouble, Tags, is_white, shown, unfolded};

/// Why a text is no record of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRecordTrouble {
    /// It is no list of tags.
    #[error(transparent)]
    Tags(#[from] TagTrouble),
    /// `v=` is something else, or not the first.
    #[error("v=DKIM1 has to be the first tag, and to be written so")]
    Version,
    /// There is no key in it.
    #[error("the tag p=, which holds the key, is missing")]
    NoKey,
    /// What `p=` says is no Base64.
    #[error("p= is not Base64: {0:?}")]
    NotBase64(Box<str>),
}

/// What a domain says of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// `k=`, in lower case; `rsa` where nothing is said.
    pub kind: Box<str>,
    /// `p=` without white space and padding; empty of a key that was revoked.
    pub key: Box<str>,
    /// `h=`; `None`: any.
    hashes: Option<Vec<Box<str>>>,
    /// `s=`; `None`: any.
    services: Option<Vec<Box<str>>>,
    /// `t=`.
    flags: Vec<Box<str>>,
}

impl KeyRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// When verifiers could make nothing of it.
    pub fn parse(octets: &[u8]) -> Result<Self, KeyRecordTrouble> {
        let tags = Tags::parse(octets)?;
        if tags.get("v").is_some_and(|version| version != "DKIM1" || tags.first() != Some(("v", version))) {
            return Err(KeyRecordTrouble::Version);
        }
        let key = tags.get("p").ok_or(KeyRecordTrouble::NoKey)?;
        let key = unfolded(key);
        let key = key.trim_end_matches('=');
        if !key.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/')) {
            return Err(KeyRecordTrouble::NotBase64(shown(key)));
        }
        let words = |name| tags.get(name).map(|list: &str| list.split(':').map(|word| word.trim_matches(is_white).into()).collect());
        Ok(Self {
            kind: tags.get("k").unwrap_or("rsa").to_ascii_lowercase().into(),
            key: key.into(),
            hashes: words("h"),
            services: words("s"),
            flags: words("t").unwrap_or_default(),
        })
    }

    /// Whether the key is no more (RFC 6376 §3.6.1: an empty `p=`).
    pub fn is_revoked(&self) -> bool {
        self.key.is_empty()
    }

    /// Whether signatures over a SHA-256 count (`h=`).
    pub fn takes_sha256(&self) -> bool {
        self.hashes.as_ref().is_none_or(|hashes| hashes.iter().any(|hash| &**hash == "sha256"))
    }

    /// Whether the key is for mail (`s=`).
    pub fn is_for_mail(&self) -> bool {
        self.services.as_ref().is_none_or(|services| services.iter().any(|service| matches!(&**service, "*" | "email")))
    }

    /// Whether the domain says that it is only trying (`t=y`): verifiers may take its signatures for none.
    pub fn is_a_test(&self) -> bool {
        self.flags.iter().any(|flag| &**flag == "y")
    }

    /// Whether it counts for the domain itself only, and for none below it (`t=s`).
    pub fn is_strict(&self) -> bool {
        self.flags.iter().any(|flag| &**flag == "s")
    }
}
