//! The configuration: one TOML file, read whole, validated whole, with all faults told at once and each with its line.
//!
//! **Promises.** What [`Config`] holds is valid: listeners, tenants and credentials agree with each other, and the policy Snapshot is complete.
//! A key that nobody knows is a fault, not a comment. An absent key has the default that the commented file shows; a test holds the two
//! together.
//!
//! **Never** touches the world but for reading the file, and the files of passwords that it names: whether a certificate exists or an address can be bound is found out when it is used.

mod checking;
mod default_file;
mod domains;
mod fault;
mod policy;
mod provider;
mod reader;
mod reference;
mod rewriting;
mod routing;
#[cfg(test)]
mod routing_tests;
mod secret;
mod sections;
mod smart_host;
#[cfg(test)]
mod tests;
mod values;
mod web;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use postrider_flow::{ListenerSettings, ReceiveLimits};
use postrider_model::policy::{Snapshot, Stream};
use postrider_model::{CredentialName, Priority, StreamName, TenantName};
use toml::de::DeTable;

pub use default_file::{FirstCredential, commented_file};
pub use domains::SendingDomain;
use fault::Collector;
pub use fault::Faults;
pub use provider::in_toml as provider_in_toml;
use reader::Section;
pub use reference::page as reference;
pub use sections::{RETENTION_MAX, RETENTION_MIN};
pub use values::parse_duration;
pub use web::WebConfig;

/// The file's name in the data directory.
pub const FILE_NAME: &str = "postrider.toml";

/// Octets of a configuration file; a file above this is a mistake.
const FILE_OCTETS_MAX: u64 = 16 * 1024 * 1024;

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Policy.
    pub snapshot: Snapshot,
    /// Bounds on clients.
    pub receive: ReceiveLimits,
    /// What to listen on; at least one.
    pub listeners: Vec<ListenerConfig>,
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// How often the two are looked at for a change.
    pub look_every: Duration,
    /// Whose mail may be sent; at least one, each with at least one stream.
    pub tenants: Vec<Tenant>,
    /// Who may send.
    pub credentials: Vec<Credential>,
    /// Domains that sign.
    pub domains: Vec<SendingDomain>,
    /// The root certificates that next hops are judged by, PEM.
    pub roots: PathBuf,
    /// Where the registry stands.
    pub registry: RegistryConfig,
    /// DNS servers to ask; empty is what the system says.
    pub dns_servers: Vec<SocketAddr>,
    /// Whether next hops are reached over IPv6.
    pub ipv6: bool,
    /// How often it is looked what the domains publish; zero is never.
    pub watch_every: Duration,
    /// Octets of one segment of the spool's log.
    pub segment_octets: u32,
    /// Octets of disk that messages may take which stay when they are done.
    pub kept_octets_max: u64,
    /// Threads of the runtime; `None` is one for each core.
    pub workers: Option<usize>,
    /// How long a stop may take.
    pub drain_timeout: Duration,
    /// Logging.
    pub log: LogConfig,
    /// What `check` dials.
    pub probe: String,
    /// Where metrics and health are answered; `None` is nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where recipients unsubscribe; `None` is nowhere.
    pub web: Option<WebConfig>,
    /// A socket where every user of the machine may hand mail over; `None` is nowhere.
    pub sendmail_socket: Option<PathBuf>,
    /// Things worth knowing that are no faults.
    pub notes: Vec<String>,
}

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Where.
    pub address: SocketAddr,
    /// Its manners.
    pub settings: ListenerSettings,
}

/// Where the registry stands: tenants, domains, credentials that are not in this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    /// A file of SQLite, from the data directory on.
    pub file: PathBuf,
    /// A PostgreSQL instead, as its clients name it.
    pub postgresql: Option<String>,
    /// The roots that its certificate has to lead to.
    pub roots: PathBuf,
    /// The file of the key that private keys are sealed under.
    pub key: PathBuf,
}

/// Whose mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// It speaks only for domains that are named as its own.
    pub own_domains_only: bool,
    /// Its classes of mail; the first is the default.
    pub streams: Vec<(StreamName, Arc<Stream>)>,
}

/// Who may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user name of AUTH.
    pub user: CredentialName,
    /// SHA-256 of the secret's octets; `None`: whoever comes from `networks` is known without one.
    pub secret_sha256: Option<[u8; 32]>,
    /// Where it is good; empty: anywhere.
    pub networks: Vec<IpNet>,
    /// SHA-256 of certificates, or of their public keys, that stand for it.
    pub certificates: Vec<[u8; 32]>,
    /// Who shows one of them need not say AUTH.
    pub certificate_suffices: bool,
    /// Whose mail.
    pub tenant: TenantName,
    /// Which class.
    pub stream: StreamName,
    /// The stream's urgency.
    pub priority: Priority,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// From which level on.
    pub level: tracing::Level,
    /// Where the mail log goes.
    pub mail_log: MailLogTarget,
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Where the mail log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailLogTarget {
    /// Standard output.
    StandardOutput,
    /// Nowhere.
    None,
    /// Appended to a file.
    File(PathBuf),
}

impl MailLogTarget {
    /// `-`, `none`, or a path.
    pub fn parse(text: &str, directory: &Path) -> Self {
        match text {
            "-" => Self::StandardOutput,
            "none" => Self::None,
            path => Self::File(directory.join(path)),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigTrouble {
    /// It cannot be read.
    #[error("cannot read the configuration file {file}: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        why: String,
    },
    /// It is wrong.
    #[error("{0}")]
    Wrong(#[from] Faults),
}

impl Config {
    /// Whether any client is known by a certificate, so that all are asked for theirs.
    pub fn knows_certificates(&self) -> bool {
        self.credentials.iter().any(|credential| !credential.certificates.is_empty())
    }

    /// Reads a file. Relative paths in it start at `directory`, the data directory.
    pub fn load(file: &Path, directory: &Path) -> Result<Self, ConfigTrouble> {
        let unreadable = |why: String| ConfigTrouble::Unreadable { file: file.display().to_string(), why };
        let octets = std::fs::metadata(file).map_err(|trouble| unreadable(trouble.to_string()))?.len();
        if octets > FILE_OCTETS_MAX {
            return Err(unreadable(format!("{octets} octets are too many for a configuration")));
        }
        let text = std::fs::read_to_string(file).map_err(|trouble| unreadable(trouble.to_string()))?;
        Ok(Self::parse(&text, &file.display().to_string(), directory, &system_host_name())?)
    }

    /// What holds where nothing is said.
    pub fn defaults(directory: &Path) -> Self {
        let faults = Collector::new("");
        read("", directory, &system_host_name(), &faults)
    }

    /// Reads a text. `host_name` is what the system calls itself, for the default.
    pub fn parse(text: &str, file: &str, directory: &Path, host_name: &HostName) -> Result<Self, Faults> {
        let faults = Collector::new(text);
        let config = read(text, directory, host_name, &faults);
        faults.verdict(file)?;
        Ok(config)
    }
}

/// Reads a text; the result is only of use when no fault was found.
fn read(text: &str, directory: &Path, host_name: &HostName, faults: &Collector) -> Config {
    let (table, troubles) = DeTable::parse_recoverable(text);
    // What a broken text seems to say is not worth judging: only the breaks are told.
    let broken = !troubles.is_empty();
    let aside = Collector::new(text);
    for trouble in troubles {
        faults.add(trouble.span().unwrap_or_default(), format!("not TOML: {}", trouble.message()));
    }
    let top = Section::top(&table, if broken { &aside } else { faults });
    let config = sections::config(&top, directory, host_name);
    top.finish();
    config
}

/// What the system calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName {
    /// A domain name.
    pub name: String,
    /// Whether it is only a stand-in.
    pub guessed: bool,
}

/// The system's fully qualified name, from the kernel or the hosts file; else a stand-in.
pub fn system_host_name() -> HostName {
    let node = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    qualified(&node, &hosts)
}

fn qualified(node: &str, hosts: &str) -> HostName {
    let usable = |name: &str| name.contains('.') && !name.starts_with("localhost.") && postrider_smtp::Domain::parse(name).is_ok();
    let in_hosts = || {
        let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
        let mut named = lines.filter(|line| line.split_whitespace().skip(1).any(|name| name.eq_ignore_ascii_case(node)));
        named.find_map(|line| line.split_whitespace().skip(1).map(str::to_lowercase).find(|name| usable(name)))
    };
    let found = if usable(node) { Some(node.to_owned()) } else { in_hosts() };
    HostName { guessed: found.is_none(), name: found.unwrap_or_else(|| "localhost.localdomain".to_owned()) }
}
