//! A run: lives of the relay, one after the other, until all is delivered, told or overdue; then the judgement.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use postrider_core::quota;
use postrider_flow::{Doors, ListenerSettings, Relay, Silence};
use postrider_model::doors::{InPlace, Insight, Journal, JournalTrouble, Notebook, SpoolDesk, SpoolTrouble, Suppression};
use postrider_model::policy::Snapshot;
use postrider_model::{EventKind, Notice, Role, Timestamp};
use postrider_spool::disk::Disk;
use postrider_spool::{EmbeddedSpool, JournalLimits, Options};

use crate::coverage;
use crate::judge::{self, Evidence, Violation};
use crate::scenario::{Change, How, Scenario, When};
use crate::world::book::{JournalEvent, Outcome, who};
use crate::world::registry;
use crate::world::{
    EPOCH_MS, Fact, Phase, SimClock, SimEntropy, SimLog, SimNet, SimNotebook, SimRegistry, SimResolver, SimSuppressions, World, clients,
    lock, token_keys,
};

/// How often the world looks whether all is done: in bad weather, and in fine weather.
const LOOK_MS: [u64; 2] = [10_000, 60_000];

/// Lives in one run: a relay that crashes more often than that is caught in a loop.
const LIVES_MAX: u32 = 60;

/// Steps of the committer and the keeper for one waking.
const PUMPS_MAX: u32 = 200;

/// Messages about which `explain` is asked at each look.
const EXPLAINED: usize = 3;

/// What a run gave.
#[derive(Debug)]
pub struct Report {
    /// What went wrong.
    pub violations: Vec<Violation>,
    /// One number for all that was observed.
    pub hash: u64,
    /// The observed facts, with their times.
    pub facts: Vec<(Timestamp, Fact)>,
    /// Lives of the relay.
    pub lives: u32,
    /// Messages the providers took.
    pub taken: usize,
    /// Changing operations of the disk.
    pub operations: u64,
    /// What the relay met in this run, by the names of [`crate::coverage::INGREDIENTS`].
    pub met: BTreeSet<&'static str>,
}

impl Report {
    /// What was observed, for people.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.facts.iter().map(|(at, fact)| format!("{:>9} {fact:?}", at.millis() - EPOCH_MS))
    }
}

/// How a life went.
enum Ended {
    /// It was ended, or died.
    Dead(String, Option<How>, u64),
    /// Everything is done, or overdue; what is left in the spool.
    Done(Vec<String>),
    /// The spool did not open although nothing was wrong with the disk.
    Refused(String),
}

/// Plays a scenario, and judges.
pub fn run(scenario: &Scenario) -> Report {
    let world = World::new(scenario);
    let mut next_change = 0;
    let mut left = None;
    let mut lives = 0;
    let mut refused = None;
    while left.is_none() && lives < LIVES_MAX {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let Ok(runtime) = runtime else { break };
        let ended = runtime.block_on(live(&world, scenario, lives, &mut next_change));
        lives += 1;
        // Every task of this life ends here.
        drop(runtime);
        match ended {
            Ended::Dead(how, end, down_ms) => bury(&world, &how, end, down_ms),
            Ended::Done(rest) => left = Some(rest),
            Ended::Refused(why) => {
                refused = Some(why);
                break;
            }
        }
    }
    let hash = lock(&world.book).hash();
    let evidence = Evidence::gather(&world, scenario, left, refused);
    let violations = judge::judge(&evidence);
    let met = coverage::met(&world, scenario, &evidence);
    Report { violations, hash, lives, taken: evidence.told.len(), operations: world.disk.total_operations(), met, facts: evidence.facts }
}

/// What remains of a life.
fn bury(world: &Arc<World>, how: &str, end: Option<How>, down_ms: u64) {
    world.note(Fact::LifeEnded(how.to_owned()));
    world.cut_remotes();
    world.cut_clients();
    match end {
        // Who had drained before is not there any more when the power goes.
        Some(How::Power(loss) | How::DrainAndPower(loss, _)) => world.disk.lose_power(loss),
        Some(How::Kill | How::Drain) => {}
        // After a failed sync somebody restarts it; what the kernel still holds of it, nobody knows.
        None => {
            if lock(&world.chance).percent(50) {
                world.disk.drop_caches();
            }
        }
    }
    world.skip_ms(down_ms);
}

async fn live(world: &Arc<World>, scenario: &Scenario, life: u32, next_change: &mut usize) -> Ended {
    world.begin_life();
    let end = scenario.ends.get(life as usize).copied();
    let crash = end.and_then(|end| if let When::Disk(crash) = end.when { Some(crash) } else { None });
    world.disk.begin_life(crash);
    world.note(Fact::LifeBegan(life));
    // A policy that changed while there was no relay is simply the one it begins with.
    let _ = change_weather(world, scenario, next_change);
    let dead = |how: String| Ended::Dead(how, end.map(|end| end.how), end.map_or(1_000, |end| end.down_ms));
    let spool = match EmbeddedSpool::open_manual(&options(scenario), world.disk.clone()) {
        Ok(spool) => spool,
        Err(_) if world.switch().is_dead() => {
            world.freeze();
            return dead("the power went while recovering".into());
        }
        Err(trouble) => {
            let ended = refused_to_open(world, trouble);
            world.freeze();
            return ended;
        }
    };
    world.disk.enter(Phase::Working);
    let pump = tokio::spawn(pump(world.clone(), spool.clone(), scenario.commit_pause));
    let counts = match counts(world, scenario) {
        Ok(counts) => counts,
        Err(why) => {
            pump.abort();
            world.freeze();
            return Ended::Refused(why);
        }
    };
    let doors = doors(world, &spool, counts);
    let snapshot = lock(&world.snapshot).clone();
    let silence = Arc::new(Silence::new(Arc::new(SimSuppressions(world.clone())), spool.clone(), doors.log.clone()));
    for (number, plan) in scenario.unsubscribers.iter().enumerate() {
        tokio::spawn(registry::unsubscribe(world.clone(), silence.clone(), number, plan.clone()));
    }
    if !scenario.unsubscribers.is_empty() {
        tokio::spawn(async move { silence.tell_the_rest().await });
    }
    let relay = Relay::start(doors, snapshot, Arc::new(scenario.limits.clone()), true);
    relay.listen(world.listener(), listener(scenario.strangers));
    for number in 0..scenario.clients.len() {
        tokio::spawn(clients::run(world.clone(), number));
    }
    let began_ms = world.elapsed_ms();
    let insight = relay.insight(spool.clone());
    let eyes = Eyes { world, scenario, relay: &relay, spool: &spool, insight: &*insight };
    let watched = eyes.watch(next_change, end.map(|end| (end, began_ms)));
    let switch = world.switch().clone();
    let ended = tokio::select! { biased;
        () = switch.tripped() => None,
        ended = watched => Some(ended),
    };
    let ended = match ended {
        None => dead("the power went".into()),
        Some(Watched::Time(how @ (How::Drain | How::DrainAndPower(..)))) => {
            world.disk.enter(Phase::Draining);
            if let How::DrainAndPower(_, operations) = how {
                world.disk.crash_after(operations);
            }
            tokio::select! { biased;
                () = switch.tripped() => {}
                () = relay.drain(Duration::from_secs(30)) => spool.close(),
            }
            if world.switch().is_dead() { dead("the power went while draining".into()) } else { dead("drained".into()) }
        }
        Some(Watched::Time(how)) => dead(format!("{how:?}")),
        Some(Watched::Poisoned(why)) => Ended::Dead(format!("poisoned: {why}"), None, 60_000),
        Some(Watched::Done(left)) => Ended::Done(left),
    };
    // From here on, what the relay's tasks do while they are dropped is done by nobody: their order is tokio's own.
    world.kill();
    pump.abort();
    world.freeze();
    ended
}

/// A spool that does not open on a full or failing disk is started again later; else it is a fault.
fn refused_to_open(world: &World, trouble: SpoolTrouble) -> Ended {
    match trouble {
        SpoolTrouble::Full | SpoolTrouble::Io(_) if world.elapsed_ms() < 86_400_000 * 3 => {
            world.kill();
            Ended::Dead(format!("did not open: {trouble}"), Some(How::Kill), 600_000)
        }
        other => Ended::Refused(other.to_string()),
    }
}

/// The addresses of a pool's Sources; none, when it is not there.
fn addresses(snapshot: &Snapshot, pool: &str) -> Vec<IpAddr> {
    let Some(pool) = snapshot.routing.pools.get(pool) else { return Vec::new() };
    let sources = snapshot.sources.iter().filter(|source| pool.sources.iter().any(|(name, _)| *name == source.name));
    sources.filter_map(|source| source.address).collect()
}

fn options(scenario: &Scenario) -> Options {
    Options {
        directory: PathBuf::from("sim"),
        segment_octets: scenario.segment_octets,
        reserve_octets: scenario.reserve_octets,
        reserve_segments: 2,
        pool_segments: 1,
        new_log_id: Some(u128::from(scenario.seed) << 32 | 1),
        zero_fill: false,
        journal: scenario.journal.then(JournalLimits::default),
        events_in_memory: 65_536,
        disk_threads: 1,
    }
}

/// What smart hosts were given, as the disk has it; a relay does not start on counts that it cannot read.
fn counts(world: &Arc<World>, scenario: &Scenario) -> Result<Arc<SimNotebook>, String> {
    let notebook = SimNotebook::open(world, scenario.commit_pause).map_err(|error| format!("the counts of smart hosts: {error}"))?;
    quota::parse(notebook.text())?;
    Ok(notebook)
}

fn doors(world: &Arc<World>, spool: &Arc<EmbeddedSpool>, counts: Arc<SimNotebook>) -> Doors {
    Doors {
        clock: Arc::new(SimClock(world.clone())),
        entropy: Arc::new(SimEntropy(world.clone())),
        resolver: Arc::new(SimResolver(world.clone())),
        net: Arc::new(SimNet(world.clone())),
        spool: spool.clone(),
        offload: Arc::new(InPlace),
        registry: Arc::new(SimRegistry(world.clone())),
        log: Arc::new(SimLog(world.clone())),
        mailboxes: None,
        tokens: Some(Arc::new(token_keys())),
        suppressions: Some(Arc::new(SimSuppressions(world.clone()))),
        keeping: None,
        quotas: Some(counts),
    }
}

fn listener(strangers: bool) -> ListenerSettings {
    ListenerSettings {
        name: if strangers { "relay" } else { "submission" }.into(),
        role: if strangers { Role::Relay } else { Role::Submission },
        implicit_tls: false,
        starttls: false,
        auth_in_clear: !strangers,
        auth_required: !strangers,
        proxies: Vec::new(),
        not_verified: Vec::new(),
        xclients: Vec::new(),
    }
}

/// The committer and the keeper, and the journal's reader behind them.
async fn pump(world: Arc<World>, spool: Arc<EmbeddedSpool>, pause: Duration) {
    let mut sequence = 0;
    // What the life before it had made durable and not shown.
    follow(&world, &spool, &mut sequence);
    loop {
        spool.work().await;
        tokio::time::sleep(pause).await;
        // Frames that find no room stay with the committer, which is asked again when more comes: so this must end by itself.
        for _ in 0..PUMPS_MAX {
            if world.switch().is_dead() || !spool.pump() {
                break;
            }
        }
        follow(&world, &spool, &mut sequence);
    }
}

/// Reads on in the journal; a dead relay shows nothing, and what it had not shown the next life shows.
fn follow(world: &World, spool: &EmbeddedSpool, sequence: &mut u64) {
    if world.switch().is_dead() {
        return;
    }
    let events = match spool.read(*sequence, usize::MAX) {
        Ok(events) => events,
        Err(JournalTrouble::Gone(first)) => {
            *sequence = first;
            spool.read(first, usize::MAX).unwrap_or_default()
        }
        // Nothing is missed: it is asked for again.
        Err(JournalTrouble::Unreadable(_)) => return,
    };
    for event in events {
        *sequence = event.sequence + 1;
        let what = in_short(event.kind);
        // A new life shows again what earlier ones have shown, as far as it is kept.
        match lock(&world.journal).insert(event.sequence, what) {
            None => world.note_relay(|| Fact::Journal { sequence: event.sequence, event: what }),
            Some(before) if before != what => world.note(Fact::Rewritten(event.sequence)),
            Some(_) => {}
        }
    }
}

fn in_short(kind: EventKind) -> JournalEvent {
    match kind {
        EventKind::Accepted { message, reports_on } => {
            JournalEvent::Accepted { message: message.id, recipients: message.recipients.len(), reports_on }
        }
        EventKind::Settled { delivery, outcome, .. } => JournalEvent::Settled {
            delivery,
            outcome: match outcome {
                postrider_model::Outcome::Delivered { .. } => Outcome::Delivered,
                postrider_model::Outcome::Deferred { due, .. } => Outcome::Deferred(due),
                postrider_model::Outcome::Bounced { .. } => Outcome::Bounced,
            },
        },
        EventKind::Noted(Notice::Suppressed { suppression, .. }) => {
            let Suppression { tenant, stream, mailbox, .. } = &*suppression;
            JournalEvent::Suppressed { who: who(tenant.as_str(), stream.as_str(), mailbox.as_str()) }
        }
    }
}

enum Watched {
    Time(How),
    Poisoned(String),
    Done(Vec<String>),
}

/// What watches one life.
struct Eyes<'a> {
    world: &'a Arc<World>,
    scenario: &'a Scenario,
    relay: &'a Relay,
    spool: &'a Arc<EmbeddedSpool>,
    insight: &'a dyn Insight,
}

impl Eyes<'_> {
    /// Changes the weather at its hours, looks at the relay, and says when the life is over.
    async fn watch(&self, next_change: &mut usize, end: Option<(crate::scenario::End, u64)>) -> Watched {
        let Eyes { world, scenario, spool, .. } = self;
        let overdue_ms = scenario.clear_ms + scenario.drain_ms;
        loop {
            let now_ms = world.elapsed_ms();
            if let Some(snapshot) = change_weather(world, scenario, next_change) {
                self.relay.reload(snapshot, Arc::new(scenario.limits.clone()));
            }
            let end_ms = end.and_then(|(end, began)| if let When::After(ms) = end.when { Some((began + ms, end.how)) } else { None });
            if let Some((_, how)) = end_ms.filter(|(at, _)| *at <= now_ms) {
                return Watched::Time(how);
            }
            let health = spool.health();
            if let Some(why) = health.poisoned {
                return Watched::Poisoned(why);
            }
            self.look().await;
            let clear =
                now_ms >= scenario.clear_ms && *next_change == scenario.changes.len() && world.clients_done(scenario.unsubscribers.len());
            if clear && spool.count().deliveries == 0 && settled_down(spool).await {
                let health = spool.health();
                let contents = world.disk.list("contents").map_or(0, |names| names.len());
                world.note(Fact::Rest { contents, segments: health.segments - health.segments_free });
                return Watched::Done(Vec::new());
            }
            if now_ms >= overdue_ms {
                let left = spool.list(&postrider_model::doors::QueueFilter::default(), None, 20);
                return Watched::Done(left.iter().map(|view| format!("{view:?}")).collect());
            }
            let change_ms = scenario.changes.get(*next_change).map(|(at, _)| *at);
            let look_ms = now_ms + LOOK_MS[usize::from(clear)];
            let wake = [Some(look_ms), change_ms, end_ms.map(|(at, _)| at)].into_iter().flatten().min().unwrap_or(now_ms);
            tokio::time::sleep(Duration::from_millis(wake.saturating_sub(now_ms).max(1))).await;
        }
    }

    async fn look(&self) {
        let Eyes { world, spool, insight, .. } = self;
        world.note(Fact::Queue(spool.count().deliveries));
        for view in insight.sites().await {
            if view.connections > 0 {
                world.note(Fact::Window { site: view.site.to_string(), connections: view.connections, window: view.window });
            }
        }
        let some = lock(&world.promises).some(EXPLAINED);
        for message in some {
            let before = lock(&world.promises).of(message);
            let explained: BTreeSet<u32> = insight.explain(message).await.into_iter().map(|(index, _)| index).collect();
            // What ended while we asked need not be known any more.
            let after = lock(&world.promises).of(message);
            for index in before.intersection(&after).filter(|index| !explained.contains(index)) {
                world.note(Fact::Invisible { message, index: *index });
            }
        }
    }
}

/// Once more after the last outcome, so that it and its report reach the disk.
async fn settled_down(spool: &EmbeddedSpool) -> bool {
    tokio::time::sleep(Duration::from_millis(500)).await;
    spool.count().deliveries == 0
}

/// What was to change by now; the policy, when that is new.
fn change_weather(world: &World, scenario: &Scenario, next_change: &mut usize) -> Option<Arc<Snapshot>> {
    let now_ms = world.elapsed_ms();
    let mut reloaded = None;
    while let Some((_, change)) = scenario.changes.get(*next_change).filter(|(at, _)| *at <= now_ms) {
        if let Change::Reload(snapshot) = change {
            reloaded = Some(snapshot.clone());
        }
        apply(world, scenario, change);
        *next_change += 1;
    }
    reloaded
}

fn apply(world: &World, scenario: &Scenario, change: &Change) {
    match change {
        Change::Personality(number, personality) => lock(&world.remotes)[*number].provider.change((**personality).clone()),
        Change::Reach(number, reach) => lock(&world.remotes)[*number].reach = *reach,
        Change::Dns(weather) => lock(&world.zones).weather = *weather,
        Change::Breaks(percent) => lock(&world.net).breaks_percent = *percent,
        Change::Disk(octets) => world.disk.set_capacity(*octets),
        Change::FailSync(failing) => world.disk.fail_sync(*failing),
        Change::Pool(stream, pool) => {
            let mut pools = lock(&world.pools);
            pools.0 += 1;
            pools.1.remove(stream);
            pools.1.extend(pool.map(|pool| (*stream, pool)));
            return world.note(Fact::Pooled(stream, pool.map(|pool| addresses(&lock(&world.snapshot), pool))));
        }
        Change::Registry(weather) => lock(&world.records).weather = *weather,
        Change::Reload(snapshot) => {
            *lock(&world.snapshot) = snapshot.clone();
            return world.note(Fact::Reloaded(scenario.connections_max(snapshot)));
        }
    }
    world.note(Fact::Changed(match change {
        Change::Personality(number, personality) => format!("remote {number} {:?}", personality.faults),
        other => format!("{other:?}"),
    }));
}
