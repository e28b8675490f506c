//! How many sessions there may be, in all and per client network; and who guessed too many passwords.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postrider_core::lockout::Lockout;

/// Counts the sessions of all listeners.
#[derive(Default)]
pub(crate) struct Gate {
    counts: Mutex<Counts>,
    lockout: Mutex<Lockout>,
}

#[derive(Default)]
struct Counts {
    sessions: usize,
    /// Sessions that began, since the start.
    begun: u64,
    by_network: BTreeMap<u128, usize>,
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Too many in all.
    Full,
    /// Too many from there.
    Network,
}

impl Turned {
    /// What the client hears.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Turned::Full => "too many sessions, try again later",
            Turned::Network => "too many sessions from your network, try again later",
        }
    }
}

/// One session's place; given back when dropped.
pub(crate) struct Pass {
    gate: Arc<Gate>,
    network: u128,
}

impl Gate {
    /// A place for one more session, if there is one.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr, sessions_max: usize, per_network_max: usize) -> Result<Pass, Turned> {
        let network = network_of(peer);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.sessions >= sessions_max {
            return Err(Turned::Full);
        }
        let here = counts.by_network.entry(network).or_insert(0);
        if *here >= per_network_max {
            return Err(Turned::Network);
        }
        *here += 1;
        counts.sessions += 1;
        counts.begun += 1;
        Ok(Pass { gate: self.clone(), network })
    }

    /// Who failed to prove itself, over all listeners.
    pub(crate) fn lockout(&self) -> MutexGuard<'_, Lockout> {
        self.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sessions at present.
    pub(crate) fn sessions(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).sessions
    }

    /// Sessions that began, since the start.
    pub(crate) fn begun(&self) -> u64 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).begun
    }
}

impl Pass {
    /// The client turns out to be of another network than the proxy it came by.
    pub(crate) fn moves_to(&mut self, peer: IpAddr, per_network_max: usize) -> Result<(), Turned> {
        let network = network_of(peer);
        let mut counts = self.gate.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.leave(self.network);
        let here = counts.by_network.entry(network).or_insert(0);
        let free = *here < per_network_max;
        // The place is counted until the session ends, with or without leave to stay.
        *here += 1;
        self.network = network;
        if free { Ok(()) } else { Err(Turned::Network) }
    }
}

impl Counts {
    fn leave(&mut self, network: u128) {
        if let Some(here) = self.by_network.get_mut(&network) {
            *here -= 1;
            if *here == 0 {
                self.by_network.remove(&network);
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.gate.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.sessions -= 1;
        counts.leave(self.network);
    }
}

/// An IPv4 address stands for itself, an IPv6 address for its /64, which one client has whole. A mapped address counts as IPv4.
pub(crate) fn network_of(peer: IpAddr) -> u128 {
    match peer.to_canonical() {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address) >> 64 << 64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_per_network_and_come_back() {
        let gate = Arc::new(Gate::default());
        let from = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = gate.enter(from("192.0.2.1"), 3, 2).ok().unwrap();
        let _second = gate.enter(from("::ffff:192.0.2.1"), 3, 2).ok().unwrap();
        assert_eq!(gate.enter(from("192.0.2.1"), 3, 2).err(), Some(Turned::Network));
        let third = gate.enter(from("2001:db8::1"), 3, 2).ok().unwrap();
        assert_eq!(gate.enter(from("192.0.2.9"), 3, 2).err(), Some(Turned::Full));
        drop(first);
        assert_eq!((gate.sessions(), gate.begun()), (2, 3));
        let _again = gate.enter(from("2001:db8::ffff"), 3, 2).ok().unwrap();
        drop(third);
        assert_eq!(gate.enter(from("2001:db8:0:1::1"), 3, 2).map(|_| ()).ok(), Some(()));
    }

    #[test]
    fn a_proxys_place_becomes_its_clients() {
        let gate = Arc::new(Gate::default());
        let from = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut first = gate.enter(from("192.0.2.200"), 3, 1).ok().unwrap();
        assert_eq!(first.moves_to(from("203.0.113.1"), 1), Ok(()));
        let mut second = gate.enter(from("192.0.2.200"), 3, 1).ok().unwrap();
        assert_eq!(second.moves_to(from("203.0.113.1"), 1), Err(Turned::Network));
        assert_eq!(gate.sessions(), 2);
        drop((first, second));
        assert!(gate.sessions() == 0 && gate.counts.lock().unwrap().by_network.is_empty(), "all places are given back");
    }
}
