//! `domain`: what a domain has to publish, and whether it does.

mod records;
mod registered;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use postrider_core::publish::check::{self, Finding, State};
use postrider_core::publish::drift::Standing;
use postrider_core::publish::{Face, What, sources};
use postrider_edge::{DnsResolver, ResolverSettings};
use postrider_flow::survey;
use postrider_model::Role;
use postrider_model::doors::Resolver;
use postrider_records::Book;
use postrider_smtp::Domain;

use crate::config::{Config, ListenerConfig};
use crate::data::DataDirectory;
use crate::publishing::{self, Publisher};
use crate::registry::open_book;
use crate::shown::say;

use super::registry::tell_relay;
pub use records::{Form, tell as tell_records};
use registered::{ListArguments, OneDomain};
pub use report::sentence;

/// How long the look at one domain may take.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// Names of domains in a refusal.
const NAMED_MAX: usize = 20;

/// The exit status when nothing is wrong, as far as the DNS answered.
const UNKNOWN: u8 = 3;

/// `domain`
#[derive(Debug, Clone, Args)]
pub struct DomainArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: DomainCommand,
}

/// What to do about domains.
#[derive(Debug, Clone, Subcommand)]
pub enum DomainCommand {
    /// Add a domain to the registry with a pair of keys, and say which records to publish.
    Add(OneDomain),
    /// List the registry's domains.
    List(ListArguments),
    /// Say how it stands with a domain of the registry, and which records it has to publish.
    Show(OneDomain),
    /// Make the next pair of keys for a domain of the registry.
    Rotate(OneDomain),
    /// Remove a domain from the registry, with its keys.
    Remove(OneDomain),
    /// Say which records a domain has to publish.
    Records(RecordsArguments),
    /// Compare what the DNS serves with what it should.
    Check(DomainCheckArguments),
}

/// `domain records`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider domain records brand.example           field by field, for a provider's form
  postrider domain records brand.example --zone    lines of a zone file
  postrider domain records brand.example --json

The domain is one of the registry (`postrider domain add`), or a [[domain]] of the configuration.")]
pub struct RecordsArguments {
    /// The domain, as in brand.example.
    pub domain: String,
    /// Whose it is in the registry, where several tenants name it.
    #[arg(long)]
    pub tenant: Option<String>,
    /// As lines of a zone file.
    #[arg(long, conflicts_with_all = ["table", "json"])]
    pub zone: bool,
    /// Field by field, to be copied into a form [default].
    #[arg(long, conflicts_with = "json")]
    pub table: bool,
    /// JSON.
    #[arg(long)]
    pub json: bool,
    /// The configuration file [default: postrider.toml in the data directory].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `domain check`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider domain check                   all domains, and the names of the Sources
  postrider domain check brand.example
  postrider domain check --json

What a resolver has in its cache may be as old as the record's time to live.

Exit status: 0 all is well, 1 something is wrong, 3 nothing is, as far as the DNS answered.")]
pub struct DomainCheckArguments {
    /// One domain [default: all of them].
    pub domain: Option<String>,
    /// Those of a tenant in the registry.
    #[arg(long)]
    pub tenant: Option<String>,
    /// JSON.
    #[arg(long)]
    pub json: bool,
    /// The configuration file [default: postrider.toml in the data directory].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `domain`
pub fn run(data: &Path, arguments: &DomainArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    match &arguments.command {
        DomainCommand::Records(wanted) => {
            let config = load(data, wanted.config.as_deref())?;
            let form = match (wanted.zone, wanted.json) {
                (true, _) => Form::Zone,
                (false, true) => Form::Json,
                (false, false) => Form::Table,
            };
            let (all, _) = runtime.block_on(known(&config, data))?;
            let domains = chosen(all, Some(&wanted.domain), wanted.tenant.as_deref())?;
            domains.iter().try_for_each(|domain| tell_records(&domain.facts, form)).map(|()| ExitCode::SUCCESS)
        }
        DomainCommand::Check(wanted) => runtime.block_on(check(data, wanted)),
        command => runtime.block_on(registered::run(data, command)).map(|()| ExitCode::SUCCESS),
    }
}

async fn check(data: &Path, wanted: &DomainCheckArguments) -> anyhow::Result<ExitCode> {
    let config = load(data, wanted.config.as_deref())?;
    let (all, book) = known(&config, data).await?;
    if all.is_empty() && wanted.domain.is_none() && !wanted.json {
        say(
            "there is no domain yet: `postrider domain add` adds one, or `postrider dkim new` makes keys for a [[domain]] of the configuration\n",
        )?;
    }
    let domains = chosen(all, wanted.domain.as_deref(), wanted.tenant.as_deref())?;
    let mut looks = look(&config, &domains, LOOK_LIMIT).await?;
    if let Some(note) = unheard(&config) {
        let returns = looks.iter_mut().flat_map(|look| &mut look.findings).filter(|finding| finding.what == What::ReturnMx);
        returns.for_each(|finding| finding.said.push(note.to_owned()));
    }
    report::tell(&looks, wanted.json)?;
    // What was found out need not wait for the relay's own look: who reads that all is well sends, and is not to be refused.
    let mut news = false;
    for (domain, look) in domains.iter().zip(&looks) {
        if let (Some(book), Some(tenant)) = (&book, &domain.tenant) {
            news |= book.found(tenant, &domain.facts.domain, &publishing::found(&Standing::of(&look.findings))).await?;
        }
    }
    if news {
        tell_relay(data).await;
    }
    Ok(status(looks.iter().flat_map(|look| &look.findings)))
}

/// What is worth knowing where failures that come back find nobody. No fault: something else may listen there, and hand them on.
fn unheard(config: &Config) -> Option<&'static str> {
    let reached = |listener: &ListenerConfig| listener.settings.role == Role::Relay && !listener.address.ip().is_loopback();
    (!config.listeners.iter().any(reached)).then_some(
        "no relay listener is reached from elsewhere, so failures that servers tell later do not come back: \
         give the [[listener]] with role = \"relay\" the address \"0.0.0.0:25\" (docs/preparing.md)",
    )
}

/// The domains of the configuration and of the registry, where there is one.
async fn known(config: &Config, data: &Path) -> anyhow::Result<(Vec<Publisher>, Option<Book>)> {
    let mut all = publishing::of_the_configuration(config);
    if config.registry.postgresql.is_none() && !data.join(&config.registry.file).exists() {
        return Ok((all, None));
    }
    let book = open_book(&config.registry, data).await?;
    let registered = book.domains(None).await?;
    all.extend(registered.iter().map(|domain| publishing::of_the_registry(domain, &config.snapshot)));
    Ok((all, Some(book)))
}

fn load(data: &Path, file: Option<&Path>) -> anyhow::Result<Config> {
    let named = file.map_or_else(|| DataDirectory::new(data).config_file(), Path::to_owned);
    // Before the first start there may be a registry, and no configuration yet.
    if !named.exists() && file.is_none() && data.is_dir() {
        return Ok(Config::defaults(data));
    }
    if !named.exists() {
        bail!("there is no configuration {}: name it with --config, or the data directory with --data", named.display());
    }
    Ok(Config::load(&named, data)?)
}

/// The domains of this name, or all.
fn chosen(all: Vec<Publisher>, name: Option<&str>, tenant: Option<&str>) -> anyhow::Result<Vec<Publisher>> {
    let is_of = |domain: &Publisher| tenant.is_none_or(|tenant| domain.tenant.as_ref().is_some_and(|of| of.as_str() == tenant));
    let all: Vec<Publisher> = all.into_iter().filter(is_of).collect();
    let Some(name) = name else { return Ok(all) };
    let wanted = Domain::parse(name).with_context(|| format!("{name:?} is not a domain"))?;
    let mut names: Vec<String> = all.iter().map(|domain| domain.facts.domain.to_string()).collect();
    let found: Vec<Publisher> = all.into_iter().filter(|domain| domain.facts.domain.to_ascii() == wanted.to_ascii()).collect();
    if found.is_empty() {
        names.truncate(NAMED_MAX);
        let known = if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
        bail!("{wanted} is no domain of this relay ({known}); `postrider domain add {wanted}` adds it");
    }
    Ok(found)
}

/// What was found out about a domain, or about the Sources.
pub struct Look {
    /// The domain; `None`: the Sources.
    pub domain: Option<String>,
    /// Whose it is in the registry.
    pub tenant: Option<String>,
    /// Record by record.
    pub findings: Vec<Finding>,
}

/// Looks at domains, and at the Sources.
async fn look(config: &Config, domains: &[Publisher], limit: Duration) -> anyhow::Result<Vec<Look>> {
    let resolver = resolver(config)?;
    let mut looks = Vec::new();
    for Publisher { facts, tenant, .. } in domains {
        let findings = survey(&resolver, limit, |asking| check::domain(facts, asking)).await;
        let tenant = tenant.as_ref().map(ToString::to_string);
        looks.push(Look { domain: Some(facts.domain.to_string()), tenant, findings });
    }
    let findings = names_of(&resolver, &publishing::faces(&config.snapshot), limit).await;
    looks.push(Look { domain: None, tenant: None, findings });
    Ok(looks)
}

/// The names of Sources.
pub async fn names_of(resolver: &Arc<dyn Resolver>, faces: &[Face], limit: Duration) -> Vec<Finding> {
    survey(resolver, limit, |asking| faces.iter().map(|face| sources::source(face, asking)).collect()).await
}

/// The DNS as the configuration asks it.
pub fn resolver(config: &Config) -> anyhow::Result<Arc<dyn Resolver>> {
    let settings = ResolverSettings { servers: config.dns_servers.clone(), ipv6: config.ipv6, ..ResolverSettings::default() };
    Ok(Arc::new(DnsResolver::new(&settings).context("the system names no DNS server; name one under [dns] servers")?))
}

fn status<'a>(findings: impl Iterator<Item = &'a Finding> + Clone) -> ExitCode {
    if findings.clone().any(|finding| finding.state.is_wrong()) {
        return ExitCode::FAILURE;
    }
    let unknown = findings.clone().any(|finding| finding.state == State::Unknown);
    if unknown { ExitCode::from(UNKNOWN) } else { ExitCode::SUCCESS }
}
