//! The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): a load balancer in front of us says who the client is.
//!
//! **Promises.** Only peers of the listener's proxy networks are believed, and they must say it: a session without the header would be the balancer's own, and
//! whoever may come past it could say anything. Not an octet behind the header is read. A header that says LOCAL or UNKNOWN (a health check) leaves
//! the peer as it is.
//!
//! **Never** reads more than [`HEADER_OCTETS_MAX`]; the caller limits the time.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use postrider_model::doors::{Connection, Peer};
use ppp::{v1, v2};
use tokio::io::AsyncReadExt;

/// Octets of a header. Version 2 allows 64 KiB of extras, which nobody sends.
const HEADER_OCTETS_MAX: usize = 4096;

/// Octets that tell the versions apart; neither header is shorter.
const START_OCTETS: usize = 12;

/// A line of version 1, with its CR LF.
const LINE_OCTETS_MAX: usize = 107;

/// Reads the header, and gives the peer it names.
pub(super) async fn real_peer(connection: &mut dyn Connection, peer: Peer) -> std::io::Result<Peer> {
    let mut header = vec![0; START_OCTETS];
    connection.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        read_more(connection, &mut header, 4).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        read_more(connection, &mut header, rest).await?;
        let read = v2::Header::try_from(&header[..]).map_err(|trouble| broken(&trouble.to_string()))?;
        return Ok(match (read.command, read.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(at)) => Peer {
                remote: SocketAddr::new(at.source_address.into(), at.source_port),
                local: SocketAddr::new(at.destination_address.into(), at.destination_port),
            },
            (v2::Command::Proxy, v2::Addresses::IPv6(at)) => Peer {
                remote: SocketAddr::new(at.source_address.into(), at.source_port),
                local: SocketAddr::new(at.destination_address.into(), at.destination_port),
            },
            (v2::Command::Local, _) | (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => peer,
        });
    }
    while !header.ends_with(b"\n") {
        if header.len() >= LINE_OCTETS_MAX || !header.starts_with(b"PROXY ") {
            return Err(broken("no PROXY header"));
        }
        read_more(connection, &mut header, 1).await?;
    }
    let read = v1::Header::try_from(&header[..]).map_err(|trouble| broken(&trouble.to_string()))?;
    Ok(match read.addresses {
        v1::Addresses::Tcp4(at) => Peer {
            remote: SocketAddr::new(at.source_address.into(), at.source_port),
            local: SocketAddr::new(at.destination_address.into(), at.destination_port),
        },
        v1::Addresses::Tcp6(at) => Peer {
            remote: SocketAddr::new(at.source_address.into(), at.source_port),
            local: SocketAddr::new(at.destination_address.into(), at.destination_port),
        },
        v1::Addresses::Unknown => peer,
    })
}

async fn read_more(connection: &mut dyn Connection, header: &mut Vec<u8>, octets: usize) -> std::io::Result<()> {
    let from = header.len();
    if from + octets > HEADER_OCTETS_MAX {
        return Err(broken("the PROXY header is too long"));
    }
    header.resize(from + octets, 0);
    connection.read_exact(&mut header[from..]).await.map(|_| ())
}

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    /// What a header makes of a peer, and what is left to read behind it.
    async fn read(octets: &[u8]) -> (Option<String>, Vec<u8>) {
        let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(octets).await.unwrap();
        drop(theirs);
        let peer = Peer { remote: "127.0.0.1:1".parse().unwrap(), local: "127.0.0.1:2".parse().unwrap() };
        let read = real_peer(&mut ours, peer).await.ok().map(|peer| format!("{} {}", peer.remote, peer.local));
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.unwrap();
        (read, rest)
    }

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut out = v2::PROTOCOL_PREFIX.to_vec();
        out.extend([0x20 | command, family]);
        out.extend((addresses.len() as u16).to_be_bytes());
        out.extend(addresses);
        out
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_what_it_said() {
        let four = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0, 25];
        let with_extra = [&four[..], &[0x04, 0, 1, 0]].concat();
        let six = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16], &[0x30, 0x39, 0, 25]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\r\n".to_vec(), "192.0.2.7:12345 198.51.100.1:25"),
            (b"PROXY TCP6 2001:db8::1 :: 12345 25\r\n".to_vec(), "[2001:db8::1]:12345 [::]:25"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1:1 127.0.0.1:2"),
            (version_2(1, 0x11, &four), "192.0.2.7:12345 198.51.100.1:25"),
            (version_2(1, 0x11, &with_extra), "192.0.2.7:12345 198.51.100.1:25"),
            (version_2(1, 0x21, &six), "[2001:db8::1]:12345 [::]:25"),
            (version_2(0, 0, &[]), "127.0.0.1:1 127.0.0.1:2"),
        ] {
            let (peer, rest) = read(&[&header[..], b"EHLO x\r\n"].concat()).await;
            assert_eq!((peer.as_deref(), &rest[..]), (Some(expected), &b"EHLO x\r\n"[..]), "{}", header.escape_ascii());
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = version_2(1, 0x11, &vec![0; HEADER_OCTETS_MAX]);
        let endless = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        for octets in [
            &b"EHLO client.example\r\n"[..],
            b"PROXY TCP4 192.0.2.7\r\nEHLO x\r\n",
            b"PROXY TCP4 192.0.2.700 198.51.100.1 12345 25\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\n",
            b"PROXY",
            &long,
            &endless,
            &version_2(1, 0x11, &[0; 4]),
        ] {
            assert_eq!(read(octets).await.0, None, "{}", octets[..octets.len().min(60)].escape_ascii());
        }
    }
}
