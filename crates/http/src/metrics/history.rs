//! Counters of what happened to mail, as the journal tells it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use postrider_model::{AttemptFacts, Event, EventKind, Notice, Outcome, Role};
use postrider_smtp::EnhancedStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::NAMES_MAX;

/// Bounds of the time from custody to the end of a delivery, in seconds: a message that goes at once, and one that is given up after five days.
const DELAY_BOUNDS: [f64; 14] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 432_000.0];

/// Bounds of the time of one attempt, in seconds.
const ATTEMPT_BOUNDS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Taken {
    tenant: String,
    role: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
    provider: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    outcome: &'static str,
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Secured {
    tls: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Silenced {
    tenant: String,
    by: &'static str,
}

/// What the follower counts into.
#[derive(Debug)]
pub struct History {
    messages_accepted: Family<Taken, Counter>,
    recipients_accepted: Counter,
    octets_accepted: Counter,
    deliveries: Family<Ended, Counter>,
    failures: Family<Failed, Counter>,
    delivered_tls: Family<Secured, Counter>,
    suppressions: Family<Silenced, Counter>,
    delay: Histogram,
    attempt: Histogram,
    missed: Counter,
    tenants: Mutex<BTreeSet<String>>,
    providers: Mutex<BTreeSet<String>>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            messages_accepted: Family::default(),
            recipients_accepted: Counter::default(),
            octets_accepted: Counter::default(),
            deliveries: Family::default(),
            failures: Family::default(),
            delivered_tls: Family::default(),
            suppressions: Family::default(),
            delay: Histogram::new(DELAY_BOUNDS),
            attempt: Histogram::new(ATTEMPT_BOUNDS),
            missed: Counter::default(),
            tenants: Mutex::default(),
            providers: Mutex::default(),
        }
    }
}

impl History {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("messages_accepted", "Messages taken into custody", self.messages_accepted.clone());
        registry.register("recipients_accepted", "Recipients of the messages taken into custody", self.recipients_accepted.clone());
        registry.register("accepted_octets", "Octets of the contents taken into custody", self.octets_accepted.clone());
        registry.register("deliveries", "Attempts for one recipient, by what became of them", self.deliveries.clone());
        registry.register("delivery_failures", "Deferrals and bounces, by class and subject of their status", self.failures.clone());
        registry.register("delivered_tls", "Recipients delivered, by how the session was secured", self.delivered_tls.clone());
        registry.register("suppressions", "Addresses that are not written to any more, by whose word", self.suppressions.clone());
        registry.register("delivery_delay_seconds", "From custody to delivery or bounce, for each recipient", self.delay.clone());
        registry.register("attempt_duration_seconds", "How long a transaction with a next hop took", self.attempt.clone());
        registry.register("metrics_events_missed", "Events that were gone before they could be counted", self.missed.clone());
    }

    pub(super) fn missed(&self, events: u64) {
        self.missed.inc_by(events);
    }

    /// Counts events in their order.
    pub(super) fn count(&self, events: &[Event], provider_of: &dyn Fn(&str) -> String) {
        let mut before: Option<*const AttemptFacts> = None;
        for event in events {
            match &event.kind {
                EventKind::Accepted { message, .. } => {
                    let taken = Taken { tenant: bounded(&self.tenants, message.tenant.as_str()), role: role(message.arrival.role) };
                    self.messages_accepted.get_or_create(&taken).inc();
                    self.recipients_accepted.inc_by(message.recipients.len() as u64);
                    self.octets_accepted.inc_by(message.content_octets);
                }
                EventKind::Settled { delivery, attempt, outcome } => {
                    // The recipients of one transaction share its facts, and stand side by side.
                    let this = attempt.as_ref().map(std::sync::Arc::as_ptr);
                    if let Some(attempt) = attempt.as_deref().filter(|_| this != before) {
                        self.attempt.observe(attempt.duration_ms as f64 / 1_000.0);
                    }
                    before = this;
                    self.ended(outcome, attempt.as_deref(), provider_of);
                    if outcome.is_terminal() {
                        self.delay.observe(event.at.since(delivery.message.accepted_at()).as_secs_f64());
                    }
                }
                EventKind::Noted(Notice::Suppressed { suppression, .. }) => {
                    let tenant = bounded(&self.tenants, suppression.tenant.as_str());
                    self.suppressions.get_or_create(&Silenced { tenant, by: suppression.cause.word() }).inc();
                }
            }
        }
    }

    fn ended(&self, outcome: &Outcome, attempt: Option<&AttemptFacts>, provider_of: &dyn Fn(&str) -> String) {
        let host = attempt.and_then(|attempt| attempt.host.as_deref());
        let provider = host.map_or_else(|| "none".to_owned(), provider_of);
        let provider = bounded(&self.providers, &provider);
        let (outcome, diagnosis) = match outcome {
            Outcome::Delivered { .. } => ("delivered", None),
            Outcome::Deferred { diagnosis, .. } => ("deferred", Some(diagnosis)),
            Outcome::Bounced { diagnosis } => ("bounced", Some(diagnosis)),
        };
        self.deliveries.get_or_create(&Ended { outcome, provider }).inc();
        match diagnosis {
            Some(diagnosis) => {
                self.failures.get_or_create(&Failed { outcome, status: status_class(diagnosis.status()) }).inc();
            }
            None => {
                let tls = attempt.and_then(|attempt| attempt.tls.as_ref()).map_or("none", |tls| &*tls.version);
                self.delivered_tls.get_or_create(&Secured { tls: tls.to_owned() }).inc();
            }
        }
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Submission => "submission",
        Role::Relay => "relay",
        Role::Report => "report",
        Role::Local => "local",
    }
}

/// Class and subject (RFC 3463 §3); a subject that the RFC does not have is a peer's invention, and could be any number.
fn status_class(status: EnhancedStatus) -> String {
    match status.subject {
        0..=7 => format!("{}.{}", status.class, status.subject),
        _ => format!("{}.other", status.class),
    }
}

/// The name, or `other` when there are too many already.
fn bounded(known: &Mutex<BTreeSet<String>>, name: &str) -> String {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.contains(name) {
        return name.to_owned();
    }
    if known.len() >= NAMES_MAX {
        return "other".to_owned();
    }
    known.insert(name.to_owned());
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_statuses_are_bounded() {
        let known = Mutex::default();
        let named: BTreeSet<String> = (0..1_000).map(|number| bounded(&known, &format!("tenant-{number}"))).collect();
        assert_eq!(named.len(), NAMES_MAX + 1);
        assert!(named.contains("other"));
        assert_eq!(bounded(&known, "tenant-0"), "tenant-0");
        for (status, class) in [((4, 7, 1), "4.7"), ((5, 1, 999), "5.1"), ((5, 123, 0), "5.other")] {
            let (class_digit, subject, detail) = status;
            assert_eq!(status_class(EnhancedStatus { class: class_digit, subject, detail }), class);
        }
    }
}
