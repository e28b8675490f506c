//! Sources that cannot be used for now, because the proxy that dials for them is down: they rest, and others are asked.
//!
//! **Promises.** A Source rests from its first failure on, first for ten seconds, then twice as long after each failure that follows a rest, at most for five
//! minutes. Failures that come while it rests are those of connections begun before, and count as one. A success ends it.
//!
//! **Never** says anything of a Site: who is behind the proxy was not heard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use postrider_model::{SourceName, Timestamp};

use crate::shape::{Hold, HoldReason};

/// The first rest.
const REST: Duration = Duration::from_secs(10);
/// The longest.
const REST_MAX: Duration = Duration::from_secs(300);

/// Sources that are down, by their names; not more than policy has.
#[derive(Debug, Default)]
pub struct Outages(BTreeMap<SourceName, Outage>);

#[derive(Debug)]
struct Outage {
    since: Timestamp,
    rest: Duration,
    until: Timestamp,
    why: Arc<str>,
}

impl Outages {
    /// A connection could not be had by way of this Source. Says whether that is news.
    pub fn failed(&mut self, source: &SourceName, why: &str, now: Timestamp) -> bool {
        match self.0.get_mut(source) {
            Some(outage) if now < outage.until => false,
            Some(outage) => {
                outage.rest = (outage.rest * 2).min(REST_MAX);
                (outage.until, outage.why) = (now.after(outage.rest), why.into());
                false
            }
            None => {
                self.0.insert(source.clone(), Outage { since: now, rest: REST, until: now.after(REST), why: why.into() });
                true
            }
        }
    }

    /// A session was had. Says whether that is news.
    pub fn worked(&mut self, source: &SourceName) -> bool {
        self.0.remove(source).is_some()
    }

    /// After a reload: Sources that are not there any more, or are others under an old name, are forgotten.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// What holds it at `now`, when it rests.
    pub fn hold(&self, source: &SourceName, now: Timestamp) -> Option<Hold> {
        let outage = self.0.get(source).filter(|outage| now < outage.until)?;
        let reason = HoldReason::SourceDown { source: source.clone(), why: outage.why.clone() };
        Some(Hold { reason, since: outage.since, until: Some(outage.until) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_and_end_and_a_cohort_counts_once() {
        let (first, other) = (SourceName::new("first"), SourceName::new("other"));
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1_000);
        let mut outages = Outages::default();
        assert_eq!(outages.hold(&first, at(0)), None);
        assert!(outages.failed(&first, "the proxy is down", at(100)));
        assert!(!outages.failed(&first, "the proxy is down", at(105)), "begun before the rest");
        let hold = outages.hold(&first, at(109)).unwrap();
        assert_eq!(hold.to_string(), "source first cannot be used: the proxy is down");
        assert_eq!((hold.since, hold.until), (at(100), Some(at(110))));
        assert_eq!((outages.hold(&first, at(110)), outages.hold(&other, at(109))), (None, None));
        let mut now = 110;
        for rest in [20, 40, 80, 160, 300, 300] {
            assert!(!outages.failed(&first, "still", at(now)));
            assert_eq!(outages.hold(&first, at(now)).unwrap().until, Some(at(now + rest)));
            now += rest;
        }
        assert!(outages.worked(&first) && !outages.worked(&first));
        assert!(outages.failed(&first, "again", at(now)));
        assert_eq!(outages.hold(&first, at(now)).unwrap().until, Some(at(now + 10)));
        outages.forget();
        assert_eq!(outages.hold(&first, at(now)), None);
    }
}
