//! One run under load: sinks, DNS, the relay, the generator, and what they came to.
//!
//! Promises: the relay is stopped and its directory removed whatever the run came to. Costs are taken from just before the first MAIL to after
//! the last arrival; the warm-up before it is not counted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;

use super::dns::DnsServer;
use super::generator::{LoadPlan, Refusals, generate};
use super::ledger::{Ledger, Tally};
use super::measure::{self, Usage, percentile};
use super::relay::{RelayCounts, RelayUnderTest, RunningRelay, StartPlan};
use super::report::Row;
use super::sink::{Personality, Sinks};

/// How often the relay's memory is looked at, and arrivals while the bench waits for the last.
const LOOK: Duration = Duration::from_millis(50);

/// The wait after the last arrival for what a relay does behind it, before costs are taken.
const SETTLE: Duration = Duration::from_millis(300);

/// One octet-count a person knows.
pub const MEGABYTE: f64 = 1_000_000.0;

/// The work of one run.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name in the report; `None` takes the relay's.
    pub name: Option<String>,
    /// Which run, from 1.
    pub run: u16,
    /// What to send.
    pub plan: LoadPlan,
    /// Messages that count.
    pub messages: usize,
    /// Messages before them that do not.
    pub warmup: usize,
    /// Octets of a message.
    pub octets: usize,
    /// Octets of a message of the warm-up.
    pub warmup_octets: usize,
    /// Whether the relay signs.
    pub signed: bool,
    /// Whether its stream asks for all that can be done, and judges.
    pub prepared: bool,
    /// All sinks' behaviour.
    pub personality: Personality,
    /// Another behaviour of the last sink.
    pub last_sink: Option<Personality>,
    /// Whether messages to the last sink are left out of the figures.
    pub without_last_sink: bool,
    /// Give up on arrivals after this long without one.
    pub patience: Duration,
    /// Connections out that the relay may hold.
    pub connections_out: usize,
    /// Threads of the sinks.
    pub sink_threads: usize,
    /// The port of the DNS server.
    pub dns_port: u16,
    /// Where run directories are made.
    pub work_dir: PathBuf,
}

impl Case {
    /// The behaviour of a sink.
    pub fn personality_of(&self, sink: usize) -> Personality {
        match self.last_sink {
            Some(personality) if sink + 1 == self.plan.world.sinks => personality,
            _ => self.personality,
        }
    }

    /// Whether a message counts.
    fn counts(&self, message: usize) -> bool {
        let world = &self.plan.world;
        !self.without_last_sink
            || (0..self.plan.recipients).all(|recipient| world.sink_of_domain(world.domain_of(message, recipient)) + 1 != world.sinks)
    }

    /// Whether the mail can arrive at all.
    fn arrives(&self) -> bool {
        matches!(self.personality, Personality::Normal | Personality::Tarpit(_))
    }

    /// What the relay is told.
    pub fn start_plan(&self, dir: PathBuf, dns: &DnsServer) -> StartPlan {
        StartPlan {
            dir,
            dns: dns.address(),
            world: self.plan.world.clone(),
            sessions: self.plan.sessions,
            connections_out: self.connections_out,
            message_bytes_max: self.octets as u64 + 65_536,
            tls: self.plan.tls,
            login: self.plan.login.is_some(),
            signed: self.signed,
            prepared: self.prepared,
        }
    }

    /// The book of this run.
    pub fn ledger(&self) -> Arc<Ledger> {
        let messages = self.warmup + self.messages;
        Arc::new(Ledger::new(self.run, messages, self.plan.recipients as u32, self.octets.min(self.warmup_octets) as u64))
    }
}

/// A directory of one run, removed when this is dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes `work_dir/name-PID`.
    ///
    /// # Errors
    /// When it cannot be made, or is there already.
    pub fn new(work_dir: &Path, name: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(work_dir).with_context(|| format!("cannot make {}", work_dir.display()))?;
        let path = work_dir.join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // What cannot be removed is left for the person; the run's figures stand.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Runs the case against a relay.
///
/// # Errors
/// When the relay, a sink or the generator fails.
pub fn run_relay(case: &Case, relay: &dyn RelayUnderTest) -> anyhow::Result<Row> {
    let dir = RunDir::new(&case.work_dir, &format!("run-{}", case.run))?;
    let dns = DnsServer::start(case.plan.world.clone(), case.dns_port)?;
    let ledger = case.ledger();
    let sinks = Sinks::start(&case.plan.world, |sink| case.personality_of(sink), &ledger, case.sink_threads)?;
    let running = relay.start(&case.start_plan(dir.path(), &dns)).with_context(|| format!("{} did not start", relay.name()))?;
    let mut case = case.clone();
    case.plan.targets = vec![running.address()];
    let name = case.name.clone().unwrap_or_else(|| relay.name());
    let row = measured(&case, Some(&*running), &ledger, name);
    let stopped = running.stop();
    sinks.stop();
    let row = row?;
    stopped.with_context(|| format!("{} did not stop", relay.name()))?;
    Ok(row)
}

/// Runs the case straight to the sinks: the floor of the tools.
///
/// # Errors
/// When a sink or the generator fails.
pub fn run_direct(case: &Case) -> anyhow::Result<Row> {
    let ledger = case.ledger();
    let sinks = Sinks::start(&case.plan.world, |sink| case.personality_of(sink), &ledger, case.sink_threads)?;
    let mut case = case.clone();
    case.plan.targets = (0..case.plan.world.sinks).map(|sink| case.plan.world.sink_address(sink)).collect();
    let row = measured(&case, None, &ledger, "direct".into());
    sinks.stop();
    row
}

/// What was read before and after.
struct Meter<'a> {
    running: Option<&'a dyn RunningRelay>,
    before: Option<Usage>,
    counts_before: RelayCounts,
    bench_before: Usage,
    peak_bytes: u64,
}

impl<'a> Meter<'a> {
    fn start(running: Option<&'a dyn RunningRelay>) -> anyhow::Result<Self> {
        let pid = running.and_then(RunningRelay::pid);
        if let Some(pid) = pid {
            // Where the kernel refuses, the peak is that since the relay's start.
            let _ = measure::reset_peak(pid);
        }
        let before = pid.map(measure::usage).transpose()?;
        Ok(Self {
            running,
            before,
            counts_before: counts(running)?,
            bench_before: own_usage()?,
            peak_bytes: before.map_or(0, |usage| usage.resident_bytes),
        })
    }

    fn look(&mut self) {
        if let (Some(pid), Some(1)) = (self.running.and_then(RunningRelay::pid), self.before.map(|usage| usage.processes)) {
            self.peak_bytes = self.peak_bytes.max(measure::memory(pid).resident_bytes);
        }
    }

    fn finish(self, row: &mut Row, messages: u64) -> anyhow::Result<()> {
        let messages = messages.max(1) as f64;
        let bench = own_usage()?.cpu_seconds - self.bench_before.cpu_seconds;
        row.set("bench_cpu_s_per_1000", bench / messages * 1000.0);
        let after_counts = counts(self.running)?;
        if let (Some(before), Some(after)) = (self.counts_before.fsyncs, after_counts.fsyncs) {
            row.set("fsyncs_per_message", after.saturating_sub(before) as f64 / messages);
        }
        let (Some(pid), Some(before)) = (self.running.and_then(RunningRelay::pid), self.before) else { return Ok(()) };
        let after = measure::usage(pid)?;
        row.set("relay_cpu_s_per_1000", (after.cpu_seconds - before.cpu_seconds) / messages * 1000.0);
        row.set("relay_rss_before_mb", before.resident_bytes as f64 / MEGABYTE);
        row.set("relay_rss_mb", after.resident_bytes as f64 / MEGABYTE);
        row.set("relay_processes", after.processes as f64);
        // Only of one process the kernel keeps a true peak; of many it is what was seen at either end.
        let mut peak = self.peak_bytes.max(after.resident_bytes);
        if after.processes == 1 {
            peak = peak.max(after.peak_bytes);
        }
        row.set("relay_rss_peak_mb", peak as f64 / MEGABYTE);
        row.set("relay_rss_more_mb", (peak as f64 - before.resident_bytes as f64) / MEGABYTE);
        if let (Some(before), Some(after), 1) = (before.written_bytes, after.written_bytes, after.processes) {
            row.set("written_bytes_per_message", after.saturating_sub(before) as f64 / messages);
        }
        Ok(())
    }
}

fn own_usage() -> anyhow::Result<Usage> {
    // A relay that the bench started is a child of this process, and must not count here.
    measure::usage_alone(std::process::id())
}

/// What the relay tells about itself, or nothing.
pub fn counts(running: Option<&dyn RunningRelay>) -> anyhow::Result<RelayCounts> {
    Ok(running.and_then(|running| running.probe()).map(|probe| probe.counts()).transpose()?.unwrap_or_default())
}

fn measured(case: &Case, running: Option<&dyn RunningRelay>, ledger: &Arc<Ledger>, name: String) -> anyhow::Result<Row> {
    let refusals = Arc::new(Refusals::default());
    if case.warmup > 0 {
        generate(&case.plan, case.warmup_octets, ledger, 0, case.warmup, &refusals)?;
        await_arrivals(case, ledger, |_| {});
    }
    let mut meter = Meter::start(running)?;
    let (done, ended) = mpsc::channel();
    let generator = {
        let (case, ledger, refusals) = (case.clone(), Arc::clone(ledger), Arc::clone(&refusals));
        std::thread::Builder::new().name("bench-plan".into()).spawn(move || {
            let end = case.warmup + case.messages;
            let outcome = generate(&case.plan, case.octets, &ledger, case.warmup, end, &refusals);
            // The receiver lives as long as this run.
            let _ = done.send(outcome);
        })?
    };
    loop {
        match ended.recv_timeout(LOOK) {
            Ok(outcome) => break outcome?,
            Err(mpsc::RecvTimeoutError::Timeout) => meter.look(),
            Err(mpsc::RecvTimeoutError::Disconnected) => anyhow::bail!("the generator panicked"),
        }
    }
    let _ = generator.join();
    if case.arrives() {
        await_arrivals(case, ledger, |()| meter.look());
        pause(SETTLE);
    }
    let tally = ledger.tally(case.warmup, |message| case.counts(message));
    let mut row = Row::new(name, case.run);
    let all = if case.without_last_sink { ledger.accepted_count().saturating_sub(case.warmup as u64) } else { tally.accepted };
    meter.finish(&mut row, all)?;
    fill(&mut row, &tally, case);
    row.set("refused_transient", refusals.transient.load(Ordering::Relaxed) as f64);
    row.set("refused_permanent", refusals.permanent.load(Ordering::Relaxed) as f64);
    row.set("sessions_broken", refusals.broken.load(Ordering::Relaxed) as f64);
    Ok(row)
}

fn fill(row: &mut Row, tally: &Tally, case: &Case) {
    let rate = |until_ns: u64| tally.accepted as f64 / (until_ns.saturating_sub(tally.first_ns) as f64 / 1e9);
    let milliseconds = |times: &[u32], percent| percentile(times, percent).map(|us| f64::from(us) / 1000.0);
    row.set("accepted", tally.accepted as f64);
    if tally.accepted == 0 {
        return;
    }
    row.set("accepted_per_s", rate(tally.last_accepted_ns));
    row.set("reply_p50_ms", milliseconds(&tally.reply_us, 50.0));
    row.set("reply_p99_ms", milliseconds(&tally.reply_us, 99.0));
    if !case.arrives() {
        return;
    }
    row.set("delivered_per_s", rate(tally.last_arrived_ns));
    row.set("arrival_p50_ms", milliseconds(&tally.arrival_us, 50.0));
    row.set("arrival_p99_ms", milliseconds(&tally.arrival_us, 99.0));
    row.set("lost", tally.lost as f64);
    row.set("duplicates", tally.duplicates as f64);
    row.set("truncated", tally.truncated as f64);
    row.set("strays", tally.strays as f64);
    row.set("unacknowledged", tally.unacknowledged as f64);
}

/// Waits until every message that counts has arrived, or nothing arrived for the case's patience.
fn await_arrivals(case: &Case, ledger: &Ledger, mut look: impl FnMut(())) {
    let mut seen = 0;
    let mut quiet = Duration::ZERO;
    while quiet < case.patience {
        let complete = ledger.complete_count();
        if complete >= ledger.accepted_count() || (case.without_last_sink && ledger.none_missing(|message| case.counts(message))) {
            return;
        }
        quiet = if complete == seen { quiet + LOOK } else { Duration::ZERO };
        seen = complete;
        look(());
        pause(LOOK);
    }
}

/// Lets real time pass: this thread has nothing to do meanwhile.
#[expect(clippy::disallowed_methods, reason = "the bench watches real processes; no simulation runs it")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
