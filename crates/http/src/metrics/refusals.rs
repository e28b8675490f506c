//! What clients are refused, counted beside the mail log: one atomic addition, no lock; what judges of content said under a lock of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use postrider_model::doors::{Judged, Judgement, MailLog, Suppression};
use postrider_model::{AttemptFacts, Message, MessageId, Outcome};
use postrider_smtp::Reply;

/// The closed list of reasons.
const REASONS: [&str; 11] = [
    "judged",
    "too_many_sessions",
    "wrong_credentials",
    "locked_out",
    "needs_authentication",
    "relay_denied",
    "loop",
    "disk_full",
    "local_error",
    "shutting_down",
    "other",
];

/// Counts by reason.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: [AtomicU64; REASONS.len()],
    alarms: AtomicU64,
    /// By judge and judgement. Judges are those of the configuration, so there are few.
    judged: Mutex<BTreeMap<(Box<str>, Judgement), u64>>,
}

impl Refusals {
    /// Each reason with its count.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.iter().zip(&self.counts).map(|(reason, count)| (*reason, count.load(Ordering::Relaxed)))
    }

    /// What judges of content said: judge, judgement, how often.
    pub(super) fn judged(&self) -> Vec<(String, &'static str, u64)> {
        let judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        judged.iter().map(|((judge, judgement), count)| (judge.to_string(), judgement.word(), *count)).collect()
    }

    pub(super) fn alarms(&self) -> u64 {
        self.alarms.load(Ordering::Relaxed)
    }

    fn refused(&self, what: &str, reply: &Reply) {
        let reason = reason(what, reply);
        let at = REASONS.iter().position(|known| *known == reason).unwrap_or(REASONS.len() - 1);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
    }
}

/// By the reply, because that is what client and operator see, too.
fn reason(what: &str, reply: &Reply) -> &'static str {
    let status = reply.status().map(|status| (status.subject, status.detail));
    match (reply.code(), status) {
        _ if what.starts_with("milter:") || what.starts_with("rule:") => "judged",
        _ if what == "connection" => "too_many_sessions",
        (535, _) => "wrong_credentials",
        (454, Some((7, 0))) => "locked_out",
        (530, _) => "needs_authentication",
        (_, Some((7, 1))) => "relay_denied",
        (_, Some((4, 6))) => "loop",
        (452, Some((3, 1))) => "disk_full",
        (421, Some((3, 2))) => "shutting_down",
        (451, Some((3, _))) => "local_error",
        _ => "other",
    }
}

/// A mail log that counts on the way to another.
pub struct CountingLog {
    log: Arc<dyn MailLog>,
    refusals: Arc<Refusals>,
}

impl CountingLog {
    /// Counts what goes to `log`.
    pub fn new(log: Arc<dyn MailLog>, refusals: Arc<Refusals>) -> Self {
        Self { log, refusals }
    }
}

impl MailLog for CountingLog {
    fn accepted(&self, message: &Message) {
        self.log.accepted(message);
    }

    fn attempted(&self, message: &Message, index: u32, attempt: Option<&AttemptFacts>, outcome: &Outcome) {
        self.log.attempted(message, index, attempt, outcome);
    }

    fn refused(&self, peer: IpAddr, what: &str, reply: &Reply) {
        self.refusals.refused(what, reply);
        self.log.refused(peer, what, reply);
    }

    fn judged(&self, judged: &Judged<'_>) {
        let mut counts = self.refusals.judged.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((judged.judge.into(), judged.judgement)).or_default() += 1;
        drop(counts);
        self.log.judged(judged);
    }

    fn suppressed(&self, suppression: &Suppression, peer: Option<IpAddr>) {
        self.log.suppressed(suppression, peer);
    }

    fn alarm(&self, message: Option<MessageId>, text: &str) {
        self.refusals.alarms.fetch_add(1, Ordering::Relaxed);
        self.log.alarm(message, text);
    }
}

#[cfg(test)]
mod tests {
    use postrider_smtp::EnhancedStatus;

    use super::*;

    #[test]
    fn every_reason_is_on_the_list_and_told_by_the_reply() {
        for (what, code, (class, subject, detail), expected) in [
            ("connection", 421, (4, 7, 0), "too_many_sessions"),
            ("AUTH app", 535, (5, 7, 8), "wrong_credentials"),
            ("AUTH app", 454, (4, 7, 0), "locked_out"),
            ("MAIL FROM:<a@b>", 530, (5, 7, 0), "needs_authentication"),
            ("RCPT TO:<a@b>", 554, (5, 7, 1), "relay_denied"),
            ("milter:spam end of data", 550, (5, 7, 1), "judged"),
            ("end of data", 554, (5, 4, 6), "loop"),
            ("DATA", 452, (4, 3, 1), "disk_full"),
            ("DATA", 451, (4, 3, 0), "local_error"),
            ("end of data", 421, (4, 3, 2), "shutting_down"),
            ("RCPT TO:<a@b>", 550, (5, 1, 1), "other"),
        ] {
            let reply = Reply::new(code, Some(EnhancedStatus { class, subject, detail }), "no");
            assert_eq!(reason(what, &reply), expected, "{code} {subject}.{detail}");
            assert!(REASONS.contains(&expected));
        }
    }
}
