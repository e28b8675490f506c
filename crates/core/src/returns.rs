//! Who must be told of what became of a delivery (RFC 5321 §6.1, RFC 3461 §5.2 and §6, RFC 3464, RFC 2852).
//!
//! **Promises.** What a recipient's NOTIFY asks for is told, and nothing else; where it asks for nothing, failures are told, and delays when policy
//! says so. The news of one settlement are told in one report. A null reverse-path is owed nothing, ever: reports have one themselves, so a
//! report never causes a report. A delay is told once. Success is told by us only where nobody behind us will: the next hop does not offer DSN,
//! or the mailbox is here.
//!
//! | what happened | NOTIFY absent | NOTIFY names it | NOTIFY without it, NEVER |
//! |---|---|---|---|
//! | bounced | told | FAILURE: told | silence |
//! | suppressed, so never sent | silence | FAILURE: told | silence |
//! | deferred beyond the age of the policy | told if the policy says so | DELAY: told | silence |
//! | deferred beyond `BY=seconds;N` | told | DELAY: told | silence |
//! | taken by a next hop with DSN | – | SUCCESS: passed on, the next hop tells | – |
//! | taken by a next hop without DSN | – | SUCCESS: told, "relayed" | – |
//! | in a mailbox of ours | – | SUCCESS: told, "delivered" | – |
//! | taken by any next hop, `BY=seconds;NT` or `RT` | told, "relayed" | told, "relayed" | NEVER: silence |
//!
//! **Never** writes the report; `mail` does.

use std::time::Duration;

use postrider_model::policy::RetryPolicy;
use postrider_model::{BodyType, Diagnosis, Envelope, LentDelivery, Message, Outcome, Reason, Recipient, Timestamp, Trouble};
use postrider_smtp::parameters::{Notify, Ret};
use postrider_smtp::wishes::{ByMode, DeliverBy};
use postrider_smtp::{Mailbox, Reply, ReversePath};

/// What one report has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed<'a> {
    /// Whom.
    pub to: &'a Mailbox,
    /// The recipients by index, each once, in the order of the envelope. Never empty.
    pub told: Vec<Told<'a>>,
}

/// One recipient there is news of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<'a> {
    /// Its index in `Message::recipients`.
    pub index: u32,
    /// The recipient.
    pub recipient: &'a Recipient,
    /// What became of it.
    pub news: News<'a>,
}

/// What became of a recipient (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News<'a> {
    /// Given up.
    Failed(&'a Diagnosis),
    /// Not yet.
    Delayed(&'a Diagnosis),
    /// The next hop took it, and will not report.
    Relayed(&'a Reply),
    /// It is in a mailbox of ours.
    Delivered(&'a Reply),
}

/// Who has a delivered message now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// A next hop that was told what reports are wanted, and makes them (RFC 3461 §5.2.1).
    WithReports,
    /// A next hop that does not offer DSN (RFC 3461 §5.2.2).
    WithoutReports,
    /// A mailbox of ours.
    ToMailbox,
}

/// The report that the outcomes of one settlement owe; `None` when nobody must be told. `lent` says which delays were told before.
pub fn owed<'a>(message: &'a Message, lent: &[LentDelivery], outcomes: &'a [(u32, Outcome)], handed: Handed) -> Option<Owed<'a>> {
    let to = message.envelope.reverse_path.mailbox()?;
    let told_before = |index: u32| lent.iter().any(|lent| lent.index == index && lent.delay_told);
    let mut told: Vec<Told<'a>> = Vec::new();
    for (index, outcome) in outcomes {
        let Some(recipient) = usize::try_from(*index).ok().and_then(|nth| message.recipients.get(nth)) else { continue };
        if let Some(news) = news(message, recipient, outcome, told_before(*index), handed) {
            told.push(Told { index: *index, recipient, news });
        }
    }
    told.sort_by_key(|told| told.index);
    told.dedup_by_key(|told| told.index);
    if told.is_empty() { None } else { Some(Owed { to, told }) }
}

fn news<'a>(message: &Message, recipient: &Recipient, outcome: &'a Outcome, told_before: bool, handed: Handed) -> Option<News<'a>> {
    let success = recipient.notify.is_some_and(|notify| notify.success);
    // `BY=seconds;NT`: each relaying is told, unless nothing is to be (RFC 2852 §4.1).
    let traced = message.envelope.deliver_by.is_some_and(|by| by.trace) && recipient.notify != Some(Notify::default());
    match outcome {
        // Who sends lists knows that people leave them; the log and the book of suppressions tell it.
        Outcome::Bounced { diagnosis } if is_suppressed(diagnosis) => {
            recipient.notify.is_some_and(|notify| notify.failure).then_some(News::Failed(diagnosis))
        }
        Outcome::Bounced { diagnosis } => recipient.notify.is_none_or(|notify| notify.failure).then_some(News::Failed(diagnosis)),
        Outcome::Deferred { diagnosis, delay_told, .. } => (*delay_told && !told_before).then_some(News::Delayed(diagnosis)),
        Outcome::Delivered { reply } => match handed {
            Handed::WithReports => traced.then_some(News::Relayed(reply)),
            Handed::WithoutReports => (success || traced).then_some(News::Relayed(reply)),
            Handed::ToMailbox => success.then_some(News::Delivered(reply)),
        },
    }
}

fn is_suppressed(diagnosis: &Diagnosis) -> bool {
    matches!(diagnosis.reason, Reason::Trouble(Trouble::Suppressed(_)))
}

/// Whether a delivery that is deferred at `now` has waited so long that its sender is to be told; and is then not told again.
pub fn delay_is_due(policy: &RetryPolicy, message: &Message, recipient: &Recipient, now: Timestamp) -> bool {
    if message.envelope.reverse_path.is_null() {
        return false;
    }
    let asked = recipient.notify.map(|notify| notify.delay);
    let by_notice = notice_at(message).is_some_and(|at| now >= at);
    let by_age = now >= message.waits_since().after(policy.delay_notice);
    by_notice && asked.unwrap_or(true) || by_age && asked.unwrap_or(policy.delay_notice_unasked)
}

/// When `BY=seconds;N` wants to hear of a message that was not delivered (RFC 2852 §4.1).
pub fn notice_at(message: &Message) -> Option<Timestamp> {
    let by = message.envelope.deliver_by.filter(|by| by.mode == ByMode::Notify)?;
    Some(message.arrival.at.after(Duration::from_secs(u64::try_from(by.seconds).unwrap_or(0))))
}

/// What is left of a BY when the message goes on (RFC 2852 §4.1.5): the time that passed here is taken off. `None` when there was none, or when
/// nothing is left of one that returns, which is then not sent any more.
pub fn deliver_by_left(message: &Message, now: Timestamp) -> Option<DeliverBy> {
    let by = message.envelope.deliver_by?;
    let passed = i64::try_from(now.since(message.arrival.at).as_secs()).unwrap_or(i64::MAX);
    let left = DeliverBy { seconds: by.seconds.saturating_sub(passed), ..by };
    (left.mode == ByMode::Notify || left.seconds > 0).then_some(left)
}

/// Whether the report returns the content as a whole: a failure, and RET did not ask for the header alone (RFC 3461 §4.3). What asks for nothing gets the
/// header: the sender has the rest.
pub fn returns_content(message: &Message, owed: &Owed<'_>) -> bool {
    message.envelope.ret == Some(Ret::Full) && owed.told.iter().any(|told| matches!(told.news, News::Failed(_)))
}

/// The envelope a report travels in: from nobody, and with SMTPUTF8 only where its own way needs it. The addresses it tells of can be written without
/// (RFC 6533 §3), and a sender whose server knows no SMTPUTF8 has to be told, too.
pub fn envelope(owed: &Owed<'_>) -> Envelope {
    Envelope::new(ReversePath::Null, BodyType::EightBitMime, !owed.to.is_ascii())
}

#[cfg(test)]
#[path = "returns_tests.rs"]
mod tests;
