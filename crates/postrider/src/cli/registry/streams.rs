//! `stream`

use std::time::Duration;

use anyhow::bail;
use postrider_model::{StreamName, TenantName};
use postrider_records::{StreamRecord, Worded};
use serde::Serialize;

use super::Desk;
use super::arguments::{StreamCommand, StreamSetArguments};
use crate::config::parse_duration;
use crate::shown::{json, say};

/// A stream as it is shown.
#[derive(Debug, Serialize)]
pub struct StreamView {
    name: String,
    class: &'static str,
    priority: &'static str,
    give_up_after_s: Option<u64>,
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

fn duration(text: &str) -> anyhow::Result<Option<Duration>> {
    if text.is_empty() {
        return Ok(None);
    }
    parse_duration(text).map(Some).map_err(|wrong| anyhow::anyhow!("{wrong}"))
}
