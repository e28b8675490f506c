//! Whether a Message-ID was another message's (RFC 5322 §3.6.4 wants each to be unique; Gmail limits mail that shares one).
//!
//! **Promises.** Memory is bounded: of too many the oldest are forgotten. The same message again, as a client sends it whose answer was lost, or whose list goes in
//! parts, is no reuse.
//!
//! A restart forgets nothing but what came since [`Reuse::changed`] was last kept; what is kept is bounded, too, and never one text for all.
//!
//! **Does badly.** Two ids, or two headers, of one digest count as the same: one in 2^64. A release that digests otherwise knows nothing of what an older one kept.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use postrider_model::{TenantName, Timestamp};

/// Ids that are remembered, over all tenants; each costs about 100 octets.
const IDS_MAX: usize = 65_536;

/// How long.
const REMEMBERED: Duration = Duration::from_secs(86_400);

/// What the names of texts that are kept begin with; the rest is when they were written, so that their order is the order in time.
pub const KEPT: &str = "message-ids ";

/// Message-IDs that were seen.
#[derive(Debug, Default)]
pub struct Reuse {
    /// By the digest of tenant and id: the digest of the header, and when.
    seen: BTreeMap<u64, (u64, Timestamp)>,
    /// In the order in which they came.
    order: VecDeque<u64>,
    /// What is not kept yet.
    fresh: VecDeque<u64>,
    /// What is: the name of each text, how many ids it has, and when it was written.
    kept: VecDeque<(String, usize, Timestamp)>,
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
        self.remember(key, message, now);
        self.fresh.push_back(key);
        if self.fresh.len() > IDS_MAX {
            self.fresh.pop_front();
        }
        false
    }

    fn remember(&mut self, key: u64, message: u64, at: Timestamp) {
        if self.seen.insert(key, (message, at)).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > IDS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
    }

    /// What is to be kept, by name, since this was asked last; an empty text is to be forgotten.
    pub fn changed(&mut self, now: Timestamp) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        let fresh = std::mem::take(&mut self.fresh);
        let lines = fresh.iter().filter_map(|key| {
            let (message, at) = self.seen.get(key).filter(|(_, at)| now.since(*at) < REMEMBERED)?;
            Some(format!("{key:x} {message:x} {}\n", at.millis()))
        });
        let text: String = lines.collect();
        if !text.is_empty() {
            let name = format!("{KEPT}{:015}", now.millis());
            self.kept.push_back((name.clone(), fresh.len(), now));
            texts.push((name, text));
        }
        let mut ids: usize = self.kept.iter().map(|(_, ids, _)| ids).sum();
        while let Some((name, count, at)) = self.kept.front()
            && (now.since(*at) >= REMEMBERED || ids - count >= IDS_MAX)
        {
            texts.push((name.clone(), String::new()));
            ids -= count;
            self.kept.pop_front();
        }
        texts
    }

    /// Takes over what was kept before this start, in any order. What makes no sense is nothing, and is forgotten with its text.
    pub fn load(&mut self, kept: impl IntoIterator<Item = (String, String)>, now: Timestamp) {
        let ordered: BTreeMap<String, String> = kept.into_iter().collect();
        for (name, text) in ordered {
            let written = name.strip_prefix(KEPT).and_then(|millis| millis.parse().ok()).map_or(now, Timestamp::from_millis);
            self.kept.push_back((name, text.lines().count(), written.min(now)));
            for (key, message, at) in text.lines().filter_map(line) {
                if now.since(at) < REMEMBERED {
                    self.remember(key, message, at.min(now));
                }
            }
        }
    }
}

/// `KEY MESSAGE MILLIS`, the first two in hexadecimal digits.
fn line(text: &str) -> Option<(u64, u64, Timestamp)> {
    let mut words = text.split(' ');
    let digest = |word: &str| u64::from_str_radix(word, 16).ok();
    let (key, message, millis) = (digest(words.next()?)?, digest(words.next()?)?, words.next()?.parse().ok()?);
    words.next().is_none().then_some((key, message, Timestamp::from_millis(millis)))
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
    fn a_restart_forgets_nothing_that_was_kept() {
        let at = |minutes: u64| Timestamp::from_millis(minutes * 60_000);
        let mut store: BTreeMap<String, String> = BTreeMap::new();
        let keep = |store: &mut BTreeMap<String, String>, reuse: &mut Reuse, minutes: u64| {
            for (name, text) in reuse.changed(at(minutes)) {
                assert!(name.starts_with(KEPT));
                if text.is_empty() {
                    store.remove(&name).map(drop).expect("what is forgotten was kept")
                } else {
                    drop(store.insert(name, text))
                }
            }
        };
        let mut reuse = Reuse::default();
        reuse.see(&"shop".into(), "<1@b>", b"one", at(0));
        keep(&mut store, &mut reuse, 1);
        keep(&mut store, &mut reuse, 2);
        assert_eq!(store.len(), 1, "nothing new, nothing written");
        reuse.see(&"shop".into(), "<2@b>", b"two", at(100));
        keep(&mut store, &mut reuse, 101);
        reuse.see(&"shop".into(), "<3@b>", b"three", at(102));
        // What came last was not kept.
        let mut again = Reuse::default();
        store.insert(format!("{KEPT}x"), "nonsense\n1 2\nfffffffffffffffff 1 1\n1 2 3 4\n".to_owned());
        again.load(store.clone(), at(110));
        for (tenant, id, header, reused) in [
            ("shop", "<1@b>", "one", false),
            ("shop", "<1@b>", "other", true),
            ("club", "<1@b>", "other", false),
            ("shop", "<2@b>", "other", true),
            ("shop", "<3@b>", "other", false),
        ] {
            assert_eq!(again.see(&tenant.into(), id, header.as_bytes(), at(110)), reused, "{tenant} {id} {header}");
        }
        keep(&mut store, &mut again, 111);
        assert_eq!(store.len(), 4);
        // After a day only what is younger is there, in memory as in what is kept.
        keep(&mut store, &mut again, 24 * 60 + 2);
        assert_eq!(store.len(), 3);
        let mut late = Reuse::default();
        late.load(store.clone(), at(24 * 60 + 50));
        assert!(
            !late.see(&"shop".into(), "<1@b>", b"third", at(24 * 60 + 50)) && late.see(&"shop".into(), "<2@b>", b"third", at(24 * 60 + 50))
        );
        keep(&mut store, &mut late, 72 * 60);
        assert_eq!(store.len(), 0, "{store:?}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (mut reuse, mut ids) = (Reuse::default(), BTreeMap::new());
        for nth in 0..3 * IDS_MAX {
            let now = Timestamp::from_millis(nth as u64);
            reuse.see(&"shop".into(), &format!("<{nth}@b>"), b"one", now);
            if nth % 1_000 == 999 {
                for (name, text) in reuse.changed(now) {
                    ids.insert(name, text.lines().count());
                }
                assert!(ids.values().sum::<usize>() < IDS_MAX + 1_000, "{nth}");
            }
        }
        assert!(ids.values().sum::<usize>() >= IDS_MAX);
    }

    #[test]
    fn memory_is_bounded() {
        let mut reuse = Reuse::default();
        let now = Timestamp::from_millis(0);
        for nth in 0..IDS_MAX + 10 {
            reuse.see(&"shop".into(), &format!("<{nth}@b>"), b"one", now);
        }
        assert_eq!((reuse.seen.len(), reuse.order.len(), reuse.fresh.len()), (IDS_MAX, IDS_MAX, IDS_MAX));
        assert!(!reuse.see(&"shop".into(), "<0@b>", b"two", now), "the oldest is forgotten");
        assert!(reuse.see(&"shop".into(), "<100@b>", b"two", now), "and no other");
    }
}
