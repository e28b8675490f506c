//! A domain's record, read (RFC 7208 §4.5, §4.6, §12).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Outcome;
use super::macros::{self, Macros};

/// A record: every fault of its syntax was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    pub(super) directives: Vec<Directive<'a>>,
    pub(super) redirect: Option<Macros>,
    pub(super) explanation: Option<Macros>,
    /// The whole term of the redirect, as it was written.
    pub(super) redirect_term: &'a str,
}

impl<'a> Record<'a> {
    /// The terms that name senders, as they were written, in their order.
    pub fn senders(&self) -> impl Iterator<Item = &'a str> {
        self.directives.iter().filter(|directive| directive.mechanism != Mechanism::All).map(|directive| directive.term)
    }

    /// The term that decides about everybody else: `all`, or else the redirect.
    pub fn rest(&self) -> Option<&'a str> {
        let all = self.directives.iter().find(|directive| directive.mechanism == Mechanism::All);
        all.map(|directive| directive.term).or_else(|| self.redirect.as_ref().map(|_| self.redirect_term))
    }
}

/// What a match means, what matches, and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive<'a> {
    pub(super) outcome: Outcome,
    pub(super) mechanism: Mechanism,
    pub(super) term: &'a str,
}

/// What a client is held against (RFC 7208 §5). Without a domain, it is the one whose record this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(Macros),
    A(Option<Macros>, Lengths),
    Mx(Option<Macros>, Lengths),
    Ptr(Option<Macros>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(Macros),
}

/// How many bits of an address count, for each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

/// Whether a TXT record is one of these (RFC 7208 §4.5).
pub fn is_record(text: &[u8]) -> bool {
    text.get(..6).is_some_and(|version| version.eq_ignore_ascii_case(b"v=spf1")) && matches!(text.get(6), None | Some(b' '))
}

/// Reads a record for which [`is_record`] holds.
///
/// # Errors
/// What is wrong with it, so that receivers answer `permerror`.
pub fn read(text: &[u8]) -> Result<Record<'_>, String> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii()).ok_or("octets outside ASCII")?;
    let mut record = Record { directives: Vec::new(), redirect: None, explanation: None, redirect_term: "" };
    for term in text.get(6..).unwrap_or_default().split(' ').filter(|term| !term.is_empty()) {
        if term.bytes().any(|octet| !octet.is_ascii_graphic()) {
            return Err("a control character".to_owned());
        }
        match modifier(term) {
            Some((name, value)) if name.eq_ignore_ascii_case("redirect") => {
                once(&mut record.redirect, name, value)?;
                record.redirect_term = term;
            }
            Some((name, value)) if name.eq_ignore_ascii_case("exp") => once(&mut record.explanation, name, value)?,
            // RFC 7208 §6: others are ignored, but are written as they must be.
            Some((name, value)) => drop(macros::read(value, false).map_err(|why| format!("{why} in {}=", shortened(name)))?),
            None => record.directives.push(directive(term)?),
        }
    }
    Ok(record)
}

fn once(place: &mut Option<Macros>, name: &str, value: &str) -> Result<(), String> {
    let domain = macros::domain(value).map_err(|why| format!("{why} in {name}="))?;
    match place.replace(domain) {
        None => Ok(()),
        Some(_) => Err(format!("{name}= twice")),
    }
}

/// Name and value, when it is a modifier and no mechanism.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let good = |(at, octet): (usize, u8)| octet.is_ascii_alphabetic() || (at > 0 && (octet.is_ascii_digit() || b"-_.".contains(&octet)));
    (!name.is_empty() && name.bytes().enumerate().all(good)).then_some((name, value))
}

fn directive(term: &str) -> Result<Directive<'_>, String> {
    let outcome = match term.as_bytes().first() {
        Some(b'-') => Outcome::Fail,
        Some(b'~') => Outcome::SoftFail,
        Some(b'?') => Outcome::Neutral,
        _ => Outcome::Pass,
    };
    let bare = term.strip_prefix(['+', '-', '~', '?']).unwrap_or(term);
    let (name, rest) = bare.split_at(bare.find([':', '/']).unwrap_or(bare.len()));
    let value = rest.strip_prefix(':');
    let unknown = || format!("an unknown term {:?}", shortened(term));
    let domain = |value: &str| macros::domain(value).map_err(|why| format!("{why} in {name}:"));
    let mechanism = match (name.to_ascii_lowercase().as_str(), value) {
        ("all", None) if rest.is_empty() => Mechanism::All,
        ("include", Some(value)) => Mechanism::Include(domain(value)?),
        ("exists", Some(value)) => Mechanism::Exists(domain(value)?),
        ("ptr", Some(value)) => Mechanism::Ptr(Some(domain(value)?)),
        ("ptr", None) if rest.is_empty() => Mechanism::Ptr(None),
        (kind @ ("a" | "mx"), _) => {
            let (before, lengths) = lengths(rest).ok_or_else(unknown)?;
            let of = match before.strip_prefix(':') {
                Some(value) => Some(domain(value)?),
                None if before.is_empty() => None,
                None => return Err(unknown()),
            };
            if kind == "a" { Mechanism::A(of, lengths) } else { Mechanism::Mx(of, lengths) }
        }
        ("ip4", Some(value)) => {
            let (address, bits) = network(value, 32).ok_or_else(unknown)?;
            Mechanism::Ip4(address.parse().map_err(|_| unknown())?, bits)
        }
        ("ip6", Some(value)) => {
            let (address, bits) = network(value, 128).ok_or_else(unknown)?;
            Mechanism::Ip6(address.parse().map_err(|_| unknown())?, bits)
        }
        _ => return Err(unknown()),
    };
    Ok(Directive { outcome, mechanism, term })
}

/// Takes the lengths of prefixes off the end of `a` and `mx`: `/24//64`, either or both.
fn lengths(text: &str) -> Option<(&str, Lengths)> {
    let digits = |text: &str| text.len() - text.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    let (mut rest, mut lengths) = (text, Lengths { v4: 32, v6: 128 });
    let (before, count) = rest.split_at(rest.len() - digits(rest));
    if let Some(before) = before.strip_suffix("//") {
        (lengths.v6, rest) = (bits(count, 128)?, before);
    }
    let (before, count) = rest.split_at(rest.len() - digits(rest));
    if let Some(before) = before.strip_suffix('/') {
        (lengths.v4, rest) = (bits(count, 32)?, before);
    }
    Some((rest, lengths))
}

fn network(text: &str, most: u8) -> Option<(&str, u8)> {
    match text.split_once('/') {
        None => Some((text, most)),
        Some((address, count)) => Some((address, bits(count, most)?)),
    }
}

/// A count of bits, without zeros before it.
fn bits(text: &str, most: u8) -> Option<u8> {
    let plain = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|count| plain && *count <= most)
}

fn shortened(term: &str) -> &str {
    term.get(..40).unwrap_or(term)
}
