//! Looking at the queue, and putting a hand to it.

use std::sync::Arc;

use crate::{BoxFuture, DeliveryId, Diagnosis, Event, Message, MessageId, SiteName, StreamName, TenantName, Timestamp};

use super::SpoolTrouble;

/// The queue in a person's hands.
pub trait SpoolDesk: Send + Sync {
    /// Deliveries after `after` that match, in the order of their ids, at most `max`.
    fn list(&self, filter: &QueueFilter, after: Option<DeliveryId>, max: usize) -> Vec<DeliveryView>;

    /// How many wait, and where.
    fn count(&self) -> QueueCount;

    /// One message with its live deliveries and their last diagnoses.
    fn show(&self, id: MessageId) -> BoxFuture<'_, Result<Shown, SpoolTrouble>>;

    /// Changes waiting deliveries that match; says how many. On stable storage soon, like a settlement.
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

/// Which deliveries; an empty filter is all.
#[derive(Debug, Clone, Default)]
pub struct QueueFilter {
    /// One message.
    pub message: Option<MessageId>,
    /// A tenant's.
    pub tenant: Option<TenantName>,
    /// A recipient host's, as its text.
    pub host: Option<String>,
    /// A Site's.
    pub site: Option<SiteName>,
}

/// A change by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alteration {
    /// Due now, whatever the retry interval said.
    RetryNow(Timestamp),
}

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
    /// Waiting or lent.
    pub state: DeliveryState,
    /// Length of the content.
    pub content_octets: u64,
    /// How many deliveries of the same group go before it.
    pub ahead: u64,
}

/// Where a live delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// In the spool.
    Waiting,
    /// With a worker.
    Lent,
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
    /// By group, as text, the largest first, at most 1,000.
    pub groups: Vec<(String, u64)>,
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
