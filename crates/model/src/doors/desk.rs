//! Looking at the queue, and putting a hand to it.

use std::sync::Arc;

use crate::{BoxFuture, DeliveryId, Diagnosis, Event, Message, MessageId, SiteName, StreamName, TenantName, Timestamp};

use super::{Alteration, DeliveryState, OnHold, QueueFilter, SpoolTrouble};

/// The queue in a person's hands.
pub trait SpoolDesk: Send + Sync {
    /// Deliveries after `after` that match, in the order of their ids, at most `max`.
    fn list(&self, filter: &QueueFilter, after: Option<DeliveryId>, max: usize) -> Vec<DeliveryView>;

    /// Matching deliveries from a place in memory on, at most `max`, in no order: each that is there all the time is met once, whatever comes and
    /// goes. The way through a queue of a million. A page may be short, or empty, without being the last.
    fn walk<'a>(&'a self, filter: &'a QueueFilter, from: u64, max: usize) -> BoxFuture<'a, Result<Walked, SpoolTrouble>>;

    /// How many wait, and where.
    fn count(&self) -> QueueCount;

    /// How old what matches is, by rows, the largest first, at most `rows_max`. The sender is not looked at.
    fn shape(&self, filter: &QueueFilter, by: ShapeBy, now: Timestamp, rows_max: usize) -> QueueShape;

    /// One message with its live deliveries and their last diagnoses.
    fn show(&self, id: MessageId) -> BoxFuture<'_, Result<Shown, SpoolTrouble>>;

    /// Changes live deliveries that match; says how many. On stable storage soon, like a settlement: one record, however many they are (a Site of
    /// very many hosts needs more).
    fn alter(&self, filter: &QueueFilter, alteration: Alteration) -> Result<usize, SpoolTrouble>;

    /// Holds still for a copy: what the hold names can be read at leisure, and mail goes on (docs/custody.md, A copy while running).
    fn hold(&self) -> BoxFuture<'_, Result<Box<dyn Hold>, SpoolTrouble>>;

    /// How the spool is.
    fn health(&self) -> SpoolHealth;
}

/// While it lives, nothing that it names is given back to the disk. It may end before, for want of disk.
pub trait Hold: Send + Sync {
    /// What has to be copied, beside all files under `contents/`.
    fn files(&self) -> &[HeldFile];

    /// Returns when the hold was broken: what was copied is worth nothing then.
    fn broken(&self) -> BoxFuture<'_, ()>;
}

/// One file of the spool, as a copy needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldFile {
    /// Its name, from the spool's folder on.
    pub name: String,
    /// Its length; what is not copied of it reads as zero.
    pub octets: u64,
    /// How much of it, from its beginning, belongs to the copy.
    pub octets_to_copy: u64,
}

/// A message with its live deliveries, and why each was deferred last.
pub type Shown = (Arc<Message>, Vec<(DeliveryView, Option<Diagnosis>)>);

/// One live delivery, as memory knows it.
#[derive(Debug, Clone)]
pub struct DeliveryView {
    /// Which.
    pub id: DeliveryId,
    /// Whose.
    pub tenant: TenantName,
    /// Its class.
    pub stream: StreamName,
    /// Where to.
    pub host: Arc<str>,
    /// The Site, once known.
    pub site: Option<SiteName>,
    /// When custody began.
    pub arrived_at: Timestamp,
    /// When it is next due.
    pub due: Timestamp,
    /// Attempts so far.
    pub attempts: u32,
    /// Waiting, lent or held.
    pub state: DeliveryState,
    /// Since when it is held and why, when it is; of one that is lent, that it is to be held when it comes back.
    pub held: Option<OnHold>,
    /// Length of the content.
    pub content_octets: u64,
    /// How many deliveries of the same group go before it; pages do not tell.
    pub ahead: Option<u64>,
}

/// How many wait.
#[derive(Debug, Clone, Default)]
pub struct QueueCount {
    /// Messages with a live delivery.
    pub messages: u64,
    /// Live deliveries.
    pub deliveries: u64,
    /// Of them lent.
    pub lent: u64,
    /// Of them held.
    pub held: u64,
    /// By group, as text, the largest first, at most 1,000.
    pub groups: Vec<(String, u64)>,
}

/// A page of a walk.
#[derive(Debug, Clone, Default)]
pub struct Walked {
    /// What matched.
    pub found: Vec<DeliveryView>,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
}

/// Ages in minutes that part a shape's columns, as qshape(1) of Postfix draws them: up to each of them, and beyond.
pub const AGE_MINUTES: [u64; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];

/// Deliveries by age: up to each of [`AGE_MINUTES`], and beyond.
pub type Ages = [u64; AGE_MINUTES.len() + 1];

/// What the rows of a shape are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShapeBy {
    /// Sites; a host whose Site is not known stands for itself.
    Site,
    /// Recipient hosts.
    Host,
    /// Tenants.
    Tenant,
}

/// How old the queue is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueShape {
    /// The largest rows.
    pub rows: Vec<(Arc<str>, Ages)>,
    /// How many rows there are in all.
    pub rows_in_all: usize,
    /// Everything that matches.
    pub total: Ages,
    /// When the oldest of it arrived.
    pub oldest: Option<Timestamp>,
}

/// How the spool is.
#[derive(Debug, Clone, Default)]
pub struct SpoolHealth {
    /// Messages with a live delivery.
    pub messages: u64,
    /// Live deliveries.
    pub deliveries: u64,
    /// Of them lent.
    pub lent: u64,
    /// Syncs of the log since the start.
    pub syncs: u64,
    /// Messages accepted since the start.
    pub accepted: u64,
    /// Outcomes settled since the start.
    pub settled: u64,
    /// Segments on disk, free ones included.
    pub segments: u64,
    /// Of them free.
    pub segments_free: u64,
    /// Octets of disk in use: segments, contents in files of their own, and the journal.
    pub disk_octets: u64,
    /// Of them the contents in files of their own.
    pub contents_octets: u64,
    /// Of them the journal.
    pub journal_octets: u64,
    /// Octets of the segments that live mail needs.
    pub live_octets: u64,
    /// Whether new mail is refused for want of disk.
    pub full: bool,
    /// Why nothing more is acknowledged.
    pub poisoned: Option<String>,
    /// How long syncs took, where the disk measures them.
    pub sync_times: SyncTimes,
}

/// Upper bounds of [`SyncTimes::counts`], in microseconds. A fast disk is at the left, a spinning one in the middle, and trouble at the right.
pub const SYNC_TIME_BOUNDS_US: [u64; 12] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_000_000];

/// How long syncs took since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncTimes {
    /// Syncs up to each of [`SYNC_TIME_BOUNDS_US`] and above the one before, and beyond the last.
    pub counts: [u64; SYNC_TIME_BOUNDS_US.len() + 1],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

/// The history of facts, in order.
pub trait Journal: Send + Sync {
    /// Events from `sequence` on, at most `max`.
    fn read(&self, sequence: u64, max: usize) -> Result<Vec<Event>, JournalTrouble>;

    /// Returns when an event at `sequence` can be read.
    fn wait(&self, sequence: u64) -> BoxFuture<'_, ()>;

    /// The sequence that the next event will have: where a follower begins that wants no history.
    fn end(&self) -> u64;
}

/// Why a reader of the journal gets no events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalTrouble {
    /// They are older than what is kept: the reader missed what is before this sequence.
    #[error("history is kept from {0} on")]
    Gone(u64),
    /// They are kept, and could not be read this time; nothing is missed yet.
    #[error("{0}")]
    Unreadable(SpoolTrouble),
}

/// The live schedule.
pub trait Insight: Send + Sync {
    /// What holds each live delivery of a message, as far as the schedule knows; empty when it is only in the spool.
    fn explain(&self, message: MessageId) -> BoxFuture<'_, Vec<(u32, Waiting)>>;

    /// What is done to a message on its way out, a sentence each; empty when it goes as it came, or is not here.
    fn prepared(&self, _message: MessageId) -> BoxFuture<'_, Vec<String>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// From which Sources a message is sent and by whose word, a sentence for each way that its recipients go; empty when it is not here.
    fn sources(&self, _message: MessageId) -> BoxFuture<'_, Vec<String>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// Every Site the schedule knows.
    fn sites(&self) -> BoxFuture<'_, Vec<SiteView>>;

    /// Connections out at present; `None` when the schedule does not answer any more.
    fn connections_out(&self) -> BoxFuture<'_, Option<u64>>;
}

/// Why a delivery waits: what holds it, since when, until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// One sentence.
    pub reason: String,
    /// Since when, where it is known.
    pub since: Option<Timestamp>,
    /// Until when, where it is known.
    pub until: Option<Timestamp>,
    /// How many stand before it in what holds it.
    pub ahead: Option<u64>,
}

/// One Site, as the schedule sees it.
#[derive(Debug, Clone)]
pub struct SiteView {
    /// Its name.
    pub site: SiteName,
    /// The provider whose rules it follows.
    pub provider: String,
    /// Connections open.
    pub connections: u32,
    /// How many it may have now (the concurrency window).
    pub window: u32,
    /// Parcels waiting in the schedule.
    pub waiting: u64,
    /// What holds it, when something does.
    pub held: Option<Waiting>,
}
