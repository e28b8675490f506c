//! A large queue: many messages for many domains that are down, then a crash and a cold start.
//!
//! Order: acceptance into an empty queue is timed; the queue is filled; the bench waits until each delivery failed once (where sinks answer 450: by
//! the relay's own count of outcomes; where they are down, mail behind a resting Site is not attempted one by one, so until the relay comes to
//! rest); memory is read; acceptance into the full queue is timed; the relay is killed, the page cache
//! dropped, the sinks come up, and the relay's start is timed to its first 220 and its first connection to a sink.
//!
//! Does badly: the page cache is the whole machine's, and only root may drop it; without that the restart is reported as warm.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::dns::DnsServer;
use super::generator::{Refusals, generate};
use super::ledger::{Ledger, Watch};
use super::load::{Case, MEGABYTE, RunDir, counts, pause};
use super::measure;
use super::relay::{RelayUnderTest, RunningRelay};
use super::report::Row;
use super::sink::{Personality, Sinks};

/// Messages over which acceptance is timed, at either end.
const TIMED_MAX: usize = 20_000;

/// How often the relay is asked how far it is.
const ASK: Duration = Duration::from_secs(1);

/// At rest: less than this part of a core for so many asks in a row.
const REST_CPU_SECONDS: f64 = 0.05;
const REST_ASKS: u32 = 5;

/// The wait for the first attempt after the restart.
const ATTEMPT_WAIT: Duration = Duration::from_secs(120);
const ATTEMPT_LOOK: Duration = Duration::from_millis(5);

/// Queues `messages` messages with a relay and measures.
///
/// # Errors
/// When the relay does not start, does not take the mail, or does not come back.
pub fn run(case: &Case, relay: &dyn RelayUnderTest, messages: usize, wait: Duration) -> anyhow::Result<Row> {
    let dir = RunDir::new(&case.work_dir, &format!("queue-{}", case.run))?;
    let dns = DnsServer::start(case.plan.world.clone(), case.dns_port)?;
    let plan = case.start_plan(dir.path(), &dns);
    let mut row = Row::new(relay.name(), case.run);
    let running = relay.start(&plan).with_context(|| format!("{} did not start", relay.name()))?;
    if let Err(error) = fill(case, &*running, messages, wait, &mut row) {
        // The failure to fill is the one to report.
        let _ = running.stop();
        return Err(error);
    }
    if running.kill().is_err() {
        return Ok(row);
    }
    row.set("restart_cold", if drop_page_cache().is_ok() { 1.0 } else { 0.0 });
    let ledger = Arc::new(Ledger::new(case.run, 0, 1, 0));
    let sinks = Sinks::start(&case.plan.world, |_| Personality::Normal, &ledger, case.sink_threads)?;
    let watch = Watch::start();
    let offset_ns = ledger.watch.now_ns();
    let running = relay.start(&plan).with_context(|| format!("{} did not come back", relay.name()))?;
    row.set("restart_220_ms", watch.now_ns() as f64 / 1e6);
    while ledger.first_attempt_ns().is_none() && watch.now_ns() < ATTEMPT_WAIT.as_nanos() as u64 {
        pause(ATTEMPT_LOOK);
    }
    row.set("restart_attempt_ms", ledger.first_attempt_ns().map(|at_ns| at_ns.saturating_sub(offset_ns) as f64 / 1e6));
    let stopped = running.stop();
    sinks.stop();
    stopped.with_context(|| format!("{} did not stop", relay.name()))?;
    Ok(row)
}

fn fill(case: &Case, running: &dyn RunningRelay, messages: usize, wait: Duration, row: &mut Row) -> anyhow::Result<()> {
    let mut plan = case.plan.clone();
    plan.targets = vec![running.address()];
    let timed = TIMED_MAX.min(messages / 5).max(1);
    let ledger = Arc::new(Ledger::new(case.run, messages + timed, plan.recipients as u32, case.octets as u64));
    let refusals = Arc::new(Refusals::default());
    let send = |from: usize, until: usize| generate(&plan, case.octets, &ledger, from, until, &refusals);
    let rate = |from: usize, until: usize| {
        let tally = ledger.tally(from, |message| message < until);
        tally.accepted as f64 / (tally.last_accepted_ns.saturating_sub(tally.first_ns) as f64 / 1e9)
    };
    if let Some(pid) = running.pid() {
        row.set("relay_rss_before_mb", measure::usage(pid)?.resident_bytes as f64 / MEGABYTE);
    }
    // Those that are down do not listen.
    let sinks = Sinks::start(&case.plan.world, |_| case.personality, &ledger, case.sink_threads)?;
    send(0, timed)?;
    row.set("accepted_empty_per_s", rate(0, timed));
    send(timed, messages)?;
    row.set("accepted_per_s", rate(0, messages));
    let watch = Watch::start();
    let outcomes = (case.personality == Personality::Tempfail).then_some((messages * plan.recipients) as u64);
    await_first_failures(running, outcomes, wait)?;
    row.set("queue_failed_once_s", watch.now_ns() as f64 / 1e9);
    row.set("queued", counts(Some(running))?.queued.map(|queued| queued as f64));
    if let Some(pid) = running.pid() {
        let usage = measure::usage(pid)?;
        row.set("relay_rss_mb", usage.resident_bytes as f64 / MEGABYTE);
        row.set("relay_rss_peak_mb", (usage.processes == 1).then_some(usage.peak_bytes as f64 / MEGABYTE));
    }
    send(messages, messages + timed)?;
    row.set("accepted_full_per_s", rate(messages, messages + timed));
    row.set("accepted", ledger.accepted_count() as f64);
    sinks.stop();
    Ok(())
}

/// Waits until each delivery failed once: by the relay's count of so many outcomes, or by its rest.
fn await_first_failures(running: &dyn RunningRelay, outcomes: Option<u64>, wait: Duration) -> anyhow::Result<()> {
    let watch = Watch::start();
    let mut at_rest = 0;
    let mut cpu_before = f64::MAX;
    while watch.now_ns() < wait.as_nanos() as u64 && at_rest < REST_ASKS {
        let settled = counts(Some(running))?.settled;
        match (settled.zip(outcomes), running.pid()) {
            (Some((settled, outcomes)), _) if settled >= outcomes => return Ok(()),
            (Some(_), _) => {}
            (None, Some(pid)) => {
                let cpu = measure::usage(pid)?.cpu_seconds;
                at_rest = if cpu - cpu_before < REST_CPU_SECONDS && cpu_before < f64::MAX { at_rest + 1 } else { 0 };
                cpu_before = cpu;
            }
            (None, None) => return Ok(()),
        }
        pause(ASK);
    }
    Ok(())
}

/// Writes what is dirty, and drops what is cached (proc_sys_vm(5), drop_caches).
fn drop_page_cache() -> std::io::Result<()> {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3")
}
