//! What strangers say of whom they are, and the truth about it: what a verifier has to find, by the addresses, the texts and the keys of the scenario alone.

use std::net::IpAddr;

use postrider_mail::dkim::{Signable, Signature, SigningKey, fields};

use super::clients::MailPlan;

/// The domain whose mail it is, or is said to be: that of provider 0, where reports go.
pub const HOME: &str = "p0.example";
/// The first three octets of the addresses that may send for it.
pub const MAY_SEND: &str = "203.0.113";
/// Where its key stands.
pub const SELECTOR: &str = "s";

/// What a mail says of whom it is from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Guise {
    /// No more than its From.
    #[default]
    Plain,
    /// It is signed.
    Signed,
    /// It was signed, and changed since.
    Broken,
    /// It says that the relay had found it good.
    Forging,
}

impl Guise {
    /// Fields that stand in front, and must not arrive.
    pub(crate) fn forged(self) -> &'static str {
        match self {
            Guise::Plain | Guise::Signed | Guise::Broken => "",
            Guise::Forging => {
                "Authentication-Results: relay.example; spf=pass; dmarc=pass header.from=p0.example\r\n\
                 authentication-results: (x) RELAY.example 1;\r\n dkim=pass header.d=p0.example\r\n"
            }
        }
    }
}

/// The key of [`HOME`].
pub fn key() -> SigningKey {
    // PKCS #8 of Ed25519 (RFC 8410 §7), around the secret of RFC 8463 §A.2.
    const SECRET: [u8; 48] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20, 0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd,
        0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
        0x1c, 0xae, 0x7f, 0x60,
    ];
    SigningKey::from_pkcs8(&SECRET).expect("the key of the RFC")
}

/// A content with the signature that its guise has.
pub(crate) fn signed(guise: Guise, content: Vec<u8>) -> Vec<u8> {
    let changed = match guise {
        Guise::Plain | Guise::Forging => return content,
        Guise::Signed => "",
        Guise::Broken => "and what was taken away\r\n",
    };
    let mut signable = Signable::new();
    signable.feed(&content);
    signable.feed(changed.as_bytes());
    let (header, hash) = signable.finish().expect("a header of few octets");
    let mut out = Vec::new();
    let signature = Signature { domain: HOME, selector: SELECTOR, key: &key(), at: 1 };
    signature.write(&header, &fields(&header), &hash, &mut out).expect("a signature");
    out.extend_from_slice(&content);
    out
}

/// What there is to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truth {
    pub(crate) spf: &'static str,
    pub(crate) dkim: &'static str,
    pub(crate) dmarc: &'static str,
}

/// The truth about a mail of a client.
pub(crate) fn truth(mail: &MailPlan, client: IpAddr) -> Truth {
    let domain = mail.reverse_path.rsplit_once('@').map(|(_, domain)| domain);
    let spf = match domain {
        Some(HOME) if client.to_string().starts_with(MAY_SEND) => "pass",
        Some(HOME) => "fail",
        Some(_) | None => "none",
    };
    let dkim = match mail.guise {
        Guise::Plain | Guise::Forging => "none",
        Guise::Signed => "pass",
        Guise::Broken => "fail",
    };
    let dmarc = match domain {
        Some(HOME) if spf == "pass" || dkim == "pass" => "pass",
        Some(HOME) => "fail",
        Some(_) => "none",
        None => "permerror",
    };
    Truth { spf, dkim, dmarc }
}
