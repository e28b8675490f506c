//! Who guesses passwords is made to wait.
//!
//! **Promises.** After [`FREE_FAILURES`] failures of one (client network, user) the pair is locked, for a second at first and twice as long with each further
//! failure, up to [`LOCK_MAX`]. While it is locked no password is looked at, right or wrong, so guessing costs the guesser and not us. A user that does not
//! exist is treated as one that does. A success forgets the pair's failures; so does [`FORGET_AFTER`] without one.
//!
//! **Never** locks a user for everybody: only from where the failures came.
//!
//! **Does badly.** A guesser with very many addresses has [`FREE_FAILURES`] from each. Memory is bounded by [`PAIRS_MAX`]; beyond it the pair whose last failure is
//! oldest is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use postrider_model::Timestamp;

/// Failures before the first lock.
pub const FREE_FAILURES: u32 = 5;

/// The longest lock.
pub const LOCK_MAX: Duration = Duration::from_secs(900);

/// How long a failure is remembered.
pub const FORGET_AFTER: Duration = Duration::from_secs(3_600);

/// Pairs remembered.
pub const PAIRS_MAX: usize = 65_536;

/// Octets of a user name that count.
const USER_OCTETS_MAX: usize = 64;

/// A client network (as the caller cuts it) and a user name.
type Pair = (u128, Box<str>);

/// Failures of AUTH, and the locks they led to.
#[derive(Debug, Default)]
pub struct Lockout {
    pairs: BTreeMap<Pair, Failures>,
    /// The pairs by their last failure, the oldest first.
    ages: BTreeSet<(Timestamp, Pair)>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
}

impl Failures {
    fn locked_until(self) -> Option<Timestamp> {
        let beyond = self.count.checked_sub(FREE_FAILURES)?;
        let seconds = 1u64.checked_shl(beyond).unwrap_or(u64::MAX);
        Some(self.last.after(Duration::from_secs(seconds).min(LOCK_MAX)))
    }
}

impl Lockout {
    /// Until when the pair is locked, if it is.
    pub fn locked(&self, network: u128, user: &str, now: Timestamp) -> Option<Timestamp> {
        let failures = self.pairs.get(&pair(network, user))?;
        failures.locked_until().filter(|until| *until > now)
    }

    /// The credentials were wrong.
    pub fn failed(&mut self, network: u128, user: &str, now: Timestamp) {
        self.forget_old(now);
        let pair = pair(network, user);
        let known = self.pairs.get(&pair).copied();
        if let Some(known) = known {
            self.ages.remove(&(known.last, pair.clone()));
        }
        let count = known.map_or(0, |known| known.count).saturating_add(1);
        self.ages.insert((now, pair.clone()));
        self.pairs.insert(pair, Failures { count, last: now });
    }

    /// They were right.
    pub fn succeeded(&mut self, network: u128, user: &str) {
        let pair = pair(network, user);
        if let Some(failures) = self.pairs.remove(&pair) {
            self.ages.remove(&(failures.last, pair));
        }
    }

    /// Pairs remembered.
    pub fn remembered(&self) -> usize {
        self.pairs.len()
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some((last, pair)) = self.ages.first() {
            if last.after(FORGET_AFTER) > now && self.pairs.len() < PAIRS_MAX {
                return;
            }
            self.pairs.remove(pair);
            self.ages.pop_first();
        }
    }
}

fn pair(network: u128, user: &str) -> Pair {
    let end = (0..=user.len().min(USER_OCTETS_MAX)).rev().find(|end| user.is_char_boundary(*end)).unwrap_or(0);
    (network, user[..end].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + seconds * 1000)
    }

    #[test]
    fn locks_come_after_the_free_failures_and_double() {
        let mut lockout = Lockout::default();
        for (failures, locked_seconds) in [(1, 0), (4, 0), (5, 1), (6, 2), (7, 4), (14, 512), (15, 900), (80, 900)] {
            lockout.succeeded(1, "app");
            (0..failures).for_each(|_| lockout.failed(1, "app", at(0)));
            let until = (locked_seconds > 0).then(|| at(locked_seconds));
            assert_eq!(lockout.locked(1, "app", at(0)), until, "{failures} failures");
            assert_eq!(lockout.locked(1, "app", at(locked_seconds)), None, "{failures} failures, later");
        }
    }

    #[test]
    fn only_the_pair_is_locked_and_a_success_forgets() {
        let mut lockout = Lockout::default();
        (0..9).for_each(|_| lockout.failed(1, "app", at(0)));
        assert!(lockout.locked(1, "app", at(1)).is_some());
        assert_eq!(lockout.locked(2, "app", at(1)), None);
        assert_eq!(lockout.locked(1, "other", at(1)), None);
        lockout.succeeded(1, "app");
        assert_eq!(lockout.locked(1, "app", at(1)), None);
        assert_eq!(lockout.remembered(), 0);
    }

    #[test]
    fn failures_are_forgotten_after_a_while_and_memory_is_bounded() {
        let mut lockout = Lockout::default();
        lockout.failed(7, "old", at(0));
        lockout.failed(8, "new", at(3_601));
        assert_eq!(lockout.remembered(), 1);
        for network in 0..PAIRS_MAX as u128 + 100 {
            lockout.failed(network, "x", at(3_602));
        }
        assert_eq!(lockout.remembered(), PAIRS_MAX);
        assert_eq!(lockout.ages.len(), PAIRS_MAX);
        lockout.failed(3, &"ü".repeat(1_000), at(3_603));
        assert!(lockout.pairs.keys().all(|(_, user)| user.len() <= USER_OCTETS_MAX));
    }
}
