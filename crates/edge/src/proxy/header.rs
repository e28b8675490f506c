//! The header of the PROXY protocol, both versions, as one writes it who asks a proxy to dial. Ports of the source are the proxy's to choose, so they are 0.

use std::net::{IpAddr, SocketAddr};

/// `\r\n\r\n\0\r\nQUIT\n`: no server takes it for its own protocol.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;

/// For addresses of one family.
pub(super) fn version_1(from: IpAddr, to: SocketAddr) -> Vec<u8> {
    let family = if to.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {from} {} 0 {}\r\n", to.ip(), to.port()).into_bytes()
}

/// For addresses of one family.
pub(super) fn version_2(from: IpAddr, to: SocketAddr) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    // Family in the high half, STREAM in the low one.
    let (family, length): (u8, u8) = if to.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
    [&SIGNATURE[..], &[PROXY, family, 0, length], &octets(from), &octets(to.ip()), &[0, 0], &to.port().to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another reader than ours reads what we write.
    #[test]
    fn both_versions_say_whom_to_dial_and_from_where() {
        for (from, to) in [("192.0.2.7", "198.51.100.1:25"), ("2001:db8::7", "[2001:db8::1]:2525")] {
            let (from, to): (IpAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let one = version_1(from, to);
            let read = ppp::v1::Header::try_from(&one[..]).unwrap();
            let told = match read.addresses {
                ppp::v1::Addresses::Tcp4(at) => {
                    (at.source_address.into(), SocketAddr::new(at.destination_address.into(), at.destination_port))
                }
                ppp::v1::Addresses::Tcp6(at) => {
                    (at.source_address.into(), SocketAddr::new(at.destination_address.into(), at.destination_port))
                }
                ppp::v1::Addresses::Unknown => panic!("{}", one.escape_ascii()),
            };
            assert_eq!(told, (from, to));
            let two = version_2(from, to);
            let read = ppp::v2::Header::try_from(&two[..]).unwrap();
            assert_eq!(read.command, ppp::v2::Command::Proxy);
            let told: (IpAddr, SocketAddr) = match read.addresses {
                ppp::v2::Addresses::IPv4(at) => {
                    (at.source_address.into(), SocketAddr::new(at.destination_address.into(), at.destination_port))
                }
                ppp::v2::Addresses::IPv6(at) => {
                    (at.source_address.into(), SocketAddr::new(at.destination_address.into(), at.destination_port))
                }
                ppp::v2::Addresses::Unspecified | ppp::v2::Addresses::Unix(_) => panic!("{}", two.escape_ascii()),
            };
            assert_eq!(told, (from, to));
        }
    }
}
