use std::net::IpAddr;

use postrider_model::BoxFuture;
use postrider_model::doors::{NetTrouble, Secured};
use postrider_smtp::{ForwardPath, ReversePath};
use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, duplex};

use super::*;

/// No session here dials or asks for TLS.
struct NoNet;

impl Net for NoNet {
    fn dial(&self, _: Option<IpAddr>, _: SocketAddr, _: Duration) -> BoxFuture<'_, Result<Box<dyn Connection>, NetTrouble>> {
        unreachable!("nothing is dialled")
    }

    fn secure(&self, _: Box<dyn Connection>, _: &str, _: TlsDemand) -> BoxFuture<'_, Result<Secured, NetTrouble>> {
        unreachable!("nothing is secured")
    }

    fn accept_secure(&self, _: Box<dyn Connection>) -> BoxFuture<'_, Result<Secured, NetTrouble>> {
        unreachable!("nothing is secured")
    }
}

async fn greet(connection: DuplexStream) -> Result<SessionOut, Broken> {
    let remote = Remote { host: "mx.example".into(), place: Place::Tcp(([192, 0, 2, 1], 25).into()) };
    SessionOut::greet(&NoNet, Box::new(connection), remote, &Manners::usual("relay.example"), Timeouts::default()).await
}

/// Writes octet by octet, one every `pause`, until nobody reads.
async fn drip(peer: &mut DuplexStream, octets: &[u8], pause: Duration) {
    for octet in octets {
        tokio::time::sleep(pause).await;
        if peer.write_all(&[*octet]).await.is_err() {
            return;
        }
    }
}

fn silent(broken: &Broken) -> bool {
    matches!(broken.reason, Reason::Trouble(Trouble::Silent(_)))
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_drips_has_the_time_of_one_reply() {
    let begin = Instant::now();
    let (ours, mut peer) = duplex(4096);
    let endless = b"220-patience\r\n".repeat(1_000);
    let (session, ()) = tokio::join!(greet(ours), drip(&mut peer, &endless, Duration::from_secs(20)));
    let broken = session.err().expect("nobody waits for ever");
    assert!(broken.phase == Phase::Greeting && silent(&broken), "{broken:?}");
    let waited = begin.elapsed();
    let limit = Timeouts::default().greeting;
    assert!(waited >= limit && waited < limit + Duration::from_secs(60), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn each_of_many_slow_replies_has_its_own_time() {
    let begin = Instant::now();
    let (ours, peer) = duplex(4096);
    let recipients = 5;
    let limit = Timeouts::default().recipient;
    let server = async {
        let mut peer = BufReader::new(peer);
        peer.write_all(b"220 mx.example\r\n").await.unwrap();
        let mut line = String::new();
        while peer.read_line(&mut line).await.unwrap_or(0) > 0 {
            let reply = match &line[..4] {
                "EHLO" => "250-mx.example\r\n250 PIPELINING\r\n",
                "RCPT" => {
                    tokio::time::sleep(limit * 9 / 10).await;
                    "250 ok\r\n"
                }
                "DATA" => "451 not now\r\n",
                _ => "250 ok\r\n",
            };
            line.clear();
            peer.write_all(reply.as_bytes()).await.unwrap();
        }
    };
    let client = async {
        let mut session = greet(ours).await.expect("a session");
        let path = |nth: usize| ForwardPath::parse(&format!("<r{nth}@b.example>")).unwrap();
        let recipients = (0..recipients).map(|nth| path(nth).into()).collect();
        let transaction = Transaction { size: 1, ..Transaction::new(ReversePath::Null, recipients) };
        session.transact(transaction, b"", Content::Held("x".into())).await
    };
    let (made, ()) = tokio::join!(client, server);
    let Ok(Transacted::Report(report)) = made else { panic!("no report") };
    assert!(report.recipients.iter().all(|last| last.stage == Wait::DataInitiation && last.reply.code() == 451), "{report:?}");
    assert!(begin.elapsed() > limit * 4, "together they took longer than one reply may");
}
