//! XCLIENT: a proxy that we trust says whose session it speaks for (Postfix's XCLIENT protocol; it is no RFC's).
//!
//! **Promises.** Each attribute is parsed into its type, xtext decoded; one that is there twice, malformed, or not offered is an error. An attribute that the proxy does not
//! know (`[UNAVAILABLE]`, `[TEMPUNAVAIL]`) is as good as absent.
//!
//! **Never** says whether the proxy may: that is the server's machine, by the word of its driver. LOGIN is not offered: who a client is, it proves itself.

use std::net::{IpAddr, Ipv6Addr};

use crate::address::deceives;

/// What EHLO offers to those who may.
pub(crate) const KEYWORD: &str = "XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT";

/// Octets of one value.
const VALUE_OCTETS_MAX: usize = 255;

/// Who the client is. The name in the DNS, the protocol and the HELO name are taken and not kept: we look nothing up, and the client says EHLO anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XClient {
    /// Its address.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
    /// The address it dialled.
    pub destination: Option<IpAddr>,
    /// The port it dialled.
    pub destination_port: Option<u16>,
}

impl XClient {
    /// Parses what stands behind the verb.
    pub fn parse(text: &str) -> Option<XClient> {
        let mut read = XClient::default();
        let mut seen: Vec<String> = Vec::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=')?;
            let name = name.to_ascii_uppercase();
            if seen.contains(&name) {
                return None;
            }
            let value = decoded(value)?;
            let value = Some(value.as_str()).filter(|value| !matches!(*value, "[UNAVAILABLE]" | "[TEMPUNAVAIL]"));
            match name.as_str() {
                "ADDR" => read.address = sound(value, address)?,
                "PORT" => read.port = sound(value, |port| port.parse().ok())?,
                "DESTADDR" => read.destination = sound(value, address)?,
                "DESTPORT" => read.destination_port = sound(value, |port| port.parse().ok())?,
                "PROTO" if value.is_none_or(|value| value.eq_ignore_ascii_case("SMTP") || value.eq_ignore_ascii_case("ESMTP")) => {}
                "NAME" | "HELO" => {}
                _ => return None,
            }
            seen.push(name);
        }
        (!seen.is_empty()).then_some(read)
    }
}

/// An absent value is none; a present one must be sound.
fn sound<T>(value: Option<&str>, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(text) => parse(text).map(Some),
    }
}

/// `192.0.2.1` or `IPV6:2001:db8::1`.
fn address(text: &str) -> Option<IpAddr> {
    match text.get(..5).filter(|prefix| prefix.eq_ignore_ascii_case("IPV6:")) {
        Some(_) => text[5..].parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// xtext (RFC 3461 §4), without anything that deceives a reader.
fn decoded(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > VALUE_OCTETS_MAX {
        return None;
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet == b'+' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            octets.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            octets.push(octet);
        }
    }
    String::from_utf8(octets).ok().filter(|text| !text.chars().any(deceives))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_and_what_is_odd_is_refused() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (text, expected) in [
            ("ADDR=192.0.2.1", Some(XClient { address: ip("192.0.2.1"), ..XClient::default() })),
            (
                "NAME=a.example addr=IPV6:2001:db8::1 PORT=4711 PROTO=ESMTP HELO=b+2Bc",
                Some(XClient { address: ip("2001:db8::1"), port: Some(4711), ..XClient::default() }),
            ),
            (
                "DESTADDR=192.0.2.9 DESTPORT=25 ADDR=[UNAVAILABLE] PORT=[TEMPUNAVAIL]",
                Some(XClient { destination: ip("192.0.2.9"), destination_port: Some(25), ..XClient::default() }),
            ),
            ("", None),
            ("ADDR", None),
            ("ADDR=", None),
            ("ADDR=192.0.2.300", None),
            ("ADDR=192.0.2.1 ADDR=192.0.2.2", None),
            ("PORT=65536", None),
            ("PROTO=LMTP", None),
            ("LOGIN=admin", None),
            ("NAME=a+0D+0Ab", None),
            ("NAME=a+Z", None),
        ] {
            assert_eq!(XClient::parse(text), expected, "{text}");
        }
    }
}
