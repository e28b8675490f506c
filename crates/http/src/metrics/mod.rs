//! Metrics and health on a private HTTP listener, for Prometheus and for whoever decides whether the relay is to be restarted or sent clients.
//!
//! **Promises.** `/metrics` is the OpenMetrics text. What happened to mail is counted by following the journal, and what was refused by one atomic
//! addition beside the mail log, so that no session and no worker waits for a scrape. Labels are bounded: outcomes, roles, reasons and classes of status
//! are closed lists; tenants, providers and domains that we send for are names of ours, at most [`NAMES_MAX`] of each, and `other` from there on. `/livez` asks
//! the dispatcher whether it still answers; `/readyz` says in one sentence why no client should be sent here.
//!
//! **Never** names a mailbox, an address, or a domain that mail goes to, and never changes anything.
//!
//! **Does badly.** The counts begin at zero with each start, as Prometheus expects. A follower that fell behind what history is kept goes on at its
//! end and counts the events it missed.

mod follow;
mod history;
mod refusals;
mod serve;
mod state;

use std::sync::Arc;

use postrider_model::Timestamp;
use postrider_model::doors::{Insight, Journal, SpoolDesk};

pub use follow::follow;
pub use history::History;
pub use refusals::{CountingLog, Refusals};
pub use serve::serve_metrics;

/// Different tenants, and different providers, that get a label of their own.
pub const NAMES_MAX: usize = 100;

/// How many records of a domain are in a state, by the last look at the DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRecords {
    /// The domain; empty where it is the Sources.
    pub domain: String,
    /// The kind of record.
    pub record: &'static str,
    /// How it stands.
    pub state: &'static str,
    /// How many.
    pub count: u64,
}

/// Messages that stay when they are done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptCounts {
    /// How many.
    pub messages: u64,
    /// Octets of disk that they take.
    pub octets: u64,
    /// Those that could not be kept, since the start.
    pub failed: u64,
    /// Those that went before their time, since the start.
    pub evicted: u64,
}

/// What the metrics are made from.
#[derive(Clone)]
pub struct MetricsDoors {
    /// The spool's state.
    pub desk: Arc<dyn SpoolDesk>,
    /// What happened.
    pub journal: Arc<dyn Journal>,
    /// The live schedule.
    pub insight: Arc<dyn Insight>,
    /// The name of the provider that a host belongs to, by the policy in force.
    pub provider_of: Arc<dyn Fn(&str) -> String + Send + Sync>,
    /// Sessions with clients at present, and those that began since the start.
    pub sessions: Arc<dyn Fn() -> (usize, u64) + Send + Sync>,
    /// Whether the relay is about to stop.
    pub draining: Arc<dyn Fn() -> bool + Send + Sync>,
    /// When the certificate of the listeners ends, when that is known.
    pub certificate_ends: Arc<dyn Fn() -> Option<Timestamp> + Send + Sync>,
    /// What the domains publish.
    pub domains: Arc<dyn Fn() -> Vec<DomainRecords> + Send + Sync>,
    /// Messages that stay when they are done.
    pub kept: Arc<dyn Fn() -> KeptCounts + Send + Sync>,
    /// What was counted of the journal.
    pub history: Arc<History>,
    /// What was refused.
    pub refusals: Arc<Refusals>,
    /// The program's version.
    pub version: String,
    /// When it started, in milliseconds since the epoch.
    pub started_ms: u64,
}
