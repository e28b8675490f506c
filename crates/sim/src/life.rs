//! A run: lives of the relay, one after the other, until all is delivered, told or overdue; then the judgement.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use postrider_flow::{Doors, ListenerSettings, Relay};
use postrider_model::doors::{Insight, Journal, SpoolDesk, SpoolTrouble};
use postrider_model::{EventKind, Role};
use postrider_spool::{EmbeddedSpool, JournalLimits, Options};

use crate::judge::{self, Evidence, Violation};
use crate::scenario::{Change, How, Scenario, When};
use crate::world::book::{JournalEvent, Outcome};
use crate::world::{Fact, SimClock, SimEntropy, SimLog, SimNet, SimRegistry, SimResolver, World, clients, lock};

/// How often the world looks whether all is done: in bad weather, and in fine weather.
const LOOK_MS: [u64; 2] = [10_000, 60_000];

/// Lives in one run: a relay that crashes more often than that is caught in a loop.
const LIVES_MAX: u32 = 60;

/// Steps of the committer and the keeper for one waking.
const PUMPS_MAX: u32 = 200;

/// What a run gave.
#[derive(Debug)]
pub struct Report {
    /// What went wrong.
    pub violations: Vec<Violation>,
    /// One number for all that was observed.
    pub hash: u64,
    /// How many facts that are.
    pub facts: usize,
    /// Lives of the relay.
    pub lives: u32,
    /// Messages the providers took.
    pub taken: usize,
    /// Changing operations of the disk.
    pub operations: u64,
    /// What was observed, for people.
    pub lines: Vec<String>,
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
    let evidence = Evidence::gather(&world, scenario, left, refused);
    let violations = judge::judge(&evidence);
    let book = lock(&world.book);
    Report {
        violations,
        hash: book.hash(),
        facts: book.facts.len(),
        lives,
        taken: lock(&world.remotes).iter().map(|remote| remote.provider.ledger.taken.len()).sum(),
        operations: world.disk.total_operations(),
        lines: book.facts.iter().map(|(at, fact)| format!("{:>9} {fact:?}", at.millis() - crate::world::EPOCH_MS)).collect(),
    }
}

/// What remains of a life.
fn bury(world: &Arc<World>, how: &str, end: Option<How>, down_ms: u64) {
    world.note(Fact::LifeEnded(how.to_owned()));
    world.cut_remotes();
    world.cut_clients();
    match end {
        Some(How::Power(loss)) => world.disk.lose_power(loss),
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
    let crash_at = end.and_then(|end| if let When::Operation(k) = end.when { Some(k) } else { None });
    world.disk.begin_life(crash_at);
    world.note(Fact::LifeBegan(life));
    change_weather(world, scenario, next_change);
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
    let pump = tokio::spawn(pump(world.clone(), spool.clone(), scenario.commit_pause));
    let doors = doors(world, &spool);
    let relay = Relay::start(doors, Arc::new(scenario.snapshot.clone()), Arc::new(scenario.limits.clone()), true);
    relay.listen(world.listener(), submission());
    for number in 0..scenario.clients.len() {
        tokio::spawn(clients::run(world.clone(), number));
    }
    let began_ms = world.elapsed_ms();
    let insight = relay.insight(spool.clone());
    let watched = watch(world, scenario, &spool, &*insight, next_change, end.map(|end| (end, began_ms)));
    let switch = world.switch().clone();
    let ended = tokio::select! { biased;
        () = switch.tripped() => None,
        ended = watched => Some(ended),
    };
    let ended = match ended {
        None => dead("the power went".into()),
        Some(Watched::Time(How::Drain)) => {
            relay.drain(Duration::from_secs(30)).await;
            spool.close();
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

fn doors(world: &Arc<World>, spool: &Arc<EmbeddedSpool>) -> Doors {
    Doors {
        clock: Arc::new(SimClock(world.clone())),
        entropy: Arc::new(SimEntropy(world.clone())),
        resolver: Arc::new(SimResolver(world.clone())),
        net: Arc::new(SimNet(world.clone())),
        spool: spool.clone(),
        registry: Arc::new(SimRegistry),
        log: Arc::new(SimLog(world.clone())),
    }
}

fn submission() -> ListenerSettings {
    ListenerSettings {
        name: "submission".into(),
        role: Role::Submission,
        implicit_tls: false,
        starttls: false,
        auth_in_clear: true,
        auth_required: true,
    }
}

/// The committer and the keeper, and the journal's reader behind them.
async fn pump(world: Arc<World>, spool: Arc<EmbeddedSpool>, pause: Duration) {
    let mut sequence = 0;
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

fn follow(world: &World, spool: &EmbeddedSpool, sequence: &mut u64) {
    let events = match spool.read(*sequence, usize::MAX) {
        Ok(events) => events,
        Err(first) => {
            *sequence = first;
            spool.read(first, usize::MAX).unwrap_or_default()
        }
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
    }
}

enum Watched {
    Time(How),
    Poisoned(String),
    Done(Vec<String>),
}

/// Changes the weather at its hours, looks at the relay, and says when the life is over.
async fn watch(
    world: &Arc<World>,
    scenario: &Scenario,
    spool: &Arc<EmbeddedSpool>,
    insight: &dyn Insight,
    next_change: &mut usize,
    end: Option<(crate::scenario::End, u64)>,
) -> Watched {
    let overdue_ms = scenario.clear_ms + scenario.drain_ms;
    loop {
        let now_ms = world.elapsed_ms();
        change_weather(world, scenario, next_change);
        let end_ms = end.and_then(|(end, began)| if let When::After(ms) = end.when { Some((began + ms, end.how)) } else { None });
        if let Some((_, how)) = end_ms.filter(|(at, _)| *at <= now_ms) {
            return Watched::Time(how);
        }
        let health = spool.health();
        if let Some(why) = health.poisoned {
            return Watched::Poisoned(why);
        }
        look(world, spool, insight).await;
        let clear = now_ms >= scenario.clear_ms && *next_change == scenario.changes.len() && world.clients_done();
        if clear && spool.count().deliveries == 0 && settled_down(spool).await {
            return Watched::Done(Vec::new());
        }
        if now_ms >= overdue_ms {
            let left = spool.list(&postrider_model::doors::QueueFilter::default(), None, 20);
            return Watched::Done(left.iter().map(|view| format!("{view:?}")).collect());
        }
        let change_ms = scenario.changes.get(*next_change).map(|(at, _)| *at);
        let wake =
            [Some(now_ms + LOOK_MS[usize::from(clear)]), change_ms, end_ms.map(|(at, _)| at)].into_iter().flatten().min().unwrap_or(now_ms);
        tokio::time::sleep(Duration::from_millis(wake.saturating_sub(now_ms).max(1))).await;
    }
}

/// Once more after the last outcome, so that it and its report reach the disk.
async fn settled_down(spool: &EmbeddedSpool) -> bool {
    tokio::time::sleep(Duration::from_millis(500)).await;
    spool.count().deliveries == 0
}

async fn look(world: &World, spool: &EmbeddedSpool, insight: &dyn Insight) {
    world.note(Fact::Queue(spool.count().deliveries));
    for view in insight.sites().await {
        if view.connections > 0 {
            world.note(Fact::Window { site: view.site.to_string(), connections: view.connections, window: view.window });
        }
    }
}

/// What was to change by now.
fn change_weather(world: &World, scenario: &Scenario, next_change: &mut usize) {
    let now_ms = world.elapsed_ms();
    while let Some((_, change)) = scenario.changes.get(*next_change).filter(|(at, _)| *at <= now_ms) {
        apply(world, change);
        *next_change += 1;
    }
}

fn apply(world: &World, change: &Change) {
    match change {
        Change::Personality(number, personality) => lock(&world.remotes)[*number].provider.change((**personality).clone()),
        Change::Reach(number, reach) => lock(&world.remotes)[*number].reach = *reach,
        Change::Dns(weather) => lock(&world.zones).weather = *weather,
        Change::Breaks(percent) => lock(&world.net).breaks_percent = *percent,
        Change::Disk(octets) => world.disk.set_capacity(*octets),
        Change::FailSyncs(count) => world.disk.fail_syncs(*count),
    }
    world.note(Fact::Changed(match change {
        Change::Personality(number, personality) => format!("remote {number} {:?}", personality.faults),
        other => format!("{other:?}"),
    }));
}
