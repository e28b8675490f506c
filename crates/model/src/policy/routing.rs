//! Where mail goes: rules in order, the first that matches counts; and domains whose mail ends here.
//!
//! A rule is a line of policy, and a Route (`core::shape`) is what comes of it: a Source and a Site. Nothing of this is ever stored with mail:
//! queued mail is routed anew whenever its next hop is asked for, so a changed rule reaches it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use postrider_smtp::sasl::Credentials;
use postrider_smtp::{Domain, Host, Mailbox, ReversePath};

use crate::{MessageId, SiteName, SourceName, StreamName, TenantName, Timestamp};

/// All that decides about next hops.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routing {
    /// The first that matches counts; mail that none matches goes to the hosts of its domain.
    pub rules: Vec<Rule>,
    /// Domains whose mail ends here, by their names in A-labels. They are asked before any rule.
    pub local: BTreeMap<Box<str>, Arc<LocalDomain>>,
    /// What a person sends another way than the rules would, asked before them; of several that match the newest, which is the first, counts.
    pub detours: Vec<Detour>,
    /// Every smart host by its name, whether a rule names it or not: a detour may.
    pub smart_hosts: BTreeMap<String, Arc<SmartHost>>,
    /// Every pool by its name: a stream may name one.
    pub pools: BTreeMap<String, Arc<Pool>>,
}

/// A rule for mail that waits, made by hand while the relay runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Detour {
    /// Whose mail, and where it goes.
    pub rule: Rule,
    /// Only these messages; any, when none is named.
    pub messages: Arc<BTreeSet<MessageId>>,
    /// Only what was accepted until then.
    pub accepted_to: Option<Timestamp>,
}

/// One line of policy. An empty list asks for nothing; all that is asked must be so.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// How people call it.
    pub name: String,
    /// The recipient's domain is one of these.
    pub recipients: Vec<DomainMatch>,
    /// The reverse-path is one of these.
    pub senders: Vec<SenderMatch>,
    /// The tenant is one of these.
    pub tenants: Vec<TenantName>,
    /// The stream is one of these.
    pub streams: Vec<StreamName>,
    /// Where it goes.
    pub target: Target,
    /// How sessions with mail exchangers must be secured; another target says it itself.
    pub tls: TlsLevel,
    /// Nothing older than TLS 1.3, there.
    pub tls13_only: bool,
    /// From which Sources; all, when nothing is said.
    pub pool: Option<Arc<Pool>>,
}

impl Rule {
    /// Whether it asks for a next hop, and for nothing else.
    fn is_plain(&self) -> bool {
        self.tls == TlsLevel::Opportunistic && !self.tls13_only && self.pool.is_none()
    }
}

/// The Site for a rule's mail and that of a stream with a pool, when it would be `base` without them. Where a rule asks for more than a next hop, its Sites are its own: mail
/// that must be encrypted cannot ride with mail that need not. So are those of a stream's pool: connections and rests of one Source are nothing to another.
pub fn site_of(rule: Option<&Rule>, stream_pool: Option<&Pool>, base: SiteName) -> SiteName {
    match (rule.filter(|rule| !rule.is_plain()), stream_pool) {
        (None, None) => base,
        (Some(rule), None) => SiteName::new(&format!("{}@{base}", rule.name)),
        (None, Some(pool)) => SiteName::new(&format!("pool:{}@{base}", pool.name)),
        (Some(rule), Some(pool)) => SiteName::new(&format!("{}+pool:{}@{base}", rule.name, pool.name)),
    }
}

/// Sources with their weights: one of weight 3 gets three connections where one of weight 1 gets one. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// How policy calls it.
    pub name: String,
    /// The Sources, each with its weight, which is not zero.
    pub sources: Vec<(SourceName, u32)>,
}

impl Pool {
    /// The Sources in the order of asking for the connection of this number: first the one whose turn it is by weight, then the others.
    pub fn order(&self, turn: usize) -> Vec<SourceName> {
        let total: usize = self.sources.iter().map(|(_, weight)| *weight as usize).sum();
        let mut left = turn % total.max(1);
        let first = self.sources.iter().position(|(_, weight)| {
            let here = left < *weight as usize;
            left = left.saturating_sub(*weight as usize);
            here
        });
        let first = first.unwrap_or(0);
        self.sources[first..].iter().chain(&self.sources[..first]).map(|(name, _)| name.clone()).collect()
    }
}

/// A set of domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainMatch {
    /// `*`: every domain, and every address literal.
    Every,
    /// One domain, in A-labels.
    Exact(String),
    /// `.example.com`: the domains under it, and not itself. With the dot, in A-labels, in lower case.
    Suffix(String),
    /// An address literal.
    Address(IpAddr),
}

/// A set of reverse-paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderMatch {
    /// `<>`: reports.
    Null,
    /// A domain of the reverse-path.
    Domain(DomainMatch),
    /// One mailbox.
    Mailbox(Mailbox),
}

impl DomainMatch {
    /// Whether a host is in it.
    pub fn has(&self, host: &Host) -> bool {
        match (self, host) {
            (DomainMatch::Every, _) => true,
            (DomainMatch::Address(wanted), Host::Literal(address)) => wanted == address,
            (DomainMatch::Exact(name), Host::Domain(domain)) => domain.to_ascii() == name.as_str(),
            // The dot in front keeps "notexample.com" out of ".example.com".
            (DomainMatch::Suffix(suffix), Host::Domain(domain)) => domain.to_ascii().ends_with(suffix.as_str()),
            (DomainMatch::Address(_), Host::Domain(_)) | (DomainMatch::Exact(_) | DomainMatch::Suffix(_), Host::Literal(_)) => false,
        }
    }
}

impl SenderMatch {
    /// Whether a reverse-path is in it.
    pub fn has(&self, sender: &ReversePath) -> bool {
        match (self, sender.mailbox()) {
            (SenderMatch::Null, mailbox) => mailbox.is_none(),
            (SenderMatch::Domain(_) | SenderMatch::Mailbox(_), None) => false,
            (SenderMatch::Domain(set), Some(mailbox)) => set.has(mailbox.host()),
            // RFC 5321 §2.4 lets case matter in a local part; nobody who writes a rule means that it does.
            (SenderMatch::Mailbox(wanted), Some(mailbox)) => {
                wanted.host() == mailbox.host() && wanted.local_part().eq_ignore_ascii_case(mailbox.local_part())
            }
        }
    }
}

/// A next hop.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// The mail exchangers of the recipient's domain.
    Mx,
    /// Smart hosts, in the order of trying; never empty.
    SmartHosts(Vec<Arc<SmartHost>>),
    /// A mailbox server near by (RFC 2033).
    Lmtp(LmtpServer),
    /// Files of one mail each. The path may hold `{user}` and `{domain}`.
    Maildir(String),
    /// Nowhere: the client is told at RCPT, and the sender of mail that waits is told by a report.
    Reject(String),
}

impl Target {
    /// The Site it is, where it does not depend on the DNS.
    pub fn site(&self) -> Option<SiteName> {
        let name = match self {
            Target::Mx | Target::Reject(_) => return None,
            Target::SmartHosts(hosts) => {
                format!("smarthost:{}", hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(","))
            }
            Target::Lmtp(server) => format!("lmtp:{}", server.name()),
            Target::Maildir(path) => format!("maildir:{path}"),
        };
        Some(SiteName::new(&name))
    }
}

/// A server that takes mail of ours and hands it on.
#[derive(Debug, Clone, PartialEq)]
pub struct SmartHost {
    /// How people, quotas and the queue call it.
    pub name: String,
    /// Its name or address.
    pub host: Remote,
    /// Its port.
    pub port: u16,
    /// How the session must be secured.
    pub tls: TlsLevel,
    /// Nothing older than TLS 1.3.
    pub tls13_only: bool,
    /// What we prove ourselves with.
    pub credentials: Option<Credentials>,
    /// How much of that a session without TLS may hear.
    pub auth_in_clear: AuthInClear,
    /// What it lets through in a time.
    pub quota: QuotaLimits,
    /// Connections at once.
    pub connections_max: u32,
}

/// A host by its name or address. The name's addresses are looked up, not its mail exchangers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A name in the DNS.
    Name(Domain),
    /// An address.
    Address(IpAddr),
}

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Remote::Name(name) => f.write_str(name.as_str()),
            Remote::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Remote::Address(IpAddr::V4(address)) => address.fmt(f),
        }
    }
}

/// How a session must be secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsLevel {
    /// Not at all: a server on this machine.
    None,
    /// STARTTLS where it is offered, any certificate; in the clear otherwise (RFC 7435).
    Opportunistic,
    /// STARTTLS or nothing, any certificate.
    Required,
    /// STARTTLS or nothing, and a certificate that proves the name.
    Verified,
    /// TLS from the first octet (RFC 8314 §3.3), and a certificate that proves the name.
    Implicit,
}

/// How we may prove ourselves in a session that everybody on the way can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthInClear {
    /// Not at all.
    Never,
    /// By a mechanism that does not show the password.
    WithoutPassword,
    /// By any: somebody has said that nobody reads there.
    WithPassword,
}

/// Recipients that a smart host takes in a time; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaLimits {
    /// In a second.
    pub per_second: Option<u32>,
    /// In any hour.
    pub per_hour: Option<u32>,
    /// In any 24 hours.
    pub per_day: Option<u32>,
}

impl QuotaLimits {
    /// Recipients that may go in one transaction at most; `None` when nothing is limited.
    pub fn at_once(&self) -> Option<u32> {
        [self.per_second, self.per_hour, self.per_day].into_iter().flatten().min()
    }
}

/// Where a mailbox server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LmtpServer {
    /// On a socket of this machine.
    Unix(PathBuf),
    /// On a port.
    Tcp {
        /// Its name or address.
        host: Remote,
        /// Its port.
        port: u16,
        /// How the session must be secured.
        tls: TlsLevel,
        /// Nothing older than TLS 1.3.
        tls13_only: bool,
    },
}

impl LmtpServer {
    /// `unix:/run/dovecot/lmtp` or `host:24`; `host:24/verify` where sessions must be secured, because mail that must be encrypted cannot ride with mail
    /// that need not.
    pub fn name(&self) -> String {
        let (host, port, tls, tls13_only) = match self {
            LmtpServer::Unix(path) => return format!("unix:{}", path.display()),
            LmtpServer::Tcp { host, port, tls, tls13_only } => (host, port, tls, tls13_only),
        };
        let demand = match tls {
            TlsLevel::Opportunistic => "",
            TlsLevel::None => "/none",
            TlsLevel::Required => "/require",
            TlsLevel::Verified => "/verify",
            TlsLevel::Implicit => "/implicit",
        };
        format!("{host}:{port}{demand}{}", if *tls13_only { "/1.3" } else { "" })
    }
}

/// A domain whose mail ends here. Local parts stand in lower case.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalDomain {
    /// Its name.
    pub name: Domain,
    /// Who has a mailbox.
    pub mailboxes: BTreeSet<Box<str>>,
    /// Other names of mailboxes, here or elsewhere.
    pub aliases: BTreeMap<Box<str>, Vec<Mailbox>>,
    /// Who has the mail of all other names.
    pub catch_all: Option<Mailbox>,
    /// What stands between a user and a detail (`user+detail`); `None` is no sub-addressing.
    pub delimiter: Option<char>,
    /// Where the mail of its mailboxes goes: LMTP or Maildir.
    pub target: Target,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_gives_turns_by_weight() {
        let pool = Pool { name: "p".to_owned(), sources: vec![("a".into(), 2), ("b".into(), 1)] };
        let firsts: String = (0..7).map(|turn| pool.order(turn)[0].to_string()).collect();
        assert_eq!(firsts, "aabaaba");
        assert_eq!(pool.order(2), ["b".into(), "a".into()]);
    }

    #[test]
    fn a_rule_that_asks_for_more_has_sites_of_its_own() {
        let rule = |tls, pool| Rule {
            name: "bank".to_owned(),
            recipients: Vec::new(),
            senders: Vec::new(),
            tenants: Vec::new(),
            streams: Vec::new(),
            target: Target::Mx,
            tls,
            tls13_only: false,
            pool,
        };
        let pool = Arc::new(Pool { name: "p".to_owned(), sources: vec![("a".into(), 2)] });
        let hosts = "a.mx.example,b.mx.example";
        let (plain, secured) = (rule(TlsLevel::Opportunistic, None), rule(TlsLevel::Verified, None));
        let pooled = rule(TlsLevel::Opportunistic, Some(pool.clone()));
        for (rule, stream_pool, front) in [
            (None, None, ""),
            (Some(&plain), None, ""),
            (Some(&secured), None, "bank@"),
            (Some(&pooled), None, "bank@"),
            (None, Some(&*pool), "pool:p@"),
            (Some(&plain), Some(&*pool), "pool:p@"),
            (Some(&secured), Some(&*pool), "bank+pool:p@"),
        ] {
            let site = site_of(rule, stream_pool, SiteName::new(hosts));
            assert_eq!((site.as_str(), site.hosts()), (&*format!("{front}{hosts}"), hosts));
        }
        for whole in ["maildir:/m/{user}@{domain}", "maildir:/m/{user}+x@{domain}", "lmtp:unix:/run/a@b"] {
            assert_eq!(SiteName::new(whole).hosts(), whole);
        }
    }
}
