//! By way of a proxy to a next hop: SOCKS5 (RFC 1928, RFC 1929), or a PROXY header towards a proxy that dials what the header names (HAProxy's proxy-protocol.txt).
//!
//! **Promises.** What is wrong with the proxy is [`NetTrouble::Proxy`], a condition of the Source; what the proxy says of the next hop is the next hop's trouble, as
//! if we had dialled ourselves. Not an octet behind the proxy's last word is read: it is the next hop's greeting. Both ways have their time limit.
//!
//! **Does badly.** A proxy of the second kind does not answer: that it could not dial is seen as a connection that ends before the greeting, and counts as the
//! next hop's.

mod header;
pub(crate) mod socks;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postrider_model::doors::{Connection, NetTrouble};
use postrider_model::policy::{Proxy, ProxyProtocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use socks::{Act, Socks, Trouble};

/// Makes a connection to a proxy one to the next hop.
pub(crate) async fn pass(
    mut connection: Box<dyn Connection>,
    proxy: &Proxy,
    from: Option<IpAddr>,
    to: SocketAddr,
    timeout: Duration,
) -> Result<Box<dyn Connection>, NetTrouble> {
    let told = |why: String| NetTrouble::Proxy(format!("the proxy {} {why}", proxy.address));
    match &proxy.protocol {
        ProxyProtocol::Header(version) => {
            let header = match (from, version) {
                (None, _) => return Err(told("needs an address to send from".to_owned())),
                (Some(from), _) if from.is_ipv4() != to.is_ipv4() => {
                    return Err(NetTrouble::Source(format!("{from} cannot reach {}: another address family", to.ip())));
                }
                (Some(from), 1) => header::version_1(from, to),
                (Some(from), _) => header::version_2(from, to),
            };
            match tokio::time::timeout(timeout, connection.write_all(&header)).await {
                Ok(Ok(())) => Ok(connection),
                Ok(Err(trouble)) => Err(told(format!("does not take the PROXY header: {trouble}"))),
                Err(_) => Err(told("does not take the PROXY header in time".to_owned())),
            }
        }
        ProxyProtocol::Socks5(login) => {
            let mut socks = Socks::new(to, login.as_ref());
            let until = tokio::time::Instant::now() + timeout;
            loop {
                let done = tokio::time::timeout_at(until, act(&mut socks, &mut *connection)).await;
                match done {
                    Ok(Ok(true)) => return Ok(connection),
                    Ok(Ok(false)) => {}
                    Ok(Err(Failed::Said(trouble))) => return Err(of_socks(trouble, told)),
                    Ok(Err(Failed::Broken(trouble))) => return Err(told(format!("broke off: {trouble}"))),
                    // It was asked to dial, and dials: whoever does not answer there would not have answered us.
                    Err(_) if socks.has_asked() => return Err(NetTrouble::TimedOut),
                    Err(_) => return Err(told("does not answer in time".to_owned())),
                }
            }
        }
    }
}

enum Failed {
    Said(Trouble),
    Broken(std::io::Error),
}

/// One step of the machine; true at its end.
async fn act(socks: &mut Socks, connection: &mut dyn Connection) -> Result<bool, Failed> {
    match socks.next() {
        Act::Write(octets) => connection.write_all(&octets).await.map_err(Failed::Broken)?,
        Act::Read(octets) => {
            let mut read = vec![0; octets];
            connection.read_exact(&mut read).await.map_err(Failed::Broken)?;
            socks.heard(&read).map_err(Failed::Said)?;
        }
        Act::Connected => return Ok(true),
    }
    Ok(false)
}

fn of_socks(trouble: Trouble, told: impl Fn(String) -> NetTrouble) -> NetTrouble {
    match trouble {
        Trouble::Refused => NetTrouble::Refused,
        Trouble::Unreachable(why) => NetTrouble::Unreachable(why.to_owned()),
        Trouble::TimedOut => NetTrouble::TimedOut,
        Trouble::Proxy(why) => told(why.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy that says this and then nothing.
    async fn through(words: &[u8]) -> Option<NetTrouble> {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(words).await.unwrap();
        let proxy = Proxy { address: "127.0.0.1:1080".parse().unwrap(), protocol: ProxyProtocol::Socks5(None) };
        pass(Box::new(ours), &proxy, None, "192.0.2.1:25".parse().unwrap(), Duration::from_secs(30)).await.err()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_the_proxys_until_it_was_asked_to_dial() {
        for words in [&b""[..], &[5]] {
            assert_eq!(through(words).await, Some(NetTrouble::Proxy("the proxy 127.0.0.1:1080 does not answer in time".into())));
        }
        for words in [&[5, 0][..], &[5, 0, 5, 0, 0, 1, 127]] {
            assert_eq!(through(words).await, Some(NetTrouble::TimedOut));
        }
        assert_eq!(through(&[5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await, None);
    }
}
