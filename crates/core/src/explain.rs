//! Why a delivery waits, in one sentence, from facts that others gathered.
//!
//! **Promises.** Every live delivery gets an answer: what holds it, and where it is known since when, until when, and how many stand before
//! it. The first of these that is true is said: a person holds it · it is being sent · it, or its Site, is suspended · something holds its Site · it waits for its turn at the Site · it waits for
//! its retry · its next hop is being looked up · it waits in the spool.
//!
//! **Never** guesses: what is not known is `None`.

use postrider_model::doors::{DeliveryState, DeliveryView, OnHold, Waiting};
use postrider_model::{Diagnosis, Phase, Timestamp};

use crate::shape::{Hold, HoldReason};

/// What is known of one delivery.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// As the spool knows it.
    pub view: &'a DeliveryView,
    /// Why its last attempt failed, when one did.
    pub diagnosis: Option<&'a Diagnosis>,
    /// What holds its Site now.
    pub hold: Option<&'a Hold>,
    /// Parcels before it in the schedule; `None` when it is not there.
    pub ahead: Option<u64>,
}

/// What holds the delivery at `now`.
pub fn waiting(facts: &Facts<'_>, now: Timestamp) -> Waiting {
    let view = facts.view;
    if let (DeliveryState::Held, Some(hold)) = (view.state, &view.held) {
        return by_hand(hold);
    }
    match (view.state, facts.ahead, facts.hold) {
        (DeliveryState::Lent, None, _) => sentence(format!("being sent to {}", place(view))),
        (_, Some(ahead), Some(hold)) => held(view, hold, Some(ahead)),
        (_, Some(0), None) => Waiting { ahead: Some(0), ..sentence(format!("next in turn at {}", place(view))) },
        (_, Some(ahead), None) => Waiting { ahead: Some(ahead), ..sentence(format!("waiting for its turn at {}", place(view))) },
        (DeliveryState::Waiting | DeliveryState::Held, None, Some(hold)) if matches!(hold.reason, HoldReason::Suspended { .. }) => {
            held_site(hold)
        }
        // Mail that a long hold sent back to the spool is due when the hold ends; it had no attempt of its own that would say why.
        (DeliveryState::Waiting | DeliveryState::Held, None, Some(hold)) if view.attempts == 0 && hold.until == Some(view.due) => {
            held(view, hold, view.ahead)
        }
        // Nothing goes before a smart host takes more, whenever a retry would be due.
        (
            DeliveryState::Waiting | DeliveryState::Held,
            None,
            Some(hold @ Hold { reason: HoldReason::Quota { .. } | HoldReason::SourceDown { .. }, .. }),
        ) if hold.until.is_none_or(|until| view.due <= until) => held(view, hold, view.ahead),
        (DeliveryState::Waiting | DeliveryState::Held, None, _) if view.due > now => retry(facts),
        (DeliveryState::Waiting | DeliveryState::Held, None, Some(hold)) => held(view, hold, view.ahead),
        (DeliveryState::Waiting | DeliveryState::Held, None, None) => due(view),
    }
}

/// The same words for a Site as a whole.
pub fn held_site(hold: &Hold) -> Waiting {
    Waiting { reason: hold.to_string(), since: Some(hold.since), until: hold.until, ahead: None }
}

/// A person's hold.
fn by_hand(hold: &OnHold) -> Waiting {
    let reason = if hold.reason.is_empty() { "held".to_owned() } else { format!("held: {}", hold.reason) };
    Waiting { since: Some(hold.since), ..sentence(reason) }
}

fn held(view: &DeliveryView, hold: &Hold, ahead: Option<u64>) -> Waiting {
    Waiting { reason: format!("{}: {hold}", place(view)), ahead, ..held_site(hold) }
}

fn retry(facts: &Facts<'_>) -> Waiting {
    let view = facts.view;
    let (reason, since) = match facts.diagnosis {
        Some(diagnosis) => (format!("attempt {} failed{}: {}", view.attempts, at(diagnosis), diagnosis.describe()), Some(diagnosis.at)),
        None if view.attempts == 0 => ("not due yet: its sender wished it later, or an allowance was used up".to_owned(), None),
        None => (format!("waiting for its next attempt after {} attempts", view.attempts), None),
    };
    Waiting { reason, since, until: Some(view.due), ahead: None }
}

fn due(view: &DeliveryView) -> Waiting {
    let reason = match &view.site {
        Some(_) => format!("due, and waiting in the spool for room in the schedule of {}", place(view)),
        None => format!("the mail hosts of {} are being looked up", view.host),
    };
    Waiting { since: Some(view.due), ahead: view.ahead, ..sentence(reason) }
}

/// Where in the session, when a peer was talking.
fn at(diagnosis: &Diagnosis) -> String {
    let phase = match diagnosis.phase {
        Phase::Route | Phase::Connect | Phase::Local => "",
        Phase::Greeting => " at the greeting",
        Phase::Hello => " at EHLO",
        Phase::StartTls => " at STARTTLS",
        Phase::Auth => " at AUTH",
        Phase::Mail => " at MAIL",
        Phase::Recipient => " at RCPT",
        Phase::Data => " at DATA",
        Phase::Content => " in the content",
        Phase::EndOfData => " at the end of data",
    };
    match &diagnosis.remote {
        Some(remote) => format!("{phase} by {remote}"),
        None => phase.to_owned(),
    }
}

/// The Site by its first host, for a name of thirty hosts helps nobody; the recipient host before the Site is known.
fn place(view: &DeliveryView) -> String {
    let Some(site) = &view.site else { return view.host.to_string() };
    let mut hosts = site.as_str().split(',');
    let first = hosts.next().unwrap_or_default();
    match hosts.count() {
        0 => first.to_owned(),
        more => format!("{first} and {more} more"),
    }
}

fn sentence(reason: String) -> Waiting {
    Waiting { reason, since: None, until: None, ahead: None }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
