//! C4: the order of facts.

use std::collections::BTreeMap;

use postrider_model::{DeliveryId, MessageId};

use super::Found;
use super::evidence::Evidence;
use crate::world::Fact;
use crate::world::book::{JournalEvent, Outcome};

pub(super) fn check(evidence: &Evidence, found: &mut Found) {
    journal(evidence, found);
    log(evidence, found);
}

/// The journal: sequences grow; Accepted, then Deferred, then one terminal event.
fn journal(evidence: &Evidence, found: &mut Found) {
    let mut last = 0;
    let mut accepted: BTreeMap<MessageId, usize> = BTreeMap::new();
    let mut ended: BTreeMap<DeliveryId, Outcome> = BTreeMap::new();
    let mut gaps = false;
    for (_, fact) in &evidence.facts {
        if let Fact::Rewritten(sequence) = fact {
            found.say("C4", format!("event {sequence} is not what it was before"));
        }
        let Fact::Journal { sequence, event } = fact else { continue };
        if *sequence <= last {
            found.say("C4", format!("event {sequence} after event {last}"));
        }
        if evidence.journal && *sequence > last + 1 {
            found.say("C4", format!("event {sequence} follows event {last}: something is missing between"));
        }
        gaps |= *sequence != last + 1;
        last = *sequence;
        match event {
            JournalEvent::Accepted { message, recipients, .. } => {
                if accepted.insert(*message, *recipients).is_some() {
                    found.say("C4", format!("{message} was accepted twice"));
                }
            }
            JournalEvent::Settled { delivery, outcome } => {
                match accepted.get(&delivery.message) {
                    // What a crash kept from being read may have held the acceptance.
                    None if gaps => {}
                    None => found.say("C4", format!("{delivery} was settled and never accepted")),
                    Some(count) if delivery.index as usize >= *count => found.say("C4", format!("{delivery} is no recipient")),
                    Some(_) => {}
                }
                if let Some(before) = ended.get(delivery) {
                    found.say("C4", format!("{delivery} is {outcome:?} after it was {before:?}"));
                }
                if matches!(outcome, Outcome::Delivered | Outcome::Bounced) {
                    ended.insert(*delivery, *outcome);
                }
            }
            JournalEvent::Suppressed { .. } => {}
        }
    }
}

/// The mail log: acceptance first; after a terminal line nothing, unless the outcome was forgotten in a crash.
fn log(evidence: &Evidence, found: &mut Found) {
    let crashes = evidence.crashes();
    let mut accepted = BTreeMap::new();
    let mut ended = BTreeMap::new();
    for (at, fact) in &evidence.facts {
        match fact {
            Fact::Accepted(id) => {
                accepted.insert(*id, *at);
            }
            Fact::Attempted { message, index, report, outcome, .. } => {
                // A crash between the sync and the line leaves an acceptance without one.
                let crashed = crashes.iter().any(|crash| crash <= at && *crash >= message.accepted_at());
                if !report && !accepted.contains_key(message) && !crashed {
                    found.say("C4", format!("the log has an attempt of {message} at {} before its acceptance", Evidence::clock(*at)));
                }
                if let Some(before) = ended.get(&(*message, *index))
                    && !evidence.forgotten(*before, &crashes)
                {
                    found.say("C4", format!("the log goes on about {message}/{index} after its end at {}", Evidence::clock(*before)));
                }
                if matches!(outcome, Outcome::Delivered | Outcome::Bounced) {
                    ended.insert((*message, *index), *at);
                }
            }
            _ => {}
        }
    }
}
