//! Policy: an immutable, validated Snapshot. A unit of work takes one at its start; a reload makes a new one.

mod allowance;
mod checking;
mod provider;
mod retry;
mod routing;
mod stream;

pub use allowance::{Allowance, Beyond, Rates};
pub use checking::{
    AddressMap, Archive, Checking, HeaderAction, HeaderRule, LOCAL_LISTENER, Milter, MilterServer, OnFailure, Pattern, Rewriting, Scope,
    Verifying,
};
pub use provider::{Provider, ProviderMatch, Rate, ReplyRule, RuleAction};
pub use retry::RetryPolicy;
pub use routing::{
    AuthInClear, Detour, DomainMatch, LmtpServer, LocalDomain, Pool, QuotaLimits, Remote, Routing, Rule, SenderMatch, SmartHost, Target,
    TlsLevel, site_of,
};
pub use stream::{Preparing, ReturnPath, SendingDomain, Stream, StreamClass, Strictness, Voice};

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use postrider_smtp::Mailbox;
use postrider_smtp::sasl::Credentials;

use crate::SourceName;

/// All that policy says, at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The name we are known by: greeting, trace fields, reports.
    pub host_name: String,
    /// Who has mail for the postmaster of this relay; `None`: nobody is named.
    pub postmaster: Option<Mailbox>,
    /// Addresses we send from; at least one.
    pub sources: Vec<Source>,
    /// Rule sets in order; the first that matches a Site rules. The last matches all.
    pub providers: Vec<Provider>,
    /// Which mail goes to which next hop.
    pub routing: Routing,
    /// Who looks at mail before it is taken.
    pub checking: Checking,
    /// When to try again, and when to give up.
    pub retry: RetryPolicy,
    /// Bounds on waiting for a peer.
    pub timeouts: Timeouts,
    /// The port of the next hops (25; tests and benchmarks use another).
    pub smtp_port: u16,
    /// Content goes in chunks where they are offered (RFC 3030).
    pub chunking: bool,
    /// Connections out, over all Sites.
    pub connections_out_max: u32,
    /// Where recipients reach us on the web: `https://mail.example.com`, without a slash at the end; `None` where they do not.
    pub public_url: Option<Box<str>>,
}

/// An address of ours, and the name it says in EHLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How policy calls it.
    pub name: SourceName,
    /// The address to bind, or the one a proxy is asked to send from ([`ProxyProtocol::Header`]); `None` leaves it to the system.
    pub address: Option<IpAddr>,
    /// What it says in EHLO (RFC 5321 §4.1.4).
    pub ehlo_name: String,
    /// Who dials for it; `None`: we.
    pub proxy: Option<Arc<Proxy>>,
}

/// A server that dials next hops for a Source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is told whom to dial.
    pub protocol: ProxyProtocol,
}

/// How a proxy is told whom to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// SOCKS5 (RFC 1928), with name and password where it asks for them (RFC 1929).
    Socks5(Option<Credentials>),
    /// A PROXY header of this version (1 or 2) in front of the session: it dials the destination that the header names, from the source that it names. It does
    /// not answer.
    Header(u8),
}

/// How long a peer may take (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// The greeting: 5 minutes.
    pub greeting: Duration,
    /// EHLO, AUTH, RSET: 5 minutes.
    pub command: Duration,
    /// STARTTLS with its handshake.
    pub tls: Duration,
    /// MAIL: 5 minutes.
    pub mail: Duration,
    /// RCPT: 5 minutes.
    pub recipient: Duration,
    /// DATA: 2 minutes.
    pub data_initiation: Duration,
    /// One block of content: 3 minutes.
    pub data_block: Duration,
    /// The final dot: 10 minutes.
    pub data_termination: Duration,
    /// QUIT; we do not insist.
    pub quit: Duration,
    /// How long an idle connection out is kept for more mail.
    pub keep_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        Self {
            connect: Duration::from_secs(30),
            greeting: minutes(5),
            command: minutes(5),
            tls: minutes(2),
            mail: minutes(5),
            recipient: minutes(5),
            data_initiation: minutes(2),
            data_block: minutes(3),
            data_termination: minutes(10),
            quit: Duration::from_secs(5),
            keep_idle: Duration::from_secs(4),
        }
    }
}

impl Snapshot {
    /// The rule set for a Site, by the names of its hosts.
    pub fn provider_for(&self, site: &crate::SiteName) -> &Provider {
        let found = self.providers.iter().find(|p| p.matches.matches_site(site));
        found.or(self.providers.last()).unwrap_or_else(|| Provider::default_ref())
    }
}
