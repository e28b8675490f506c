//! Whether a Message-ID was another message's (RFC 5322 §3.6.4 wants each to be unique; Gmail limits mail that shares one).
//!
//! **Promises.** Memory is bounded: of too many the oldest are forgotten. The same message again, as a client sends it whose answer was lost, or whose list goes in
//! parts, is no reuse.
//!
//! **Does badly.** Two ids, or two headers, of one digest count as the same: one in 2^64. A restart forgets all.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use postrider_model::{TenantName, Timestamp};

/// Ids that are remembered, over all tenants; each costs about 100 octets.
const IDS_MAX: usize = 65_536;

/// How long.
const REMEMBERED: Duration = Duration::from_secs(86_400);

/// Message-IDs that were seen.
#[derive(Debug, Default)]
pub struct Reuse {
    /// By the digest of tenant and id: the digest of the header, and when.
    seen: BTreeMap<u64, (u64, Timestamp)>,
    /// In the order in which they came.
    order: VecDeque<u64>,
}

impl Reuse {
    /// Whether another message of this tenant had this id; remembers it.
    pub fn see(&mut self, tenant: &TenantName, id: &str, header: &[u8], now: Timestamp) -> bool {
        let (key, message) = (digest((tenant.as_str(), id)), digest(header));
        if let Some((other, at)) = self.seen.get(&key)
            && now.since(*at) < REMEMBERED
        {
            return *other != message;
        }
        if self.seen.insert(key, (message, now)).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > IDS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
        false
    }
}

fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_message_under_the_same_id_is_reuse_and_the_same_again_is_not() {
        let mut reuse = Reuse::default();
        let at = |hours: u64| Timestamp::from_millis(hours * 3_600_000);
        for (tenant, id, header, hours, reused) in [
            ("shop", "<1@b>", "one", 0, false),
            ("shop", "<1@b>", "one", 1, false),
            ("shop", "<1@b>", "two", 1, true),
            ("club", "<1@b>", "two", 1, false),
            ("shop", "<2@b>", "two", 1, false),
            // A day later it is forgotten; a clock that is set back changes nothing.
            ("shop", "<1@b>", "two", 25, false),
            ("shop", "<1@b>", "one", 2, true),
        ] {
            assert_eq!(reuse.see(&tenant.into(), id, header.as_bytes(), at(hours)), reused, "{tenant} {id} {header} {hours}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut reuse = Reuse::default();
        let now = Timestamp::from_millis(0);
        for nth in 0..IDS_MAX + 10 {
            reuse.see(&"shop".into(), &format!("<{nth}@b>"), b"one", now);
        }
        assert_eq!((reuse.seen.len(), reuse.order.len()), (IDS_MAX, IDS_MAX));
        assert!(!reuse.see(&"shop".into(), "<0@b>", b"two", now), "the oldest is forgotten");
        assert!(reuse.see(&"shop".into(), "<100@b>", b"two", now), "and no other");
    }
}
