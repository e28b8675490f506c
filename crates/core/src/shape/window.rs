//! The concurrency window of one Route, and its rest: the feedback of Postfix's queue manager (SCHEDULER_README, "Postfix 2.5 concurrency
//! scheduler"), with its feedback of 1/N in both directions.
//!
//! With a window of N connections:
//! - **success**: the failed cohorts are forgotten. After N successes the window grows by 1, so linearly in time. It grows only while it is less than
//!   the connections in use plus the initial window, lest it lose touch with what is really done.
//! - **failure** (no connection, no greeting, no handshake): the first failure of a cycle shrinks the window by 1; the following N' - 1
//!   failures, N' the new window, are covered by that step (the "reversed" hysteresis). Growth begins anew.
//! - **cohorts**: each failure adds 1/N of a failed cohort. At the limit the Site is dead for this Route, and rests.
//!
//! **Bends.** Postfix wakes a dead destination with the initial window. Here one connection probes it, and a failed probe is a failed cohort, which doubles
//! the rest up to the longest; a success at any time restores the initial window. Failures that come in while it rests belong to the cohort that was
//! counted, and change nothing.

use std::time::Duration;

use postrider_model::Timestamp;
use postrider_model::policy::Provider;

/// One failed cohort, in fixed point: floating-point thirds would not add up to one.
const COHORT: u64 = 1 << 32;

/// A span of rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
}

impl Span {
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// Zero until feedback changed it: then the provider's initial window holds, whatever a reload makes of it.
    size: u32,
    /// Successes since the window last changed.
    successes: u32,
    /// Failures that the last step down still covers.
    covered: u32,
    /// Failed cohorts since the last success, in parts of [`COHORT`].
    failed: u64,
    /// Rests since the last success.
    rests: u32,
    rest: Option<Span>,
    /// A delivery went through, and no cohort failed since.
    proven: bool,
}

impl Window {
    /// How many connections there may be now.
    pub(super) fn size(&self, provider: &Provider) -> u32 {
        let size = if self.size == 0 { provider.window_initial } else { self.size };
        size.clamp(1, provider.connections_max.max(1))
    }

    /// The rest, and which in a row it is.
    pub(super) fn resting(&self, now: Timestamp) -> Option<(Span, u32)> {
        self.rest.filter(|rest| rest.holds(now)).map(|rest| (rest, self.rests))
    }

    /// Whether there is something in it that a new window would not have.
    pub(super) fn has_learned(&self) -> bool {
        self.size != 0 || self.failed != 0 || self.rests != 0
    }

    /// Whether a delivery went through, and no cohort failed since.
    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    /// When the rest ends, if one was ever taken since the last success.
    pub(super) fn rested_at(&self) -> Option<Timestamp> {
        self.rest.map(|rest| rest.until)
    }

    /// A delivery went through a working session. Says whether more may go than before.
    pub(super) fn success(&mut self, provider: &Provider, in_use: u32) -> bool {
        if self.rests > 0 {
            *self = Self { proven: true, ..Self::default() };
            return true;
        }
        (self.failed, self.proven) = (0, true);
        let size = self.size(provider);
        if size >= in_use.saturating_add(provider.window_initial) || size >= provider.connections_max {
            return false;
        }
        self.successes += 1;
        if self.successes < size {
            return false;
        }
        (self.size, self.successes, self.covered) = (size + 1, 0, 0);
        true
    }

    /// A connection or its handshake failed.
    pub(super) fn failure(&mut self, provider: &Provider, now: Timestamp) {
        if self.resting(now).is_some() {
            return;
        }
        let size = self.size(provider);
        self.failed = self.failed.saturating_add(COHORT.div_ceil(u64::from(size)));
        let limit = u64::from(provider.failed_cohorts_max) * COHORT;
        if limit > 0 && self.failed >= limit {
            let rests = self.rests.saturating_add(1);
            let until = now.after(rest_for(provider, rests));
            *self = Self { size: 1, rests, rest: Some(Span { since: now, until }), ..Self::default() };
        } else if self.covered > 0 {
            self.covered -= 1;
        } else {
            self.size = size.saturating_sub(1).max(1);
            self.covered = self.size - 1;
            self.successes = 0;
        }
    }
}

/// The first rest as the policy says, each further one twice as long, up to the longest.
fn rest_for(provider: &Provider, rests: u32) -> Duration {
    let doubled = provider.rest.saturating_mul(1u32.checked_shl(rests.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(provider.rest_max.max(provider.rest))
}

#[cfg(test)]
#[path = "window_tests.rs"]
pub(super) mod tests;
