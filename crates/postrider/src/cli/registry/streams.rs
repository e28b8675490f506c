//! `stream`

use std::time::Duration;

use anyhow::bail;
use postrider_model::{StreamName, TenantName};
use postrider_records::{StreamRecord, Worded};
use serde::Serialize;

use super::Desk;
use super::arguments::{StreamCommand, StreamSetArguments};
use crate::config::{RETENTION_MAX, RETENTION_MIN, parse_duration};
use crate::shown::{json, say};

/// A stream as it is shown.
#[derive(Debug, Serialize)]
pub struct StreamView {
    name: String,
    class: &'static str,
    priority: &'static str,
    give_up_after_s: Option<u64>,
    pool: Option<String>,
    retention_s: Option<u64>,
    own_return_path: bool,
    one_click: bool,
    feedback_id: bool,
    strips: Vec<String>,
    rules: &'static str,
}

/// How a stream is shown.
pub fn of_stream(record: &StreamRecord) -> StreamView {
    let stream = &record.stream;
    StreamView {
        name: record.name.to_string(),
        class: stream.class.word(),
        priority: stream.priority.word(),
        give_up_after_s: stream.give_up_after.map(|time| time.as_secs()),
        pool: stream.pool.as_deref().map(str::to_owned),
        retention_s: stream.retention.map(|time| time.as_secs()),
        own_return_path: stream.preparing.own_return_path,
        one_click: stream.preparing.one_click,
        feedback_id: stream.preparing.feedback_id,
        strips: stream.preparing.strips.iter().map(|name| name.to_string()).collect(),
        rules: stream.strictness.word(),
    }
}

impl StreamView {
    /// On one line.
    pub fn line(&self) -> String {
        let mut parts = vec![format!("{}, priority {}", self.class, self.priority)];
        parts.extend(self.give_up_after_s.map(|seconds| format!("given up after {seconds} s")));
        parts.extend(self.pool.iter().map(|pool| format!("sent by the pool {pool}")));
        parts.extend(self.retention_s.map(|seconds| format!("kept for {}", in_words(seconds))));
        let on = [(self.own_return_path, "own return path"), (self.one_click, "one-click unsubscribe"), (self.feedback_id, "Feedback-ID")];
        parts.extend(on.into_iter().filter(|(on, _)| *on).map(|(_, what)| what.to_owned()));
        if !self.strips.is_empty() {
            parts.push(format!("strips {}", self.strips.join(" ")));
        }
        parts.push(format!("rules {}", self.rules));
        format!("{}: {}", self.name, parts.join(", "))
    }
}

pub async fn run(desk: &Desk, command: StreamCommand) -> anyhow::Result<()> {
    match command {
        StreamCommand::Set(wanted) => set(desk, &wanted).await,
        StreamCommand::List { tenant, json: as_json } => {
            for stream in desk.book.streams(&TenantName::new(&tenant)).await?.iter().map(of_stream) {
                match as_json {
                    true => say(json(&stream)?)?,
                    false => say(stream.line())?,
                }
            }
            Ok(())
        }
        StreamCommand::Remove { tenant, name } => {
            desk.book.remove_stream(&TenantName::new(&tenant), &StreamName::new(&name)).await?;
            Ok(say(format_args!("stream {name} of {tenant} removed"))?)
        }
    }
}

async fn set(desk: &Desk, wanted: &StreamSetArguments) -> anyhow::Result<()> {
    let tenant = desk.tenant(Some(&wanted.tenant)).await?;
    let name = StreamName::new(&wanted.name);
    let known = desk.book.stream(&tenant, &name).await?;
    // A new one begins as the first two do, by its class.
    let [transactional, bulk] = StreamRecord::first_two();
    let fresh = if wanted.class.is_some_and(|class| class == bulk.stream.class) { bulk } else { transactional };
    let mut record = known.unwrap_or(StreamRecord { name, ..fresh });
    let stream = &mut record.stream;
    let preparing = &mut stream.preparing;
    (stream.class, stream.priority) = (wanted.class.unwrap_or(stream.class), wanted.priority.unwrap_or(stream.priority));
    stream.strictness = wanted.rules.unwrap_or(stream.strictness);
    preparing.own_return_path = wanted.own_return_path.unwrap_or(preparing.own_return_path);
    preparing.one_click = wanted.one_click.unwrap_or(preparing.one_click);
    preparing.feedback_id = wanted.feedback_id.unwrap_or(preparing.feedback_id);
    if let Some(time) = &wanted.give_up_after {
        stream.give_up_after = duration(time)?;
    }
    if let Some(name) = &wanted.pool {
        stream.pool = pool(desk, name)?;
    }
    if let Some(time) = &wanted.retention {
        stream.retention = retention(time)?;
    }
    if let Some(names) = &wanted.strip {
        let plain = |name: &str| name.bytes().all(|octet| matches!(octet, 33..=57 | 59..=126)) && name.len() <= 64;
        if let Some(wrong) = names.iter().find(|name| !plain(name)) {
            bail!("{wrong:?} is not the beginning of a field's name, such as X-Internal-");
        }
        stream.preparing.strips = names.iter().filter(|name| !name.is_empty()).map(|name| name.to_ascii_lowercase().into()).collect();
    }
    desk.book.put_stream(&tenant, &record).await?;
    Ok(say(format_args!("{tenant} {}", of_stream(&record).line()))?)
}

/// A pool that the configuration has; `''` is none.
pub fn pool(desk: &Desk, name: &str) -> anyhow::Result<Option<Box<str>>> {
    let pools = &desk.config.snapshot.routing.pools;
    if name.is_empty() {
        return Ok(None);
    }
    if !pools.contains_key(name) {
        let known: Vec<&str> = pools.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        bail!("the configuration has no [[pool]] of the name {name:?}; {known}. Add it, reload, and say this again");
    }
    Ok(Some(name.into()))
}

/// How long mail stays; `''` is not at all.
pub fn retention(text: &str) -> anyhow::Result<Option<Duration>> {
    let time = duration(text)?;
    if time.is_some_and(|time| time < RETENTION_MIN || time > RETENTION_MAX) {
        bail!("a retention is from 1m to 400d, as in 72h or 30d; '' is not at all");
    }
    Ok(time)
}

/// `72 h` or `90 s`.
fn in_words(seconds: u64) -> String {
    if seconds.is_multiple_of(3_600) { format!("{} h", seconds / 3_600) } else { format!("{seconds} s") }
}

fn duration(text: &str) -> anyhow::Result<Option<Duration>> {
    if text.is_empty() {
        return Ok(None);
    }
    parse_duration(text).map(Some).map_err(|wrong| anyhow::anyhow!("{wrong}"))
}
