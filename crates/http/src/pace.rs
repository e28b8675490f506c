//! How many requests a network may make in a minute.
//!
//! **Promises.** Memory is bounded: beyond [`NETWORKS_MAX`] networks in one minute, those that come later share one count, so a flood from everywhere shuts nobody out that
//! was there before. A minute begins with a network's first request, and whoever is refused is told how long it lasts still.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use postrider_model::Timestamp;
use postrider_model::doors::Clock;

/// Networks that are counted at once; each takes about 60 octets.
pub(crate) const NETWORKS_MAX: usize = 65_536;

const MINUTE_MS: u64 = 60_000;

/// How often old minutes are looked for, when there is no room.
const SWEEP_MS: u64 = 1_000;

/// The count of those for whom there is no room. No network has it: it is in no address that the internet gives out.
const OTHERS: u128 = u128::MAX;

/// The pace of all networks.
#[derive(Clone)]
pub(crate) struct Pace {
    per_minute: u32,
    clock: Arc<dyn Clock>,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    /// When a network's minute began, and what it asked since.
    minutes: BTreeMap<u128, (u64, u32)>,
    swept_ms: u64,
}

impl Pace {
    /// So many requests a minute for each network.
    pub(crate) fn new(per_minute: u32, clock: Arc<dyn Clock>) -> Self {
        Self { per_minute, clock, counts: Arc::default() }
    }

    /// Whether a request from there may be made now; if not, in how many seconds.
    pub(crate) fn may_ask(&self, address: IpAddr) -> Result<(), u64> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.take(network_of(address), self.per_minute, self.clock.now(), NETWORKS_MAX)
    }
}

impl Counts {
    fn take(&mut self, network: u128, per_minute: u32, now: Timestamp, networks_max: usize) -> Result<(), u64> {
        let now_ms = now.millis();
        let is_over = |began_ms: u64| now_ms.saturating_sub(began_ms) >= MINUTE_MS || began_ms > now_ms;
        if self.minutes.len() >= networks_max && !self.minutes.contains_key(&network) && now_ms.abs_diff(self.swept_ms) >= SWEEP_MS {
            self.swept_ms = now_ms;
            self.minutes.retain(|_, (began_ms, _)| !is_over(*began_ms));
        }
        let has_room = self.minutes.len() < networks_max || self.minutes.contains_key(&network);
        let (began_ms, count) = self.minutes.entry(if has_room { network } else { OTHERS }).or_insert((now_ms, 0));
        if is_over(*began_ms) {
            (*began_ms, *count) = (now_ms, 0);
        }
        if *count >= per_minute {
            return Err((*began_ms + MINUTE_MS - now_ms).div_ceil(1_000));
        }
        *count += 1;
        Ok(())
    }
}

/// The 24 bits of IPv4 or 64 of IPv6 that one owner usually has.
fn network_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(four) => u128::from(four.to_ipv6_mapped()) >> 8 << 8,
        IpAddr::V6(six) => u128::from(six) >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> u128 {
        network_of(text.parse().unwrap())
    }

    #[test]
    fn a_minute_is_a_networks_own() {
        let mut counts = Counts::default();
        let mut ask = |address: &str, ms: u64| counts.take(network(address), 2, Timestamp::from_millis(ms), 10);
        assert_eq!([ask("192.0.2.1", 1_000), ask("192.0.2.200", 2_000), ask("192.0.2.3", 2_500)], [Ok(()), Ok(()), Err(59)]);
        assert_eq!((ask("192.0.3.1", 2_500), ask("::ffff:192.0.2.9", 60_999)), (Ok(()), Err(1)));
        assert_eq!((ask("192.0.2.1", 61_000), ask("192.0.2.1", 61_000), ask("192.0.2.1", 61_000)), (Ok(()), Ok(()), Err(60)));
        assert_eq!([ask("2001:db8::1", 1), ask("2001:db8::2:1", 1), ask("2001:db8::3", 1)], [Ok(()), Ok(()), Err(60)]);
        assert_eq!(ask("2001:db8:0:1::1", 1), Ok(()));
        // A clock that went back begins anew.
        assert_eq!(ask("192.0.2.1", 5_000), Ok(()));
    }

    #[test]
    fn a_flood_from_everywhere_takes_no_more_memory_and_shuts_out_nobody_who_was_there() {
        let mut counts = Counts::default();
        let mut ask = |nth: u128, ms: u64| counts.take(nth << 64, 100, Timestamp::from_millis(ms), 10);
        let taken = (0..1_000).filter(|nth| ask(*nth, 1_000).is_ok()).count();
        assert_eq!(taken, 110, "ten of their own, and a hundred of all others");
        assert_eq!((ask(3, 1_500), ask(5_000, 1_500)), (Ok(()), Err(60)));
        assert_eq!(ask(5_000, 61_500), Ok(()), "and in the next minute there is room again");
        assert!(counts.minutes.len() <= 11);
    }
}
