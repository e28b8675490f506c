//! `queue watch`: a screen that a person can leave open.
//!
//! On a terminal it paints over itself; elsewhere each look is one line. A relay that goes away is waited for.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use postrider_edge::SystemClock;
use postrider_http::wire;
use postrider_model::Timestamp;
use postrider_model::doors::Clock;
use serde::Serialize;

use super::arguments::WatchArguments;
use super::count::short;
use super::waiting;
use crate::cli::client::{Client, path_with};
use crate::shown::{Clean, json, octets, say};

/// Looks come no faster.
const EVERY_MIN: Duration = Duration::from_millis(200);

/// One look at the relay.
struct Look {
    at: Timestamp,
    status: wire::Status,
    count: wire::Count,
    shape: wire::Shape,
    sites: wire::Sites,
    suspended: wire::Suspensions,
}

/// One look, for programs.
#[derive(Debug, Serialize)]
struct Line<'a> {
    at: String,
    in_per_s: f64,
    out_per_s: f64,
    messages: u64,
    deliveries: u64,
    lent: u64,
    held: u64,
    oldest: Option<&'a str>,
    rows: &'a [wire::ShapeRow],
    suspended: &'a [wire::Suspension],
}

/// `queue watch`
pub async fn run(data: &Path, arguments: &WatchArguments) -> anyhow::Result<()> {
    let on_terminal = io::stdout().is_terminal() && !arguments.json;
    let mut ticks = tokio::time::interval(arguments.every.max(EVERY_MIN));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before: Option<Look> = None;
    let mut looks = 0;
    loop {
        ticks.tick().await;
        match look(data, arguments.rows).await {
            Ok(now) => {
                let rates = before.as_ref().map_or((0.0, 0.0), |before| rates(before, &now));
                match (arguments.json, on_terminal) {
                    (true, _) => say(json(&line(&now, rates))?)?,
                    (false, true) => paint(&screen(&now, rates))?,
                    (false, false) => say(plain(&now, rates))?,
                }
                before = Some(now);
            }
            // The first look says what is wrong; later the relay may come back.
            Err(trouble) if before.is_none() => return Err(trouble),
            Err(trouble) if on_terminal => paint(&[format!("{trouble:#}"), "waiting for it to come back".to_owned()])?,
            Err(trouble) => say(format_args!("{trouble:#}"))?,
        }
        looks += 1;
        if arguments.times == Some(looks) {
            return Ok(());
        }
    }
}

async fn look(data: &Path, rows: u32) -> anyhow::Result<Look> {
    let mut client = Client::connect(data).await?;
    Ok(Look {
        at: SystemClock.now(),
        status: client.get("/v1/status").await?,
        count: client.get("/v1/queue/count").await?,
        shape: client.get(&path_with("/v1/queue/shape", &[("max", Some(&rows.to_string()))])).await?,
        sites: client.get("/v1/sites").await?,
        suspended: client.get("/v1/suspended").await?,
    })
}

/// Messages accepted and deliveries settled in a second, between two looks. A relay that started anew counts from nothing.
fn rates(before: &Look, now: &Look) -> (f64, f64) {
    let seconds = now.at.since(before.at).as_secs_f64().max(0.001);
    let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
    let (old, new) = (&before.status.health, &now.status.health);
    (rate(old.accepted, new.accepted), rate(old.settled, new.settled))
}

fn line(now: &Look, (in_per_s, out_per_s): (f64, f64)) -> Line<'_> {
    let wire::Count { messages, deliveries, lent, held, .. } = now.count;
    Line {
        at: now.at.to_string(),
        in_per_s,
        out_per_s,
        messages,
        deliveries,
        lent,
        held,
        oldest: now.shape.oldest.as_deref(),
        rows: &now.shape.rows,
        suspended: &now.suspended.suspended,
    }
}

fn plain(now: &Look, (taken, settled): (f64, f64)) -> String {
    let wire::Count { messages, deliveries, lent, held, .. } = now.count;
    let oldest = now.shape.oldest.as_deref().unwrap_or("-");
    let top: Vec<String> =
        now.shape.rows.iter().take(5).map(|row| format!("{}={}", short(&Clean(&row.name).to_string()), row.deliveries)).collect();
    format!(
        "{} in={taken:.1}/s out={settled:.1}/s messages={messages} deliveries={deliveries} lent={lent} held={held} oldest={oldest} top: {}",
        now.at,
        top.join(" ")
    )
}

fn screen(now: &Look, (taken, settled): (f64, f64)) -> Vec<String> {
    let (status, health, count) = (&now.status, &now.status.health, &now.count);
    let mut lines = vec![
        format!("postrider {} as {}   {}   (Ctrl-C ends)", status.version, Clean(&status.host_name), now.at),
        String::new(),
        format!("in     {taken:>10.1} messages/s    {:>12} since the start", health.accepted),
        format!("out    {settled:>10.1} outcomes/s    {:>12} since the start", health.settled),
        format!("queue  {:>10} messages, {} deliveries, {} under way, {} held", count.messages, count.deliveries, count.lent, count.held),
        format!("oldest {}", now.shape.oldest.as_deref().unwrap_or("-")),
        format!("disk   {} in {} segments ({} free)", octets(health.disk_octets), health.segments, health.segments_free),
    ];
    if health.full {
        lines.push("ALARM  the disk is full: new mail is answered 452".to_owned());
    }
    if let Some(why) = &health.poisoned {
        lines.push(format!("ALARM  the log is poisoned ({}): nothing is taken or sent until a restart", Clean(why)));
    }
    for suspension in &now.suspended.suspended {
        let until = suspension.until.as_deref().unwrap_or("it is resumed");
        lines.push(format!(
            "SUSPENDED  {} {} until {until}{}",
            suspension.kind,
            Clean(&suspension.name),
            super::because(&suspension.reason)
        ));
    }
    lines.push(String::new());
    lines.push(format!("{:>10} {:>11}  NEXT HOP", "DELIVERIES", "CONNECTIONS"));
    for row in &now.shape.rows {
        let site = now.sites.sites.iter().find(|site| site.site == row.name);
        let connections = site.map(|site| format!("{}/{}", site.connections, site.window)).unwrap_or_default();
        lines.push(format!("{:>10} {connections:>11}  {}", row.deliveries, short(&Clean(&row.name).to_string())));
        if let Some(held) = site.and_then(|site| site.held.as_ref()) {
            lines.push(format!("{:>24} {}", "", waiting(held)));
        }
    }
    lines
}

/// Paints over what was there: from the top, each line to its end, and nothing below.
fn paint(lines: &[String]) -> io::Result<()> {
    let mut text = String::from("\u{1b}[H");
    for line in lines {
        text.push_str(line);
        text.push_str("\u{1b}[K\r\n");
    }
    text.push_str("\u{1b}[J");
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
