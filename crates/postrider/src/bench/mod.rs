//! `postrider bench`: measures an SMTP relay from outside, over real SMTP on loopback.
//!
//! Promises: one load generator, sinks and a DNS server of its own that cost little (see `--direct`); the same work for every relay; costs that
//! are the relay's alone; no message uncounted: what is lost or doubled is in the report, and a loss is an error.
//!
//! Never: sends beyond 127.0.0.0/8, or stops a process that it did not start.
//!
//! Does badly: generator and sinks share the machine with the relay, so on two cores they take a part of what the relay could use; the part is
//! reported as the bench's own CPU.

mod arguments;
mod content;
mod dns;
mod generator;
mod idle_sessions;
mod ledger;
mod load;
mod measure;
mod postfix;
mod queue;
pub mod relay;
mod report;
mod scan;
mod sink;
mod tls;
pub mod world;

use std::io::Write as _;
use std::time::Duration;

use anyhow::bail;

pub use arguments::BenchArguments;
use arguments::Rival;
use load::Case;
use postfix::Postfix;
use relay::{External, RelayUnderTest};
use report::{Report, Row};
use sink::Personality;

/// Runs the bench; `own` is what `--start` starts.
///
/// # Errors
/// When the arguments contradict, a part fails, or acknowledged mail was lost.
pub fn run_with(arguments: BenchArguments, own: Option<&dyn RelayUnderTest>) -> anyhow::Result<()> {
    raise_file_limit();
    let external = arguments.relay.map(|address| External { address, pid: arguments.pid });
    let subject: Option<&dyn RelayUnderTest> = match (&external, arguments.start) {
        (Some(external), _) => Some(external),
        (None, true) => own,
        (None, false) => None,
    };
    let rival = arguments
        .against
        .map(|Rival::Postfix| Postfix { log: !arguments.postfix_without_log, settings: arguments.postfix_setting.clone() });
    if arguments.start && own.is_none() {
        bail!("this build cannot start a relay of its own; start one and give --relay and --pid");
    }
    let relays: Vec<&dyn RelayUnderTest> = subject.into_iter().chain(rival.as_ref().map(|rival| rival as _)).collect();
    let rows = match relays[..] {
        [] if arguments.direct => direct(&arguments)?,
        [] => bail!("say what to measure: --start, --relay HOST:PORT, --against postfix, or --direct"),
        _ => in_turn(&arguments, &relays)?,
    };
    let report = Report::new(arguments.in_words(), rows);
    let mut out = std::io::stdout().lock();
    if arguments.json {
        report.write_json(&mut out)?
    } else {
        report.write_table(&mut out)?
    }
    out.flush()?;
    if report.lost() > 0.0 {
        bail!("{} acknowledged messages did not arrive", report.lost());
    }
    Ok(())
}

fn direct(arguments: &BenchArguments) -> anyhow::Result<Vec<Row>> {
    (1..=arguments.runs).map(|run| load::run_direct(&arguments.case(run))).collect()
}

/// Each run through every relay before the next, so that what changes on the machine meanwhile meets them all.
fn in_turn(arguments: &BenchArguments, relays: &[&dyn RelayUnderTest]) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for run in 1..=arguments.runs {
        for relay in relays {
            let case = arguments.case(run);
            if let Some(sessions) = arguments.idle_sessions {
                rows.push(idle_sessions::run(&case, *relay, sessions, arguments.tls)?);
            } else if let Some(messages) = arguments.queue {
                rows.push(queue::run(&case, *relay, messages, Duration::from_secs(arguments.queue_wait))?);
            } else if let Some(seconds) = arguments.tarpit {
                rows.extend(tarpit(&case, *relay, Duration::from_secs(seconds))?);
            } else {
                rows.push(load::run_relay(&case, *relay)?);
            }
        }
    }
    Ok(rows)
}

/// The same work twice: with one destination that is late, and without. The figures are those of the other destinations, both times.
fn tarpit(case: &Case, relay: &dyn RelayUnderTest, delay: Duration) -> anyhow::Result<[Row; 2]> {
    let variant = |last_sink, words| {
        let name = Some(format!("{}, {words}", relay.name()));
        load::run_relay(&Case { name, last_sink, ..case.clone() }, relay)
    };
    Ok([variant(Some(Personality::Tarpit(delay)), "one late")?, variant(None, "all well")?])
}

/// Thousands of sessions need as many file descriptors; where the limit cannot be raised, opening them says so.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Some(200_000);
    if setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: limit.maximum.max(wanted) }).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}
