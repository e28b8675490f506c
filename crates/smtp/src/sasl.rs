//! AUTH PLAIN and LOGIN, both sides (RFC 4954, RFC 4616; LOGIN has no RFC, its form is draft-murchison-sasl-login), and the client's side of CRAM-MD5
//! (RFC 2195).
//!
//! **Promises.** Base64 is strict (padding, alphabet, no spare bits), names are UTF-8 without control characters, and `*` cancels.
//! [`Credentials`] never print their password.
//!
//! **Never** judges a password; that is the driver's question. Never serves CRAM-MD5: to judge its proof one has to keep the password itself.
//!
//! **Does badly.** Passwords are not wiped from memory.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use md5::Md5;
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
    /// A proof that is good for one challenge, and holds no password (RFC 2195).
    CramMd5,
    /// What was shown otherwise, by a certificate, is the proof (RFC 4422 §A).
    External,
}

impl Mechanism {
    /// By its name in the registry, in any case.
    pub fn parse(text: &str) -> Option<Mechanism> {
        let known = [Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5, Mechanism::External];
        known.into_iter().find(|mechanism| text.eq_ignore_ascii_case(mechanism.as_str()))
    }

    /// `PLAIN`, say.
    pub fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::External => "EXTERNAL",
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
    /// CRAM-MD5 is in the set.
    pub cram_md5: bool,
    /// EXTERNAL is in the set.
    pub external: bool,
}

impl Mechanisms {
    /// Those a server of ours can judge in every session.
    pub const SERVED: Mechanisms = Mechanisms { plain: true, login: true, cram_md5: false, external: false };

    /// Whether the set has `mechanism`.
    pub fn has(self, mechanism: Mechanism) -> bool {
        match mechanism {
            Mechanism::Plain => self.plain,
            Mechanism::Login => self.login,
            Mechanism::CramMd5 => self.cram_md5,
            Mechanism::External => self.external,
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
            Some(Mechanism::CramMd5) => self.cram_md5 = true,
            Some(Mechanism::External) => self.external = true,
            None => {}
        }
    }
}

impl fmt::Display for Mechanisms {
    /// As EHLO says them, each behind a space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = [Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5, Mechanism::External];
        known.into_iter().filter(|mechanism| self.has(*mechanism)).try_for_each(|mechanism| write!(f, " {}", mechanism.as_str()))
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
            (None, Mechanism::Plain | Mechanism::External) => Progress::Challenge(""),
            (None, Mechanism::Login) => Progress::Challenge("VXNlcm5hbWU6"),
            (None, Mechanism::CramMd5) => Progress::Failed(SaslTrouble::Malformed),
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
            (Mechanism::CramMd5, _) => None,
            // Whom to act as; empty for who was shown.
            (Mechanism::External, _) => name(&octets).map(|authzid| Credentials { authzid, authcid: String::new(), password: Vec::new() }),
        };
        done.map_or(Progress::Failed(SaslTrouble::Malformed), Progress::Done)
    }
}

/// The client's side of one AUTH command.
#[derive(Debug)]
pub struct Proof {
    mechanism: Mechanism,
    credentials: Credentials,
    /// Challenges answered.
    answered: u8,
}

impl Proof {
    /// Begins; with the initial response, for what stands behind `AUTH mechanism`.
    pub fn start(mechanism: Mechanism, credentials: Credentials) -> (Proof, Option<String>) {
        let initial = (mechanism == Mechanism::Plain).then(|| {
            let Credentials { authzid, authcid, password } = &credentials;
            STANDARD.encode([authzid.as_bytes(), b"\0", authcid.as_bytes(), b"\0", password.as_slice()].concat())
        });
        (Proof { mechanism, credentials, answered: 0 }, initial)
    }

    /// The line that answers a challenge; none for one that the mechanism does not have.
    pub fn answer(&mut self, challenge: &str) -> Option<String> {
        let nth = self.answered;
        self.answered = nth.saturating_add(1);
        match (self.mechanism, nth) {
            (Mechanism::Login, 0) => Some(STANDARD.encode(&self.credentials.authcid)),
            (Mechanism::Login, 1) => Some(STANDARD.encode(&self.credentials.password)),
            (Mechanism::CramMd5, 0) => {
                let digest = keyed_md5(&self.credentials.password, &STANDARD.decode(challenge).ok()?)?;
                Some(STANDARD.encode(format!("{} {digest}", self.credentials.authcid)))
            }
            (Mechanism::Plain | Mechanism::Login | Mechanism::CramMd5 | Mechanism::External, _) => None,
        }
    }
}

/// HMAC-MD5 in lower-case hexadecimal digits (RFC 2195 §2, RFC 2104). What is broken of MD5, its collisions, HMAC does not rest on (RFC 6151 §2.3).
fn keyed_md5(key: &[u8], text: &[u8]) -> Option<String> {
    let mut code = Hmac::<Md5>::new_from_slice(key).ok()?;
    code.update(text);
    Some(code.finalize().into_bytes().iter().map(|octet| format!("{octet:02x}")).collect())
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
        let (mut proof, initial) = Proof::start(Mechanism::Plain, credentials.clone());
        assert_eq!(Exchange::start(Mechanism::Plain, initial.as_deref()).1, Progress::Done(credentials.clone()));
        assert_eq!(proof.answer(""), None, "a question too many");
        let credentials = Credentials { authzid: String::new(), ..credentials };
        let (mut proof, initial) = Proof::start(Mechanism::Login, credentials.clone());
        let (mut exchange, progress) = Exchange::start(Mechanism::Login, initial.as_deref());
        assert_eq!(progress, Progress::Challenge("VXNlcm5hbWU6"));
        assert_eq!(exchange.take(&proof.answer("VXNlcm5hbWU6").unwrap()), Progress::Challenge("UGFzc3dvcmQ6"));
        assert_eq!(exchange.take(&proof.answer("UGFzc3dvcmQ6").unwrap()), Progress::Done(credentials));
        assert_eq!(proof.answer("more"), None);
    }

    /// The example of RFC 2195 §2, the digests of RFC 2202 §2, and what is no challenge.
    #[test]
    fn cram_md5_is_answered() {
        let credentials = Credentials { authzid: String::new(), authcid: "tim".into(), password: b"tanstaaftanstaaf".to_vec() };
        let challenge = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+";
        let (mut proof, initial) = Proof::start(Mechanism::CramMd5, credentials.clone());
        assert_eq!(initial, None);
        assert_eq!(proof.answer(challenge).as_deref(), Some("dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"));
        assert_eq!(proof.answer(challenge), None, "one challenge, one answer");
        assert_eq!(Proof::start(Mechanism::CramMd5, credentials).0.answer("no base64"), None);
        assert_eq!(keyed_md5(b"Jefe", b"what do ya want for nothing?").unwrap(), "750c783e6ab0b503eaa86e310a5db738");
        let long = keyed_md5(&[0xaa; 80], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(long.unwrap(), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
        assert_eq!(Exchange::start(Mechanism::CramMd5, None).1, Progress::Failed(SaslTrouble::Malformed), "not served");
    }

    #[test]
    fn external_says_at_most_whom_to_act_as() {
        let acts_as = |authzid: &str| Progress::Done(Credentials { authzid: authzid.into(), authcid: String::new(), password: Vec::new() });
        assert_eq!(Exchange::start(Mechanism::External, Some("=")).1, acts_as(""));
        assert_eq!(Exchange::start(Mechanism::External, Some(&encoded("app"))).1, acts_as("app"));
        let (mut exchange, progress) = Exchange::start(Mechanism::External, None);
        assert_eq!(progress, Progress::Challenge(""));
        assert_eq!(exchange.take(""), acts_as(""));
        for line in [encoded("a\r\nb"), encoded(&"a".repeat(256))] {
            assert_eq!(Exchange::start(Mechanism::External, Some(&line)).1, Progress::Failed(SaslTrouble::Malformed));
        }
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
