//! `apply`: tenants as a file says. What differs is shown before anything is done.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use ipnet::IpNet;
use postrider_edge::SystemClock;
use postrider_model::doors::Clock as _;
use postrider_model::policy::Allowance;
use postrider_model::{StreamName, TenantName, valid_name};
use postrider_records::{Book, CredentialState, NewCredential, Scope, StreamRecord, TenantState, read_word};
use postrider_smtp::Domain;
use serde::Deserialize;

use super::Desk;
use super::arguments::ApplyArguments;
use super::limits::{LimitView, in_words};
use super::streams::{of_stream, pool, retention};
use crate::config::parse_duration;
use crate::shown::{Clean, say};

/// The exit status when differences were not applied.
const DIFFERS: u8 = 2;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    tenant: Vec<WantedTenant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedTenant {
    name: String,
    sends_as: Option<String>,
    state: Option<String>,
    #[serde(default)]
    domains: Vec<String>,
    limits: Option<WantedLimits>,
    #[serde(default)]
    stream: Vec<WantedStream>,
    #[serde(default)]
    key: Vec<WantedKey>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedStream {
    name: String,
    class: Option<String>,
    priority: Option<String>,
    give_up_after: Option<String>,
    pool: Option<String>,
    retention: Option<String>,
    own_return_path: Option<bool>,
    one_click: Option<bool>,
    feedback_id: Option<bool>,
    strips: Option<Vec<String>>,
    rules: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedKey {
    note: String,
    stream: Option<String>,
    #[serde(default)]
    networks: Vec<IpNet>,
    expires: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WantedLimits {
    messages_per_second: Option<u32>,
    messages_per_hour: Option<u32>,
    messages_per_day: Option<u32>,
    recipients_per_second: Option<u32>,
    recipients_per_hour: Option<u32>,
    recipients_per_day: Option<u32>,
    recipients_per_message: Option<u32>,
    message_size: Option<u64>,
    beyond: Option<String>,
}

/// One thing to do.
enum Change {
    AddTenant(TenantName, bool),
    SetTenant(TenantName, TenantState, bool),
    PutStream(TenantName, StreamRecord),
    AddDomain(TenantName, Domain),
    SetLimits(TenantName, Allowance),
    AddKey(NewCredential),
}

pub async fn run(desk: &Desk, arguments: &ApplyArguments) -> anyhow::Result<ExitCode> {
    let shown = arguments.file.display();
    let text = std::fs::read_to_string(&arguments.file).with_context(|| format!("cannot read {shown}"))?;
    let wanted: Wanted = toml::from_str(&text).map_err(|trouble| anyhow::anyhow!("{shown} is wrong: {trouble}"))?;
    let mut changes = Vec::new();
    for (nth, tenant) in wanted.tenant.iter().enumerate() {
        if wanted.tenant[..nth].iter().any(|other| other.name == tenant.name) {
            bail!("{shown} is wrong: the tenant {} is there twice", tenant.name);
        }
        let differences = differences(desk, tenant).await;
        changes.extend(differences.with_context(|| format!("{shown} is wrong: tenant {}", Clean(&tenant.name)))?);
    }
    if changes.is_empty() {
        say("nothing to do: the registry is as the file says")?;
        return Ok(ExitCode::SUCCESS);
    }
    for (line, _) in &changes {
        say(line)?;
    }
    if arguments.dry_run || !(arguments.yes || agreed()?) {
        say("nothing was changed")?;
        return Ok(ExitCode::from(DIFFERS));
    }
    for (line, change) in changes {
        make(&desk.book, change).await.with_context(|| format!("not done, and nothing after it: {line}"))?;
    }
    say("done")?;
    Ok(ExitCode::SUCCESS)
}

fn agreed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let mut out = std::io::stdout().lock();
    write!(out, "Do this? [y/N] ")?;
    out.flush()?;
    drop(out);
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn make(book: &Book, change: Change) -> anyhow::Result<()> {
    match change {
        Change::AddTenant(name, own_domains_only) => book.add_tenant(&name, own_domains_only).await?,
        Change::SetTenant(name, state, own_domains_only) => book.set_tenant(&name, state, own_domains_only).await?,
        Change::PutStream(tenant, stream) => book.put_stream(&tenant, &stream).await?,
        Change::AddDomain(tenant, name) => {
            book.add_domain(&tenant, &name).await?;
            say(format_args!("  {name}: `postrider domain check {name}` shows the records to publish"))?;
        }
        Change::SetLimits(tenant, allowance) => book.set_allowance(&tenant, None, &allowance).await?,
        Change::AddKey(new) => {
            let made = book.add_credential(&new).await?;
            say(format_args!("  {}: user {}, secret {} (shown this once)", Clean(&new.note), made.user, made.secret))?;
        }
    }
    Ok(())
}

/// What differs for one tenant, each with the line that tells it.
async fn differences(desk: &Desk, wanted: &WantedTenant) -> anyhow::Result<Vec<(String, Change)>> {
    if !valid_name(&wanted.name) {
        bail!("a name is 1 to 64 of a-z A-Z 0-9 . _ -");
    }
    let name = TenantName::new(&wanted.name);
    let own = match wanted.sends_as.as_deref() {
        None => None,
        Some("own_domains") => Some(true),
        Some("anybody") => Some(false),
        Some(other) => bail!("sends_as: {other:?} is none of own_domains, anybody"),
    };
    let state = wanted.state.as_deref().map(read_word::<TenantState>).transpose().map_err(anyhow::Error::msg)?;
    let mut changes = Vec::new();
    let known = desk.book.tenant(&name).await?;
    let (now_state, now_own) =
        known.as_ref().map_or((TenantState::Active, own.unwrap_or(true)), |known| (known.state, known.own_domains_only));
    if known.is_none() {
        changes.push((format!("+ tenant {name}"), Change::AddTenant(name.clone(), now_own)));
    }
    let (state, own) = (state.unwrap_or(now_state), own.unwrap_or(now_own));
    if (state, own) != (now_state, now_own) {
        let sends_as = if own { "own_domains" } else { "anybody" };
        let line = format!("~ tenant {name}: {}, sends as {sends_as}", postrider_records::Worded::word(state));
        changes.push((line, Change::SetTenant(name.clone(), state, own)));
    }
    let streams = if known.is_some() { desk.book.streams(&name).await? } else { StreamRecord::first_two().to_vec() };
    for stream in &wanted.stream {
        let record = stream_record(desk, stream, &streams).with_context(|| format!("stream {}", Clean(&stream.name)))?;
        let before = streams.iter().find(|known| known.name == record.name);
        if before != Some(&record) {
            let sign = if before.is_some() { '~' } else { '+' };
            changes.push((format!("{sign} stream {name}/{}", of_stream(&record).line()), Change::PutStream(name.clone(), record)));
        }
    }
    for domain in &wanted.domains {
        let domain = Domain::parse(domain).with_context(|| format!("{domain:?} is not a domain"))?;
        if known.is_none() || desk.book.domain(&name, &domain).await?.is_none() {
            changes.push((format!("+ domain {domain} of {name}"), Change::AddDomain(name.clone(), domain)));
        }
    }
    if let Some(limits) = &wanted.limits {
        let allowance = allowance(limits)?;
        let before = desk.book.allowances(&name).await?.into_iter().find(|(key, _)| key.is_none()).map(|(_, before)| before);
        if before.unwrap_or_default() != allowance {
            let line = format!("~ limit {}", in_words(&LimitView::of(&name, None, &allowance)));
            changes.push((line, Change::SetLimits(name.clone(), allowance)));
        }
    }
    changes.extend(keys(desk, &name, wanted, &streams).await?);
    Ok(changes)
}

async fn keys(desk: &Desk, name: &TenantName, wanted: &WantedTenant, streams: &[StreamRecord]) -> anyhow::Result<Vec<(String, Change)>> {
    let known = desk.book.credentials(Some(name)).await?;
    let mut changes = Vec::new();
    for key in &wanted.key {
        if key.note.is_empty() {
            bail!("a key needs a note: it is known by it");
        }
        if known.iter().any(|known| known.why == key.note && known.state != CredentialState::Revoked) {
            continue;
        }
        let first = streams.first().map(|stream| stream.name.clone());
        let stream = key.stream.as_deref().map(StreamName::new).or(first).context("it has no stream")?;
        let made = wanted.stream.iter().map(|stream| stream.name.as_str()).chain(streams.iter().map(|stream| stream.name.as_str()));
        if !made.into_iter().any(|name| name == stream.as_str()) {
            bail!("key {:?}: there is no stream {stream}", key.note);
        }
        let expires = key.expires.as_deref().map(time).transpose()?;
        let new = NewCredential {
            tenant: name.clone(),
            stream,
            scopes: vec![Scope::Send],
            networks: key.networks.clone(),
            expires_at: expires.map(|time| SystemClock.now().after(time)),
            note: key.note.clone(),
        };
        changes.push((format!("+ key {:?} of {name}/{}", key.note, new.stream), Change::AddKey(new)));
    }
    Ok(changes)
}

fn stream_record(desk: &Desk, wanted: &WantedStream, known: &[StreamRecord]) -> anyhow::Result<StreamRecord> {
    if !valid_name(&wanted.name) {
        bail!("a name is 1 to 64 of a-z A-Z 0-9 . _ -");
    }
    let class = wanted.class.as_deref().map(read_word).transpose().map_err(anyhow::Error::msg)?;
    let [transactional, bulk] = StreamRecord::first_two();
    let fresh = if class == Some(bulk.stream.class) { bulk } else { transactional };
    let name = StreamName::new(&wanted.name);
    let mut record = known.iter().find(|known| known.name == name).cloned().unwrap_or(StreamRecord { name, ..fresh });
    let stream = &mut record.stream;
    stream.class = class.unwrap_or(stream.class);
    if let Some(word) = &wanted.priority {
        stream.priority = read_word(word).map_err(anyhow::Error::msg)?;
    }
    if let Some(word) = &wanted.rules {
        stream.strictness = read_word(word).map_err(anyhow::Error::msg)?;
    }
    if let Some(text) = &wanted.give_up_after {
        stream.give_up_after = Some(time(text)?);
    }
    if let Some(name) = &wanted.pool {
        stream.pool = pool(desk, name)?;
    }
    if let Some(text) = &wanted.retention {
        stream.retention = retention(text)?;
    }
    let preparing = &mut stream.preparing;
    preparing.own_return_path = wanted.own_return_path.unwrap_or(preparing.own_return_path);
    preparing.one_click = wanted.one_click.unwrap_or(preparing.one_click);
    preparing.feedback_id = wanted.feedback_id.unwrap_or(preparing.feedback_id);
    if let Some(names) = &wanted.strips {
        preparing.strips = names.iter().map(|name| name.to_ascii_lowercase().into()).collect();
    }
    Ok(record)
}

fn allowance(wanted: &WantedLimits) -> anyhow::Result<Allowance> {
    let some = |number: Option<u32>| number.filter(|number| *number > 0);
    let mut allowance = Allowance::default();
    let (messages, recipients) = (&mut allowance.messages, &mut allowance.recipients);
    (messages.per_second, messages.per_hour, messages.per_day) =
        (some(wanted.messages_per_second), some(wanted.messages_per_hour), some(wanted.messages_per_day));
    (recipients.per_second, recipients.per_hour, recipients.per_day) =
        (some(wanted.recipients_per_second), some(wanted.recipients_per_hour), some(wanted.recipients_per_day));
    allowance.recipients_per_message = some(wanted.recipients_per_message);
    allowance.message_octets = wanted.message_size.filter(|octets| *octets > 0);
    if let Some(word) = &wanted.beyond {
        allowance.beyond = read_word(word).map_err(anyhow::Error::msg)?;
    }
    Ok(allowance)
}

fn time(text: &str) -> anyhow::Result<Duration> {
    parse_duration(text).map_err(|wrong| anyhow::anyhow!("{wrong}"))
}
