//! A copy of a message whose stream keeps its mail, made before the first of its deliveries ends.
//!
//! **Promises.** Whatever ends a delivery of such a message (a next hop that took it, a bounce, a person), the copy is there before the outcome is settled; a crash in
//! between leaves the delivery live, and the next attempt finds the copy or makes it. No 250 waits for it. Where no stream keeps its mail nobody looks.
//!
//! **Never** keeps mail back: when the copy cannot be made somebody is told, once, and the outcome is settled. Reports of ours are not kept: the mail log has what they say.

use postrider_model::doors::Opened;
use postrider_model::{Message, Outcome, Role};

use crate::Doors;

/// Keeps a message when one of these outcomes ends a delivery, and its stream wants that.
pub(crate) async fn before_the_end(doors: &Doors, message: &Message, outcomes: &[(u32, Outcome)]) {
    let Some(keeping) = &doors.keeping else { return };
    if !doors.registry.retains() || message.arrival.role == Role::Report || !outcomes.iter().any(|(_, outcome)| outcome.is_terminal()) {
        return;
    }
    if keeping.has(message.id) {
        return;
    }
    let stream = match doors.registry.stream(&message.tenant, &message.stream).await {
        Ok(stream) => stream,
        Err(trouble) => {
            return doors
                .log
                .alarm(Some(message.id), &format!("{trouble}; nobody can say whether this message is to be kept, and it is not"));
        }
    };
    let Some(retention) = stream.retention else { return };
    if message.arrival.at.after(retention) <= doors.clock.now() {
        // Its time is over before it is done.
        return;
    }
    let content = match doors.spool.open(message.id).await {
        Ok(Opened { content, .. }) => content,
        Err(trouble) => return doors.log.alarm(Some(message.id), &format!("not kept, because it cannot be read: {trouble}")),
    };
    if let Err(trouble) = keeping.keep(message, content).await
        && trouble.is_news
    {
        doors.log.alarm(
            Some(message.id),
            &format!("messages are not kept when they are done: {trouble}. Mail goes on; this is said once until it is well again"),
        );
    }
}
