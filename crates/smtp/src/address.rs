//! Domains, hosts and mailboxes (RFC 5321 §2.3.5, §4.1.2, §4.1.3; RFC 6531 §3.3).
//!
//! **Promises.** A [`Mailbox`] or [`Domain`] that exists is well formed, within the limits of RFC 5321 §4.5.3.1, and holds no control character,
//! no line break of any alphabet, and nothing that a careless reader could take for one. Two values that mean the same are equal: domains are
//! kept in lower case, local parts in their shortest quoting. The case of a local part is its host's business and is kept.
//!
//! **Never** asks the DNS, and never guesses a missing domain.
//!
//! **Bends.** An underscore is taken in a domain, because hosts have such names. A domain whose last label is all digits is refused, although
//! the grammar has it: no such name exists, and resolvers take it for an address. A domain keeps the form it came in: a U-label and
//! its A-label are different values here; compare [`Domain::to_ascii`] where the DNS is meant.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use thiserror::Error;

/// Octets in a local part (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_OCTETS_MAX: usize = 64;
/// Octets in a domain (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_OCTETS_MAX: usize = 255;
/// Octets in a path, its brackets included (RFC 5321 §4.5.3.1.3).
pub const PATH_OCTETS_MAX: usize = 256;
/// Octets in one label of a domain (RFC 1035 §2.3.4).
const LABEL_OCTETS_MAX: usize = 63;

/// Why a text is no domain, mailbox or path. The sender of the text is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddressTrouble {
    /// There is nothing.
    #[error("empty address")]
    Empty,
    /// No `@` outside quotes.
    #[error("address without a domain")]
    NoDomain,
    /// The local part is neither a dot-string nor a quoted string.
    #[error("bad local part")]
    LocalPart,
    /// The local part exceeds [`LOCAL_PART_OCTETS_MAX`].
    #[error("local part too long")]
    LocalPartTooLong,
    /// The domain is not a row of labels, or not valid under IDNA.
    #[error("bad domain")]
    Domain,
    /// The domain or a label of it is too long.
    #[error("domain too long")]
    DomainTooLong,
    /// An address literal that is neither IPv4 nor IPv6.
    #[error("bad address literal")]
    Literal,
    /// The brackets of a path are missing or unbalanced.
    #[error("bad path")]
    Path,
    /// The path exceeds [`PATH_OCTETS_MAX`].
    #[error("path too long")]
    PathTooLong,
}

/// A domain name in lower case, of A-labels or U-labels. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

impl Domain {
    /// Parses a domain name. One trailing dot, as the DNS prints names, is dropped.
    pub fn parse(text: &str) -> Result<Domain, AddressTrouble> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(AddressTrouble::Empty);
        }
        if text.len() > DOMAIN_OCTETS_MAX {
            return Err(AddressTrouble::DomainTooLong);
        }
        if text.is_ascii() {
            check_labels(text)?;
            return Ok(Domain(if text.bytes().any(|octet| octet.is_ascii_uppercase()) {
                text.to_ascii_lowercase().into()
            } else {
                text.into()
            }));
        }
        // Before IDNA folds the second of the two letters away.
        if looks_like_line_break(text) {
            return Err(AddressTrouble::Domain);
        }
        let ascii = idna::domain_to_ascii(text).map_err(|_| AddressTrouble::Domain)?;
        if ascii.len() > DOMAIN_OCTETS_MAX {
            return Err(AddressTrouble::DomainTooLong);
        }
        check_labels(&ascii)?;
        let (unicode, judged) = idna::domain_to_unicode(text);
        if judged.is_err() || unicode.len() > DOMAIN_OCTETS_MAX || unicode.chars().any(deceives) {
            return Err(AddressTrouble::Domain);
        }
        Ok(Domain(unicode.into()))
    }

    /// The name, in lower case, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in A-labels, as the DNS wants it (RFC 5890 §2.3.2.1).
    pub fn to_ascii(&self) -> Cow<'_, str> {
        if self.is_ascii() {
            return Cow::Borrowed(&self.0);
        }
        // A parsed domain has passed IDNA once already; the fallback keeps this total.
        idna::domain_to_ascii(&self.0).map_or_else(|_| Cow::Borrowed(&*self.0), Cow::Owned)
    }

    /// Whether the name needs no SMTPUTF8 (RFC 6531).
    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({})", self.0)
    }
}

/// Where a mailbox lives: a domain, or an address literal (RFC 5321 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name in the DNS.
    Domain(Domain),
    /// `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    Literal(IpAddr),
}

impl Host {
    /// Parses a domain or an address literal in its square brackets.
    pub fn parse(text: &str) -> Result<Host, AddressTrouble> {
        match text.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').and_then(literal).map(Host::Literal).ok_or(AddressTrouble::Literal),
            // RFC 5321 §2.3.5: a domain in mail has no trailing dot.
            None if text.ends_with('.') => Err(AddressTrouble::Domain),
            None => Domain::parse(text).map(Host::Domain),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Domain(domain) => domain.fmt(f),
            Host::Literal(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Host::Literal(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
        }
    }
}

/// A mailbox, `local-part@host` (RFC 5321 §4.1.2). Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox {
    host: Host,
    local_part: Arc<str>,
}

impl Mailbox {
    /// Parses `local-part@host` without brackets.
    ///
    /// A quoted local part is kept in its shortest form, so `"a"@b.example` and `a@b.example` are the same mailbox.
    pub fn parse(text: &str) -> Result<Mailbox, AddressTrouble> {
        if text.is_empty() {
            return Err(AddressTrouble::Empty);
        }
        // The brackets of the path count (RFC 5321 §4.5.3.1.3).
        if text.len() > PATH_OCTETS_MAX - 2 {
            return Err(AddressTrouble::PathTooLong);
        }
        let (local_part, host) = text.rsplit_once('@').ok_or(AddressTrouble::NoDomain)?;
        if local_part.is_empty() {
            return Err(AddressTrouble::LocalPart);
        }
        if local_part.len() > LOCAL_PART_OCTETS_MAX {
            return Err(AddressTrouble::LocalPartTooLong);
        }
        if looks_like_line_break(local_part) {
            return Err(AddressTrouble::LocalPart);
        }
        let local_part: Arc<str> = match local_part.strip_prefix('"') {
            Some(rest) => shortest_quoting(rest.strip_suffix('"').ok_or(AddressTrouble::LocalPart)?)?.into(),
            None if is_dot_string(local_part) => local_part.into(),
            None => return Err(AddressTrouble::LocalPart),
        };
        let mailbox = Mailbox { host: Host::parse(host)?, local_part };
        // A-labels become U-labels, which may be longer. What is kept must be an address again when it is read back.
        if !mailbox.is_ascii() && mailbox.to_string().len() > PATH_OCTETS_MAX - 2 {
            return Err(AddressTrouble::PathTooLong);
        }
        Ok(mailbox)
    }

    /// The local part as it stands on the wire, in quotes where it needs them.
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// The domain or address literal behind the `@`.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The domain, unless the host is an address literal.
    pub fn domain(&self) -> Option<&Domain> {
        match &self.host {
            Host::Domain(domain) => Some(domain),
            Host::Literal(_) => None,
        }
    }

    /// Whether the whole mailbox can be said without SMTPUTF8 (RFC 6531 §3.4).
    pub fn is_ascii(&self) -> bool {
        self.local_part.is_ascii() && self.domain().is_none_or(Domain::is_ascii)
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local_part, self.host)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({self})")
    }
}

fn check_labels(text: &str) -> Result<(), AddressTrouble> {
    let mut last_is_number = false;
    for label in text.split('.') {
        if label.len() > LABEL_OCTETS_MAX {
            return Err(AddressTrouble::DomainTooLong);
        }
        let plain = label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_');
        if label.is_empty() || !plain || label.starts_with('-') || label.ends_with('-') {
            return Err(AddressTrouble::Domain);
        }
        last_is_number = label.bytes().all(|octet| octet.is_ascii_digit());
    }
    if last_is_number { Err(AddressTrouble::Domain) } else { Ok(()) }
}

/// The inside of `[...]` (RFC 5321 §4.1.3). No registered tag but `IPv6` exists.
fn literal(text: &str) -> Option<IpAddr> {
    match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => text[5..].parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// RFC 5321 §4.1.2 `Dot-string`, with the letters of RFC 6531 §3.3.
fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_atext(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(letter) || (!letter.is_ascii() && !deceives(letter))
}

/// The inside of a quoted string, judged and put in its shortest form (RFC 5321 §4.1.2: quoting is not part of the name).
fn shortest_quoting(inside: &str) -> Result<String, AddressTrouble> {
    let mut name = String::with_capacity(inside.len());
    let mut letters = inside.chars();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            '\\' => letters.next().filter(|quoted| quoted.is_ascii()).ok_or(AddressTrouble::LocalPart)?,
            '"' => return Err(AddressTrouble::LocalPart),
            letter => letter,
        };
        if deceives(letter) {
            return Err(AddressTrouble::LocalPart);
        }
        name.push(letter);
    }
    if is_dot_string(&name) {
        return Ok(name);
    }
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for letter in name.chars() {
        if letter == '"' || letter == '\\' {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    Ok(quoted)
}

/// Control characters of both sets, the line and paragraph separators, and the marks that turn text around for a reader.
pub(crate) fn deceives(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// What becomes CR LF in the hands of software that truncates code points (U+010D U+010A) or decodes percent signs. No real name holds these.
pub(crate) fn looks_like_line_break(text: &str) -> bool {
    text.contains("\u{010D}\u{010A}") || text.as_bytes().windows(6).any(|six| six.eq_ignore_ascii_case(b"%0d%0a"))
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
