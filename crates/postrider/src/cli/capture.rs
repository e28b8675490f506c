//! `capture`: the mail that `serve --capture` keeps.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::bail;
use postrider_http::wire;
use serde::Serialize;

use super::arguments::{CaptureArguments, CaptureCommand, CaptureListArguments};
use super::client::{Client, path_with, segment};
use crate::shown::{Clean, deceives, json, octets, say};

/// Octets of a header in which the subject is looked for.
const HEADER_OCTETS: usize = 64 * 1024;

/// `capture`
pub async fn run(data: &Path, arguments: &CaptureArguments) -> anyhow::Result<()> {
    let mut client = Client::connect(data).await?;
    let status: wire::Status = client.get("/v1/status").await?;
    if status.mode != "capture" {
        bail!(
            "this relay delivers its mail; `postrider queue` shows what waits. To keep mail instead, start it with: postrider serve --capture"
        );
    }
    match &arguments.command {
        CaptureCommand::List(list) => list_messages(&mut client, list).await,
        CaptureCommand::Read { id } => read(&mut client, id).await,
    }
}

/// A captured message in a list.
#[derive(Debug, Serialize)]
struct Captured {
    id: String,
    arrived_at: String,
    from: String,
    to: Vec<String>,
    subject: String,
    content_octets: u64,
}

async fn list_messages(client: &mut Client, arguments: &CaptureListArguments) -> anyhow::Result<()> {
    let mut after: Option<String> = None;
    let mut last = String::new();
    let mut printed = 0;
    'pages: loop {
        let page: wire::QueuePage = client.get(&path_with("/v1/queue", &[("after", after.as_deref())])).await?;
        for delivery in &page.deliveries {
            let id = delivery.id.split('/').next().unwrap_or_default();
            if id == last {
                continue;
            }
            if printed == arguments.max as usize {
                break 'pages;
            }
            last = id.to_owned();
            // It may have gone in the meantime, as everything in a queue may.
            if let Some(captured) = look(client, id).await? {
                print(&captured, arguments.json)?;
                printed += 1;
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if printed == 0 && !arguments.json {
        say("no mail was captured yet")?;
    }
    Ok(())
}

async fn look(client: &mut Client, id: &str) -> anyhow::Result<Option<Captured>> {
    let Ok(message) = client.get::<wire::Message>(&format!("/v1/queue/{}", segment(id))).await else {
        return Ok(None);
    };
    let mut head = Vec::new();
    client
        .stream(&format!("/v1/message/{}/content", segment(id)), |chunk| {
            let room = HEADER_OCTETS - head.len();
            head.extend_from_slice(&chunk[..chunk.len().min(room)]);
            Ok(true)
        })
        .await?;
    let to = message.deliveries.iter().map(|recipient| recipient.to.clone()).collect();
    let (arrived_at, from, content_octets) = (message.arrived_at, message.from, message.content_octets);
    Ok(Some(Captured { id: message.id, arrived_at, from, to, subject: subject(&head), content_octets }))
}

fn print(captured: &Captured, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return Ok(say(json(captured)?)?);
    }
    let to = match captured.to.as_slice() {
        [] => String::new(),
        [one] => format!("<{one}>"),
        [first, rest @ ..] => format!("<{first}> and {} more", rest.len()),
    };
    Ok(say(format_args!(
        "{}  {}  {} -> {}  {}  {}",
        captured.id,
        captured.arrived_at,
        Clean(&captured.from),
        Clean(&to),
        octets(captured.content_octets),
        Clean(&captured.subject)
    ))?)
}

async fn read(client: &mut Client, id: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let terminal = out.is_terminal();
    client
        .stream(&format!("/v1/message/{}/content", segment(id)), |chunk| {
            if terminal {
                out.write_all(for_terminal(chunk).as_bytes())?
            } else {
                out.write_all(chunk)?
            }
            Ok(true)
        })
        .await?;
    Ok(out.flush()?)
}

/// A content cannot steer the terminal it is shown on; a file or a pipe gets the octets as they are.
fn for_terminal(chunk: &[u8]) -> String {
    let text = String::from_utf8_lossy(chunk);
    let shown = text.chars().filter(|letter| *letter != '\r');
    shown.map(|letter| if deceives(letter) && !matches!(letter, '\n' | '\t') { '\u{fffd}' } else { letter }).collect()
}

/// The subject as it stands in a header, unfolded.
fn subject(head: &[u8]) -> String {
    let text = String::from_utf8_lossy(head);
    let mut found: Option<String> = None;
    for line in text.lines().take_while(|line| !line.is_empty()) {
        match &mut found {
            Some(subject) if line.starts_with([' ', '\t']) => subject.push_str(line),
            Some(_) => break,
            None if line.get(..8).is_some_and(|name| name.eq_ignore_ascii_case("subject:")) => {
                found = Some(line[8..].trim_start().to_owned())
            }
            None => {}
        }
    }
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_subject_is_found_and_a_terminal_is_safe() {
        for (head, subject) in [
            ("From: a\r\nSubject: one\r\n two\r\nTo: b\r\n\r\nSubject: three", "one two"),
            ("SUBJECT:x\r\n\r\n", "x"),
            ("From: a\r\n\r\nSubject: three", ""),
            ("", ""),
        ] {
            assert_eq!(super::subject(head.as_bytes()), subject, "{head:?}");
        }
        assert_eq!(super::for_terminal(b"a\r\n\x1b[2J\xff\tb"), "a\n\u{fffd}[2J\u{fffd}\tb");
    }
}
