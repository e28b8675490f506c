//! The world around one relay, in one thread: time, chance, wires, a disk, a DNS, mailbox providers, clients, and the book in which all is noted.
//!
//! The world outlives the relay. A *life* is one tokio runtime with one relay in it; a crash drops the runtime with every task, and the next life begins on what the
//! disk durably holds. What the world knows stands in plain values under locks that nobody ever waits for.

pub mod acts;
pub mod book;
pub mod clients;
pub mod disk;
mod doors;
mod medium;
pub mod net;
mod notebook;
mod pipe;
mod promises;
pub mod registry;
pub mod remotes;
pub mod strangers;
mod talk;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postrider_lab::{Chance, Zones};
use postrider_model::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use acts::Phase;
pub use book::{Book, Cause, Fact, JournalEvent, Offered, Verdict};
pub use doors::{SimClock, SimEntropy, SimLog, SimResolver, token_keys};
pub use net::SimNet;
pub use notebook::SimNotebook;
pub use registry::{RETURN_PATH, RegistryWeather, SimRegistry, SimSuppressions, TOKENS_TENANT, Unsubscriber};
pub use talk::BreakAt;

use crate::scenario::Scenario;
use clients::Client;
use disk::SimDisk;
use net::NetState;
use postrider_model::policy::Snapshot;
use promises::Promises;
use registry::{Records, SIGNED_TENANT};
use remotes::Remote;

/// Every simulation begins on 2026-11-23 at 20:37 UTC.
pub const EPOCH_MS: u64 = 1_795_466_220_000;

/// All there is beside the relay.
pub struct World {
    time: Mutex<Time>,
    switch: Arc<Switch>,
    pub(crate) book: Mutex<Book>,
    pub(crate) remotes: Mutex<Vec<Remote>>,
    pub(crate) net: Mutex<NetState>,
    pub(crate) zones: Mutex<Zones>,
    pub(crate) clients: Mutex<Vec<Client>>,
    /// The relay's own chance; apart from the world's, so that neither disturbs the other.
    pub(crate) entropy: Mutex<Chance>,
    pub(crate) chance: Mutex<Chance>,
    /// The registry's database.
    pub(crate) records: Mutex<Records>,
    /// What the journal has shown, in all lives.
    pub(crate) journal: Mutex<BTreeMap<u64, JournalEvent>>,
    /// What was acknowledged and has not ended.
    pub(crate) promises: Mutex<Promises>,
    /// The pools that streams name, by `tenant/stream`, and how often that was changed.
    pub(crate) pools: Mutex<(u64, BTreeMap<&'static str, &'static str>)>,
    /// The policy in force, or that the next life begins with.
    pub(crate) snapshot: Mutex<Arc<Snapshot>>,
    /// The medium.
    pub disk: Arc<SimDisk>,
}

/// The instant a life began, and what the clock then said; frozen between lives.
struct Time {
    base_ms: u64,
    origin: Option<Instant>,
}

/// Whether the relay is dead: from the instant of a crash until its runtime is gone, nothing it does reaches the world.
#[derive(Default)]
pub struct Switch {
    dead: AtomicBool,
    bell: Notify,
}

impl Switch {
    /// Whether the relay is dead.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Kills the relay.
    pub fn trip(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.bell.notify_one();
    }

    /// Returns when the relay was killed.
    pub async fn tripped(&self) {
        while !self.is_dead() {
            self.bell.notified().await;
        }
    }

    fn reset(&self) {
        self.dead.store(false, Ordering::Relaxed);
    }
}

/// A lock that is never contended; who panicked while holding it failed the run anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// The world at the beginning of a scenario.
    pub fn new(scenario: &Scenario) -> Arc<Self> {
        let mut chance = Chance::new(scenario.seed ^ 0x5151_5151);
        let switch = Arc::new(Switch::default());
        let disk = SimDisk::new(switch.clone(), chance.fork(), scenario.disk_octets);
        let mut zones = Zones::new(chance.next());
        zones.ttl = scenario.dns_ttl;
        scenario.texts.iter().for_each(|(name, text)| zones.text_records(name.clone(), &[text]));
        scenario.domains.iter().for_each(|(name, mx)| zones.domain(name.clone(), mx.clone()));
        let remotes: Vec<Remote> = scenario.providers.iter().map(|plan| Remote::new(plan, &mut zones, chance.next())).collect();
        let clients = scenario.clients.iter().map(|plan| Client::new(plan.clone())).collect();
        let signs = scenario.clients.iter().any(|client| client.user == SIGNED_TENANT);
        let world = Arc::new(Self {
            time: Mutex::new(Time { base_ms: EPOCH_MS, origin: None }),
            book: Mutex::new(Book::default()),
            net: Mutex::new(NetState::new(scenario, &remotes)),
            remotes: Mutex::new(remotes),
            zones: Mutex::new(zones),
            clients: Mutex::new(clients),
            entropy: Mutex::new(chance.fork()),
            chance: Mutex::new(chance.fork()),
            records: Mutex::new(Records::new(signs)),
            journal: Mutex::default(),
            promises: Mutex::default(),
            pools: Mutex::default(),
            snapshot: Mutex::new(Arc::new(scenario.snapshot.clone())),
            switch,
            disk,
        });
        world.disk.belongs_to(Arc::downgrade(&world));
        world
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        let time = lock(&self.time);
        // A dead relay's clock stands still; its tasks may still be dropped and ask.
        let elapsed = time.origin.map_or(0, |origin| origin.elapsed().as_millis() as u64);
        Timestamp::from_millis(time.base_ms + elapsed)
    }

    /// Milliseconds since the scenario began.
    pub fn elapsed_ms(&self) -> u64 {
        self.now().millis() - EPOCH_MS
    }

    /// Kills the relay.
    pub fn kill(&self) {
        self.switch.trip();
    }

    /// The switch that says whether the relay lives.
    pub fn switch(&self) -> &Arc<Switch> {
        &self.switch
    }

    pub(crate) fn begin_life(&self) {
        self.switch.reset();
        lock(&self.time).origin = Some(Instant::now());
    }

    /// Freezes the time, still inside the runtime.
    pub(crate) fn freeze(&self) {
        let now = self.now().millis();
        *lock(&self.time) = Time { base_ms: now, origin: None };
    }

    /// Time passes while there is no relay.
    pub(crate) fn skip_ms(&self, ms: u64) {
        lock(&self.time).base_ms += ms;
    }

    /// Notes a fact. What a dead relay does is no fact.
    pub(crate) fn note(&self, fact: Fact) {
        let now = self.now();
        lock(&self.promises).see(&fact);
        lock(&self.book).note(now, fact);
    }

    /// Notes what the relay did, unless it is dead.
    pub(crate) fn note_relay(&self, fact: impl FnOnce() -> Fact) {
        if !self.switch.is_dead() {
            self.note(fact());
        }
    }
}
