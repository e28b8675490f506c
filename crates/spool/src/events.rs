//! Events: their stored form in the journal, and how they are read out of the log's records.

use std::sync::Arc;

use postrider_model::doors::SpoolTrouble;
use postrider_model::{DeliveryId, Event, EventKind, MessageId};

use crate::codec::{Damaged, Decoder, Encode};
use crate::forms::Form;
use crate::notice::{put_notice, take_notice};
use crate::record::Kind;
use crate::segment::Slot;
use crate::stored::{put_attempt, put_message, put_option, put_outcome, take_attempt, take_message, take_option, take_outcome, take_time};
use crate::walk::Walk;

/// Events read at once from the log, at about a KiB each.
pub(crate) const EVENTS_OF_LOG_MAX: usize = 8192;

pub(crate) fn put_event(out: &mut Vec<u8>, event: &Event) {
    out.number(event.at.millis());
    match &event.kind {
        EventKind::Accepted { message, reports_on } => {
            out.octet(0);
            put_message(out, message);
            put_option(out, reports_on.as_ref(), |out, id| out.fixed128(id.0));
        }
        EventKind::Settled { delivery, attempt, outcome } => {
            out.octet(1);
            out.fixed128(delivery.message.0);
            out.number(delivery.index.into());
            put_option(out, attempt.as_deref(), put_attempt);
            put_outcome(out, outcome);
        }
        EventKind::Noted(notice) => {
            out.octet(2);
            put_notice(out, notice);
        }
    }
}

pub(crate) fn take_event(sequence: u64, payload: &[u8]) -> Result<Event, Damaged> {
    let mut from = Decoder::new(payload);
    let at = take_time(&mut from)?;
    let kind = match from.octet()? {
        0 => EventKind::Accepted {
            message: Arc::new(take_message(&mut from)?),
            reports_on: take_option(&mut from, |from| Ok(MessageId(from.fixed128()?)))?,
        },
        1 => EventKind::Settled {
            delivery: DeliveryId { message: MessageId(from.fixed128()?), index: from.number32()? },
            attempt: take_option(&mut from, take_attempt)?.map(Arc::new),
            outcome: take_outcome(&mut from)?,
        },
        2 => EventKind::Noted(take_notice(&mut from)?),
        _ => return Err(Damaged),
    };
    if from.is_empty() { Ok(Event { sequence, at, kind }) } else { Err(Damaged) }
}

/// The events that a record gave birth to.
fn events_of(form: Form, mut sequence: u64, events: &mut Vec<Event>) {
    match form {
        Form::Acceptance(stored) => {
            let (at, message) = (stored.message.arrival.at, Arc::new(stored.message));
            events.push(Event { sequence, at, kind: EventKind::Accepted { message, reports_on: None } });
        }
        Form::Settlement(settlement) => {
            let attempt = settlement.attempt.map(Arc::new);
            for told in settlement.outcomes {
                let delivery = DeliveryId { message: settlement.message, index: told.index };
                let kind = EventKind::Settled { delivery, attempt: attempt.clone(), outcome: told.outcome };
                events.push(Event { sequence, at: settlement.at, kind });
                sequence += 1;
            }
            if let Some(stored) = settlement.report {
                let (at, message) = (stored.message.arrival.at, Arc::new(stored.message));
                let kind = EventKind::Accepted { message, reports_on: Some(settlement.message) };
                events.push(Event { sequence, at, kind });
            }
        }
        Form::Notice(notice) => events.push(Event { sequence, at: notice.at(), kind: EventKind::Noted(notice) }),
        Form::Checkpoint(..) | Form::Standing(..) | Form::Transferred(_) | Form::Alteration(_) => {}
    }
}

/// The events in a segment from `from` on, in order: all of them up to `end`, or the first `max` (and the few more that the last record gave birth
/// to), or trouble. What stands behind `end` is the committer's, perhaps not synced, and is not looked at.
pub(crate) fn events_in(slot: &Slot, from: u64, end: u64, max: usize) -> Result<Vec<Event>, SpoolTrouble> {
    let mut walk = Walk::new(slot)?;
    let mut events: Vec<Event> = Vec::new();
    while events.len() < max
        && let Some(found) = walk.next()?
        && found.header.sequence < end
    {
        let tells = |kind: &Kind| matches!(kind, Kind::Acceptance | Kind::Settlement | Kind::Notice);
        let Some(kind) = Kind::from_tag(found.header.tag).filter(tells) else { continue };
        let form = Form::decode(kind, found.meta)
            .map_err(|_| SpoolTrouble::Corrupt(format!("{}, offset {}: the record cannot be decoded", slot.name, found.offset)))?;
        if found.header.sequence + form.events() > from {
            events_of(form, found.header.sequence, &mut events);
            // A record that began before `from` and ends behind it has both.
            let before = events.iter().take_while(|event| event.sequence < from).count();
            events.drain(..before);
        }
    }
    let enough = events.len() as u64 == end.saturating_sub(from) || events.len() >= max;
    if !enough || events.first().is_some_and(|event| event.sequence != from) {
        let (name, offset) = (&slot.name, walk.offset);
        return Err(SpoolTrouble::Corrupt(format!("{name}, offset {offset}: damaged; its events from {from} on cannot be read")));
    }
    Ok(events)
}
