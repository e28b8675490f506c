//! What goes over the control socket, as JSON. Instants are RFC 3339 in UTC; absent members are left out. Members may be added, never renamed.

mod hand;

use serde::{Deserialize, Serialize};

pub use hand::{
    Attempt, Attempts, Change, Changed, EndReroute, OnHold, Reroute, RerouteView, Reroutes, Shape, ShapeRow, Suppress, Suppressed,
    SuppressionView, Suppressions, Suspend, Suspension, Suspensions, Target, Which,
};

/// A request was refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refused {
    /// One sentence.
    pub error: String,
}

/// `GET /v1/status`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The name the relay is known by.
    pub host_name: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: String,
    /// Since then, in seconds.
    pub uptime_seconds: u64,
    /// `deliver` or `capture`.
    pub mode: String,
    /// What listens where.
    pub listeners: Vec<ListenerView>,
    /// Messages with a live delivery.
    pub messages: u64,
    /// Live deliveries.
    pub deliveries: u64,
    /// Of them with a worker.
    pub lent: u64,
    /// Tasks of the runtime: sessions, workers, and a few of the house. A number that only grows is a fault.
    #[serde(default)]
    pub tasks: u64,
    /// The spool.
    pub health: Health,
    /// What the domains publish; absent until somebody has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<Domains>,
    /// The pools, and the streams that are sent by them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolView>,
}

/// A pool, and the streams that name it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Its Sources, each with its weight; none, where the configuration has no pool of this name: mail of these streams waits.
    pub sources: Vec<PoolSource>,
    /// The streams that name it, as `tenant/stream`; the first hundred.
    pub streams: Vec<String>,
    /// How many they are.
    pub streams_total: usize,
}

/// A Source in a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSource {
    /// Its name.
    pub source: String,
    /// Its weight.
    pub weight: u32,
}

/// What the domains publish, and the names of the Sources, as they were found last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domains {
    /// When the last look was.
    pub looked_at: String,
    /// Domains that are looked at.
    pub watched: u64,
    /// Records that are missing, or say something else than they should.
    pub wrong: u64,
    /// Records of which the DNS did not say.
    pub unknown: u64,
    /// What is wrong; the first hundred.
    pub faults: Vec<DomainFault>,
}

/// A record that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainFault {
    /// Whose; absent where it is a Source's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Which.
    pub record: String,
    /// Where it stands.
    pub name: String,
    /// `missing`, `differs` or `conflict`.
    pub state: String,
    /// What is wrong with it.
    pub said: String,
}

/// One listening socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerView {
    /// How the configuration calls it.
    pub name: String,
    /// Where it really listens.
    pub address: String,
    /// `submission` or `relay`.
    pub role: String,
    /// `none`, `starttls` or `implicit`.
    pub tls: String,
}

/// `GET /v1/health`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Health {
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
    /// Octets of disk in use.
    pub disk_octets: u64,
    /// Octets that live mail needs.
    pub live_octets: u64,
    /// New mail is refused for want of disk.
    pub full: bool,
    /// Why nothing more is acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poisoned: Option<String>,
}

/// `GET /v1/queue?message=&tenant=&stream=&host=&site=&sender=&state=&older_than_s=&younger_than_s=&unordered=&after=&max=`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueuePage {
    /// In the order of their ids; in none where a sender was asked for, or no order was wanted: such pages cost less, and may be short.
    pub deliveries: Vec<Delivery>,
    /// What to give as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One live delivery.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    /// `message/index`.
    pub id: String,
    /// Whose.
    pub tenant: String,
    /// Its class.
    pub stream: String,
    /// Where to.
    pub host: String,
    /// The Site, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// When custody began.
    pub arrived_at: String,
    /// When it is next due.
    pub due: String,
    /// Attempts so far.
    pub attempts: u32,
    /// `waiting`, `lent` or `held`.
    pub state: String,
    /// Since when and why it is held; of one that is lent, that it will be when it comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<OnHold>,
    /// Length of the content.
    pub content_octets: u64,
    /// How many deliveries of the same group go before it; pages do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u64>,
}

/// `GET /v1/queue/count`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Count {
    /// Messages with a live delivery.
    pub messages: u64,
    /// Live deliveries.
    pub deliveries: u64,
    /// Of them with a worker.
    pub lent: u64,
    /// Of them held.
    #[serde(default)]
    pub held: u64,
    /// By group, the largest first.
    pub groups: Vec<GroupCount>,
}

/// Mail that waits together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupCount {
    /// `host NAME` or `site NAMES`.
    pub group: String,
    /// Deliveries in it.
    pub deliveries: u64,
}

/// `GET /v1/queue/{message}` and `GET /v1/explain/{message}`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Whose.
    pub tenant: String,
    /// Its class.
    pub stream: String,
    /// The reverse-path, with its brackets.
    pub from: String,
    /// When custody began.
    pub arrived_at: String,
    /// `submission`, `relay`, `report` or `local`.
    pub role: String,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What the client authenticated with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// TLS version and cipher suite of the client's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Recipients in all, settled ones included.
    pub recipients: usize,
    /// Length of the content.
    pub content_octets: u64,
    /// What its stream has done to it on its way out, a sentence each; only `explain` tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prepared: Vec<String>,
    /// From which Sources it is sent and by whose word, a sentence for each way that its recipients go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The live deliveries; at most a page.
    pub deliveries: Vec<Recipient>,
}

/// One live delivery of a message, with what is known of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recipient {
    /// The forward-path's mailbox.
    pub to: String,
    /// Where it stands.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// What the last attempt met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastAttempt>,
    /// What holds it; only `explain` tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
}

/// What the last attempt met.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LastAttempt {
    /// When.
    pub at: String,
    /// Where in the session.
    pub phase: String,
    /// The enhanced status.
    pub status: String,
    /// What was said, or what went wrong.
    pub diagnosis: String,
    /// The remote MTA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// What holds a delivery or a Site.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Waiting {
    /// One sentence.
    pub reason: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How many stand before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u64>,
}

/// `GET /v1/sites?max=`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sites {
    /// As the schedule sees them, at most a page.
    pub sites: Vec<Site>,
    /// How many there are in all.
    pub total: usize,
}

/// One Site.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Site {
    /// Its name.
    pub site: String,
    /// The provider whose rules it follows.
    pub provider: String,
    /// Connections open.
    pub connections: u32,
    /// How many it may have now.
    pub window: u32,
    /// Parcels waiting in the schedule.
    pub waiting: u64,
    /// What holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Waiting>,
}

/// `POST /v1/retry`: which deliveries are due now. Without a member: all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// One message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// A tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// A recipient host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A Site's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

/// The answer to [`Retry`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Altered {
    /// How many deliveries are due now.
    pub deliveries: usize,
}

/// The first line of `POST /v1/submit`; the content follows its line feed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The reverse-path's mailbox; empty is the null reverse-path.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
    /// Whose mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Its class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// When the sender wants to hear of it, as NOTIFY says it: `NEVER`, or some of `SUCCESS,FAILURE,DELAY` (RFC 3461 §4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// How much comes back with a failure: `FULL` or `HDRS` (RFC 3461 §4.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<String>,
    /// The sender's name for the envelope (RFC 3461 §4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// The id of the kept message that this one repeats, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<String>,
}

/// `GET /v1/intake`: what whoever hands mail over must know.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Intake {
    /// The name the relay is known by: the domain of local names.
    pub host_name: String,
    /// Octets of one message.
    pub message_octets_max: u64,
}

/// Custody began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accepted {
    /// The message.
    pub id: String,
    /// When.
    pub at: String,
}

/// The first line of `GET /v1/backup`. While the rest of the answer lasts, what it names can be copied.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Backup {
    /// The program's version.
    pub version: String,
    /// Where everything stands.
    pub places: Places,
    /// The spool's files, beside all under `contents/`.
    pub files: Vec<HeldFile>,
}

/// Where what a backup copies stands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Places {
    /// The spool's folder.
    pub spool: String,
    /// The configuration file.
    pub configuration: String,
    /// The certificate's file.
    pub certificate: String,
    /// Its key's.
    pub key: String,
}

/// One file of the spool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HeldFile {
    /// Its name, from the spool's folder on.
    pub name: String,
    /// Its length; what is not copied of it reads as zero.
    pub octets: u64,
    /// How much of it, from its beginning, belongs to the copy.
    pub octets_to_copy: u64,
}

/// The answer to `POST /v1/reload`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reloaded {
    /// What changed, for people.
    pub said: String,
}
