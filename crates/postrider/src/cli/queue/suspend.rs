//! `queue suspend`, `resume` and `suspended`.

use std::path::Path;

use postrider_http::wire;

use super::arguments::{ResumeArguments, SuspendArguments};
use super::because;
use crate::cli::client::Client;
use crate::shown::{Clean, json, say};

/// `queue suspend`
pub async fn suspend(data: &Path, arguments: &SuspendArguments) -> anyhow::Result<()> {
    let asked = wire::Suspend {
        target: arguments.target.wire(),
        seconds: arguments.time.map(|time| time.as_secs()),
        reason: arguments.reason.clone(),
    };
    let mut client = Client::connect(data).await?;
    let all: wire::Suspensions = client.post("/v1/suspend", serde_json::to_vec(&asked)?).await?;
    if let wire::Target { kind, name } = &asked.target
        && kind == "site"
        && !arguments.json
    {
        let known: wire::Sites = client.get("/v1/sites").await?;
        if !known.sites.iter().any(|site| site.site == *name) {
            say("note: the schedule knows no next hop of this name at present; `postrider queue sites` shows those it knows")?;
        }
    }
    tell(&all, arguments.json)
}

/// `queue resume`
pub async fn resume(data: &Path, arguments: &ResumeArguments) -> anyhow::Result<()> {
    let all: wire::Suspensions = Client::connect(data).await?.post("/v1/resume", serde_json::to_vec(&arguments.target.wire())?).await?;
    tell(&all, arguments.json)
}

/// `queue suspended`
pub async fn list(data: &Path, as_json: bool) -> anyhow::Result<()> {
    tell(&Client::connect(data).await?.get("/v1/suspended").await?, as_json)
}

fn tell(all: &wire::Suspensions, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return Ok(say(json(all)?)?);
    }
    if all.suspended.is_empty() {
        return Ok(say("nothing is suspended")?);
    }
    for suspension in &all.suspended {
        let wire::Suspension { kind, name, since, until, reason } = suspension;
        let until = until.as_ref().map_or_else(|| "until it is resumed".to_owned(), |until| format!("until {until}"));
        say(format_args!("{kind} {}, since {since}, {until}{}", Clean(name), because(reason)))?;
    }
    Ok(())
}
