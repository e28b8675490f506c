//! Changes of the queue by hand, a page at a time where each delivery must be looked at.
//!
//! **Promises.** What is answered as changed is on stable storage. A hold, a release and a retry are one record, whatever they reach, unless a sender is
//! asked for, whom only the messages themselves tell. Ends go page by page: whoever stops asking leaves the rest as it was.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use postrider_model::doors::{Alteration, End, OnHold, QueueFilter};
use postrider_model::{DeliveryId, MessageId};

use crate::doors::ControlDoors;
use crate::filter::filter;
use crate::queue::delivery_id;
use crate::trouble::Refusal;
use crate::{PAGE_MAX, REASON_OCTETS_MAX, wire};

/// Deliveries ended for one request: a report may have to be written for each.
const END_PAGE: usize = 500;
/// Deliveries counted for one request of a dry run.
const COUNT_PAGE: usize = 20_000;

enum Action {
    Alter(Alteration),
    End(End),
}

pub(crate) async fn change(State(doors): State<ControlDoors>, Json(asked): Json<wire::Change>) -> Result<Json<wire::Changed>, Refusal> {
    let now = doors.clock.now();
    let reason = reason(asked.reason.as_deref().unwrap_or_default())?;
    let action = match asked.action.as_str() {
        "hold" => Action::Alter(Alteration::Hold(OnHold { since: now, reason: reason.into() })),
        "release" => Action::Alter(Alteration::Release(now)),
        "retry" => Action::Alter(Alteration::RetryNow(now)),
        "cancel" => Action::End(End::Cancel),
        "bounce" => Action::End(End::Bounce),
        other => return Err(Refusal::bad(format!("{other:?} is not an action: it is hold, release, retry, cancel or bounce"))),
    };
    let filter = filter(&asked.which, now)?;
    let after = asked.after.unwrap_or(0);
    let single = asked.which.messages.iter().filter(|id| id.contains('/')).map(|id| delivery_id(id)).collect::<Result<Vec<_>, _>>()?;
    let changed = match action {
        Action::Alter(_) if filter.state.is_some() => {
            return Err(Refusal::bad(
                "a state cannot be chosen here: a hold reaches what waits and what is under way, a release what is held",
            ));
        }
        Action::Alter(Alteration::Hold(_) | Alteration::Release(_)) if !single.is_empty() => {
            return Err(Refusal::bad("a hold is of a whole message: name it without the index, or choose one of its hosts with it"));
        }
        _ if asked.dry_run => count(&doors, &filter, &single, after).await?,
        Action::Alter(alteration) => alter(&doors, filter, alteration, after).await?,
        Action::End(how) => end(&doors, &filter, &single, how, reason, after).await?,
    };
    Ok(Json(changed))
}

/// A person's reason, on one line.
pub(crate) fn reason(text: &str) -> Result<&str, Refusal> {
    let text = text.trim();
    if text.len() > REASON_OCTETS_MAX || text.chars().any(char::is_control) {
        return Err(Refusal::bad(format!("a reason is one line of at most {REASON_OCTETS_MAX} octets")));
    }
    Ok(text)
}

/// Whether a delivery is meant where some are named singly.
fn is_meant(id: DeliveryId, single: &[DeliveryId]) -> bool {
    single.contains(&id) || !single.iter().any(|other| other.message == id.message)
}

async fn count(doors: &ControlDoors, filter: &QueueFilter, single: &[DeliveryId], after: u64) -> Result<wire::Changed, Refusal> {
    let walked = doors.desk.walk(filter, after, COUNT_PAGE).await?;
    let deliveries = walked.found.iter().filter(|view| is_meant(view.id, single)).count() as u64;
    Ok(wire::Changed { deliveries, left: 0, next: walked.next })
}

async fn alter(doors: &ControlDoors, filter: QueueFilter, alteration: Alteration, after: u64) -> Result<wire::Changed, Refusal> {
    let (filter, next) = if filter.sender.is_some() {
        let walked = doors.desk.walk(&filter, after, PAGE_MAX).await?;
        let messages: BTreeSet<MessageId> = walked.found.iter().map(|view| view.id.message).collect();
        if messages.is_empty() {
            return Ok(wire::Changed { next: walked.next, ..wire::Changed::default() });
        }
        (QueueFilter { messages: messages.into_iter().collect(), sender: None, ..filter }, walked.next)
    } else {
        (filter, None)
    };
    let is_hold = matches!(alteration, Alteration::Hold(_));
    let deliveries = doors.desk.alter(&filter, alteration)? as u64;
    if is_hold {
        // What waits for its turn is lent, and not under way: it comes back, and is held.
        doors.hand.recall().await;
    }
    doors.spool.flush().await?;
    Ok(wire::Changed { deliveries, left: 0, next })
}

async fn end(
    doors: &ControlDoors,
    filter: &QueueFilter,
    single: &[DeliveryId],
    how: End,
    reason: &str,
    after: u64,
) -> Result<wire::Changed, Refusal> {
    let walked = doors.desk.walk(filter, after, END_PAGE).await?;
    let named: Vec<DeliveryId> = walked.found.iter().map(|view| view.id).filter(|id| is_meant(*id, single)).collect();
    let reason = if reason.is_empty() { "no reason was given" } else { reason };
    let ended = doors.hand.end(named, how, reason.into()).await?;
    doors.spool.flush().await?;
    Ok(wire::Changed { deliveries: ended.ended as u64, left: ended.left as u64, next: walked.next })
}
