//! AUTH PLAIN and LOGIN, both sides (RFC 4954, RFC 4616; LOGIN has no RFC, its form is draft-murchison-sasl-login).
//!
//! **Promises.** Base64 is strict (padding, alphabet, no spare bits), names are UTF-8 without control characters, and `*` cancels.
//! [`Credentials`] never print their password.
//!
//! **Never** judges a password; that is the driver's question.
//!
//! **Does badly.** Passwords are not wiped from memory.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::address::{deceives, looks_like_line_break};

/// Octets of a name (RFC 4616 §2).
const NAME_OCTETS_MAX: usize = 255;

/// A mechanism we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// One message with everything (RFC 4616).
    Plain,
    /// Name and password in two answers.
    Login,
}

impl Mechanism {
    /// By its name in the registry, in any case.
    pub fn parse(text: &str) -> Option<Mechanism> {
        [Mechanism::Plain, Mechanism::Login].into_iter().find(|mechanism| text.eq_ignore_ascii_case(mechanism.as_str()))
    }

    /// `PLAIN` or `LOGIN`.
    pub fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }
}

/// A set of mechanisms: offered by a server, ours or another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms {
    /// PLAIN is in the set.
    pub plain: bool,
    /// LOGIN is in the set.
    pub login: bool,
}

impl Mechanisms {
    /// Both we know.
    pub const ALL: Mechanisms = Mechanisms { plain: true, login: true };

    /// Whether the set has `mechanism`.
    pub fn has(self, mechanism: Mechanism) -> bool {
        match mechanism {
            Mechanism::Plain => self.plain,
            Mechanism::Login => self.login,
        }
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self == Mechanisms::default()
    }

    /// Adds a mechanism by its name; an unknown one is passed over.
    pub fn add(&mut self, name: &str) {
        match Mechanism::parse(name) {
            Some(Mechanism::Plain) => self.plain = true,
            Some(Mechanism::Login) => self.login = true,
            None => {}
        }
    }
}

/// What a client proves itself with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Whom to act as; empty for oneself.
    pub authzid: String,
    /// Who speaks.
    pub authcid: String,
    /// The proof.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("authzid", &self.authzid).field("authcid", &self.authcid).finish_non_exhaustive()
    }
}

/// Why an exchange ended without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SaslTrouble {
    /// The client sent `*`.
    #[error("authentication cancelled")]
    Cancelled,
    /// Not strict base64.
    #[error("invalid base64")]
    Base64,
    /// Not what the mechanism asks for.
    #[error("malformed credentials")]
    Malformed,
}

/// How an exchange stands.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send `334 ` and this text, and give the next line to [`Exchange::take`].
    Challenge(&'static str),
    /// The credentials are complete; they are not yet judged.
    Done(Credentials),
    /// It is over.
    Failed(SaslTrouble),
}

/// The server's side of one AUTH command.
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    /// LOGIN: the name, once it was said.
    authcid: Option<String>,
}

impl Exchange {
    /// Begins, with the initial response as it stood on the command line, `=` for an empty one (RFC 4954 §4).
    pub fn start(mechanism: Mechanism, initial: Option<&str>) -> (Exchange, Progress) {
        let mut exchange = Exchange { mechanism, authcid: None };
        let progress = match (initial, mechanism) {
            (Some("="), _) => exchange.take(""),
            (Some(initial), _) => exchange.take(initial),
            (None, Mechanism::Plain) => Progress::Challenge(""),
            (None, Mechanism::Login) => Progress::Challenge("VXNlcm5hbWU6"),
        };
        (exchange, progress)
    }

    /// Which mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Takes the client's next line, without its CR LF.
    pub fn take(&mut self, line: &str) -> Progress {
        if line == "*" {
            return Progress::Failed(SaslTrouble::Cancelled);
        }
        let Ok(octets) = STANDARD.decode(line) else { return Progress::Failed(SaslTrouble::Base64) };
        let done = match (self.mechanism, self.authcid.take()) {
            (Mechanism::Plain, _) => plain(&octets),
            (Mechanism::Login, None) => match name(&octets) {
                Some(authcid) if !authcid.is_empty() => {
                    self.authcid = Some(authcid);
                    return Progress::Challenge("UGFzc3dvcmQ6");
                }
                _ => None,
            },
            (Mechanism::Login, Some(authcid)) => Some(Credentials { authzid: String::new(), authcid, password: octets }),
        };
        done.map_or(Progress::Failed(SaslTrouble::Malformed), Progress::Done)
    }
}

/// The client's first line behind `AUTH mechanism`, and the lines for the challenges that follow.
pub fn responses(mechanism: Mechanism, credentials: &Credentials) -> (Option<String>, Vec<String>) {
    match mechanism {
        Mechanism::Plain => {
            let message =
                [credentials.authzid.as_bytes(), b"\0", credentials.authcid.as_bytes(), b"\0", credentials.password.as_slice()].concat();
            (Some(STANDARD.encode(message)), Vec::new())
        }
        Mechanism::Login => (None, vec![STANDARD.encode(&credentials.authcid), STANDARD.encode(&credentials.password)]),
    }
}

/// `[authzid] NUL authcid NUL password` (RFC 4616 §2).
fn plain(octets: &[u8]) -> Option<Credentials> {
    let mut parts = octets.splitn(3, |octet| *octet == 0);
    let authzid = name(parts.next()?)?;
    let authcid = name(parts.next()?)?;
    let password = parts.next()?;
    let whole = !authcid.is_empty() && !password.is_empty() && !password.contains(&0);
    whole.then(|| Credentials { authzid, authcid, password: password.to_vec() })
}

fn name(octets: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(octets).ok()?;
    (name.len() <= NAME_OCTETS_MAX && !name.chars().any(deceives) && !looks_like_line_break(name)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> String {
        STANDARD.encode(text)
    }

    #[test]
    fn both_sides_agree() {
        let credentials = Credentials { authzid: "z".into(), authcid: "jürgen".into(), password: b"p\xffq".to_vec() };
        let (initial, rest) = responses(Mechanism::Plain, &credentials);
        assert_eq!(Exchange::start(Mechanism::Plain, initial.as_deref()).1, Progress::Done(credentials.clone()));
        assert!(rest.is_empty());
        let credentials = Credentials { authzid: String::new(), ..credentials };
        let (initial, rest) = responses(Mechanism::Login, &credentials);
        let (mut exchange, progress) = Exchange::start(Mechanism::Login, initial.as_deref());
        assert_eq!(progress, Progress::Challenge("VXNlcm5hbWU6"));
        assert_eq!(exchange.take(&rest[0]), Progress::Challenge("UGFzc3dvcmQ6"));
        assert_eq!(exchange.take(&rest[1]), Progress::Done(credentials));
    }

    #[test]
    fn refused() {
        let long = encoded(&format!("\0{}\0p", "a".repeat(256)));
        for (line, trouble) in [
            ("*", SaslTrouble::Cancelled),
            ("AGEAcA", SaslTrouble::Base64),
            ("AGEAcB==", SaslTrouble::Base64),
            ("AGEA cA==", SaslTrouble::Base64),
            ("AGE-cA==", SaslTrouble::Base64),
            ("", SaslTrouble::Malformed),
            (&encoded("a"), SaslTrouble::Malformed),
            (&encoded("\0a"), SaslTrouble::Malformed),
            (&encoded("\0a\0"), SaslTrouble::Malformed),
            (&encoded("\0\0p"), SaslTrouble::Malformed),
            (&encoded("\0a\0p\0q"), SaslTrouble::Malformed),
            (&encoded("\0a\r\nb\0p"), SaslTrouble::Malformed),
            (&encoded("\0a%0d%0ab\0p"), SaslTrouble::Malformed),
            (&encoded("\0a\u{10d}\u{10a}b\0p"), SaslTrouble::Malformed),
            (&STANDARD.encode(b"\0\xff\0p"), SaslTrouble::Malformed),
            (&long, SaslTrouble::Malformed),
        ] {
            let (mut exchange, progress) = Exchange::start(Mechanism::Plain, None);
            assert_eq!(progress, Progress::Challenge(""));
            assert_eq!(exchange.take(line), Progress::Failed(trouble), "{line}");
        }
        assert_eq!(Exchange::start(Mechanism::Login, Some("=")).1, Progress::Failed(SaslTrouble::Malformed));
    }

    #[test]
    fn a_password_is_never_printed() {
        let credentials = Credentials { authzid: String::new(), authcid: "a".into(), password: b"hunter2".to_vec() };
        assert_eq!(format!("{credentials:?}"), "Credentials { authzid: \"\", authcid: \"a\", .. }");
    }
}
