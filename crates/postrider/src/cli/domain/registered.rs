//! `domain add`, `list`, `show`, `rotate`, `remove`: the domains of the registry in a person's hands.

use std::path::Path;

use anyhow::anyhow;
use clap::Args;
use postrider_model::TenantName;
use postrider_records::{DomainRecord, Worded};
use postrider_smtp::Domain;
use serde::Serialize;

use super::super::registry::{Desk, tell_relay};
use super::{DomainCommand, Form, tell_records};
use crate::publishing;
use crate::shown::{json, say};

/// A domain, and whose.
#[derive(Debug, Clone, Args)]
pub struct OneDomain {
    /// The domain, as in brand.example.
    pub domain: String,
    /// Whose [default: the only tenant there is].
    #[arg(long)]
    pub tenant: Option<String>,
    /// The records as lines of a zone file.
    #[arg(long, conflicts_with_all = ["table", "json"])]
    pub zone: bool,
    /// The records field by field, to be copied into a form [default].
    #[arg(long, conflicts_with = "json")]
    pub table: bool,
    /// The records as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `domain list`
#[derive(Debug, Clone, Args)]
pub struct ListArguments {
    /// Those of a tenant [default: all].
    #[arg(long)]
    pub tenant: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct DomainView {
    domain: String,
    tenant: String,
    return_path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    return_path_ready_at: Option<String>,
    keys: Vec<KeyView>,
}

#[derive(Serialize)]
struct KeyView {
    selector: String,
    algorithm: String,
    state: &'static str,
}

fn view(record: &DomainRecord) -> DomainView {
    let key = |key: &postrider_records::KeyRecord| KeyView {
        selector: key.selector.clone(),
        algorithm: key.algorithm.clone(),
        state: key.state.word(),
    };
    DomainView {
        domain: record.name.to_ascii().into_owned(),
        tenant: record.tenant.to_string(),
        return_path: record.return_path.to_ascii().into_owned(),
        proven_at: record.proven_at.map(|at| at.to_string()),
        return_path_ready_at: record.return_path_ready_at.map(|at| at.to_string()),
        keys: record.keys.iter().map(key).collect(),
    }
}

/// Does what was asked, and tells a relay that runs.
pub async fn run(data: &Path, command: &DomainCommand) -> anyhow::Result<()> {
    let desk = Desk::open(data).await?;
    let before = desk.book.version().await?;
    let done = act(&desk, command).await;
    if desk.book.version().await? != before {
        tell_relay(data).await;
    }
    done
}

async fn act(desk: &Desk, command: &DomainCommand) -> anyhow::Result<()> {
    match command {
        DomainCommand::Add(one) => {
            let (tenant, domain) = named(desk, one).await?;
            let added = desk.book.add_domain(&tenant, &domain).await?;
            if !one.json && !one.zone {
                say(format_args!(
                    "{domain} is added for {tenant}. Publish these records; mail as {domain} is taken once the first is seen:\n"
                ))?;
            }
            tell(desk, &added, one)
        }
        DomainCommand::Rotate(one) => {
            let (tenant, domain) = named(desk, one).await?;
            let rotated = desk.book.rotate_domain(&tenant, &domain).await?;
            if !one.json && !one.zone {
                say(format_args!(
                    "{domain} has a new pair of keys. It takes over once the DNS serves both records; leave the old ones for a week:\n"
                ))?;
            }
            tell(desk, &rotated, one)
        }
        DomainCommand::Show(one) => {
            let (tenant, domain) = named(desk, one).await?;
            let found = desk.book.domain(&tenant, &domain).await?;
            let found = found
                .ok_or_else(|| anyhow!("{tenant} has no domain {domain}; add it with: postrider domain add {domain} --tenant {tenant}"))?;
            if !one.json && !one.zone {
                say(format_args!("{}\n", in_words(&found)))?;
            }
            tell(desk, &found, one)
        }
        DomainCommand::Remove(one) => {
            let (tenant, domain) = named(desk, one).await?;
            desk.book.remove_domain(&tenant, &domain).await?;
            Ok(say(format_args!("{domain} of {tenant} is removed, with its keys"))?)
        }
        DomainCommand::List(wanted) => {
            let tenant = wanted.tenant.as_deref().map(TenantName::new);
            for record in desk.book.domains(tenant.as_ref()).await? {
                match wanted.json {
                    true => say(json(&view(&record))?)?,
                    false => say(in_words(&record))?,
                }
            }
            Ok(())
        }
        DomainCommand::Records(_) | DomainCommand::Check(_) => unreachable!("done without the registry's desk"),
    }
}

async fn named(desk: &Desk, one: &OneDomain) -> anyhow::Result<(TenantName, Domain)> {
    let domain = Domain::parse(&one.domain).map_err(|trouble| anyhow!("{:?} is not a domain: {trouble}", one.domain))?;
    Ok((desk.tenant(one.tenant.as_deref()).await?, domain))
}

fn tell(desk: &Desk, record: &DomainRecord, one: &OneDomain) -> anyhow::Result<()> {
    let form = match (one.zone, one.json) {
        (true, _) => Form::Zone,
        (false, true) => Form::Json,
        (false, false) => Form::Table,
    };
    tell_records(&publishing::of_the_registry(record, &desk.config.snapshot).facts, form)
}

fn in_words(record: &DomainRecord) -> String {
    let proven = record.proven_at.map_or_else(|| "not proven yet".to_owned(), |at| format!("proven {at}"));
    let ready = if record.return_path_ready_at.is_some() { "ready" } else { "not ready" };
    let keys: Vec<String> = record.keys.iter().map(|key| format!("{} {}", key.selector, key.state.word())).collect();
    format!("{} of {}: {proven}; return path {} {ready}; keys {}", record.name, record.tenant, record.return_path, keys.join(", "))
}
