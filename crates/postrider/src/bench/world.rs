//! The names and addresses of the world a relay under test delivers to: domains, their MX hosts, the sinks. Pure.
//!
//! Domain `d<i>.bench.test` has the MX host `mx<i mod hosts>.bench.test`; MX host `k` has the address of sink `k mod sinks`. `.test` is reserved
//! (RFC 6761 §6.2) and all addresses are in 127.0.0.0/8, so nothing here can reach a network.

use std::net::{Ipv4Addr, SocketAddr};

/// The zone of all names.
pub const ZONE: &str = "bench.test";

/// Sinks per third octet of their addresses.
const SINKS_PER_NET: usize = 250;

/// How domains, MX hosts and sinks hang together.
#[derive(Debug, Clone)]
pub struct World {
    /// Recipient domains.
    pub domains: usize,
    /// Names of MX hosts over which the domains are spread.
    pub mx_hosts: usize,
    /// Addresses with a sink.
    pub sinks: usize,
    /// The port of every sink.
    pub sink_port: u16,
}

impl World {
    /// The MX host of a domain.
    pub fn mx_of_domain(&self, domain: usize) -> usize {
        domain % self.mx_hosts
    }

    /// The sink behind a domain.
    pub fn sink_of_domain(&self, domain: usize) -> usize {
        self.mx_of_domain(domain) % self.sinks
    }

    /// The address of a sink: 127.0.0.2, 127.0.0.3, ...
    pub fn sink_ip(&self, sink: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, (sink / SINKS_PER_NET) as u8, (sink % SINKS_PER_NET + 2) as u8)
    }

    /// The socket address of a sink.
    pub fn sink_address(&self, sink: usize) -> SocketAddr {
        SocketAddr::from((self.sink_ip(sink), self.sink_port))
    }

    /// The domain of a message's recipient.
    pub fn domain_of(&self, message: usize, recipient: usize) -> usize {
        (message + recipient) % self.domains
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stay_on_loopback_and_apart() {
        let world = World { domains: 2000, mx_hosts: 1000, sinks: 600, sink_port: 2525 };
        let mut seen = std::collections::BTreeSet::new();
        for sink in 0..world.sinks {
            let ip = world.sink_ip(sink);
            assert!(ip.is_loopback() && ip != Ipv4Addr::LOCALHOST && seen.insert(ip), "{ip}");
        }
        assert_eq!(world.sink_of_domain(1650), 50);
        assert_eq!(world.domain_of(1999, 1), 0);
    }
}
