//! Custody: a record store with due times and fenced loans. It is not a broker, and it does not decide.

use std::sync::Arc;

use bytes::Bytes;
use postrider_smtp::Host;

use crate::{BoxFuture, Content, Group, Loan, Message, MessageId, Notice, Parcel, Settlement, SiteName, StreamName, TenantName, Timestamp};

/// The spool. Every engine passes the contract suite in `postrider_model::contract`.
///
/// A *claim* keeps the dispatcher from polling: `ready` hands each group with due mail out once; the group stays claimed
/// until a `lend` says that nothing due is left in it (or `release`), and then comes again when mail in it becomes due.
pub trait Spool: Send + Sync {
    /// Opens a staging for a content of about `expected_octets`; waits while the budget of octets in flight is used up.
    /// Fails at once with `Full` or `Poisoned`, so that the client hears 452 or 451 before it sends anything.
    fn stage(&self, expected_octets: Option<u64>) -> BoxFuture<'_, Result<Box<dyn Staging>, SpoolTrouble>>;

    /// Reads a content that is complete, before anybody promises anything about it: for those who judge it.
    fn read_staged(&self, content: &Staged) -> BoxFuture<'_, Result<Content, SpoolTrouble>>;

    /// Takes custody. When this returns `Ok`, message and content are on stable storage (docs/custody.md, instant 1). An id that a message here
    /// has is refused with `IdTaken`.
    fn accept(&self, message: Arc<Message>, content: Staged) -> BoxFuture<'_, Result<Receipt, SpoolTrouble>>;

    /// Claims up to `max` groups that have mail due at `now`.
    fn ready(&self, now: Timestamp, max: usize) -> Vec<Group>;

    /// The earliest instant at which an unclaimed group has mail due; `None` when nothing waits.
    fn next_due(&self) -> Option<Timestamp>;

    /// Returns when `ready` or `next_due` may answer differently than before. It may return too often, never too rarely.
    fn wait(&self) -> BoxFuture<'_, ()>;

    /// Says where a recipient host belongs; its waiting mail moves to the Site's group. Releases the claim on the host's group,
    /// and makes the Site's group ready when mail in it is due. A host may be placed anew when the DNS changes.
    fn place(&self, host: &Host, site: &SiteName);

    /// Ends a loan without an outcome, and says where this mail of its host belongs, whatever other mail of the host does: the deliveries wait in the Site's
    /// group, due as before, until the host is displaced.
    fn divert(&self, message: MessageId, loan: Loan, site: &SiteName);

    /// Forgets where a host belongs (its answer's time to live has passed), and all that was diverted of it; its waiting mail moves back to the host's group.
    fn displace(&self, host: &Host);

    /// Lends due mail of a claimed group: by priority, then deadline, then due time inside a lane; lanes (tenant, stream) in turn.
    /// Recipients of one message at the same group ride in one parcel.
    fn lend(&self, group: &Group, now: Timestamp, limit: LendLimit) -> Lent;

    /// Lends those of a message's deliveries that wait or are held, whatever their date and whoever has claimed their group: so that a person's
    /// word can end them. `None` when there is none. One that was held is held again when it is handed back or deferred.
    fn lend_these(&self, message: MessageId, indices: &[u32]) -> Option<Parcel>;

    /// From now on, until it is said anew, exactly these tenants' deliveries are not lent by [`Spool::lend`]. What they have is not in a group that
    /// is ready for it. A restart forgets it.
    fn pause(&self, tenants: &[TenantName]);

    /// From now on mail of this stream is lent one recipient a parcel: each has a transaction of its own, and permits count transactions. A restart forgets it.
    fn lend_singly(&self, tenant: &TenantName, stream: &StreamName);

    /// Gives a claim back without lending; the group is claimed again through `ready` not before `not_before`.
    fn release(&self, group: &Group, not_before: Timestamp);

    /// Reads a lent message: from memory when it just came, from disk otherwise.
    fn open(&self, message: MessageId) -> BoxFuture<'_, Result<Opened, SpoolTrouble>>;

    /// Ends loans without an outcome: nothing is written, the deliveries wait again, due at `due` (`None`: as before). A restart forgets that date
    /// (docs/custody.md, Dates).
    fn hand_back(&self, message: MessageId, loan: Loan, due: Option<Timestamp>);

    /// Ends a loan with outcomes. In memory at once; on stable storage soon (docs/custody.md, instant 2).
    fn settle(&self, settlement: Settlement) -> Result<(), SpoolTrouble>;

    /// Takes a fact that is about no message here. When this returns `Ok`, it is on stable storage, and will be in the journal. It may take no reserve: on a full disk it
    /// is refused as mail is.
    fn note(&self, notice: Notice) -> BoxFuture<'_, Result<(), SpoolTrouble>>;

    /// Returns when fewer than `limits::UNSYNCED_OUTCOMES_MAX` outcomes are unsynced. Asked before each transaction out.
    fn settle_room(&self) -> BoxFuture<'_, Result<(), SpoolTrouble>>;

    /// Returns when everything handed over before this call is on stable storage.
    fn flush(&self) -> BoxFuture<'_, Result<(), SpoolTrouble>>;
}

/// How much to lend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LendLimit {
    /// Parcels in all.
    pub parcels: usize,
    /// Recipients in one parcel.
    pub recipients_per_parcel: usize,
}

/// What was lent.
#[derive(Debug)]
pub struct Lent {
    /// The parcels.
    pub parcels: Vec<Parcel>,
    /// What is left in the group.
    pub left: Left,
}

/// What is left in a group after a `lend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// More is due; the claim stays.
    Due,
    /// Nothing is due before this instant; the claim was released.
    Until(Timestamp),
    /// Nothing waits; the claim was released.
    Empty,
}

/// A staged content in the making. Dropping it leaves nothing behind.
pub trait Staging: Send {
    /// Appends octets. Returns whether `drain` must be awaited before more is appended.
    fn append(&mut self, octets: &[u8]) -> bool;

    /// Moves what memory should not hold to disk.
    fn drain(&mut self) -> BoxFuture<'_, Result<(), SpoolTrouble>>;

    /// Ends the content.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Staged, SpoolTrouble>>;
}

/// A content that is complete, and that nobody has promised to keep.
pub struct Staged {
    /// Its length.
    pub octets: u64,
    /// The engine's own handle to it.
    pub body: Box<dyn std::any::Any + Send + Sync>,
}

/// The proof that custody began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The message.
    pub message: MessageId,
    /// When it was synced, as the caller's clock said at acceptance.
    pub at: Timestamp,
}

/// A lent message, read.
#[derive(Debug)]
pub struct Opened {
    /// Its facts.
    pub message: Arc<Message>,
    /// Its content, from the start.
    pub content: Content,
}

impl Opened {
    /// The content, when it is held in memory.
    pub fn held(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Held(octets) => Some(octets),
            Content::Streamed(_) => None,
        }
    }
}

/// Trouble of custody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolTrouble {
    /// Only the reserve is left on the disk: new mail is refused for now.
    #[error("the disk is full")]
    Full,
    /// A sync failed: nothing more is acknowledged or lent until a restart.
    #[error("the log is poisoned: {0}")]
    Poisoned(String),
    /// What is on disk is not what was written.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// It was written by a newer version, or by something else.
    #[error("unknown format: {0}")]
    Unknown(String),
    /// A message with this id is here already. Ids are made anew for each message, so this is a fault of whoever made it.
    #[error("a message with this id is here already")]
    IdTaken,
    /// No such message waits here.
    #[error("no such message")]
    NoSuchMessage,
    /// The loan was not the newest, or has ended.
    #[error("the loan has ended")]
    LoanEnded,
    /// The spool is closing.
    #[error("the spool is closed")]
    Closed,
    /// The disk refused.
    #[error("disk: {0}")]
    Io(String),
}
