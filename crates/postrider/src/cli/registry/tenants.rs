//! `tenant`

use anyhow::anyhow;
use postrider_model::TenantName;
use postrider_records::{TenantRecord, TenantState, Worded};
use serde::Serialize;

use super::Desk;
use super::arguments::TenantCommand;
use super::keys::KeyView;
use super::limits::{LimitView, in_words};
use super::streams::{StreamView, of_stream};
use crate::shown::{json, say};

#[derive(Serialize)]
struct TenantView {
    name: String,
    sends_as: &'static str,
    state: &'static str,
    created_at: String,
}

#[derive(Serialize)]
struct WholeView {
    #[serde(flatten)]
    tenant: TenantView,
    streams: Vec<StreamView>,
    domains: Vec<DomainLine>,
    keys: Vec<KeyView>,
    limits: Vec<LimitView>,
}

#[derive(Serialize)]
struct DomainLine {
    name: String,
    proven: bool,
}

fn view(record: &TenantRecord) -> TenantView {
    TenantView {
        name: record.name.to_string(),
        sends_as: if record.own_domains_only { "own_domains" } else { "anybody" },
        state: record.state.word(),
        created_at: record.created_at.to_string(),
    }
}

pub async fn run(desk: &Desk, command: TenantCommand) -> anyhow::Result<()> {
    let book = &desk.book;
    match command {
        TenantCommand::Add { name, sends_as, json: as_json } => {
            let name = TenantName::new(&name);
            book.add_tenant(&name, sends_as.own_domains_only).await?;
            if as_json {
                return Ok(say(json(&view(&find(desk, &name).await?))?)?);
            }
            say(format_args!("tenant {name} added, with the streams transactional and bulk"))?;
            if sends_as.own_domains_only {
                say(format_args!("next: postrider domain add DOMAIN --tenant {name}, and postrider key add --tenant {name}"))?;
            }
        }
        TenantCommand::List { json: as_json } => {
            let tenants = book.tenants().await?;
            if tenants.is_empty() && !as_json {
                return Ok(say("the registry has no tenants; those of the configuration file are not listed here")?);
            }
            for tenant in &tenants {
                let shown = view(tenant);
                match as_json {
                    true => say(json(&shown)?)?,
                    false => say(format_args!("{}  {}, sends as {}, since {}", shown.name, shown.state, shown.sends_as, shown.created_at))?,
                }
            }
        }
        TenantCommand::Show { name, json } => show(desk, &TenantName::new(&name), json).await?,
        TenantCommand::Set { name, sends_as } => {
            let name = TenantName::new(&name);
            let known = find(desk, &name).await?;
            book.set_tenant(&name, known.state, sends_as.own_domains_only).await?;
            say(format_args!("tenant {name} sends as {}", if sends_as.own_domains_only { "own_domains" } else { "anybody" }))?;
        }
        TenantCommand::Suspend { name } => set_state(desk, &name, TenantState::Suspended).await?,
        TenantCommand::Activate { name } => set_state(desk, &name, TenantState::Active).await?,
        TenantCommand::Remove { name } => {
            book.remove_tenant(&TenantName::new(&name)).await?;
            say(format_args!("tenant {name} removed"))?;
        }
    }
    Ok(())
}

async fn find(desk: &Desk, name: &TenantName) -> anyhow::Result<TenantRecord> {
    let found = desk.book.tenant(name).await?;
    found.ok_or_else(|| anyhow!("the registry has no tenant {name}: postrider tenant list shows them"))
}

async fn set_state(desk: &Desk, name: &str, state: TenantState) -> anyhow::Result<()> {
    let name = TenantName::new(name);
    let known = find(desk, &name).await?;
    desk.book.set_tenant(&name, state, known.own_domains_only).await?;
    Ok(say(format_args!("tenant {name} is {}", state.word()))?)
}

async fn show(desk: &Desk, name: &TenantName, as_json: bool) -> anyhow::Result<()> {
    let tenant = view(&find(desk, name).await?);
    let streams: Vec<StreamView> = desk.book.streams(name).await?.iter().map(of_stream).collect();
    let domains = desk.book.domains(Some(name)).await?;
    let domains: Vec<DomainLine> =
        domains.iter().map(|domain| DomainLine { name: domain.name.to_string(), proven: domain.proven_at.is_some() }).collect();
    let keys: Vec<KeyView> = desk.book.credentials(Some(name)).await?.iter().map(KeyView::of).collect();
    let limits = desk.book.allowances(name).await?;
    let limits: Vec<LimitView> = limits.iter().map(|(holder, allowance)| LimitView::of(name, holder.as_ref(), allowance)).collect();
    if as_json {
        return Ok(say(json(&WholeView { tenant, streams, domains, keys, limits })?)?);
    }
    say(format_args!("{}  {}, sends as {}, since {}", tenant.name, tenant.state, tenant.sends_as, tenant.created_at))?;
    for stream in &streams {
        say(format_args!("  stream  {}", stream.line()))?;
    }
    for domain in &domains {
        say(format_args!("  domain  {}{}", domain.name, if domain.proven { "" } else { " (not proven yet)" }))?;
    }
    for key in &keys {
        say(format_args!("  key     {}", key.line()))?;
    }
    for limit in &limits {
        say(format_args!("  limit   {}", in_words(limit)))?;
    }
    Ok(())
}
