//! Parameters of MAIL and RCPT (RFC 5321 §4.1.2; RFC 1870, 6152, 3030, 6531, 4954 §5, 3461, 2852, 4865, 6710).
//!
//! **Promises.** Every value is parsed into its type here, xtext decoded; nothing that decodes to a control character gets through. A keyword
//! twice is an error. **Never** asks whether an extension was offered: [`MailParameters::uses_more_than`] answers that for a server.

use std::fmt::{self, Write};

use crate::address::{Mailbox, deceives, looks_like_line_break};
use crate::command::CommandTrouble;
use crate::extension::Extensions;
use crate::wishes::{DeliverBy, Hold, MtPriority};

/// Octets of ENVID, decoded (RFC 3461 §4.4).
const ENVID_OCTETS_MAX: usize = 100;
/// Octets of ORCPT, as written (RFC 3461 §4.2).
const ORCPT_OCTETS_MAX: usize = 500;

/// What the content is said to hold (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// `BODY=7BIT`
    SevenBit,
    /// `BODY=8BITMIME`
    EightBitMime,
    /// `BODY=BINARYMIME`
    BinaryMime,
}

/// How much of the message a DSN returns (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// `RET=FULL`
    Full,
    /// `RET=HDRS`
    Headers,
}

impl fmt::Display for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ret::Full => "FULL",
            Ret::Headers => "HDRS",
        })
    }
}

/// When a DSN is wanted (RFC 3461 §4.1). All false is `NEVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// On delivery.
    pub success: bool,
    /// When it failed for good.
    pub failure: bool,
    /// When it takes long.
    pub delay: bool,
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let words: Vec<&str> = wanted.iter().filter(|(wanted, _)| *wanted).map(|(_, word)| *word).collect();
        if words.is_empty() { f.write_str("NEVER") } else { f.write_str(&words.join(",")) }
    }
}

/// The address as the first sender wrote it (RFC 3461 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// `rfc822`, `utf-8` or another registered type, in lower case.
    pub address_type: String,
    /// The address, decoded. It is data, not a [`Mailbox`]: its type decides its form.
    pub address: String,
}

impl OriginalRecipient {
    /// The value of ORCPT. Without SMTPUTF8, letters beyond ASCII stand as RFC 6533 §3 writes them for such ways.
    pub fn parameter(&self, utf8: bool) -> String {
        let mut address = String::with_capacity(self.address.len());
        for letter in self.address.chars() {
            if letter.is_ascii() || utf8 {
                address.push(letter);
            } else {
                // Writing to a string cannot fail.
                let _ = write!(address, "\\x{{{:X}}}", letter as u32);
            }
        }
        format!("{};{}", self.address_type, Xtext(&address))
    }
}

/// The `AUTH=` parameter (RFC 4954 §5): who submitted the message first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitter {
    /// `AUTH=<>`: unknown or not trusted.
    Unknown,
    /// `AUTH=mailbox`
    Mailbox(Mailbox),
}

/// Parameters of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// The size the client declares, in octets; a number beyond 64 bits is [`u64::MAX`].
    pub size: Option<u64>,
    /// The body type the client declares.
    pub body: Option<Body>,
    /// Addresses or headers may be UTF-8.
    pub smtputf8: bool,
    /// Who submitted the message first.
    pub submitter: Option<Submitter>,
    /// How much a DSN returns.
    pub ret: Option<Ret>,
    /// The sender's name for this envelope, decoded; printable ASCII.
    pub envid: Option<String>,
    /// By when delivery is wanted.
    pub deliver_by: Option<DeliverBy>,
    /// Not before then.
    pub hold: Option<Hold>,
    /// Before or after others.
    pub priority: Option<MtPriority>,
}

/// Parameters of RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientParameters {
    /// When a DSN is wanted.
    pub notify: Option<Notify>,
    /// The address as the first sender wrote it.
    pub orcpt: Option<OriginalRecipient>,
}

impl MailParameters {
    /// Parses what follows the path of MAIL.
    pub fn parse(text: &str) -> Result<MailParameters, CommandTrouble> {
        let mut parameters = MailParameters::default();
        for word in words(text) {
            let (keyword, value) = keyword(word)?;
            let new = match keyword.to_ascii_uppercase().as_str() {
                "SIZE" => set(&mut parameters.size, size(value)),
                "BODY" => set(&mut parameters.body, body(value)),
                "SMTPUTF8" if value.is_none() => !std::mem::replace(&mut parameters.smtputf8, true),
                "AUTH" => set(&mut parameters.submitter, value.and_then(submitter)),
                "RET" => set(&mut parameters.ret, ret(value)),
                "ENVID" => set(&mut parameters.envid, value.and_then(envid)),
                "BY" => set(&mut parameters.deliver_by, value.and_then(DeliverBy::parse)),
                // RFC 4865 §4: one of the two, once.
                "HOLDFOR" => set(&mut parameters.hold, value.and_then(Hold::parse_for)),
                "HOLDUNTIL" => set(&mut parameters.hold, value.and_then(Hold::parse_until)),
                "MT-PRIORITY" => set(&mut parameters.priority, value.and_then(MtPriority::parse)),
                "SMTPUTF8" => false,
                _ => return Err(CommandTrouble::UnknownParameter),
            };
            if !new {
                return Err(CommandTrouble::Parameter);
            }
        }
        Ok(parameters)
    }

    /// Whether a parameter belongs to an extension that is not offered.
    pub fn uses_more_than(&self, offered: &Extensions) -> bool {
        (self.size.is_some() && !offered.size)
            || (self.body == Some(Body::BinaryMime) && !(offered.binary_mime && offered.chunking))
            || (self.body.is_some() && !offered.eight_bit_mime)
            || (self.smtputf8 && !offered.smtputf8)
            || ((self.ret.is_some() || self.envid.is_some()) && !offered.dsn)
            || (self.deliver_by.is_some() && !offered.deliver_by)
            || (self.hold.is_some() && offered.hold_seconds_max.is_none())
            || (self.priority.is_some() && !offered.priority)
    }
}

impl RecipientParameters {
    /// Parses what follows the path of RCPT.
    pub fn parse(text: &str) -> Result<RecipientParameters, CommandTrouble> {
        let mut parameters = RecipientParameters::default();
        for word in words(text) {
            let (keyword, value) = keyword(word)?;
            let new = match keyword.to_ascii_uppercase().as_str() {
                "NOTIFY" => set(&mut parameters.notify, value.and_then(notify)),
                "ORCPT" => set(&mut parameters.orcpt, value.and_then(orcpt)),
                _ => return Err(CommandTrouble::UnknownParameter),
            };
            if !new {
                return Err(CommandTrouble::Parameter);
            }
        }
        Ok(parameters)
    }

    /// Whether a parameter belongs to an extension that is not offered.
    pub fn uses_more_than(&self, offered: &Extensions) -> bool {
        (self.notify.is_some() || self.orcpt.is_some()) && !offered.dsn
    }
}

/// Text in xtext, safe as the value of a parameter (RFC 3461 §4). Only for ASCII; other letters pass as they are (RFC 6533 §3 `utf-8-addr-unitext`).
pub struct Xtext<'a>(pub &'a str);

impl fmt::Display for Xtext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '+' | '=' | '\0'..=' ' | '\x7f' => write!(f, "+{:02X}", letter as u32),
            letter => f.write_char(letter),
        })
    }
}

/// Fills an empty slot. False when there is no value to fill in, or the slot is taken.
fn set<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let new = slot.is_none() && value.is_some();
    *slot = value;
    new
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

/// `esmtp-keyword ["=" esmtp-value]` (RFC 5321 §4.1.2, RFC 6531 §3.3).
fn keyword(word: &str) -> Result<(&str, Option<&str>), CommandTrouble> {
    let (keyword, value) = word.split_once('=').map_or((word, None), |(keyword, value)| (keyword, Some(value)));
    let well = keyword.starts_with(|first: char| first.is_ascii_alphanumeric())
        && keyword.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && value.is_none_or(|value| !value.is_empty() && !value.contains('=') && !value.chars().any(deceives));
    if well { Ok((keyword, value)) } else { Err(CommandTrouble::Parameter) }
}

/// Up to 20 digits (RFC 1870 §4); beyond 64 bits it is too large for anybody.
fn size(value: Option<&str>) -> Option<u64> {
    let digits = value?;
    (digits.len() <= 20 && digits.bytes().all(|octet| octet.is_ascii_digit())).then(|| digits.parse().unwrap_or(u64::MAX))
}

fn body(value: Option<&str>) -> Option<Body> {
    match value?.to_ascii_uppercase().as_str() {
        "7BIT" => Some(Body::SevenBit),
        "8BITMIME" => Some(Body::EightBitMime),
        "BINARYMIME" => Some(Body::BinaryMime),
        _ => None,
    }
}

fn ret(value: Option<&str>) -> Option<Ret> {
    match value?.to_ascii_uppercase().as_str() {
        "FULL" => Some(Ret::Full),
        "HDRS" => Some(Ret::Headers),
        _ => None,
    }
}

fn submitter(value: &str) -> Option<Submitter> {
    match decode_xtext(value)?.as_str() {
        "<>" => Some(Submitter::Unknown),
        mailbox => Mailbox::parse(mailbox).ok().map(Submitter::Mailbox),
    }
}

fn envid(value: &str) -> Option<String> {
    decode_xtext(value).filter(|envid| envid.len() <= ENVID_OCTETS_MAX && envid.is_ascii())
}

fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::default());
    }
    let mut notify = Notify::default();
    for word in value.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => notify.success = true,
            "FAILURE" => notify.failure = true,
            "DELAY" => notify.delay = true,
            _ => return None,
        }
    }
    Some(notify)
}

fn orcpt(value: &str) -> Option<OriginalRecipient> {
    if value.len() > ORCPT_OCTETS_MAX {
        return None;
    }
    let (address_type, address) = value.split_once(';')?;
    let atom = !address_type.is_empty() && address_type.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    let address = decode_xtext(address).filter(|address| !address.is_empty())?;
    atom.then(|| OriginalRecipient { address_type: address_type.to_ascii_lowercase(), address })
}

/// RFC 3461 §4: `+` and two upper-case hexadecimal digits. None when it is malformed, or hides a control character or what software could decode to one.
fn decode_xtext(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('+') {
        decoded.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'A'..=b'F')))?;
        let octet = u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)?;
        decoded.push(char::from(octet));
        rest = &rest[at + 3..];
    }
    decoded.push_str(rest);
    (!decoded.chars().any(deceives) && !looks_like_line_break(&decoded)).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_parameters() {
        let parsed = MailParameters::parse("size=1000 BODY=8bitmime SMTPUTF8 AUTH=e+2Bc+3Da@b.example RET=hdrs ENVID=q+2B1").unwrap();
        assert_eq!(
            (parsed.size, parsed.body, parsed.smtputf8, parsed.ret),
            (Some(1000), Some(Body::EightBitMime), true, Some(Ret::Headers))
        );
        assert_eq!(parsed.submitter, Some(Submitter::Mailbox(Mailbox::parse("e+c=a@b.example").unwrap())));
        assert_eq!(parsed.envid.as_deref(), Some("q+1"));
        assert_eq!(MailParameters::parse("AUTH=<>").unwrap().submitter, Some(Submitter::Unknown));
        assert_eq!(MailParameters::parse("  SIZE=99999999999999999999 ").unwrap().size, Some(u64::MAX));
    }

    #[test]
    fn mail_parameters_refused() {
        for text in [
            "SIZE",
            "SIZE=",
            "SIZE=-1",
            "SIZE=1x",
            "SIZE=100000000000000000000",
            "SIZE=1 SIZE=1",
            "BODY=9BIT",
            "BODY",
            "SMTPUTF8=1",
            "SMTPUTF8 SMTPUTF8",
            "AUTH=a",
            "AUTH=a+0D+0A@b.example",
            "AUTH=+",
            "ENVID=+0d",
            "ENVID=a+0Ab",
            "ENVID=a%0d%0Ab",
            "ENVID=a=b",
            "ENVID=a\u{2028}",
            "RET=ALL",
            "=x",
            "-X=1",
            "ENVID=ä",
            "BY=0;R",
            "HOLDFOR=0",
            "HOLDUNTIL=tomorrow",
            "HOLDFOR=1 HOLDUNTIL=2026-11-23T20:37:00Z",
            "MT-PRIORITY=10",
            "BY",
        ] {
            assert_eq!(MailParameters::parse(text), Err(CommandTrouble::Parameter), "{text}");
        }
        for text in ["XFOO", "XFOO=1", "NOTIFY=NEVER"] {
            assert_eq!(MailParameters::parse(text), Err(CommandTrouble::UnknownParameter), "{text}");
        }
    }

    #[test]
    fn recipient_parameters() {
        let parsed = RecipientParameters::parse("NOTIFY=success,DELAY ORCPT=RFC822;a+2Bb@c.example").unwrap();
        assert_eq!(parsed.notify, Some(Notify { success: true, failure: false, delay: true }));
        assert_eq!(parsed.orcpt, Some(OriginalRecipient { address_type: "rfc822".into(), address: "a+b@c.example".into() }));
        assert_eq!(RecipientParameters::parse("NOTIFY=NEVER").unwrap().notify, Some(Notify::default()));
        for text in [
            "NOTIFY=NEVER,DELAY",
            "NOTIFY=",
            "ORCPT=a@b.example",
            "ORCPT=rfc822;",
            "ORCPT=rfc822;a+0Db",
            "ORCPT=;a",
            "NOTIFY=DELAY NOTIFY=DELAY",
        ] {
            assert_eq!(RecipientParameters::parse(text), Err(CommandTrouble::Parameter), "{text}");
        }
        assert_eq!(RecipientParameters::parse("SIZE=1"), Err(CommandTrouble::UnknownParameter));
    }

    #[test]
    fn what_a_client_says_a_server_reads() {
        let original = OriginalRecipient { address_type: "utf-8".into(), address: "jü+x@b.example".into() };
        assert_eq!(original.parameter(true), "utf-8;jü+2Bx@b.example");
        assert_eq!(original.parameter(false), "utf-8;j\\x{FC}+2Bx@b.example");
        assert_eq!(orcpt(&original.parameter(true)), Some(original));
        for text in ["NEVER", "SUCCESS", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"] {
            assert_eq!(notify(text).unwrap().to_string(), text);
        }
        assert_eq!((ret(Some("full")).unwrap().to_string(), ret(Some("HDRS")).unwrap().to_string()), ("FULL".into(), "HDRS".into()));
    }

    #[test]
    fn xtext_there_and_back() {
        for text in ["a+b=c d", "plain", "+", "jürgen@b"] {
            assert_eq!(decode_xtext(&Xtext(text).to_string()).as_deref(), Some(text));
        }
        assert_eq!(Xtext("a\r\nb").to_string(), "a+0D+0Ab");
    }
}
