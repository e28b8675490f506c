//! The control API: HTTP/1.1 and JSON over a private unix socket in the data directory. It is how the command line reaches a running relay.
//!
//! **Promises.** The relay is reached only through doors ([`ControlDoors`]); nothing here decides about mail. Whatever octets arrive on the
//! socket, the process lives on: a bad request ends its own connection. Requests are bounded in size and time, connections in number,
//! lists are paged ([`PAGE_MAX`]), and a message's content is streamed, never held whole. Only the user who runs the relay, and root, are
//! answered; on a socket of its own, where the configuration asks for it, every user may hand mail over ([`serve_public`]).
//!
//! Beside it, only where the configuration asks for it, a private TCP listener with metrics and health ([`serve_metrics`]); it changes nothing. And a
//! public one where recipients unsubscribe ([`serve_web`]).
//!
//! **Never** offers the control API on the network, and never shows or takes a secret.
//!
//! **Does badly.** A page of the queue is not a snapshot: deliveries that move while somebody pages are seen once, twice or not at all.
//! `/v1/submit` holds its message in memory, at most [`SUBMITS_MAX`] at once.

#![forbid(unsafe_code)]

mod attempts;
mod backup;
mod body;
mod change;
#[doc(hidden)]
pub mod checks;
mod doors;
mod filter;
mod metrics;
mod pace;
mod public;
mod queue;
mod relay;
mod reroute;
mod routes;
mod serve;
mod submit;
mod suppress;
mod suspend;
#[cfg(test)]
mod tests;
mod trouble;
mod web;
pub mod wire;

pub use doors::{
    About, ControlDoors, Domains, Intake, IntakeTrouble, Listeners, LocalMail, Pools, Reload, Reroute, RerouteBook, SuspensionBook,
};
pub use metrics::{CountingLog, DomainRecords, History, KeptCounts, MetricsDoors, NAMES_MAX, Refusals, follow, serve_metrics};
pub use public::{USER_CONNECTIONS_MAX, serve_public};
pub use serve::serve;
pub use submit::encode_submission;
pub use web::{WEB_CONNECTIONS_MAX, WEB_CONNECTIONS_PER_NETWORK_MAX, WebDoors, serve_web};

/// Deliveries in one page of the queue. One delivery is about 400 octets of JSON, so a page stays under half a megabyte.
pub const PAGE_MAX: usize = 1_000;

/// Octets of a JSON request.
pub const JSON_OCTETS_MAX: usize = 64 * 1024;

/// Octets of a person's reason.
pub const REASON_OCTETS_MAX: usize = 200;

/// Submissions held at once; more wait their turn.
pub const SUBMITS_MAX: usize = 4;

/// Connections at once; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 64;

/// How long a client may take to send the head of a request, in milliseconds.
pub const HEAD_TIMEOUT_MS: u64 = 10_000;

/// How long a request may take until its answer begins, in milliseconds; the body's arrival counts.
pub const REQUEST_TIMEOUT_MS: u64 = 120_000;
