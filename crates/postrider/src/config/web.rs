//! `[web]`: where recipients reach us.

use std::net::SocketAddr;

use toml::de::DeValue;

use super::reader::Section;
use super::values::{self, Read};

/// Octets of the address: with a token behind it a link stays on one line.
const URL_OCTETS_MAX: usize = 100;

/// The listener for recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebConfig {
    /// Where.
    pub address: SocketAddr,
    /// With the relay's certificate; else a proxy in front has one.
    pub tls: bool,
    /// How many requests a network may make in a minute; `None`: as many as it likes.
    pub requests_per_minute: Option<u32>,
}

/// Many for people, and enough for a mailbox provider that unsubscribes its users from one network after a large campaign.
const REQUESTS_PER_MINUTE: u32 = 600;

/// The section: the listener, and how its links begin.
pub fn web(top: &Section<'_>) -> (Option<WebConfig>, Option<Box<str>>) {
    let section = top.section("web");
    let address = section.optional("listen", values::socket_address);
    let tls = section.or("tls", true, |v| values::one_of(v, &[("implicit", true), ("none", false)]));
    let limit = section.optional("requests_per_minute", |v| values::number::<u32>(v, 1..=1_000_000));
    // Behind a proxy all come from one network.
    let requests_per_minute = limit.or(tls.then_some(REQUESTS_PER_MINUTE));
    let public_url = section.optional("public_url", public_url);
    if public_url.is_some() && address.is_none() {
        section.fault("public_url", "nobody would answer there: set listen, too");
    }
    section.finish();
    (address.map(|address| WebConfig { address, tls, requests_per_minute }), public_url)
}

/// `https://mail.example.com`, perhaps with a port and a path.
fn public_url(value: &DeValue<'_>) -> Read<Box<str>> {
    let text = values::text(value)?;
    let wrong = || format!("{text:?} is not the beginning of links, such as \"https://mail.example.com\"; RFC 8058 wants https");
    let rest = text.strip_prefix("https://").ok_or_else(wrong)?;
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = place.split_once(':').unwrap_or((place, "443"));
    let known_port = port.parse::<u16>().is_ok_and(|port| port > 0) && port.bytes().all(|octet| octet.is_ascii_digit());
    let plain = path.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"/-._~".contains(&octet));
    let is_host = host.is_ascii() && postrider_smtp::Domain::parse(host).is_ok();
    if !is_host || !known_port || !plain || text.len() > URL_OCTETS_MAX {
        return Err(wrong());
    }
    Ok(text.trim_end_matches('/').into())
}
