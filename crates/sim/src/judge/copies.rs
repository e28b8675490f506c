//! C2: a further copy must be explained.

use std::collections::BTreeMap;

use postrider_model::{DeliveryId, Timestamp, limits};

use super::Found;
use super::evidence::{Copy, Evidence};
use super::returns::reports;
use crate::world::Fact;
use crate::world::book::{JournalEvent, Outcome};

pub(super) fn check(evidence: &Evidence, found: &mut Found) {
    let crashes = evidence.crashes();
    let mut by_crash: BTreeMap<Timestamp, usize> = BTreeMap::new();
    for ((token, recipient), copies) in evidence.copies() {
        row(evidence, &crashes, &format!("{token} to {recipient}"), &copies, &mut by_crash, found);
    }
    let mut told: BTreeMap<String, Vec<Copy>> = BTreeMap::new();
    for report in reports(evidence) {
        told.entry(report.message_id).or_default().push(report.copy);
    }
    for (id, copies) in told {
        row(evidence, &crashes, &format!("report {id}"), &copies, &mut by_crash, found);
    }
    let bound = limits::UNSYNCED_OUTCOMES_MAX + evidence.connections_out_max as usize;
    for (crash, count) in by_crash.into_iter().filter(|(_, count)| *count > bound) {
        found.say("C2", format!("the crash at {} caused {count} further copies, more than {bound}", Evidence::clock(crash)));
    }
    settled(evidence, found);
}

/// Copies of one message for one recipient, in order: each but the last must have an excuse.
fn row(
    evidence: &Evidence,
    crashes: &[Timestamp],
    what: &str,
    copies: &[Copy],
    by_crash: &mut BTreeMap<Timestamp, usize>,
    found: &mut Found,
) {
    for copy in copies.iter().take(copies.len().saturating_sub(1)) {
        let Some(confirmed) = copy.confirmed else { continue };
        if !evidence.forgotten(confirmed, crashes) {
            let at = Evidence::clock(confirmed);
            found.say("C2", format!("{what} was taken and confirmed at {at}, and sent again: {} copies", copies.len()));
        } else if let Some(crash) = crashes.iter().find(|crash| **crash >= confirmed) {
            *by_crash.entry(*crash).or_default() += 1;
        }
    }
}

/// What the journal says has ended is not attempted again, crash or not.
fn settled(evidence: &Evidence, found: &mut Found) {
    let mut ended: BTreeMap<DeliveryId, Timestamp> = BTreeMap::new();
    for (at, fact) in &evidence.facts {
        match fact {
            Fact::Journal { event: JournalEvent::Settled { delivery, outcome: Outcome::Delivered | Outcome::Bounced }, .. } => {
                ended.insert(*delivery, *at);
            }
            Fact::Attempted { message, index, .. } => {
                if let Some(since) = ended.get(&DeliveryId { message: *message, index: *index }) {
                    found.say("C2", format!("{message}/{index} had durably ended at {}, and was attempted again", Evidence::clock(*since)));
                }
            }
            _ => {}
        }
    }
}
