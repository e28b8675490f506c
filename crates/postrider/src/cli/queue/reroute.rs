//! `queue reroute` and `rerouted`.

use std::path::Path;

use postrider_http::wire;

use super::arguments::RerouteArguments;
use super::because;
use crate::cli::client::Client;
use crate::shown::{Clean, json, say};

/// Messages and hosts that are named on a line; of more their number is said.
const NAMED_MAX: usize = 3;

/// `queue reroute`
pub async fn reroute(data: &Path, arguments: &RerouteArguments) -> anyhow::Result<()> {
    let mut client = Client::connect(data).await?;
    let all: wire::Reroutes = match arguments.end {
        Some(number) => client.post("/v1/reroute/end", serde_json::to_vec(&wire::EndReroute { number })?).await?,
        None => {
            let asked = wire::Reroute {
                to: arguments.to.clone().unwrap_or_default(),
                which: arguments.which.wire(&arguments.ids, None),
                new_too: arguments.new_too,
                seconds: arguments.time.map(|time| time.as_secs()),
                reason: arguments.reason.clone(),
            };
            client.post("/v1/reroute", serde_json::to_vec(&asked)?).await?
        }
    };
    tell(&all, arguments.json)
}

/// `queue rerouted`
pub async fn list(data: &Path, as_json: bool) -> anyhow::Result<()> {
    tell(&Client::connect(data).await?.get("/v1/rerouted").await?, as_json)
}

fn tell(all: &wire::Reroutes, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return Ok(say(json(all)?)?);
    }
    if all.rerouted.is_empty() {
        return Ok(say("nothing is sent another way")?);
    }
    for one in &all.rerouted {
        let until = one.until.as_ref().map_or_else(|| "until it is ended".to_owned(), |until| format!("until {until}"));
        let (whose, to) = (whose(one), Clean(&one.to));
        say(format_args!("{}  to {to}: {whose}; since {}, {until}{}", one.number, one.since, because(&one.reason)))?;
    }
    Ok(())
}

fn whose(one: &wire::RerouteView) -> String {
    let named = |what: &str, names: &[String]| match names.len() {
        0 => None,
        count if count > NAMED_MAX => Some(format!("{count} {what}s")),
        _ => Some(format!("{what} {}", names.join(", "))),
    };
    let single = |what: &str, name: &Option<String>| name.as_ref().map(|name| format!("{what} {name}"));
    let parts = [
        named("message", &one.messages),
        single("tenant", &one.tenant),
        single("stream", &one.stream),
        named("host", &one.hosts),
        single("sender", &one.sender),
        one.accepted_to.as_ref().map(|at| format!("accepted until {at}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "all mail".to_owned() } else { Clean(&parts.join(", ")).to_string() }
}
