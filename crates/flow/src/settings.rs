//! What a relay is told when it starts, beside the policy Snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use postrider_mail::token::Keys;
use postrider_model::doors::{
    Clock, Entropy, Keeping, MailLog, Mailboxes, Net, Notebook, Offload, Principal, Registry, Resolver, Spool, Suppressions,
};
use postrider_model::{Priority, Role, StreamName, TenantName};
use postrider_smtp::Domain;

/// The doors of one relay.
#[derive(Clone)]
pub struct Doors {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// The DNS.
    pub resolver: Arc<dyn Resolver>,
    /// The wire.
    pub net: Arc<dyn Net>,
    /// Custody.
    pub spool: Arc<dyn Spool>,
    /// For what takes a processor long.
    pub offload: Arc<dyn Offload>,
    /// Who may send.
    pub registry: Arc<dyn Registry>,
    /// The mail log.
    pub log: Arc<dyn MailLog>,
    /// Mailboxes on this machine, where there are any.
    pub mailboxes: Option<Arc<dyn Mailboxes>>,
    /// The keys of our tokens; without them nothing is sent that would need one.
    pub tokens: Option<Arc<Keys>>,
    /// Who is not to be written to any more; without it, nobody.
    pub suppressions: Option<Arc<dyn Suppressions>>,
    /// Where messages stay when they are done; without it, nowhere.
    pub keeping: Option<Arc<dyn Keeping>>,
    /// Where the counts of smart hosts' limits are kept; without it a restart forgets them.
    pub quotas: Option<Arc<dyn Notebook>>,
}

/// One listening socket's manners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// How the configuration calls it.
    pub name: String,
    /// `Role::Submission` or `Role::Relay`.
    pub role: Role,
    /// TLS from the first octet (RFC 8314 §3.3).
    pub implicit_tls: bool,
    /// STARTTLS is offered.
    pub starttls: bool,
    /// AUTH is offered and taken without TLS. Off, unless the listener says otherwise.
    pub auth_in_clear: bool,
    /// MAIL needs AUTH first. Always on for submission; a relay listener offers no AUTH.
    pub auth_required: bool,
    /// Peers from here are proxies: they must say who the client is (PROXY protocol).
    pub proxies: Vec<IpNet>,
    /// Peers from here may say by XCLIENT who the client is.
    pub xclients: Vec<IpNet>,
    /// Clients from here are servers of ours, whose mail is not verified as a stranger's.
    pub not_verified: Vec<IpNet>,
}

/// Bounds on what clients may do.
#[derive(Debug, Clone)]
pub struct ReceiveLimits {
    /// Octets of one content (SIZE, RFC 1870).
    pub message_octets_max: u64,
    /// Recipients of one transaction.
    pub recipients_max: usize,
    /// Octets of one line of content, CR LF included.
    pub text_line_octets_max: usize,
    /// Refusals after which a session is closed.
    pub errors_per_session_max: u32,
    /// Sessions at once.
    pub sessions_max: usize,
    /// Sessions at once from one client network (IPv4 /32, IPv6 /64).
    pub sessions_per_network_max: usize,
    /// Silence after which a session is closed (RFC 5321 §4.5.3.2.7: 5 minutes).
    pub idle_timeout: Duration,
    /// A session's whole time.
    pub session_time_max: Duration,
    /// A content that comes slower than this, in octets a second, measured over `idle_timeout`, ends its session.
    pub content_octets_per_second_min: u64,
    /// Bare CR and bare LF in content are mended instead of refused.
    pub normalise_bare_newlines: bool,
    /// How long a client may have mail held back (FUTURERELEASE, RFC 4865); zero: it is not offered.
    pub hold_max: Duration,
    /// Domains the relay listener takes mail for; empty is none. Never an open relay.
    pub relay_domains: BTreeSet<Domain>,
    /// Whose mail it is that comes by a relay listener.
    pub relay_principal: Principal,
}

impl Default for ReceiveLimits {
    fn default() -> Self {
        Self {
            message_octets_max: 50 * 1024 * 1024,
            recipients_max: 1_000,
            text_line_octets_max: 65_536,
            errors_per_session_max: 20,
            sessions_max: 20_000,
            sessions_per_network_max: 20_000,
            idle_timeout: Duration::from_secs(300),
            session_time_max: Duration::from_secs(3_600 * 24),
            content_octets_per_second_min: 100,
            normalise_bare_newlines: false,
            hold_max: Duration::from_secs(30 * 86_400),
            relay_domains: BTreeSet::new(),
            relay_principal: Principal {
                tenant: TenantName::new("default"),
                stream: StreamName::new("relay"),
                credential: None,
                priority: Priority::Normal,
                own_domains_only: false,
                give_up_after: None,
                allowances: None,
            },
        }
    }
}
