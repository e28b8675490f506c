use super::*;

use proptest::prelude::*;

fn provider() -> Provider {
    Provider { window_initial: 5, connections_max: 20, failed_cohorts_max: 1, ..Provider::fallback() }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + 1000 * seconds)
}

/// The pseudocode of Postfix's documentation in floating point, as the judge.
pub(in crate::shape) struct Judge {
    pub(in crate::shape) concurrency: u32,
    success: f64,
    failure: f64,
    fail_cohorts: f64,
}

const EPSILON: f64 = 1e-9;

impl Judge {
    pub(in crate::shape) fn new(concurrency: u32) -> Self {
        Self { concurrency, success: 0.0, failure: 0.0, fail_cohorts: 0.0 }
    }

    pub(in crate::shape) fn success(&mut self, provider: &Provider, in_use: u32) {
        self.fail_cohorts = 0.0;
        if self.concurrency >= in_use + provider.window_initial || self.concurrency >= provider.connections_max {
            return;
        }
        self.success += 1.0 / f64::from(self.concurrency);
        while self.success >= 1.0 - EPSILON {
            self.concurrency += 1;
            self.failure = 0.0;
            self.success -= 1.0;
        }
    }

    /// Whether the destination is dead now.
    pub(in crate::shape) fn failure(&mut self, provider: &Provider) -> bool {
        self.fail_cohorts += 1.0 / f64::from(self.concurrency);
        if provider.failed_cohorts_max > 0 && self.fail_cohorts >= f64::from(provider.failed_cohorts_max) - EPSILON {
            return true;
        }
        self.failure -= 1.0 / f64::from(self.concurrency);
        while self.failure < -EPSILON {
            self.concurrency = (self.concurrency - 1).max(1);
            self.failure += 1.0;
            self.success = 0.0;
        }
        false
    }
}

#[test]
fn the_window_grows_by_one_for_each_cohort() {
    let (mut window, provider) = (Window::default(), provider());
    let mut sizes = Vec::new();
    for _ in 0..5 + 6 + 7 {
        window.success(&provider, 20);
        sizes.push(window.size(&provider));
    }
    assert_eq!(sizes, [vec![5; 4], vec![6; 6], vec![7; 7], vec![8]].concat());
    for _ in 0..1_000 {
        window.success(&provider, 20);
    }
    assert_eq!(window.size(&provider), 20, "not beyond the policy");
}

#[test]
fn it_does_not_grow_away_from_what_is_used() {
    let (mut window, provider) = (Window::default(), provider());
    for _ in 0..1_000 {
        window.success(&provider, 2);
    }
    assert_eq!(window.size(&provider), 7);
}

#[test]
fn the_first_failure_shrinks_it_and_covers_the_rest_of_the_cycle() {
    let provider = Provider { failed_cohorts_max: 100, ..provider() };
    let mut window = Window::default();
    let sizes: Vec<u32> = (0..10)
        .map(|_| {
            window.failure(&provider, at(0));
            window.size(&provider)
        })
        .collect();
    assert_eq!(sizes, [4, 4, 4, 4, 3, 3, 3, 2, 2, 1]);
}

#[test]
fn a_failed_cohort_rests_and_a_failed_probe_rests_twice_as_long() {
    let provider = Provider { rest: Duration::from_secs(60), rest_max: Duration::from_secs(200), ..provider() };
    let mut window = Window::default();
    for _ in 0..4 {
        window.failure(&provider, at(0));
        assert_eq!(window.resting(at(0)), None);
    }
    window.failure(&provider, at(0));
    assert_eq!(window.resting(at(0)), Some((Span { since: at(0), until: at(60) }, 1)));
    window.failure(&provider, at(30));
    assert_eq!(window.resting(at(59)), Some((Span { since: at(0), until: at(60) }, 1)), "who failed late belongs to the same cohort");
    assert_eq!((window.resting(at(60)), window.size(&provider)), (None, 1), "one connection probes");
    for (now, until, rests) in [(60, 180, 2), (180, 380, 3), (380, 580, 4)] {
        window.failure(&provider, at(now));
        assert_eq!(window.resting(at(now)), Some((Span { since: at(now), until: at(until) }, rests)));
    }
    assert!(window.success(&provider, 1));
    assert_eq!((window.size(&provider), window.resting(at(400)), window.has_learned()), (5, None, false));
}

#[test]
fn no_limit_of_cohorts_is_no_rest() {
    let provider = Provider { failed_cohorts_max: 0, ..provider() };
    let mut window = Window::default();
    for _ in 0..1_000 {
        window.failure(&provider, at(0));
    }
    assert_eq!((window.resting(at(0)), window.size(&provider)), (None, 1));
}

#[test]
fn thirds_add_up_to_a_cohort() {
    for size in 1..=100 {
        // The window is held at its size by a floor of one connection and a cohort limit reached by equal parts only.
        let provider = Provider { window_initial: size, connections_max: size, failed_cohorts_max: 1, ..provider() };
        let mut judge = Judge::new(size);
        let mut window = Window::default();
        let mut failures = 0;
        while window.resting(at(0)).is_none() {
            window.failure(&provider, at(0));
            failures += 1;
            assert_eq!(judge.failure(&provider), window.resting(at(0)).is_some(), "{size} after {failures}");
        }
    }
}

proptest! {
    #[test]
    fn it_does_as_postfix_documents(
        initial in 1u32..8,
        max in 1u32..30,
        cohorts in 0u32..4,
        events in proptest::collection::vec((proptest::bool::weighted(0.7), 0u32..30), 1..500),
    ) {
        let provider = Provider { window_initial: initial.min(max), connections_max: max, failed_cohorts_max: cohorts, ..provider() };
        let mut judge = Judge::new(provider.window_initial);
        let mut window = Window::default();
        for (success, in_use) in events {
            if success {
                window.success(&provider, in_use);
                judge.success(&provider, in_use);
            } else {
                window.failure(&provider, at(0));
                let dead = judge.failure(&provider);
                prop_assert_eq!(window.resting(at(0)).is_some(), dead);
                if dead {
                    // From here on we bend the documentation; a new destination takes its place.
                    window = Window::default();
                    judge = Judge::new(provider.window_initial);
                }
            }
            prop_assert_eq!(window.size(&provider), judge.concurrency);
        }
    }
}
