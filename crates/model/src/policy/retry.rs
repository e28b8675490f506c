//! When to try again, and when to give up.

use std::time::Duration;

/// Retry intervals and the give-up time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The pause after the first, second, … deferred attempt; the last one repeats. Never empty.
    pub intervals: Vec<Duration>,
    /// Each pause is lengthened or shortened by up to this many hundredths, so that a cohort spreads out.
    pub jitter_percent: u32,
    /// After this age a delivery is bounced (RFC 5321 §4.5.4.1 asks for 4 to 5 days).
    pub give_up: Duration,
    /// The same for mail with a null reverse-path, which nobody waits for.
    pub give_up_reports: Duration,
    /// The age at which a sender who asked for it (NOTIFY=DELAY, RFC 3461 §4.1) is told that a delivery takes long.
    pub delay_notice: Duration,
    /// Who asked for nothing is told, too.
    pub delay_notice_unasked: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        Self {
            intervals: [1, 5, 10, 20, 30, 60, 60, 120, 180].map(minutes).to_vec(),
            jitter_percent: 10,
            give_up: Duration::from_secs(5 * 86_400),
            give_up_reports: Duration::from_secs(86_400),
            delay_notice: Duration::from_secs(4 * 3600),
            delay_notice_unasked: false,
        }
    }
}
