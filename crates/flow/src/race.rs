//! Two addresses of one host, of different families: the second starts when the first has not answered at once (RFC 8305 §5), so that a broken family costs a
//! quarter of a second and not a time-out. Whoever answers first carries the session; the other is let go before a word is said.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postrider_model::doors::{Connection, Net, NetTrouble};

/// How long the first address is waited for (RFC 8305 §8: 250 ms).
const HEAD_START: Duration = Duration::from_millis(250);

/// A way to dial.
#[derive(Clone, Copy)]
pub(crate) struct Dialling<'a> {
    pub(crate) net: &'a dyn Net,
    pub(crate) from: Option<IpAddr>,
    pub(crate) timeout: Duration,
}

/// How it ended.
pub(crate) struct Raced {
    pub(crate) connection: Result<Box<dyn Connection>, NetTrouble>,
    /// It is the rival's.
    pub(crate) by_rival: bool,
    /// The other one was tried, and failed before.
    pub(crate) other_failed: bool,
}

/// Dials `first`, and `rival` when `first` takes its time. A first address that fails before the rival was started leaves it to the next call.
pub(crate) async fn race(dialling: Dialling<'_>, first: SocketAddr, rival: Option<SocketAddr>) -> Raced {
    let dial = |to| dialling.net.dial(dialling.from, to, dialling.timeout);
    let of = |connection, by_rival, other_failed| Raced { connection, by_rival, other_failed };
    let mut first = dial(first);
    let Some(rival) = rival else { return of(first.await, false, false) };
    tokio::select! { biased;
        done = &mut first => return of(done, false, false),
        () = tokio::time::sleep(HEAD_START) => {}
    }
    let mut rival = dial(rival);
    tokio::select! { biased;
        done = &mut first => match done {
            Ok(connection) => of(Ok(connection), false, false),
            Err(_) => of(rival.await, true, true),
        },
        done = &mut rival => match done {
            Ok(connection) => of(Ok(connection), true, false),
            Err(_) => of(first.await, false, true),
        },
    }
}

#[cfg(test)]
mod tests {
    use postrider_model::BoxFuture;
    use postrider_model::doors::{Secured, TlsDemand};
    use tokio::time::Instant;

    use super::*;

    /// What an address of either family does, and after how long.
    struct Town {
        v6: (u64, bool),
        v4: (u64, bool),
    }

    impl Net for Town {
        fn dial(&self, _: Option<IpAddr>, to: SocketAddr, _: Duration) -> BoxFuture<'_, Result<Box<dyn Connection>, NetTrouble>> {
            let (after_ms, answers) = if to.is_ipv6() { self.v6 } else { self.v4 };
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                if answers { Ok(Box::new(tokio::io::duplex(1).0) as Box<dyn Connection>) } else { Err(NetTrouble::Refused) }
            })
        }

        fn secure(&self, _: Box<dyn Connection>, _: &str, _: TlsDemand) -> BoxFuture<'_, Result<Secured, NetTrouble>> {
            unreachable!("nothing is secured")
        }

        fn accept_secure(&self, _: Box<dyn Connection>) -> BoxFuture<'_, Result<Secured, NetTrouble>> {
            unreachable!("nothing is secured")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_answer_wins() {
        let (first, rival) = ("[2001:db8::1]:25".parse().unwrap(), "192.0.2.1:25".parse().unwrap());
        for (v6, v4, alone, expected) in [
            // (connected, by the rival, the other failed), and after how many milliseconds.
            ((10, true), (10, true), false, ((true, false, false), 10)),
            ((300, true), (200, true), false, ((true, false, false), 300)),
            ((30_000, false), (50, true), false, ((true, true, false), 300)),
            ((100, false), (50, true), false, ((false, false, false), 100)),
            ((400, false), (300, true), false, ((true, true, true), 550)),
            ((600, true), (50, false), false, ((true, false, true), 600)),
            ((600, false), (500, false), false, ((false, true, true), 750)),
            ((30_000, false), (50, true), true, ((false, false, false), 30_000)),
        ] {
            let town = Town { v6, v4 };
            let begin = Instant::now();
            let dialling = Dialling { net: &town, from: None, timeout: Duration::from_secs(30) };
            let raced = race(dialling, first, (!alone).then_some(rival)).await;
            let told = (raced.connection.is_ok(), raced.by_rival, raced.other_failed);
            assert_eq!((told, begin.elapsed().as_millis()), expected, "{v6:?} {v4:?}");
        }
    }
}
