//! A secret limit, and the counts behind it, for each peer address.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use postrider_model::Timestamp;

/// Limits that nobody was told; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Sessions at once.
    pub sessions_max: Option<u32>,
    /// New sessions within any 60 s.
    pub sessions_per_minute: Option<u32>,
    /// Transactions within any 60 s.
    pub messages_per_minute: Option<u32>,
    /// How it says no.
    pub manner: Manner,
}

/// How a throttle says no to a message; to a session it always says 421.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// 421 4.7.28, and the connection is closed.
    Close,
    /// 451 4.7.1 to MAIL.
    Transient,
    /// 550 5.7.1 with "rate", as some say what is transient.
    Permanent,
}

const MINUTE_MS: u64 = 60_000;

/// What a provider has counted.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    open: BTreeMap<IpAddr, u32>,
    sessions: BTreeMap<IpAddr, VecDeque<Timestamp>>,
    messages: BTreeMap<IpAddr, VecDeque<Timestamp>>,
}

impl Counts {
    /// Counts a new session. Gives how many are open, and whether the throttle lets it be.
    pub fn open(&mut self, peer: IpAddr, throttle: Option<&Throttle>, now: Timestamp) -> (u32, bool) {
        let open = self.open.entry(peer).or_default();
        *open += 1;
        let lately = lately(&mut self.sessions, peer, now);
        let lets = throttle.is_none_or(|t| t.sessions_max.is_none_or(|m| *open <= m) && t.sessions_per_minute.is_none_or(|m| lately < m));
        if lets {
            self.sessions.entry(peer).or_default().push_back(now);
        }
        (*open, lets)
    }

    /// A session ended.
    pub fn close(&mut self, peer: IpAddr) {
        if let Some(open) = self.open.get_mut(&peer) {
            *open = open.saturating_sub(1);
        }
    }

    /// Whether the throttle lets one more message be, which is then counted.
    pub fn message(&mut self, peer: IpAddr, throttle: Option<&Throttle>, now: Timestamp) -> bool {
        let lately = lately(&mut self.messages, peer, now);
        let lets = throttle.and_then(|t| t.messages_per_minute).is_none_or(|max| lately < max);
        if lets {
            self.messages.entry(peer).or_default().push_back(now);
        }
        lets
    }
}

fn lately(times: &mut BTreeMap<IpAddr, VecDeque<Timestamp>>, peer: IpAddr, now: Timestamp) -> u32 {
    let times = times.entry(peer).or_default();
    while times.front().is_some_and(|at| at.millis() + MINUTE_MS <= now.millis()) {
        times.pop_front();
    }
    times.len() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_counts_each_peer_and_any_minute() {
        let throttle =
            Throttle { sessions_max: Some(2), sessions_per_minute: Some(3), messages_per_minute: Some(2), manner: Manner::Transient };
        let at = Timestamp::from_millis;
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut counts = Counts::default();
        let mut opens = |peer, now| counts.open(peer, Some(&throttle), at(now));
        assert_eq!([opens(a, 0), opens(a, 1), opens(a, 2), opens(b, 2)], [(1, true), (2, true), (3, false), (1, true)]);
        counts.close(a);
        counts.close(a);
        assert_eq!(counts.open(a, Some(&throttle), at(3)), (2, true));
        counts.close(a);
        assert!(!counts.open(a, Some(&throttle), at(59_999)).1, "three within a minute");
        counts.close(a);
        assert!(counts.open(a, Some(&throttle), at(60_000)).1, "the first has left the minute");
        let sent: Vec<bool> = [0, 1, 2, 60_000, 60_001].map(|now| counts.message(a, Some(&throttle), at(now))).into();
        assert_eq!(sent, [true, true, false, true, true]);
    }
}
