//! `suppression`: who is not written to any more.

use std::path::Path;

use clap::{Args, Subcommand};
use postrider_http::wire;

use super::client::{Client, segment};
use crate::shown::{Clean, json, say};

/// Suppressions asked for, or told, at once.
const PAGE: usize = 1_000;

/// `suppression`
#[derive(Debug, Clone, Args)]
pub struct SuppressionArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: SuppressionCommand,
}

/// What to do with the book.
#[derive(Debug, Clone, Subcommand)]
pub enum SuppressionCommand {
    /// List who is not written to, and by whose word.
    List(ListArguments),
    /// Write to these addresses no more, from one stream; its other mail goes on.
    Add(ChangeArguments),
    /// Take a word back.
    Remove(ChangeArguments),
}

/// `suppression list`
#[derive(Debug, Clone, Args)]
pub struct ListArguments {
    /// A tenant's.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Of a stream.
    #[arg(long)]
    pub stream: Option<String>,
    /// JSON, one object a line.
    #[arg(long)]
    pub json: bool,
}

/// `suppression add` and `remove`
#[derive(Debug, Clone, Args)]
pub struct ChangeArguments {
    /// Whose mail.
    #[arg(long)]
    pub tenant: String,
    /// Which class of it.
    #[arg(long)]
    pub stream: String,
    /// Why: one line.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// JSON.
    #[arg(long)]
    pub json: bool,
    /// The addresses.
    #[arg(required = true, value_name = "ADDRESS")]
    pub mailboxes: Vec<String>,
}

/// Does it.
pub async fn run(data: &Path, arguments: SuppressionArguments) -> anyhow::Result<()> {
    match arguments.command {
        SuppressionCommand::List(arguments) => list(data, &arguments).await,
        SuppressionCommand::Add(arguments) => change(data, "add", "are not written to any more", &arguments).await,
        SuppressionCommand::Remove(arguments) => change(data, "remove", "are written to again", &arguments).await,
    }
}

async fn list(data: &Path, arguments: &ListArguments) -> anyhow::Result<()> {
    let mut client = Client::connect(data).await?;
    let mut path = format!("/v1/suppressions?max={PAGE}");
    for (name, value) in [("tenant", &arguments.tenant), ("stream", &arguments.stream)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", segment(value)));
        }
    }
    let (mut after, mut count) = (String::new(), 0);
    loop {
        let page: wire::Suppressions = client.get(&format!("{path}{after}")).await?;
        for one in &page.suppressions {
            count += 1;
            if arguments.json {
                say(serde_json::to_string(one)?)?;
                continue;
            }
            let by = if one.cause == "one_click" { "unsubscribed" } else { "by the operator" };
            let reason = if one.reason.is_empty() { String::new() } else { format!(": {}", Clean(&one.reason)) };
            say(format_args!("{}  {}/{}  <{}>  {by}{reason}", one.since, Clean(&one.tenant), Clean(&one.stream), Clean(&one.mailbox)))?;
        }
        match page.next {
            Some(next) => after = format!("&after={}", segment(&next)),
            None => break,
        }
    }
    if count == 0 && !arguments.json {
        say("everybody is written to")?;
    }
    Ok(())
}

async fn change(data: &Path, verb: &str, said: &str, arguments: &ChangeArguments) -> anyhow::Result<()> {
    let mut client = Client::connect(data).await?;
    let mut changed = 0;
    for mailboxes in arguments.mailboxes.chunks(PAGE) {
        let asked = wire::Suppress {
            tenant: arguments.tenant.clone(),
            stream: arguments.stream.clone(),
            mailboxes: mailboxes.to_vec(),
            reason: arguments.reason.clone(),
        };
        let done: wire::Suppressed = client.post(&format!("/v1/suppressions/{verb}"), serde_json::to_vec(&asked)?).await?;
        changed += done.changed;
    }
    if arguments.json {
        return Ok(say(json(&wire::Suppressed { changed })?)?);
    }
    Ok(say(format_args!("{changed} of {} addresses {said} by stream {}", arguments.mailboxes.len(), Clean(&arguments.stream)))?)
}
