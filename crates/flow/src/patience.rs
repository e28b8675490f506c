//! Waiting with an end.
//!
//! One timer serves a whole session: a new limit only moves a deadline in memory, and the timer is armed anew when it fires too
//! early or must fire sooner. So a read that is answered at once costs no work in the timer wheel.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// A session's timer.
pub(crate) struct Patience {
    timer: Pin<Box<Sleep>>,
    session_end: Instant,
}

impl Patience {
    /// A timer for a session that may last `session_max` at most.
    pub(crate) fn new(session_max: Duration) -> Self {
        let session_end = Instant::now() + session_max.min(Duration::from_secs(86_400 * 365));
        Self { timer: Box::pin(sleep_until(session_end)), session_end }
    }

    /// Awaits `future`, but no longer than `limit`, nor beyond the session's end.
    pub(crate) async fn within<F: Future>(&mut self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut until: Option<Instant> = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            let until = *until.get_or_insert_with(|| (Instant::now() + limit).min(self.session_end));
            if until < self.timer.deadline() {
                self.timer.as_mut().reset(until);
            }
            while self.timer.as_mut().poll(cx).is_ready() {
                if Instant::now() >= until {
                    return Poll::Ready(Err(Elapsed));
                }
                self.timer.as_mut().reset(until);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_limit_whatever_the_timer_was_set_to() {
        let mut patience = Patience::new(Duration::from_secs(100));
        let start = Instant::now();
        let waits = [(50, 1, true), (2, 5, false), (30, 20, true), (1, 3, false)];
        for (limit, takes, in_time) in waits {
            let waited = patience.within(Duration::from_secs(limit), tokio::time::sleep(Duration::from_secs(takes))).await;
            assert_eq!(waited.is_ok(), in_time, "{limit} {takes}");
        }
        assert_eq!(start.elapsed().as_secs(), 1 + 2 + 20 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_session_ends_although_every_wait_is_short() {
        let mut patience = Patience::new(Duration::from_secs(10));
        let mut waits = 0;
        while patience.within(Duration::from_secs(5), tokio::time::sleep(Duration::from_secs(3))).await.is_ok() {
            waits += 1;
        }
        assert_eq!(waits, 3);
    }
}
