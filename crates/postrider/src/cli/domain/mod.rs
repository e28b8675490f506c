//! `domain`: what a domain has to publish, and whether it does.

mod records;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use postrider_core::publish::check::{self, Finding, State};
use postrider_core::publish::{Face, Facts, sources};
use postrider_edge::{DnsResolver, ResolverSettings};
use postrider_flow::survey;
use postrider_model::doors::Resolver;
use postrider_smtp::Domain;

use crate::config::Config;
use crate::data::DataDirectory;
use crate::publishing;
use crate::shown::say;

pub use records::{Form, tell as tell_records};
pub use report::sentence;

/// How long the look at one domain may take.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

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

The keys are those of [[domain]] in the configuration; `postrider dkim new` makes them.")]
pub struct RecordsArguments {
    /// The domain, as in brand.example.
    pub domain: String,
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
    /// JSON.
    #[arg(long)]
    pub json: bool,
    /// The configuration file [default: postrider.toml in the data directory].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `domain`
pub fn run(data: &Path, arguments: &DomainArguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        DomainCommand::Records(wanted) => {
            let config = load(data, wanted.config.as_deref())?;
            let form = match (wanted.zone, wanted.json) {
                (true, _) => Form::Zone,
                (false, true) => Form::Json,
                (false, false) => Form::Table,
            };
            let facts = chosen(publishing::all(&config), Some(&wanted.domain))?;
            facts.iter().try_for_each(|facts| tell_records(facts, form)).map(|()| ExitCode::SUCCESS)
        }
        DomainCommand::Check(wanted) => {
            let config = load(data, wanted.config.as_deref())?;
            let all = publishing::all(&config);
            if all.is_empty() && wanted.domain.is_none() && !wanted.json {
                say(
                    "there is no [[domain]] in the configuration: `postrider dkim new` makes keys for one, and says what to write there\n",
                )?;
            }
            let domains = chosen(all, wanted.domain.as_deref())?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let looks = runtime.block_on(look(&config, &domains, LOOK_LIMIT))?;
            report::tell(&looks, wanted.json)?;
            Ok(status(looks.iter().flat_map(|look| &look.findings)))
        }
    }
}

fn load(data: &Path, file: Option<&Path>) -> anyhow::Result<Config> {
    let file = file.map_or_else(|| DataDirectory::new(data).config_file(), Path::to_owned);
    if !file.exists() {
        bail!("there is no configuration {}: name it with --config, or the data directory with --data", file.display());
    }
    Ok(Config::load(&file, data)?)
}

/// The domain of this name, or all.
fn chosen(all: Vec<Facts>, name: Option<&str>) -> anyhow::Result<Vec<Facts>> {
    let Some(name) = name else { return Ok(all) };
    let domain = Domain::parse(name).with_context(|| format!("{name:?} is not a domain"))?;
    let names: Vec<String> = all.iter().map(|facts| facts.domain.to_string()).collect();
    match all.into_iter().find(|facts| facts.domain.to_ascii() == domain.to_ascii()) {
        Some(facts) => Ok(vec![facts]),
        None if names.is_empty() => {
            bail!("there is no [[domain]] in the configuration; `postrider dkim new {domain}` makes keys, and says what to write there")
        }
        None => bail!("{domain} is no [[domain]] of the configuration, which has {}", names.join(", ")),
    }
}

/// What was found out about a domain, or about the Sources.
pub struct Look {
    /// The domain; `None`: the Sources.
    pub domain: Option<String>,
    /// Record by record.
    pub findings: Vec<Finding>,
}

/// Looks at domains, and at the Sources.
pub async fn look(config: &Config, domains: &[Facts], limit: Duration) -> anyhow::Result<Vec<Look>> {
    let resolver = resolver(config)?;
    let mut looks = Vec::new();
    for facts in domains {
        let findings = survey(&resolver, limit, |asking| check::domain(facts, asking)).await;
        looks.push(Look { domain: Some(facts.domain.to_string()), findings });
    }
    let findings = names_of(&resolver, &publishing::faces(&config.snapshot), limit).await;
    looks.push(Look { domain: None, findings });
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
