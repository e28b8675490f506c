//! Recipients who are not to be written to any more: their deliveries end without an attempt.
//!
//! **Promises.** The book is asked at each attempt, so a word that came after the message was taken counts. Each that is suppressed is settled by itself and told in
//! the log; the others of its parcel go on. When the book does not answer, nothing is sent and nobody is bounced: the attempt fails with that for its reason, and the mail waits
//! as after any other. Reports of ours have nobody who could leave a list.

use postrider_model::doors::{SuppressedMailbox, SuppressionTrouble};
use postrider_model::policy::Snapshot;
use postrider_model::{Diagnosis, Message, Outcome, Phase, Reason, Role, Settlement, Trouble};

use crate::Doors;
use crate::held::Held;
use crate::keep;
use crate::returns::{self, Taker};

/// What is left of a parcel.
pub(crate) enum Left {
    /// These may be written to.
    These(Held),
    /// Nothing is to be done with it now.
    Nothing,
    /// Nobody knows who may be.
    Unknown(Held, Trouble),
}

/// The parcel without those who are suppressed, which are settled.
pub(crate) async fn without(doors: &Doors, snapshot: &Snapshot, message: &Message, mut held: Held) -> Left {
    if doors.suppressions.as_ref().is_none_or(|book| book.are_none()) || message.arrival.role == Role::Report {
        return Left::These(held);
    }
    let outcomes = match of_parcel(doors, message, &held).await {
        Ok(outcomes) => outcomes,
        Err(trouble) => return Left::Unknown(held, Trouble::Internal(trouble.to_string().into())),
    };
    if outcomes.is_empty() {
        return Left::These(held);
    }
    let parcel = held.parcel();
    let report = returns::report(doors, snapshot, message, parcel, &outcomes, Taker::nobody()).await;
    let told = report.as_ref().map(|report| report.message.clone());
    let indices: Vec<u32> = outcomes.iter().map(|(index, _)| *index).collect();
    let lines = outcomes.clone();
    let settlement = Settlement { loan: parcel.loan, message: message.id, at: doors.clock.now(), attempt: None, outcomes, report };
    keep::before_the_end(doors, message, &lines).await;
    match doors.spool.settle(settlement) {
        Ok(()) => {
            lines.iter().for_each(|(index, outcome)| doors.log.attempted(message, *index, None, outcome));
            if let Some(told) = told {
                doors.log.accepted(&told);
            }
            held.forget(&indices);
        }
        Err(trouble) => {
            doors.log.alarm(Some(message.id), &format!("an outcome could not be kept: {trouble}"));
            return Left::Nothing;
        }
    }
    if held.parcel().deliveries.is_empty() {
        held.settled();
        return Left::Nothing;
    }
    Left::These(held)
}

async fn of_parcel(doors: &Doors, message: &Message, held: &Held) -> Result<Vec<(u32, Outcome)>, SuppressionTrouble> {
    let Some(book) = &doors.suppressions else { return Ok(Vec::new()) };
    let mut outcomes = Vec::new();
    for lent in &held.parcel().deliveries {
        let Some(recipient) = message.recipients.get(lent.index as usize) else { continue };
        let mailbox = SuppressedMailbox::of(&recipient.mailbox);
        if let Some(found) = book.suppressed(&message.tenant, &message.stream, &mailbox).await? {
            let reason = Reason::Trouble(Trouble::Suppressed(found.describe().into()));
            let diagnosis = Diagnosis { at: doors.clock.now(), phase: Phase::Local, reason, remote: None, address: None };
            outcomes.push((lent.index, Outcome::Bounced { diagnosis }));
        }
    }
    Ok(outcomes)
}
