//! What the journal keeps of one message.
//!
//! **Does badly.** The journal is in the order of time, and has no index by message: what happened since the message came is read through. Its beginning
//! is found by bisection; of more than [`EVENTS_MAX`] events the rest is not looked at, and the answer says so.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use postrider_model::doors::{Journal, JournalTrouble};
use postrider_model::{DeliveryId, Event, EventKind, MessageId, Outcome, Timestamp};

use crate::doors::ControlDoors;
use crate::queue::message_id;
use crate::trouble::Refusal;
use crate::wire;

/// Events looked at for one message.
const EVENTS_MAX: u64 = 1_000_000;
/// Events read at once.
const STEP: usize = 512;
/// How far the journal's order may be from that of the clock.
const DISORDER: Duration = Duration::from_secs(120);

pub(crate) async fn attempts(State(doors): State<ControlDoors>, Path(id): Path<String>) -> Result<Json<wire::Attempts>, Refusal> {
    let (journal, id) = (doors.journal.clone(), message_id(&id)?);
    let read = tokio::task::spawn_blocking(move || of_message(&journal, id)).await;
    let read = read.unwrap_or(Err(JournalTrouble::Gone(0)));
    read.map(Json).map_err(|trouble| Refusal::unacceptable(format!("the journal cannot be read now: {trouble}")))
}

fn of_message(journal: &Arc<dyn Journal>, id: MessageId) -> Result<wire::Attempts, JournalTrouble> {
    let accepted_at = id.accepted_at();
    let (mut at, first) = beginning(&**journal, accepted_at)?;
    let kept_from = first.filter(|first| *first > accepted_at.after(DISORDER)).map(|first| first.to_string());
    let mut history = History { id, recipients: Vec::new(), attempts: Vec::new(), ended: 0 };
    let end = at.saturating_add(EVENTS_MAX);
    while at < end {
        let events = match journal.read(at, STEP) {
            Err(JournalTrouble::Gone(first)) if first > at => {
                at = first;
                continue;
            }
            read => read?,
        };
        let Some(last) = events.last() else { break };
        at = last.sequence + 1;
        events.iter().for_each(|event| history.take(event));
        if history.is_over() {
            break;
        }
    }
    Ok(wire::Attempts { attempts: history.attempts, complete: at < end, kept_from })
}

/// The sequence where events of that time begin, and when the oldest event was.
fn beginning(journal: &dyn Journal, at: Timestamp) -> Result<(u64, Option<Timestamp>), JournalTrouble> {
    let wanted = Timestamp::from_millis(at.millis().saturating_sub(DISORDER.as_millis() as u64));
    let first = match journal.read(0, 1) {
        Err(JournalTrouble::Gone(first)) => first,
        Ok(events) => events.first().map_or(0, |event| event.sequence),
        Err(trouble) => return Err(trouble),
    };
    // Whether an event is early enough; beyond the end none is.
    let time = |sequence: u64| Ok::<_, JournalTrouble>(journal.read(sequence, 1)?.first().map(|event| event.at));
    let Some(oldest) = time(first)? else { return Ok((first, None)) };
    let (mut early, mut step) = (first, 1);
    while time(early + step)?.is_some_and(|at| at < wanted) {
        early += step;
        step *= 2;
    }
    // The first that is late enough stands behind `early`, at most `step` later.
    let mut late = early + step;
    while early + 1 < late {
        let middle = early + (late - early) / 2;
        if time(middle)?.is_some_and(|at| at < wanted) { early = middle } else { late = middle }
    }
    Ok((early, Some(oldest)))
}

struct History {
    id: MessageId,
    recipients: Vec<String>,
    attempts: Vec<wire::Attempt>,
    ended: usize,
}

impl History {
    fn is_over(&self) -> bool {
        !self.recipients.is_empty() && self.ended == self.recipients.len()
    }

    fn take(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Accepted { message, .. } if message.id == self.id => {
                self.recipients = message.recipients.iter().map(|recipient| recipient.mailbox.to_string()).collect();
            }
            EventKind::Settled { delivery, attempt, outcome } if delivery.message == self.id => {
                self.ended += usize::from(outcome.is_terminal());
                let attempt = attempt.as_deref();
                self.attempts.push(wire::Attempt {
                    source: attempt.map(|facts| facts.source.to_string()),
                    host: attempt.and_then(|facts| facts.host.as_deref().map(str::to_owned)),
                    address: attempt.and_then(|facts| facts.address.map(|address| address.to_string())),
                    tls: attempt.and_then(|facts| facts.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher))),
                    duration_ms: attempt.map(|facts| facts.duration_ms),
                    ..self.settled(event.at, *delivery, outcome)
                });
            }
            EventKind::Accepted { .. } | EventKind::Settled { .. } | EventKind::Noted(_) => {}
        }
    }

    fn settled(&self, at: Timestamp, delivery: DeliveryId, outcome: &Outcome) -> wire::Attempt {
        let to = self.recipients.get(delivery.index as usize).cloned().unwrap_or_default();
        let attempt = wire::Attempt { at: at.to_string(), id: delivery.to_string(), to, ..wire::Attempt::default() };
        match outcome {
            Outcome::Delivered { reply } => wire::Attempt { outcome: "delivered".to_owned(), said: reply.to_string(), ..attempt },
            Outcome::Deferred { due, diagnosis, .. } => wire::Attempt {
                outcome: "deferred".to_owned(),
                said: diagnosis.describe(),
                status: Some(diagnosis.status().to_string()),
                due: Some(due.to_string()),
                ..attempt
            },
            Outcome::Bounced { diagnosis } => wire::Attempt {
                outcome: "bounced".to_owned(),
                said: diagnosis.describe(),
                status: Some(diagnosis.status().to_string()),
                ..attempt
            },
        }
    }
}
