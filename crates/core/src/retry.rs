//! When a delivery is tried again, and when we give up (RFC 5321 §4.5.4.1).
//!
//! **Promises.** A due date is later than `now`, and never later than the *last instant*: the give-up time, or shortly before the
//! message's own deadline, whichever is earlier. Whoever waits until the last instant gets one attempt there; after an attempt at or
//! beyond it, the answer is [`Next::GiveUp`]. So a delivery that is attempted whenever it is due ends, and never without a last try.
//!
//! **Never** looks at the reason of a failure; `classify` does.
//!
//! **Does badly.** It does not know that the queue is long: a last attempt that is not made within [`LAST_ATTEMPT_GRACE`] of the give-up
//! time, because the Site rests or the relay was down, is not made at all.

use std::time::Duration;

use postrider_model::policy::RetryPolicy;
use postrider_model::{Parcel, Timestamp};

/// How long after the give-up time the last attempt may still begin: due dates are kept to the minute, and a busy Site has a queue.
pub const LAST_ATTEMPT_GRACE: Duration = Duration::from_secs(3600);

/// How long before a message's own deadline its last attempt is made, at most: the deadline says "not after", and an attempt takes time.
const DEADLINE_LEAD: Duration = Duration::from_secs(10);

/// The shortest pause, whatever the policy says: no configuration makes a busy loop.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The most jitter, in hundredths, so that a pause never comes near nothing.
const JITTER_PERCENT_MAX: u64 = 90;

/// What of a delivery decides about its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Since when it waits; its age counts from here.
    pub waits_since: Timestamp,
    /// After this it is not sent.
    pub deadline: Option<Timestamp>,
    /// Nobody waits for word of it.
    pub null_reverse_path: bool,
}

impl Life {
    /// That of a lent parcel.
    pub fn of(parcel: &Parcel) -> Self {
        Self { waits_since: parcel.waits_since, deadline: parcel.deadline, null_reverse_path: parcel.null_reverse_path }
    }
}

/// What follows a deferred attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again then.
    At(Timestamp),
    /// There is no time left: bounce.
    GiveUp,
}

/// What follows an attempt that was deferred at `now`.
///
/// `attempts_made` counts the attempt just made; zero, for a deferral without one, is treated as one. `random` is any number; the same
/// number gives the same jitter.
pub fn next(policy: &RetryPolicy, life: &Life, attempts_made: u32, now: Timestamp, random: u64) -> Next {
    let last = last_instant(policy, life);
    if now >= last {
        return Next::GiveUp;
    }
    let pause = pause(policy, attempts_made, random);
    Next::At(now.after(pause).min(last))
}

/// Whether a delivery may not be attempted any more at `now`: its deadline has passed, or its last attempt was due so long ago that it is
/// not worth making.
pub fn expired(policy: &RetryPolicy, life: &Life, now: Timestamp) -> bool {
    let too_late = give_up_at(policy, life).after(LAST_ATTEMPT_GRACE);
    life.deadline.is_some_and(|deadline| now > deadline) || now > too_late
}

/// The give-up time that the policy sets, without a message's own deadline.
pub fn give_up_at(policy: &RetryPolicy, life: &Life) -> Timestamp {
    life.waits_since.after(if life.null_reverse_path { policy.give_up_reports } else { policy.give_up })
}

/// After this instant no attempt is made: the give-up time, or shortly before the deadline.
pub fn last_instant(policy: &RetryPolicy, life: &Life) -> Timestamp {
    let give_up = give_up_at(policy, life);
    let Some(deadline) = life.deadline else { return give_up };
    // A short-lived message gives up only a quarter of its life, so that a code that is good for 8 s is tried again, too.
    let lead = DEADLINE_LEAD.min(deadline.since(life.waits_since) / 4);
    let before_deadline = deadline.millis().saturating_sub(millis(lead));
    give_up.min(Timestamp::from_millis(before_deadline))
}

fn pause(policy: &RetryPolicy, attempts_made: u32, random: u64) -> Duration {
    let nth = usize::try_from(attempts_made.saturating_sub(1)).unwrap_or(usize::MAX);
    let base = policy.intervals.get(nth).or(policy.intervals.last()).copied().unwrap_or(PAUSE_MIN);
    let base_ms = millis(base.max(PAUSE_MIN));
    let spread_ms = base_ms / 100 * u64::from(policy.jitter_percent).min(JITTER_PERCENT_MAX);
    // From -spread to +spread, both included. The bias of the remainder is below one in 2^40 for any real pause.
    let offset_ms = random % spread_ms.saturating_mul(2).saturating_add(1);
    Duration::from_millis((base_ms - spread_ms).saturating_add(offset_ms)).max(PAUSE_MIN)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ARRIVED: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn at(seconds: u64) -> Timestamp {
        ARRIVED.after(Duration::from_secs(seconds))
    }

    fn life(deadline: Option<Timestamp>, null_reverse_path: bool) -> Life {
        Life { waits_since: ARRIVED, deadline, null_reverse_path }
    }

    fn still() -> RetryPolicy {
        RetryPolicy { jitter_percent: 0, ..RetryPolicy::default() }
    }

    #[test]
    fn the_pauses_are_those_of_the_policy_and_the_last_one_repeats() {
        for (attempts, minutes) in [(0, 1), (1, 1), (2, 5), (3, 10), (4, 20), (8, 120), (9, 180), (10, 180), (u32::MAX, 180)] {
            assert_eq!(next(&still(), &life(None, false), attempts, at(7), 99), Next::At(at(7 + 60 * minutes)), "{attempts}");
        }
        let empty = RetryPolicy { intervals: vec![], ..still() };
        assert_eq!(next(&empty, &life(None, false), 1, at(0), 0), Next::At(at(1)));
        let busy = RetryPolicy { intervals: vec![Duration::ZERO], ..still() };
        assert_eq!(next(&busy, &life(None, false), 1, at(0), 0), Next::At(at(1)));
    }

    #[test]
    fn jitter_reaches_both_ends_and_not_beyond() {
        let policy = RetryPolicy::default();
        let pauses: Vec<u64> = (0..=12_000)
            .map(|random| match next(&policy, &life(None, false), 1, ARRIVED, random) {
                Next::At(due) => due.since(ARRIVED).as_millis() as u64,
                Next::GiveUp => panic!("there is time"),
            })
            .collect();
        assert_eq!((pauses.iter().min(), pauses.iter().max()), (Some(&54_000), Some(&66_000)));
    }

    #[test]
    fn the_last_attempt_is_at_the_give_up_time_and_then_it_ends() {
        let policy = still();
        let give_up = at(5 * 86_400);
        assert_eq!(next(&policy, &life(None, false), 40, at(5 * 86_400 - 60), 0), Next::At(give_up));
        assert!(!expired(&policy, &life(None, false), give_up.after(Duration::from_secs(60))), "the last attempt may be a little late");
        assert_eq!(next(&policy, &life(None, false), 41, give_up, 0), Next::GiveUp);
        assert_eq!(next(&policy, &life(None, false), 41, give_up.after(Duration::from_secs(60)), 0), Next::GiveUp);
        assert!(expired(&policy, &life(None, false), give_up.after(Duration::from_secs(3601))));
        assert_eq!(next(&policy, &life(None, true), 9, at(86_400 - 1), 0), Next::At(at(86_400)), "a report waits one day");
        assert_eq!(next(&policy, &life(None, true), 9, at(86_400), 0), Next::GiveUp);
    }

    #[test]
    fn a_deadline_rules_when_it_is_earlier() {
        let policy = still();
        for (deadline, now, expected) in [
            (at(600), at(0), Next::At(at(60))),
            (at(50), at(0), Next::At(at(40))),
            (at(50), at(40), Next::GiveUp),
            (at(8), at(0), Next::At(at(6))),
            (at(0), at(0), Next::GiveUp),
        ] {
            assert_eq!(next(&policy, &life(Some(deadline), false), 1, now, 0), expected, "{deadline} {now}");
        }
        assert!(!expired(&policy, &life(Some(at(50)), false), at(50)));
        assert!(expired(&policy, &life(Some(at(50)), false), at(51)));
        assert!(
            expired(&policy, &life(Some(at(9_000_000)), false), at(5 * 86_400 + 3601)),
            "a deadline does not lengthen the give-up time"
        );
    }

    proptest! {
        /// Due dates only move forward, are never beyond the give-up time, and the row of attempts ends there.
        #[test]
        fn every_row_of_attempts_ends_at_the_last_instant(
            intervals in proptest::collection::vec(0u64..100_000, 0..6),
            jitter_percent in 0u32..200,
            give_up in 1u64..1_000_000,
            deadline in proptest::option::of(0u64..2_000_000),
            null in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let policy = RetryPolicy {
                intervals: intervals.into_iter().map(Duration::from_secs).collect(),
                jitter_percent,
                give_up: Duration::from_secs(give_up),
                give_up_reports: Duration::from_secs(give_up / 2),
                ..RetryPolicy::default()
            };
            let deadline = deadline.map(at);
            let last = last_instant(&policy, &life(deadline, null));
            let (mut now, mut attempts) = (ARRIVED, 1u32);
            // A pause of one second, as the shortest policy has it, would make a million steps; the property shows in the first hundred and in the last.
            while attempts < 100 {
                match next(&policy, &life(deadline, null), attempts, now, seed.wrapping_mul(u64::from(attempts))) {
                    Next::At(due) => {
                        prop_assert!(due > now && due <= last);
                        prop_assert!(!expired(&policy, &life(deadline, null), due));
                        now = due;
                    }
                    Next::GiveUp => {
                        prop_assert!(now >= last);
                        break;
                    }
                }
                attempts += 1;
            }
            prop_assert_eq!(next(&policy, &life(deadline, null), attempts, last, seed), Next::GiveUp);
        }
    }
}
