//! The time of the machine.
//!
//! **Promises.** [`SystemClock`] is the one place of the relay that reads the wall clock.
//!
//! **Does badly.** It follows the machine: when an operator or NTP sets the time back, it goes back. Whoever takes differences uses `Timestamp::since`,
//! which stops at zero; pauses and time limits go through tokio's timers, which are monotonic.

use std::time::{SystemTime, UNIX_EPOCH};

use postrider_model::Timestamp;
use postrider_model::doors::Clock;

/// The wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock door's production side")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_after_this_was_written() {
        assert!(SystemClock.now() > Timestamp::from_millis(1_760_000_000_000));
    }
}
