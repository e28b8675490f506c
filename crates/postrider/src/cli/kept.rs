//! `kept`: messages that stay when they are done. The files are read and removed directly, whether a relay runs or not; `resend` hands one to the relay that runs.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use postrider_edge::SystemClock;
use postrider_http::{encode_submission, wire};
use postrider_model::doors::Clock as _;
use postrider_model::{MessageId, Timestamp};
use postrider_smtp::Mailbox;

use super::client::Client;
use crate::config::parse_duration;
use crate::data::DataDirectory;
use crate::keeping::file::{self, Facts, Named};
use crate::shown::{Clean, json, octets, say};

/// `kept`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider stream set shop receipts --retention 72h     from now on they stay for three days
  postrider kept list --tenant shop --since 2h
  postrider kept list --to ann@example.com --json
  postrider kept show ID --content > message.eml
  postrider kept resend ID                               to all its recipients, as a new message
  postrider kept resend ID --to ann@example.com
  postrider kept remove ID

What is kept stands in DATA/kept, and goes by itself when the retention of its stream is over.")]
pub struct KeptArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: KeptCommand,
}

/// What to do with what is kept.
#[derive(Debug, Clone, Subcommand)]
pub enum KeptCommand {
    /// List what is kept, the oldest first.
    List(ListArguments),
    /// One message: its envelope, or its content.
    Show(ShowArguments),
    /// Send one again, as a new message with an id of its own.
    Resend(ResendArguments),
    /// Remove messages before their time.
    Remove {
        /// The messages.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<MessageId>,
    },
}

/// `kept list`
#[derive(Debug, Clone, Args)]
pub struct ListArguments {
    /// A tenant's.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Of a stream.
    #[arg(long)]
    pub stream: Option<String>,
    /// To this address, or to a domain.
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<String>,
    /// Accepted since then: a time back from now, such as 2h.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub since: Option<Duration>,
    /// At most so many, the newest; 0 is all.
    #[arg(long, default_value_t = 100)]
    pub max: usize,
    /// JSON, one object a line.
    #[arg(long)]
    pub json: bool,
}

/// `kept show`
#[derive(Debug, Clone, Args)]
pub struct ShowArguments {
    /// The message.
    pub id: MessageId,
    /// The content, as it was accepted.
    #[arg(long, conflicts_with = "json")]
    pub content: bool,
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// `kept resend`
#[derive(Debug, Clone, Args)]
pub struct ResendArguments {
    /// The message.
    pub id: MessageId,
    /// To these instead of its recipients.
    #[arg(long, value_name = "ADDRESS")]
    pub to: Vec<String>,
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
pub async fn run(data: &Path, arguments: &KeptArguments) -> anyhow::Result<()> {
    let folder = DataDirectory::new(data).kept();
    match &arguments.command {
        KeptCommand::List(arguments) => list(&folder, arguments),
        KeptCommand::Show(arguments) => show(&folder, arguments),
        KeptCommand::Resend(arguments) => resend(data, &folder, arguments).await,
        KeptCommand::Remove { ids } => remove(&folder, ids),
    }
}

fn list(folder: &Path, arguments: &ListArguments) -> anyhow::Result<()> {
    let since = arguments.since.map(|back| before(SystemClock.now(), back));
    let mut chosen: Vec<Named> = Vec::new();
    let is_chosen = |named: &Named| {
        arguments.tenant.as_ref().is_none_or(|tenant| named.tenant.as_str() == tenant)
            && arguments.stream.as_ref().is_none_or(|stream| named.stream.as_str() == stream)
            && since.is_none_or(|since| named.id.accepted_at() >= since)
    };
    file::walk(folder, false, |named, _| chosen.extend(Some(named).filter(is_chosen))).with_context(|| unreadable(folder))?;
    chosen.sort_by_key(|named| named.id);
    let mut found: Vec<Facts> = Vec::new();
    // The newest are looked at first, so that no more files are opened than are shown.
    for named in chosen.iter().rev() {
        // It may have gone in the meantime.
        let Ok((facts, _)) = file::open(folder, named) else { continue };
        if arguments.to.as_ref().is_none_or(|to| is_to(&facts, to)) {
            found.push(facts);
        }
        if found.len() == arguments.max && arguments.max > 0 {
            break;
        }
    }
    for facts in found.iter().rev() {
        match arguments.json {
            true => say(json(facts)?)?,
            false => say(row(facts))?,
        }
    }
    if found.is_empty() && !arguments.json {
        say("nothing of that is kept; `postrider stream set TENANT STREAM --retention 72h` keeps a stream's mail from then on")?;
    }
    Ok(())
}

fn before(now: Timestamp, back: Duration) -> Timestamp {
    Timestamp::from_millis(now.millis().saturating_sub(u64::try_from(back.as_millis()).unwrap_or(u64::MAX)))
}

/// An address without regard to the case of its domain, or any address of a domain.
fn is_to(facts: &Facts, wanted: &str) -> bool {
    let domain = |address: &str| address.rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default();
    facts.to.iter().any(|one| match wanted.contains('@') {
        true => one.address.eq_ignore_ascii_case(wanted),
        false => domain(&one.address).eq_ignore_ascii_case(wanted),
    })
}

fn row(facts: &Facts) -> String {
    let more = facts.to.len().saturating_sub(1);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let first = facts.to.first().map_or("", |one| &one.address);
    format!(
        "{}  {}  {:>9}  {}/{}  <{}> to <{}>{more}",
        facts.id,
        facts.arrived_at,
        octets(facts.content_octets),
        Clean(&facts.tenant),
        Clean(&facts.stream),
        Clean(&facts.from),
        Clean(first)
    )
}

fn show(folder: &Path, arguments: &ShowArguments) -> anyhow::Result<()> {
    let (facts, mut content) = file::open(folder, &find(folder, arguments.id)?)?;
    if arguments.content {
        io::copy(&mut content, &mut io::stdout().lock())?;
        return Ok(io::stdout().flush()?);
    }
    if arguments.json {
        return Ok(say(json(&facts)?)?);
    }
    say(format_args!("message   {}", facts.id))?;
    say(format_args!("from      <{}>", Clean(&facts.from)))?;
    for one in &facts.to {
        let notify = one.notify.as_ref().map(|notify| format!(" (NOTIFY={})", Clean(notify))).unwrap_or_default();
        say(format_args!("to        <{}>{notify}", Clean(&one.address)))?;
    }
    say(format_args!("whose     tenant {}, stream {}", Clean(&facts.tenant), Clean(&facts.stream)))?;
    let parts = [("from", &facts.client), ("as", &facts.credential)];
    let by: String = parts.iter().filter_map(|(word, value)| value.as_ref().map(|value| format!(" {word} {}", Clean(value)))).collect();
    say(format_args!("accepted  {}{by} ({})", facts.arrived_at, facts.role))?;
    say(format_args!("size      {}", octets(facts.content_octets)))?;
    Ok(say(format_args!("what became of it: postrider queue show {}", facts.id))?)
}

async fn resend(data: &Path, folder: &Path, arguments: &ResendArguments) -> anyhow::Result<()> {
    for to in &arguments.to {
        Mailbox::parse(to).map_err(|trouble| anyhow!("{to:?} is not a mailbox such as you@example.com: {trouble}"))?;
    }
    let (facts, mut reader) = file::open(folder, &find(folder, arguments.id)?)?;
    if facts.body == "binarymime" {
        bail!("{} holds binary content, which is taken by SMTP alone (BINARYMIME): `kept show {} --content` gives it", facts.id, facts.id);
    }
    let mut content = Vec::new();
    reader.read_to_end(&mut content)?;
    let to = if arguments.to.is_empty() { facts.to.iter().map(|one| one.address.clone()).collect() } else { arguments.to.clone() };
    let envelope = wire::Submission {
        notify: facts.notify(),
        from: facts.from,
        to,
        tenant: Some(facts.tenant),
        stream: Some(facts.stream),
        ret: facts.ret,
        envid: facts.envid,
        repeats: Some(facts.id),
    };
    let accepted: wire::Accepted = Client::connect(data).await?.post("/v1/submit", encode_submission(&envelope, &content)?).await?;
    if arguments.json {
        return Ok(say(json(&accepted)?)?);
    }
    say(&accepted.id)?;
    eprintln!("accepted, as a new message; what becomes of it: postrider --data {} explain {}", data.display(), accepted.id);
    Ok(())
}

fn remove(folder: &Path, ids: &[MessageId]) -> anyhow::Result<()> {
    let mut missing = 0;
    for id in ids {
        let removed = match file::find(folder, *id).with_context(|| unreadable(folder))? {
            Some(named) => file::remove(folder, &named).with_context(|| format!("cannot remove {}", named.path(folder).display()))?,
            None => false,
        };
        match removed {
            true => say(format_args!("{id} removed"))?,
            false => {
                missing += 1;
                say(format_args!("{id} is not kept"))?;
            }
        }
    }
    if missing == ids.len() {
        bail!("nothing was removed: `postrider kept list` shows what is kept");
    }
    Ok(())
}

fn find(folder: &Path, id: MessageId) -> anyhow::Result<Named> {
    let found = file::find(folder, id).with_context(|| unreadable(folder))?;
    found.ok_or_else(|| {
        anyhow!("{id} is not kept: its stream has no retention, its time is over, or it has not ended yet (`postrider queue show {id}`)")
    })
}

fn unreadable(folder: &Path) -> String {
    format!("cannot read {}: run this as the user who runs the relay, or as root", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_back_does_not_pass_the_beginning() {
        let now = Timestamp::from_millis(10_000);
        let back = |seconds| before(now, Duration::from_secs(seconds)).millis();
        assert_eq!((back(4), back(40)), (6_000, 0));
    }
}
