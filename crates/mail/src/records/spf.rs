//! Who may send for a domain, in the words of its record (RFC 7208 §4.6, §5, §7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::tags::shown;

/// Terms of one record. Ten of them may cost a look-up (RFC 7208 §4.6.4); the others are networks.
pub const TERMS_MAX: usize = 512;

/// Letters of a text that macros make; the rest is dropped from its front, label by label (RFC 7208 §7.3).
const EXPANDED_LETTERS_MAX: usize = 253;

/// What a match means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier {
    /// `+`, or nothing: it may send.
    Pass,
    /// `-`: it may not.
    Fail,
    /// `~`: it should not.
    SoftFail,
    /// `?`: nothing is said.
    Neutral,
}

/// What an address is compared with. Domains are kept as they were written: they may hold macros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    /// Everybody.
    All,
    /// Whoever may send for that domain.
    Include(Box<str>),
    /// The addresses of a host (`None`: the domain itself), widened to networks of so many bits.
    Addresses(Option<Box<str>>, u8, u8),
    /// The addresses of a domain's mail exchangers.
    Mx(Option<Box<str>>, u8, u8),
    /// Names of the address that lie below a domain. Nobody should use it (RFC 7208 §5.5).
    Ptr(Option<Box<str>>),
    /// A network.
    Network(IpAddr, u8),
    /// Everybody, if the name exists.
    Exists(Box<str>),
}

/// A mechanism with its qualifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// What a match means.
    pub qualifier: Qualifier,
    /// What matches.
    pub mechanism: Mechanism,
    /// As it was written.
    pub text: Box<str>,
}

/// Why a record is none that receivers can follow: they answer `permerror` (RFC 7208 §4.6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpfTrouble {
    /// Octets that are no text in ASCII.
    #[error("it holds octets that are no ASCII text")]
    NotText,
    /// Too many terms.
    #[error("it has more than {TERMS_MAX} terms")]
    TooMany,
    /// A term that nobody knows.
    #[error("{0:?} is no term of SPF")]
    Term(Box<str>),
    /// `redirect=` twice.
    #[error("redirect= is there twice")]
    Redirects,
}

/// What a domain says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpfRecord {
    /// In their order; the first that matches decides.
    pub terms: Vec<Term>,
    /// Whose record holds when nothing matches.
    pub redirect: Option<Box<str>>,
}

/// Whether a TXT record is meant to be one of SPF (RFC 7208 §4.5).
pub fn is_spf(octets: &[u8]) -> bool {
    octets.get(..6).is_some_and(|version| version.eq_ignore_ascii_case(b"v=spf1")) && matches!(octets.get(6), None | Some(b' '))
}

impl SpfRecord {
    /// Reads a record for which [`is_spf`] holds.
    ///
    /// # Errors
    /// When receivers cannot follow it.
    pub fn parse(octets: &[u8]) -> Result<Self, SpfTrouble> {
        let text = std::str::from_utf8(octets).ok().filter(|text| text.is_ascii()).ok_or(SpfTrouble::NotText)?;
        let mut record = Self { terms: Vec::new(), redirect: None };
        for (nth, word) in text.get(6..).unwrap_or_default().split(' ').filter(|word| !word.is_empty()).enumerate() {
            if nth == TERMS_MAX {
                return Err(SpfTrouble::TooMany);
            }
            let wrong = || SpfTrouble::Term(shown(word));
            match modifier(word) {
                Some((name, value)) if name.eq_ignore_ascii_case("redirect") => {
                    if record.redirect.is_some() {
                        return Err(SpfTrouble::Redirects);
                    }
                    record.redirect = Some(domain_spec(value).ok_or_else(wrong)?);
                }
                // RFC 7208 §6: those that nobody knows are passed over.
                Some((_, value)) => drop(macros_are_whole(value).then_some(()).ok_or_else(wrong)?),
                None => record.terms.push(term(word).ok_or_else(wrong)?),
            }
        }
        Ok(record)
    }
}

/// `name=value`, with a name that is one (RFC 7208 §12); an equals sign behind a colon or slash is part of a mechanism's domain.
fn modifier(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let plain = name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.'));
    plain.then_some((name, value))
}

fn term(word: &str) -> Option<Term> {
    let (qualifier, rest) = match word.as_bytes().first()? {
        b'+' => (Qualifier::Pass, &word[1..]),
        b'-' => (Qualifier::Fail, &word[1..]),
        b'~' => (Qualifier::SoftFail, &word[1..]),
        b'?' => (Qualifier::Neutral, &word[1..]),
        _ => (Qualifier::Pass, word),
    };
    let name_ends = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, argument) = rest.split_at(name_ends);
    let spec = |argument: &str| argument.strip_prefix(':').map(domain_spec);
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if argument.is_empty() => Mechanism::All,
        "include" => Mechanism::Include(spec(argument)??),
        "exists" => Mechanism::Exists(spec(argument)??),
        "ptr" if argument.is_empty() => Mechanism::Ptr(None),
        "ptr" => Mechanism::Ptr(Some(spec(argument)??)),
        host @ ("a" | "mx") => {
            let (argument, v4, v6) = widths(argument)?;
            let host_spec = if argument.is_empty() { None } else { Some(spec(argument)??) };
            if host == "a" { Mechanism::Addresses(host_spec, v4, v6) } else { Mechanism::Mx(host_spec, v4, v6) }
        }
        "ip4" => network(argument.strip_prefix(':')?, |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4), 32)?,
        "ip6" => network(argument.strip_prefix(':')?, |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6), 128)?,
        _ => return None,
    };
    Some(Term { qualifier, mechanism, text: word.into() })
}

fn network(text: &str, address: impl Fn(&str) -> Option<IpAddr>, bits_max: u8) -> Option<Mechanism> {
    let (text, bits) = match text.split_once('/') {
        Some((text, bits)) => (text, width(bits, bits_max)?),
        None => (text, bits_max),
    };
    address(text).map(|address| Mechanism::Network(address, bits))
}

/// The widths behind a host: `/24`, `//64`, or `/24//64` (RFC 7208 §5.6 `dual-cidr-length`).
fn widths(argument: &str) -> Option<(&str, u8, u8)> {
    let (argument, v6) = match argument.split_once("//") {
        Some((front, bits)) => (front, width(bits, 128)?),
        None => (argument, 128),
    };
    // A slash may stand within a macro's braces, as one of its delimiters.
    let after_macro = argument.rfind('}').map_or(0, |at| at + 1);
    match argument[after_macro..].find('/') {
        Some(at) => Some((&argument[..after_macro + at], width(&argument[after_macro + at + 1..], 32)?, v6)),
        None => Some((argument, 32, v6)),
    }
}

fn width(text: &str, max: u8) -> Option<u8> {
    let plain = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|bits| plain && *bits <= max)
}

fn domain_spec(text: &str) -> Option<Box<str>> {
    (!text.is_empty() && macros_are_whole(text)).then(|| text.into())
}

fn macros_are_whole(text: &str) -> bool {
    expand(text, &MacroFacts { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), local_part: "", sender_domain: "", domain: "", hello: "" })
        .is_some()
}

/// What macros stand for (RFC 7208 §7.2).
#[derive(Debug, Clone, Copy)]
pub struct MacroFacts<'a> {
    /// The client.
    pub address: IpAddr,
    /// The sender's local part.
    pub local_part: &'a str,
    /// The sender's domain.
    pub sender_domain: &'a str,
    /// The domain whose record it is.
    pub domain: &'a str,
    /// What the client said in EHLO.
    pub hello: &'a str,
}

/// A text with its macros replaced (RFC 7208 §7); `None` when one of them is not whole. `%{p}` is always "unknown": nobody should use it.
pub fn expand(text: &str, facts: &MacroFacts<'_>) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.bytes().next()? {
            b'%' => out.push('%'),
            b'_' => out.push(' '),
            b'-' => out.push_str("%20"),
            b'{' => {
                let end = rest.find('}')?;
                out.push_str(&one(&rest[1..end], facts)?);
                rest = &rest[end + 1..];
                continue;
            }
            _ => return None,
        }
        rest = &rest[1..];
    }
    if !rest.bytes().all(|octet| octet.is_ascii_graphic()) {
        return None;
    }
    out.push_str(rest);
    while out.len() > EXPANDED_LETTERS_MAX {
        let (_, shorter) = out.split_once('.')?;
        out = shorter.to_owned();
    }
    Some(out)
}

/// The inside of `%{...}`: a letter, how many parts from the right, `r` for reversed, and where to part.
fn one(inside: &str, facts: &MacroFacts<'_>) -> Option<String> {
    let letter = inside.chars().next()?;
    let rest = inside.get(1..)?;
    let value = match letter.to_ascii_lowercase() {
        's' => format!("{}@{}", facts.local_part, facts.sender_domain),
        'l' => facts.local_part.to_owned(),
        'o' => facts.sender_domain.to_owned(),
        'd' => facts.domain.to_owned(),
        'i' => match facts.address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let nibbles = address.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 15]);
                nibbles.map(|nibble| format!("{nibble:x}")).collect::<Vec<_>>().join(".")
            }
        },
        'p' => "unknown".to_owned(),
        'v' => if facts.address.to_canonical().is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
        'h' => facts.hello.to_owned(),
        _ => return None,
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (count, rest) = rest.split_at(digits);
    let count: usize = if count.is_empty() { usize::MAX } else { count.parse().ok().filter(|count| *count > 0)? };
    let (reversed, delimiters) = match rest.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if !delimiters.chars().all(|letter| ".-+,/_=".contains(letter)) {
        return None;
    }
    let mut parts: Vec<&str> =
        if delimiters.is_empty() { value.split('.').collect() } else { value.split(|l| delimiters.contains(l)).collect() };
    if reversed {
        parts.reverse();
    }
    Some(parts[parts.len().saturating_sub(count)..].join("."))
}
