//! `queue` and `explain`: the queue in a person's hands.

mod arguments;
mod change;
mod count;
mod reroute;
mod suspend;
mod watch;

use std::io::Write as _;
use std::path::Path;

use postrider_http::wire;

pub use arguments::QueueArguments;
use arguments::{ListArguments, QueueCommand, ShowArguments};

use super::arguments::{IdArguments, JsonArguments};
use super::client::{Client, path_with, segment};
use crate::shown::{Clean, json, octets, say};

/// Deliveries asked for at once.
const PAGE: usize = 1_000;

/// `queue`
pub async fn run(data: &Path, queue: QueueArguments) -> anyhow::Result<()> {
    match queue.command.unwrap_or(QueueCommand::List(queue.list)) {
        QueueCommand::List(arguments) => list(data, &arguments).await,
        QueueCommand::Show(arguments) => show(data, &arguments).await,
        QueueCommand::Count(arguments) => count::run(data, &arguments).await,
        QueueCommand::Hold(arguments) => change::alter(data, "hold", &arguments.alter, Some(&arguments.reason)).await,
        QueueCommand::Release(arguments) => change::alter(data, "release", &arguments, None).await,
        QueueCommand::Retry(arguments) => change::alter(data, "retry", &arguments, None).await,
        QueueCommand::Bounce(arguments) => change::end(data, "bounce", &arguments).await,
        QueueCommand::Cancel(arguments) => change::end(data, "cancel", &arguments).await,
        QueueCommand::Suspend(arguments) => suspend::suspend(data, &arguments).await,
        QueueCommand::Resume(arguments) => suspend::resume(data, &arguments).await,
        QueueCommand::Suspended(arguments) => suspend::list(data, arguments.json).await,
        QueueCommand::Reroute(arguments) => reroute::reroute(data, &arguments).await,
        QueueCommand::Rerouted(arguments) => reroute::list(data, arguments.json).await,
        QueueCommand::Sites(arguments) => sites(data, &arguments).await,
        QueueCommand::Watch(arguments) => watch::run(data, &arguments).await,
    }
}

/// The parameters of a page or a count.
fn parameters(which: &wire::Which) -> Vec<(&'static str, Option<String>)> {
    vec![
        ("tenant", which.tenant.clone()),
        ("stream", which.stream.clone()),
        ("host", which.host.clone()),
        ("site", which.site.clone()),
        ("sender", which.sender.clone()),
        ("state", which.state.clone()),
        ("older_than_s", which.older_than_s.map(|age| age.to_string())),
        ("younger_than_s", which.younger_than_s.map(|age| age.to_string())),
    ]
}

fn path_of(path: &str, parameters: &[(&'static str, Option<String>)]) -> String {
    let borrowed: Vec<_> = parameters.iter().map(|(key, value)| (*key, value.as_deref())).collect();
    path_with(path, &borrowed)
}

/// `queue list`
async fn list(data: &Path, arguments: &ListArguments) -> anyhow::Result<()> {
    let mut client = Client::connect(data).await?;
    let which = arguments.which.wire(&[], arguments.state);
    let mut left = if arguments.all { usize::MAX } else { arguments.max as usize };
    let mut after: Option<String> = None;
    let mut printed = 0;
    loop {
        let mut asked = parameters(&which);
        asked.extend([("after", after.clone()), ("max", Some(left.min(PAGE).to_string()))]);
        asked.push(("unordered", arguments.all.then(|| "true".to_owned())));
        let page: wire::QueuePage = client.get(&path_of("/v1/queue", &asked)).await?;
        for delivery in page.deliveries.iter().take(left) {
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
        say(format_args!("(more wait: --max N or --all shows more, `postrider queue count` tells how many)"))?;
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

/// `queue show`
async fn show(data: &Path, arguments: &ShowArguments) -> anyhow::Result<()> {
    let mut client = Client::connect(data).await?;
    let id = segment(&arguments.id);
    if arguments.content {
        let mut out = std::io::stdout().lock();
        return client.stream(&format!("/v1/message/{id}/content"), |chunk| out.write_all(chunk).map(|()| true)).await;
    }
    let live: anyhow::Result<wire::Message> = client.get(&format!("/v1/queue/{id}")).await;
    let history: wire::Attempts = match client.get(&format!("/v1/queue/{id}/attempts")).await {
        Ok(history) => history,
        // The queue's own refusal says more.
        Err(trouble) => return Err(live.err().unwrap_or(trouble)),
    };
    let message = match live {
        Ok(message) => Some(message),
        Err(_) if !history.attempts.is_empty() => None,
        Err(trouble) => return Err(trouble),
    };
    if arguments.json {
        #[derive(serde::Serialize)]
        struct Shown<'a> {
            #[serde(flatten)]
            message: Option<&'a wire::Message>,
            #[serde(flatten)]
            history: &'a wire::Attempts,
        }
        return Ok(say(json(&Shown { message: message.as_ref(), history: &history })?)?);
    }
    match &message {
        Some(message) => lines(message).into_iter().try_for_each(say)?,
        None => say("nothing of this message waits any more; what the journal keeps of it:")?,
    }
    tell(&history)
}

/// The attempts, for people.
fn tell(history: &wire::Attempts) -> anyhow::Result<()> {
    if !history.attempts.is_empty() {
        say(format_args!("\nattempts  {}", history.attempts.len()))?;
    }
    for attempt in &history.attempts {
        let mut line = format!("{}  {:<9} <{}>", attempt.at, attempt.outcome, Clean(&attempt.to));
        for (word, value) in [(" with ", &attempt.host), (" at ", &attempt.address), (" from ", &attempt.source), (" under ", &attempt.tls)]
        {
            if let Some(value) = value {
                line.push_str(&format!("{word}{}", Clean(value)));
            }
        }
        if let Some(duration_ms) = attempt.duration_ms {
            line.push_str(&format!(" in {duration_ms} ms"));
        }
        say(line)?;
        say(format_args!("{:>26}{}", "", Clean(&attempt.said)))?;
    }
    if let Some(kept_from) = &history.kept_from {
        say(format_args!("(history is kept from {kept_from} on; what was before is not known any more)"))?;
    }
    if !history.complete {
        say("(the journal is long, and was not read to its end: the newest attempts may be missing; the mail log has them)")?;
    }
    Ok(())
}

/// `explain`
pub async fn explain(data: &Path, arguments: &IdArguments) -> anyhow::Result<()> {
    let message: wire::Message = Client::connect(data).await?.get(&format!("/v1/explain/{}", segment(&arguments.id))).await?;
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
    for said in &message.sources {
        lines.push(format!("sources   {}", Clean(said)));
    }
    for said in &message.prepared {
        lines.push(format!("prepared  {}", Clean(said)));
    }
    for recipient in &message.deliveries {
        let delivery = &recipient.delivery;
        lines.push(String::new());
        lines.push(format!("to        <{}>", Clean(&recipient.to)));
        let site = delivery.site.as_deref().unwrap_or("not looked up yet");
        lines.push(format!("next hop  {}", Clean(site)));
        let state = if delivery.state == "lent" { "under way" } else { &delivery.state };
        let before = delivery.ahead.map(|ahead| format!(", {ahead} before it")).unwrap_or_default();
        lines.push(format!("state     {state} after {} attempts, due {}{before}", delivery.attempts, delivery.due));
        if let Some(hold) = &delivery.held {
            let word = if delivery.state == "lent" { "will be held when it comes back" } else { "held" };
            lines.push(format!("held      {word}, since {}{}", hold.since, because(&hold.reason)));
        }
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

/// A person's reason behind a sentence.
fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {}", Clean(reason)) }
}

/// `queue sites`
async fn sites(data: &Path, arguments: &JsonArguments) -> anyhow::Result<()> {
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
