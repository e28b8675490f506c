//! What the meta part of each kind of record holds.
//!
//! **Promises.** Decoding is total, and takes the whole meta part: octets left over are damage.

use postrider_model::doors::OnHold;
use postrider_model::{AttemptFacts, Diagnosis, Message, MessageId, Notice, Outcome, Timestamp};

use crate::alteration::{StoredAlteration, put_hold, take_alteration, take_change, take_hold};
use crate::codec::{Damaged, Decoder, Encode};
use crate::notice::take_notice;
use crate::record::Kind;
use crate::stored::{
    put_attempt, put_diagnosis, put_message, put_option, put_outcome, take_attempt, take_diagnosis, take_message, take_option,
    take_outcome, take_time,
};

/// The name of a file under `contents/`: unique over all lives of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileName {
    /// The generation the spool was opened with.
    pub(crate) opening: u32,
    /// A count since then.
    pub(crate) nth: u64,
}

impl FileName {
    pub(crate) fn path(self) -> String {
        format!("{CONTENTS}/{:08x}-{:016x}", self.opening, self.nth)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (opening, nth) = name.split_once('-')?;
        let plain = opening.len() == 8 && nth.len() == 16;
        plain.then_some(())?;
        Some(Self { opening: u32::from_str_radix(opening, 16).ok()?, nth: u64::from_str_radix(nth, 16).ok()? })
    }
}

/// Where contents too large for the log are.
pub(crate) const CONTENTS: &str = "contents";

/// Where a message's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// Behind the meta part, in the same record.
    Inline,
    /// In a file of its own, with this XXH3 hash.
    File(FileName, u64),
}

/// A message as an acceptance or a checkpoint stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredMessage {
    pub(crate) message: Message,
    pub(crate) body: Body,
}

/// How one delivery stands, in a checkpoint or standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits, or is held.
    Live { due: Timestamp, attempts: u32, diagnosis: Option<Diagnosis>, delay_told: bool, held: Option<OnHold> },
    /// It was settled for good.
    Ended,
}

/// A settlement as stored: each outcome with the attempts made until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredSettlement {
    pub(crate) message: MessageId,
    pub(crate) at: Timestamp,
    pub(crate) attempt: Option<AttemptFacts>,
    pub(crate) outcomes: Vec<StoredOutcome>,
    pub(crate) report: Option<StoredMessage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredOutcome {
    pub(crate) index: u32,
    pub(crate) attempts: u32,
    pub(crate) outcome: Outcome,
}

/// A decoded meta part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    Acceptance(StoredMessage),
    Settlement(StoredSettlement),
    Checkpoint(StoredMessage, Vec<(u32, State)>),
    Standing(MessageId, Vec<(u32, State)>),
    Transferred(u32),
    Alteration(StoredAlteration),
    Notice(Notice),
}

impl Form {
    pub(crate) fn decode(kind: Kind, meta: &[u8]) -> Result<Form, Damaged> {
        let mut from = Decoder::new(meta);
        let form = match kind {
            Kind::Acceptance => Form::Acceptance(take_stored_message(&mut from)?),
            Kind::Settlement => Form::Settlement(take_settlement(&mut from)?),
            Kind::Checkpoint => {
                let (stored, states) = (take_stored_message(&mut from)?, take_states(&mut from)?);
                if states.last().is_some_and(|(index, _)| *index as usize >= stored.message.recipients.len()) {
                    return Err(Damaged);
                }
                Form::Checkpoint(stored, states)
            }
            Kind::Standing => Form::Standing(MessageId(from.fixed128()?), take_states(&mut from)?),
            Kind::Transferred => Form::Transferred(from.number32()?),
            Kind::Alteration => Form::Alteration(take_alteration(&mut from)?),
            Kind::Change => Form::Alteration(take_change(&mut from)?),
            Kind::Notice => Form::Notice(take_notice(&mut from)?),
            Kind::Footer => return Err(Damaged),
        };
        if from.is_empty() { Ok(form) } else { Err(Damaged) }
    }

    /// How many events the record gives birth to.
    pub(crate) fn events(&self) -> u64 {
        match self {
            Form::Acceptance(_) | Form::Notice(_) => 1,
            Form::Settlement(settlement) => settlement.outcomes.len() as u64 + u64::from(settlement.report.is_some()),
            Form::Checkpoint(..) | Form::Standing(..) | Form::Transferred(_) | Form::Alteration(_) => 0,
        }
    }
}

pub(crate) fn put_stored_message(out: &mut Vec<u8>, message: &Message, body: Body) {
    put_message(out, message);
    match body {
        Body::Inline => out.octet(0),
        Body::File(name, hash) => {
            out.octet(1);
            out.number(name.opening.into());
            out.number(name.nth);
            out.fixed64(hash);
        }
    }
}

fn take_stored_message(from: &mut Decoder<'_>) -> Result<StoredMessage, Damaged> {
    let message = take_message(from)?;
    let body = match from.octet()? {
        0 => Body::Inline,
        1 => Body::File(FileName { opening: from.number32()?, nth: from.number()? }, from.fixed64()?),
        _ => return Err(Damaged),
    };
    Ok(StoredMessage { message, body })
}

/// The parts of a settlement to encode, borrowed.
pub(crate) struct SettlementParts<'a> {
    pub(crate) message: MessageId,
    pub(crate) at: Timestamp,
    pub(crate) attempt: Option<&'a AttemptFacts>,
    /// Each outcome by index, and the attempts made until then, in the same order.
    pub(crate) outcomes: &'a [(u32, Outcome)],
    pub(crate) attempts: &'a [u32],
    pub(crate) report: Option<&'a Message>,
}

pub(crate) fn put_settlement(out: &mut Vec<u8>, parts: &SettlementParts<'_>) {
    out.fixed128(parts.message.0);
    out.number(parts.at.millis());
    put_option(out, parts.attempt, put_attempt);
    out.number(parts.outcomes.len() as u64);
    for ((index, outcome), attempts) in parts.outcomes.iter().zip(parts.attempts) {
        out.number((*index).into());
        out.number((*attempts).into());
        put_outcome(out, outcome);
    }
    put_option(out, parts.report, |out, message| put_stored_message(out, message, Body::Inline));
}

fn take_settlement(from: &mut Decoder<'_>) -> Result<StoredSettlement, Damaged> {
    let message = MessageId(from.fixed128()?);
    let at = take_time(from)?;
    let attempt = take_option(from, take_attempt)?;
    let count = from.count()?;
    let mut outcomes = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        outcomes.push(StoredOutcome { index: from.number32()?, attempts: from.number32()?, outcome: take_outcome(from)? });
    }
    let report = take_option(from, take_stored_message)?;
    if report.as_ref().is_some_and(|report| report.body != Body::Inline) {
        return Err(Damaged);
    }
    Ok(StoredSettlement { message, at, attempt, outcomes, report })
}

pub(crate) fn put_states(out: &mut Vec<u8>, states: &[(u32, State)]) {
    out.number(states.len() as u64);
    for (index, state) in states {
        out.number((*index).into());
        match state {
            State::Live { due, attempts, diagnosis, delay_told, held } => {
                out.octet(match (delay_told, held) {
                    (false, None) => 0,
                    (true, None) => 2,
                    (false, Some(_)) => 3,
                    (true, Some(_)) => 4,
                });
                out.number(due.millis());
                out.number((*attempts).into());
                put_option(out, diagnosis.as_ref(), put_diagnosis);
                held.iter().for_each(|hold| put_hold(out, hold));
            }
            State::Ended => out.octet(1),
        }
    }
}

/// States stand in the order of their indices, each once.
fn take_states(from: &mut Decoder<'_>) -> Result<Vec<(u32, State)>, Damaged> {
    let count = from.count()?;
    let mut states = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let index = from.number32()?;
        if states.last().is_some_and(|(last, _)| *last >= index) {
            return Err(Damaged);
        }
        let state = match from.octet()? {
            tag @ (0 | 2 | 3 | 4) => State::Live {
                due: take_time(from)?,
                attempts: from.number32()?,
                diagnosis: take_option(from, take_diagnosis)?,
                delay_told: tag == 2 || tag == 4,
                held: if tag >= 3 { Some(take_hold(from)?) } else { None },
            },
            1 => State::Ended,
            _ => return Err(Damaged),
        };
        states.push((index, state));
    }
    Ok(states)
}
