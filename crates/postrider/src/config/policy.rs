//! The policy Snapshot, from the sections that speak of delivery.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postrider_model::SourceName;
use postrider_model::policy::{Checking, Proxy, ProxyProtocol, RetryPolicy, Routing, Snapshot, Source, Timeouts};
use postrider_smtp::sasl::Credentials;

use super::provider;
use super::reader::Section;
use super::routing;
use super::secret;
use super::values;

/// The Snapshot.
pub fn snapshot(top: &Section<'_>, host_name: String, routing: Routing, checking: Checking, directory: &Path) -> Snapshot {
    let delivery = top.section("delivery");
    let smtp_port = delivery.or("smtp_port", 25, |v| values::number(v, 1..=65_535));
    let connections_out_max = delivery.or("connections_out_max", 1_000, |v| values::number(v, 1..=1_000_000));
    let chunking = delivery.or("chunking", true, values::flag);
    let timeouts = timeouts(delivery.section("timeouts"));
    delivery.finish();
    let retry = retry(top.section("retry"));
    let sources = sources(top, &host_name, directory);
    let mut providers = provider::table(top);
    // The last one is what holds where nothing else is said.
    let own = providers.last().map(|usual| routing::providers(&routing, usual)).unwrap_or_default();
    providers.splice(0..0, own);
    let public_url = None;
    Snapshot {
        host_name,
        postmaster: None,
        sources,
        providers,
        routing,
        checking,
        retry,
        timeouts,
        smtp_port,
        chunking,
        connections_out_max,
        public_url,
    }
}

fn timeouts(section: Section<'_>) -> Timeouts {
    let bounds = || Duration::from_millis(100)..=Duration::from_secs(86_400);
    let default = Timeouts::default();
    let read = Timeouts {
        connect: section.or("connect", default.connect, |v| values::duration(v, bounds())),
        greeting: section.or("greeting", default.greeting, |v| values::duration(v, bounds())),
        command: section.or("command", default.command, |v| values::duration(v, bounds())),
        tls: section.or("tls", default.tls, |v| values::duration(v, bounds())),
        mail: section.or("mail", default.mail, |v| values::duration(v, bounds())),
        recipient: section.or("recipient", default.recipient, |v| values::duration(v, bounds())),
        data_initiation: section.or("data_initiation", default.data_initiation, |v| values::duration(v, bounds())),
        data_block: section.or("data_block", default.data_block, |v| values::duration(v, bounds())),
        data_termination: section.or("data_termination", default.data_termination, |v| values::duration(v, bounds())),
        quit: section.or("quit", default.quit, |v| values::duration(v, bounds())),
        keep_idle: section.or("keep_idle", default.keep_idle, |v| values::duration(v, Duration::ZERO..=Duration::from_secs(300))),
    };
    section.finish();
    read
}

fn retry(section: Section<'_>) -> RetryPolicy {
    let default = RetryPolicy::default();
    let second = Duration::from_secs(1);
    let intervals = section.list("intervals", |v| values::duration(v, second..=30 * 86_400 * second)).unwrap_or(default.intervals);
    if intervals.is_empty() {
        section.fault("intervals", "at least one is needed");
    }
    let read = RetryPolicy {
        intervals,
        jitter_percent: section.or("jitter_percent", default.jitter_percent, |v| values::number(v, 0..=50)),
        give_up: section.or("give_up", default.give_up, values::any_duration),
        give_up_reports: section.or("give_up_reports", default.give_up_reports, values::any_duration),
        delay_notice: section.or("delay_notice", default.delay_notice, values::any_duration),
        delay_notice_unasked: section
            .or("delay_notice_to", default.delay_notice_unasked, |v| values::one_of(v, &[("who_asks", false), ("everybody", true)])),
    };
    section.finish();
    read
}

fn sources(top: &Section<'_>, host_name: &str, directory: &Path) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for section in top.sections("source") {
        let name = section.required("name", values::name).map(|name| SourceName::new(&name));
        let address = section.optional("address", values::ip_address);
        let proxy = proxy(&section, address, directory);
        let ehlo_name = section.or("ehlo_name", host_name.to_owned(), |v| values::domain(v).map(|domain| domain.to_ascii().into_owned()));
        if let Some(name) = name {
            if sources.iter().any(|other| other.name == name) {
                section.fault("name", format!("{name} is taken by another source"));
            }
            sources.push(Source { name, address, ehlo_name, proxy });
        }
        section.finish();
    }
    if sources.is_empty() {
        sources.push(Source { name: SourceName::new("default"), address: None, ehlo_name: host_name.to_owned(), proxy: None });
    }
    sources
}

/// Who dials for a source: `"socks5://192.0.2.1:1080"`, `"proxy-v2://192.0.2.1:2525"` or `"proxy-v1://..."`.
fn proxy(section: &Section<'_>, address: Option<IpAddr>, directory: &Path) -> Option<Arc<Proxy>> {
    let read = section.optional("proxy", |v| {
        let text = values::text(v)?;
        let wrong = || {
            format!("{text:?} is not a proxy: write \"socks5://192.0.2.1:1080\", or \"proxy-v2://192.0.2.1:2525\" for one that reads a PROXY header")
        };
        let (protocol, at) = text.split_once("://").ok_or_else(wrong)?;
        let protocol = match protocol {
            "socks5" => ProxyProtocol::Socks5(None),
            "proxy-v2" => ProxyProtocol::Header(2),
            "proxy-v1" => ProxyProtocol::Header(1),
            _ => return Err(wrong()),
        };
        let at: SocketAddr = at.parse().map_err(|_| wrong())?;
        if at.port() == 0 { Err(wrong()) } else { Ok(Proxy { address: at, protocol }) }
    });
    let login = login(section, directory);
    let mut proxy = read?;
    match &mut proxy.protocol {
        ProxyProtocol::Socks5(place) => *place = login,
        ProxyProtocol::Header(_) if login.is_some() => {
            section.fault("proxy_user", "is for \"socks5://...\"; a PROXY header carries no password")
        }
        ProxyProtocol::Header(_) if address.is_none() => {
            section.fault("proxy", "needs an address: the one that the proxy is to send from, which stands in the PROXY header");
        }
        ProxyProtocol::Header(_) => {}
    }
    Some(Arc::new(proxy))
}

fn login(section: &Section<'_>, directory: &Path) -> Option<Credentials> {
    let user = section.optional("proxy_user", values::text);
    let file = section.optional("proxy_password_file", values::text);
    if user.is_some() != file.is_some() {
        section.fault("proxy_user", "a proxy_user needs a proxy_password_file, and it needs a proxy_user");
    }
    if section.has("proxy_user") && !section.has("proxy") {
        section.fault("proxy_user", "there is no proxy to say it to");
    }
    let user = user?;
    let password = match secret::read(&directory.join(file?)) {
        Ok(password) => password,
        Err(sentence) => {
            section.fault("proxy_password_file", sentence);
            return None;
        }
    };
    if user.is_empty() || user.len() > 255 || password.len() > 255 {
        // RFC 1929 §2.
        section.fault("proxy_user", "name and password of SOCKS5 have 1 to 255 octets");
        return None;
    }
    Some(Credentials { authzid: String::new(), authcid: user, password })
}
