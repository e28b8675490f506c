//! `queue` and `explain`.

use std::path::Path;

use postrider_http::wire;

use super::arguments::{IdArguments, JsonArguments, ListArguments, RetryArguments};
use super::client::{Client, path_with, segment};
use crate::shown::{Clean, json, octets, say};

/// Deliveries asked for at once.
const PAGE: usize = 1_000;

/// `queue list`
pub async fn list(data: &Path, arguments: &ListArguments) -> anyhow::Result<()> {
    let mut client = Client::connect(data).await?;
    let mut left = arguments.max as usize;
    let mut after: Option<String> = None;
    let mut printed = 0;
    loop {
        let max = left.min(PAGE).to_string();
        let which = &arguments.which;
        let path = path_with(
            "/v1/queue",
            &[
                ("tenant", which.tenant.as_deref()),
                ("host", which.host.as_deref()),
                ("site", which.site.as_deref()),
                ("after", after.as_deref()),
                ("max", Some(&max)),
            ],
        );
        let page: wire::QueuePage = client.get(&path).await?;
        for delivery in &page.deliveries {
            if arguments.json {
                say(json(delivery)?)?;
            } else {
                if printed == 0 {
                    say(format_args!("{:<40} {:<8} {:>8} {:>9} {:<24} HOST", "DELIVERY", "STATE", "ATTEMPTS", "SIZE", "DUE"))?;
                }
                say(row(delivery))?;
            }
            printed += 1;
        }
        left -= page.deliveries.len().min(left);
        after = page.next;
        if left == 0 || after.is_none() {
            break;
        }
    }
    if printed == 0 && !arguments.json {
        say("nothing waits")?;
    } else if after.is_some() && !arguments.json {
        say(format_args!("(more wait: --max N shows more, `postrider queue count` tells how many)"))?;
    }
    Ok(())
}

fn row(delivery: &wire::Delivery) -> String {
    let size = octets(delivery.content_octets);
    format!(
        "{:<40} {:<8} {:>8} {size:>9} {:<24} {} ({}/{})",
        delivery.id,
        delivery.state,
        delivery.attempts,
        delivery.due,
        Clean(&delivery.host),
        Clean(&delivery.tenant),
        Clean(&delivery.stream)
    )
}

/// `queue count`
pub async fn count(data: &Path, arguments: &JsonArguments) -> anyhow::Result<()> {
    let count: wire::Count = Client::connect(data).await?.get("/v1/queue/count").await?;
    if arguments.json {
        return Ok(say(json(&count)?)?);
    }
    say(format_args!("{} messages, {} deliveries, {} of them under way", count.messages, count.deliveries, count.lent))?;
    for group in &count.groups {
        say(format_args!("{:>10}  {}", group.deliveries, Clean(&group.group)))?;
    }
    Ok(())
}

/// `queue show`
pub async fn show(data: &Path, arguments: &IdArguments) -> anyhow::Result<()> {
    one(data, "/v1/queue", arguments).await
}

/// `explain`
pub async fn explain(data: &Path, arguments: &IdArguments) -> anyhow::Result<()> {
    one(data, "/v1/explain", arguments).await
}

async fn one(data: &Path, path: &str, arguments: &IdArguments) -> anyhow::Result<()> {
    let message: wire::Message = Client::connect(data).await?.get(&format!("{path}/{}", segment(&arguments.id))).await?;
    if arguments.json {
        return Ok(say(json(&message)?)?);
    }
    for line in lines(&message) {
        say(line)?;
    }
    Ok(())
}

/// A message for people.
fn lines(message: &wire::Message) -> Vec<String> {
    let live = message.deliveries.len();
    let mut lines = vec![
        format!("message   {}", message.id),
        format!("from      {}", Clean(&message.from)),
        format!("whose     tenant {}, stream {}", Clean(&message.tenant), Clean(&message.stream)),
        format!("size      {}", octets(message.content_octets)),
        format!("accepted  {} ({})", message.arrival_line(), message.role),
        format!("waiting   {live} of {} recipients", message.recipients),
    ];
    for recipient in &message.deliveries {
        let delivery = &recipient.delivery;
        lines.push(String::new());
        lines.push(format!("to        <{}>", Clean(&recipient.to)));
        let site = delivery.site.as_deref().unwrap_or("not looked up yet");
        lines.push(format!("next hop  {}", Clean(site)));
        let state = if delivery.state == "lent" { "under way" } else { "waiting" };
        lines.push(format!("state     {state} after {} attempts, due {}, {} before it", delivery.attempts, delivery.due, delivery.ahead));
        for held in &recipient.waiting {
            lines.push(format!("because   {}", waiting(held)));
        }
        if let Some(last) = &recipient.last {
            let host = match (&last.remote, &last.address) {
                (Some(remote), Some(address)) => format!(" with {remote} ({address})"),
                (Some(remote), None) => format!(" with {remote}"),
                (None, Some(address)) => format!(" with {address}"),
                (None, None) => String::new(),
            };
            lines.push(format!("last      {}, {}{}: {}", last.at, last.phase, Clean(&host), Clean(&last.diagnosis)));
        }
    }
    lines
}

trait ArrivalLine {
    fn arrival_line(&self) -> String;
}

impl ArrivalLine for wire::Message {
    fn arrival_line(&self) -> String {
        let mut line = self.arrived_at.clone();
        let parts = [("from", &self.client), ("as", &self.credential), ("under", &self.tls)];
        for (word, value) in parts.iter().filter_map(|(word, value)| value.as_ref().map(|value| (word, value))) {
            line.push_str(&format!(" {word} {}", Clean(value)));
        }
        line
    }
}

/// What holds something, in one line.
pub fn waiting(held: &wire::Waiting) -> String {
    let mut line = Clean(&held.reason).to_string();
    for (word, value) in [("since", &held.since), ("until", &held.until)] {
        if let Some(value) = value {
            line.push_str(&format!(", {word} {value}"));
        }
    }
    if let Some(ahead) = held.ahead {
        line.push_str(&format!(", {ahead} before it"));
    }
    line
}

/// `queue retry`
pub async fn retry(data: &Path, arguments: &RetryArguments) -> anyhow::Result<()> {
    let which = arguments.which.clone();
    let asked = wire::Retry { message: arguments.id.clone(), tenant: which.tenant, host: which.host, site: which.site };
    let altered: wire::Altered = Client::connect(data).await?.post("/v1/retry", serde_json::to_vec(&asked)?).await?;
    Ok(say(format_args!("{} deliveries are due now", altered.deliveries))?)
}

/// `queue sites`
pub async fn sites(data: &Path, arguments: &JsonArguments) -> anyhow::Result<()> {
    let known: wire::Sites = Client::connect(data).await?.get("/v1/sites").await?;
    if arguments.json {
        return Ok(say(json(&known)?)?);
    }
    if known.sites.is_empty() {
        return Ok(say("the schedule knows no next hop at present")?);
    }
    say(format_args!("{:>11} {:>6} {:>8} {:<12} SITE", "CONNECTIONS", "WINDOW", "WAITING", "PROVIDER"))?;
    for site in &known.sites {
        let (provider, name) = (Clean(&site.provider).to_string(), Clean(&site.site).to_string());
        say(format_args!("{:>11} {:>6} {:>8} {provider:<12} {name}", site.connections, site.window, site.waiting))?;
        if let Some(held) = &site.held {
            say(format_args!("{:>40} {}", "held:", waiting(held)))?;
        }
    }
    if known.total > known.sites.len() {
        say(format_args!("({} of {})", known.sites.len(), known.total))?;
    }
    Ok(())
}
