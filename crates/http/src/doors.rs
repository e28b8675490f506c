//! What the API reaches the relay through.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use postrider_model::doors::{
    Clock, Hand, Insight, Journal, Receipt, SenderFilter, Spool, SpoolDesk, Suppressing, Suppressions, Suspended, Suspension,
};
use postrider_model::{BoxFuture, MessageId, ReportWishes, StreamName, TenantName, Timestamp};
use postrider_smtp::{Host, Mailbox, ReversePath};

use crate::wire;

/// The doors of the control API.
#[derive(Clone)]
pub struct ControlDoors {
    /// The queue in a person's hands.
    pub desk: Arc<dyn SpoolDesk>,
    /// For contents.
    pub spool: Arc<dyn Spool>,
    /// What happened.
    pub journal: Arc<dyn Journal>,
    /// The live schedule.
    pub insight: Arc<dyn Insight>,
    /// What a person does to the live relay.
    pub hand: Arc<dyn Hand>,
    /// What is suspended.
    pub suspensions: Arc<dyn SuspensionBook>,
    /// Who is not written to any more.
    pub suppressions: Arc<dyn Suppressions>,
    /// Who adds to them, and tells of it.
    pub suppressing: Arc<dyn Suppressing>,
    /// What is sent another way.
    pub reroutes: Arc<dyn RerouteBook>,
    /// Where submitted mail goes.
    pub intake: Arc<dyn Intake>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Reads the configuration again.
    pub reload: Reload,
    /// Looks at once whether the registry was changed.
    pub look_again: LookAgain,
    /// What listens where, now.
    pub listeners: Listeners,
    /// Where what a backup copies stands; a reload may change it.
    pub places: Arc<dyn Fn() -> wire::Places + Send + Sync>,
    /// What the domains publish; `None` until somebody has looked.
    pub domains: Domains,
    /// The pools, and the streams that are sent by them.
    pub pools: Pools,
    /// What does not change while the relay runs.
    pub about: Arc<About>,
}

/// What the domains publish, as it was found last.
pub type Domains = Arc<dyn Fn() -> Option<wire::Domains> + Send + Sync>;

/// The pools, and the streams that name them.
pub type Pools = Arc<dyn Fn() -> BoxFuture<'static, Vec<wire::PoolView>> + Send + Sync>;

/// Reads the configuration again; gives what changed, or why the old one stays, as lines for people.
pub type Reload = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Looks whether the registry was changed, so that what is in memory is true again; or says why that cannot be known.
pub type LookAgain = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What listens where; a reload may change it.
pub type Listeners = Arc<dyn Fn() -> Vec<wire::ListenerView> + Send + Sync>;

/// What does not change while the relay runs.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The program's version.
    pub version: String,
    /// The name the relay is known by.
    pub host_name: String,
    /// Its process.
    pub pid: u32,
    /// When it started, in milliseconds since the epoch.
    pub started_ms: u64,
    /// Mail is kept and shown instead of delivered.
    pub capture: bool,
    /// Octets of one submitted message.
    pub message_octets_max: u64,
}

/// What is suspended, on stable storage and in the live relay. A refusal is a sentence for people.
pub trait SuspensionBook: Send + Sync {
    /// All of it; what has ended may still be there.
    fn list(&self) -> Vec<Suspension>;

    /// Suspends; a suspension of the same thing is replaced. When this returns `Ok`, it is on stable storage.
    fn suspend(&self, suspension: Suspension) -> Result<(), String>;

    /// Ends a suspension before its time.
    fn resume(&self, what: &Suspended) -> Result<(), String>;
}

/// What is sent another way than the rules would send it, on stable storage and in the live relay. A refusal is a sentence for people.
pub trait RerouteBook: Send + Sync {
    /// All of it, the newest last; what has ended may still be there.
    fn list(&self) -> Vec<Reroute>;

    /// Sends mail another way; gives its number. When this returns `Ok`, it is on stable storage.
    fn reroute(&self, wanted: Reroute) -> Result<u64, String>;

    /// What is left of the mail goes as the rules say.
    fn end(&self, number: u64) -> Result<(), String>;
}

/// Mail that is sent another way. All that is said must be true of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reroute {
    /// What it is called by; the book gives it.
    pub number: u64,
    /// A route or a smart host, by its name, or `mx`.
    pub to: String,
    /// Of these messages; any, when none is named.
    pub messages: BTreeSet<MessageId>,
    /// A tenant's.
    pub tenant: Option<TenantName>,
    /// Of a stream of this name.
    pub stream: Option<StreamName>,
    /// To one of these hosts; any, when none is named.
    pub hosts: Vec<Host>,
    /// From a sender.
    pub sender: Option<SenderFilter>,
    /// Accepted until then; `None`: what comes later, too.
    pub accepted_to: Option<Timestamp>,
    /// When it was said.
    pub since: Timestamp,
    /// Until when; `None` until a person ends it.
    pub until: Option<Timestamp>,
    /// Why, as the person said; may be empty.
    pub reason: Arc<str>,
}

/// Takes custody of mail that is handed over here.
pub trait Intake: Send + Sync {
    /// When this returns `Ok`, the mail is on stable storage.
    fn submit(&self, mail: LocalMail) -> BoxFuture<'_, Result<Receipt, IntakeTrouble>>;
}

/// One message handed over.
#[derive(Debug, Clone)]
pub struct LocalMail {
    /// Who hears of failures.
    pub reverse_path: ReversePath,
    /// At least one.
    pub recipients: Vec<Mailbox>,
    /// Whose mail; `None` is the relay's first tenant.
    pub tenant: Option<TenantName>,
    /// Its class; `None` is the tenant's first stream.
    pub stream: Option<StreamName>,
    /// The user of this machine who hands it over, where anybody may.
    pub user: Option<u32>,
    /// What its sender asks to be told.
    pub wishes: ReportWishes,
    /// The message that was kept and is sent again by this one.
    pub repeats: Option<MessageId>,
    /// Header and body, with CR LF.
    pub content: Bytes,
}

/// Why mail was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeTrouble {
    /// It would not be taken later either.
    #[error("{0}")]
    Refused(String),
    /// Not now: try again.
    #[error("{0}")]
    NotNow(String),
}
