//! Who must be told of a failure (RFC 5321 §6.1, RFC 3461 §6, RFC 3464).
//!
//! **Promises.** A bounce owes a report to the reverse-path; the bounces of one settlement are told in one report. A null reverse-path is
//! owed nothing, ever: reports have one themselves, so a report never causes a report.
//!
//! **Never** writes the report; `mail` does.

use postrider_model::{BodyType, Diagnosis, Envelope, Message, Outcome, Recipient};
use postrider_smtp::{Mailbox, ReversePath};

/// What one report has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed<'a> {
    /// Whom.
    pub to: &'a Mailbox,
    /// The failed recipients by index, each once, in the order of the envelope. Never empty.
    pub failed: Vec<Failed<'a>>,
}

/// One recipient that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed<'a> {
    /// Its index in `Message::recipients`.
    pub index: u32,
    /// The recipient.
    pub recipient: &'a Recipient,
    /// Why.
    pub diagnosis: &'a Diagnosis,
}

/// Whether this outcome must be told to the sender.
pub fn owes_report(envelope: &Envelope, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Bounced { .. } => !envelope.reverse_path.is_null(),
        Outcome::Delivered { .. } | Outcome::Deferred { .. } => false,
    }
}

/// The report that the outcomes of one settlement owe; `None` when nobody must be told.
pub fn owed<'a>(message: &'a Message, outcomes: &'a [(u32, Outcome)]) -> Option<Owed<'a>> {
    let to = message.envelope.reverse_path.mailbox()?;
    let mut failed: Vec<Failed<'a>> = outcomes.iter().filter_map(|(index, outcome)| failure(message, *index, outcome)).collect();
    failed.sort_by_key(|failed| failed.index);
    failed.dedup_by_key(|failed| failed.index);
    if failed.is_empty() { None } else { Some(Owed { to, failed }) }
}

/// The envelope a report travels in: from nobody, and with SMTPUTF8 only where an address in it cannot be written otherwise
/// (RFC 6533 §3). Its text may quote replies with any letters, so it is 8-bit.
pub fn envelope(owed: &Owed<'_>) -> Envelope {
    let smtputf8 = !owed.to.is_ascii() || owed.failed.iter().any(|failed| !failed.recipient.mailbox.is_ascii());
    Envelope { reverse_path: ReversePath::Null, body: BodyType::EightBitMime, smtputf8 }
}

fn failure<'a>(message: &'a Message, index: u32, outcome: &'a Outcome) -> Option<Failed<'a>> {
    match outcome {
        Outcome::Bounced { diagnosis } => {
            let recipient = message.recipients.get(usize::try_from(index).ok()?)?;
            Some(Failed { index, recipient, diagnosis })
        }
        Outcome::Delivered { .. } | Outcome::Deferred { .. } => None,
    }
}

#[cfg(test)]
#[path = "returns_tests.rs"]
mod tests;
