//! One meter for one rate: the generic cell rate algorithm (ITU-T I.371, annex A), on the caller's clock.
//!
//! In any span as long as the rate's, at most `count + burst - 1` go: with a burst of one, never more than the peer could count. Rates are
//! given at each use, so a reload changes them without a new meter; the meter itself is one instant.

use postrider_model::Timestamp;
use postrider_model::policy::Rate;

/// The theoretical arrival time, in microseconds: rates above a thousand a second need finer steps than a [`Timestamp`] has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Meter(u64);

impl Meter {
    /// Whether one may go at `now`; else when. `Timestamp::NEVER` for a rate of nothing.
    pub(super) fn check(self, rate: &Rate, now: Timestamp) -> Result<(), Timestamp> {
        let Some(interval_us) = interval_us(rate) else { return Err(Timestamp::NEVER) };
        let tolerance_us = interval_us.saturating_mul(u64::from(rate.burst.saturating_sub(1)));
        let conforming_us = self.0.saturating_sub(tolerance_us);
        if conforming_us <= micros(now) { Ok(()) } else { Err(Timestamp::from_millis(conforming_us.div_ceil(1000))) }
    }

    /// Counts one.
    pub(super) fn take(&mut self, rate: &Rate, now: Timestamp) {
        if let Some(interval_us) = interval_us(rate) {
            self.0 = self.0.max(micros(now)).saturating_add(interval_us);
        }
    }

    /// When the last one went, if it was the one that used the rate up.
    pub(super) fn filled_at(self, rate: &Rate) -> Timestamp {
        let full_us = interval_us(rate).unwrap_or(0).saturating_mul(u64::from(rate.burst.max(1)));
        Timestamp::from_millis(self.0.saturating_sub(full_us) / 1000)
    }

    /// From when on this meter is as good as new.
    pub(super) fn settled_at(self) -> Timestamp {
        Timestamp::from_millis(self.0.div_ceil(1000))
    }
}

/// The time between two, rounded up so that no rate is exceeded by rounding; `None` when the rate lets nothing go.
pub(super) fn interval_us(rate: &Rate) -> Option<u64> {
    let per_us = u64::try_from(rate.per.as_micros()).unwrap_or(u64::MAX);
    (rate.count > 0).then(|| per_us.div_ceil(u64::from(rate.count)))
}

fn micros(at: Timestamp) -> u64 {
    at.millis().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn rate(count: u32, seconds: u64, burst: u32) -> Rate {
        Rate { count, per: Duration::from_secs(seconds), burst }
    }

    /// Takes whenever it may, at steps of `step_ms`, and tells when.
    fn taken(rate: &Rate, step_ms: u64, until_ms: u64) -> Vec<u64> {
        let mut meter = Meter::default();
        let mut taken = Vec::new();
        for now_ms in (1_000_000..1_000_000 + until_ms).step_by(step_ms as usize) {
            let now = Timestamp::from_millis(now_ms);
            while meter.check(rate, now).is_ok() {
                meter.take(rate, now);
                taken.push(now_ms - 1_000_000);
            }
        }
        taken
    }

    #[test]
    fn a_rate_is_spread_evenly() {
        assert_eq!(taken(&rate(3, 60, 1), 1, 60_001), [0, 20_000, 40_000, 60_000]);
        assert_eq!(taken(&rate(3, 60, 3), 1, 60_001), [0, 0, 0, 20_000, 40_000, 60_000]);
        assert_eq!(taken(&rate(0, 60, 3), 1, 10_000), [0; 0]);
        assert_eq!(taken(&rate(3_000, 1, 10), 1, 100_000).len(), 299_408, "rounding makes it slower, never faster");
        assert_eq!(taken(&rate(5_000, 1, 1), 1, 1_000).len(), 1_000, "a burst of one goes once in each step of the clock");
        assert_eq!(taken(&rate(5_000, 1, 10), 1, 1_000).len(), 5_005, "a larger one reaches what is finer than the clock");
    }

    #[test]
    fn it_says_when_and_means_it() {
        let rate = rate(7, 1, 1);
        let mut meter = Meter::default();
        let now = Timestamp::from_millis(5_000);
        meter.take(&rate, now);
        let when = meter.check(&rate, now).unwrap_err();
        assert_eq!(when, Timestamp::from_millis(5_143));
        assert!(meter.check(&rate, Timestamp::from_millis(5_142)).is_err());
        assert!(meter.check(&rate, when).is_ok());
        assert_eq!(meter.settled_at(), when);
    }

    proptest! {
        #[test]
        fn no_span_holds_more_than_the_rate(count in 1u32..50, seconds in 1u64..100, burst in 1u32..5, step_ms in 1u64..700) {
            let rate = rate(count, seconds, burst);
            let taken = taken(&rate, step_ms, seconds * 3000);
            let span_ms = seconds * 1000;
            for (first, at) in taken.iter().enumerate() {
                let within = taken[first..].iter().take_while(|later| **later < at + span_ms).count();
                prop_assert!(within <= (count + burst - 1) as usize, "{within} of {count} in {seconds} s");
            }
        }
    }
}
