//! The queue in a person's hands: changes, ages, attempts, suspensions.

use serde::{Deserialize, Serialize};

/// Which deliveries: all that is said must be true of one. Nothing said is all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Which {
    /// Of these messages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
    /// A tenant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// To a recipient host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// To a Site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// From a mailbox, a domain, or `<>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// `waiting`, `lent` or `held`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Here for at least so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_s: Option<u64>,
    /// Here for at most so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub younger_than_s: Option<u64>,
}

/// `POST /v1/queue/change`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// `hold`, `release`, `retry`, `cancel` or `bounce`.
    pub action: String,
    /// Why, for a hold, a cancel or a bounce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
    /// Where the last answer said to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Which deliveries.
    #[serde(default)]
    pub which: Which,
}

/// The answer to [`Change`]: one page of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Changed {
    /// Deliveries changed (or, in a dry run, that would be).
    pub deliveries: u64,
    /// Deliveries left alone because they are with a worker.
    #[serde(default)]
    pub left: u64,
    /// There is more: ask again with this as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// `GET /v1/queue/shape`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Shape {
    /// Ages in minutes that part the columns: up to each, and beyond the last.
    pub minutes: Vec<u64>,
    /// Everything that matches.
    pub total: ShapeRow,
    /// The largest rows.
    pub rows: Vec<ShapeRow>,
    /// How many rows there are in all.
    pub rows_in_all: usize,
    /// When the oldest of it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
}

/// One row of a shape.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ShapeRow {
    /// A Site, a host, a tenant, or `TOTAL`.
    pub name: String,
    /// Deliveries.
    pub deliveries: u64,
    /// The same by age.
    pub ages: Vec<u64>,
}

/// `GET /v1/queue/{message}/attempts`: what the journal keeps of a message.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Attempts {
    /// In the order of time.
    pub attempts: Vec<Attempt>,
    /// Whether the journal was read to its end. A busy relay's is long, and is read for a bounded time only.
    pub complete: bool,
    /// History before this instant is not kept, and the message is older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_from: Option<String>,
}

/// What became of one delivery in one attempt, or without one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Attempt {
    /// When it was settled.
    pub at: String,
    /// The delivery.
    pub id: String,
    /// Its recipient.
    pub to: String,
    /// `delivered`, `deferred` or `bounced`.
    pub outcome: String,
    /// What was said, or what went wrong.
    pub said: String,
    /// The enhanced status, unless it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// When it was to be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// From where, when an attempt was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The host's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// TLS version and cipher suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// Since when and why a delivery is held.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OnHold {
    /// When it was said.
    pub since: String,
    /// Why; may be empty.
    pub reason: String,
}

/// What a person suspends or resumes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `site`, `tenant` or `source`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// `POST /v1/suspend`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspend {
    /// What.
    pub target: Target,
    /// For so many seconds; without it until it is resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/reroute`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reroute {
    /// A route or a smart host, by its name, or `mx`.
    pub to: String,
    /// Whose mail.
    #[serde(default)]
    pub which: Which,
    /// Mail that comes later, too.
    #[serde(default)]
    pub new_too: bool,
    /// For so many seconds; without it until it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/reroute/end`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndReroute {
    /// Which.
    pub number: u64,
}

/// `GET /v1/rerouted`, and the answer to sending mail another way and to ending it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Reroutes {
    /// All in force, the newest last.
    pub rerouted: Vec<RerouteView>,
}

/// Mail that is sent another way; what is not said is any.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RerouteView {
    /// What it is called by.
    pub number: u64,
    /// Where to.
    pub to: String,
    /// Of these messages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
    /// A tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// To these hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// From a mailbox, a host, or `<>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Accepted until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_to: Option<String>,
    /// When it was said.
    pub since: String,
    /// Until when; absent until it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why; may be empty.
    pub reason: String,
}

/// `POST /v1/suppressions/add` and `/v1/suppressions/remove`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppress {
    /// Whose mail.
    pub tenant: String,
    /// Which class of it.
    pub stream: String,
    /// To whom.
    pub mailboxes: Vec<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Suppressed {
    /// So many were not so before.
    pub changed: u64,
}

/// `GET /v1/suppressions`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Suppressions {
    /// In the order of tenant, stream, address.
    pub suppressions: Vec<SuppressionView>,
    /// Where the next page begins; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One address that is not written to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SuppressionView {
    /// Whose mail.
    pub tenant: String,
    /// Which class of it.
    pub stream: String,
    /// To whom.
    pub mailbox: String,
    /// Since when.
    pub since: String,
    /// `one_click` or `operator`.
    pub cause: String,
    /// The message by which the word came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why; may be empty.
    pub reason: String,
}

/// `GET /v1/suspended`, and the answer to suspending and resuming.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Suspensions {
    /// All in force.
    pub suspended: Vec<Suspension>,
}

/// One suspension.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Suspension {
    /// `site`, `tenant` or `source`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// When it was said.
    pub since: String,
    /// Until when; absent until it is resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why; may be empty.
    pub reason: String,
}
