//! The follower: reads the journal from its present end on, and counts.

use postrider_model::doors::JournalTrouble;

use super::MetricsDoors;

/// Events read at once.
const BATCH: usize = 1_024;

/// How long the follower rests when events could not be read.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// Follows until this future is dropped; `from` is the first event that counts.
pub async fn follow(doors: MetricsDoors, from: u64) {
    let mut next = from;
    loop {
        doors.journal.wait(next).await;
        match doors.journal.read(next, BATCH) {
            Ok(events) => {
                let Some(last) = events.last() else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                doors.history.count(&events, &*doors.provider_of);
                next = last.sequence + 1;
            }
            Err(JournalTrouble::Gone(_)) => {
                let end = doors.journal.end();
                doors.history.missed(end.saturating_sub(next));
                next = end;
            }
            // Nothing is missed yet: it is asked for again.
            Err(JournalTrouble::Unreadable(trouble)) => {
                tracing::debug!(%trouble, "the metrics could not read the journal");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
