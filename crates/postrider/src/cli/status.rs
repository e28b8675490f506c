//! `status` and `reload`.

use std::path::Path;

use postrider_http::wire;

use super::arguments::JsonArguments;
use super::client::Client;
use crate::shown::{Clean, json, octets, say};

/// `status`
pub async fn run(data: &Path, arguments: &JsonArguments) -> anyhow::Result<()> {
    let status: wire::Status = Client::connect(data).await?.get("/v1/status").await?;
    if arguments.json {
        return Ok(say(json(&status)?)?);
    }
    let health = &status.health;
    let mode = if status.mode == "capture" { "keeps mail instead of delivering it (capture)" } else { "delivers" };
    say(format_args!("postrider {} as {}, process {}, since {}, {mode}", status.version, status.host_name, status.pid, status.started_at))?;
    for listener in &status.listeners {
        say(format_args!("listens    {} ({}, {}, TLS {})", listener.address, listener.name, listener.role, listener.tls))?;
    }
    say(format_args!("queue      {} messages, {} deliveries, {} under way", status.messages, status.deliveries, status.lent))?;
    say(format_args!("since then {} accepted, {} settled, {} syncs of the log", health.accepted, health.settled, health.syncs))?;
    say(format_args!(
        "disk       {} in {} segments ({} free), {} live",
        octets(health.disk_octets),
        health.segments,
        health.segments_free,
        octets(health.live_octets)
    ))?;
    if health.full {
        say("ALARM      the disk is full: new mail is answered 452 until there is room again; delivery goes on")?;
    }
    if let Some(why) = &health.poisoned {
        say(format_args!("ALARM      the log is poisoned ({}): nothing is taken or sent until a restart; see the disk first", Clean(why)))?;
    }
    status.pools.iter().try_for_each(tell_pool)?;
    status.domains.iter().try_for_each(tell_domains)
}

fn tell_pool(pool: &wire::PoolView) -> anyhow::Result<()> {
    let sources: Vec<String> = pool.sources.iter().map(|one| format!("{} (weight {})", one.source, one.weight)).collect();
    let name = Clean(&pool.name);
    match sources.is_empty() {
        false => say(format_args!("pool       {name}: {}", sources.join(", ")))?,
        true => say(format_args!(
            "ALARM      the pool {name} is not in the configuration, and streams are sent by it: their mail waits. Add a [[pool]], or name another with `postrider stream set`"
        ))?,
    }
    if pool.streams_total > 0 {
        let more = pool.streams_total - pool.streams.len().min(pool.streams_total);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        say(format_args!("           sends {}{more}", Clean(&pool.streams.join(", "))))?;
    }
    Ok(())
}

fn tell_domains(domains: &wire::Domains) -> anyhow::Result<()> {
    let wire::Domains { looked_at, watched, wrong, unknown, faults } = domains;
    say(format_args!("domains    {watched} watched, {wrong} records wrong, {unknown} unknown, looked at {looked_at}"))?;
    for fault in faults {
        let whose = fault.domain.as_deref().unwrap_or("the relay");
        say(format_args!(
            "  {:<8} {} {} at {}: {}",
            fault.state,
            Clean(whose),
            Clean(&fault.record),
            Clean(&fault.name),
            Clean(&fault.said)
        ))?;
    }
    if !faults.is_empty() {
        say("           `postrider domain check` says what to do")?;
    }
    Ok(())
}

/// `reload`
pub async fn reload(data: &Path) -> anyhow::Result<()> {
    let reloaded: wire::Reloaded = Client::connect(data).await?.post("/v1/reload", Vec::new()).await?;
    Ok(say(reloaded.said)?)
}
