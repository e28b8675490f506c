//! What TLS costs: resident memory of one idle server session, and the time of a full and a resumed handshake.
//!
//! `cargo run --release -p postrider-edge --example tls_cost -- 10000` holds that many sessions on loopback, their clients in a process of their own;
//! the number of open files must allow it (`ulimit -n`).

#![expect(clippy::print_stdout, reason = "an example that reports figures")]

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use postrider_edge::tls::{Certified, generate};
use postrider_edge::{ClientTls, ServerTls, SystemClock, TcpListenerDoor, TcpNet};
use postrider_model::doors::{Clock, Connection, Listener, Net, TlsDemand};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

const LIMIT: Duration = Duration::from_secs(60);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [role, to, sessions] if role == "clients" => {
            runtime.block_on(clients(to.parse().expect("an address"), sessions.parse().expect("a number")))
        }
        rest => runtime.block_on(async {
            let sessions = rest.first().map_or(1_000, |sessions| sessions.parse().expect("a number of sessions"));
            handshakes().await;
            idle(sessions).await;
        }),
    }
}

fn server() -> Arc<ServerTls> {
    let (certificate, key) = generate(&["mx.example".into()], SystemClock.now(), Duration::from_secs(864_000)).expect("a certificate");
    Arc::new(ServerTls::new(Certified::from_pem(&certificate, &key).expect("a pair")).expect("a configuration"))
}

fn resident_octets() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
}

/// CPU time of this process so far, in hundredths of a second, as Linux counts it.
fn cpu_ticks() -> u64 {
    let line = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<_> = line.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].iter().map(|nth| fields[*nth].parse::<u64>().expect("a number")).sum()
}

/// CPU time of both sides together: one thread plays both, in memory.
async fn handshakes() {
    let net = TcpNet::new(ClientTls::with_system_roots().expect("roots"), Some(server()));
    for (kind, same_name, rounds) in [("full", false, 3_000), ("resumed", true, 3_000)] {
        let started = cpu_ticks();
        for round in 0..rounds {
            let name = if same_name { "mx.example".to_owned() } else { format!("mx{round}.example") };
            let (near, far) = tokio::io::duplex(65_536);
            let (near, far) = tokio::join!(net.secure(Box::new(near), &name, TlsDemand::Opportunistic), net.accept_secure(Box::new(far)));
            let (mut near, mut far) = (near.expect("a session").connection, far.expect("a session").connection);
            far.write_all(b"220").await.expect("written");
            far.flush().await.expect("flushed");
            near.read_exact(&mut [0; 3]).await.expect("read");
        }
        let spent_ms = (cpu_ticks() - started) as f64 * 10.0;
        println!("{kind} handshake: {:.3} ms of CPU, both sides together", spent_ms / f64::from(rounds));
    }
}

async fn idle(sessions: usize) {
    let listener = TcpListenerDoor::bind("127.0.0.1:0".parse().expect("an address")).expect("a listener");
    let net = Arc::new(TcpNet::new(ClientTls::with_system_roots().expect("roots"), Some(server())));
    let before = resident_octets();
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["clients", &listener.address().to_string(), &sessions.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a process for the clients");
    let served = Arc::new(Semaphore::new(0));
    for _ in 0..sessions {
        let (connection, _) = listener.accept().await.expect("a client");
        let (net, served) = (Arc::clone(&net), Arc::clone(&served));
        tokio::spawn(async move {
            let mut connection = net.accept_secure(connection).await.expect("a session").connection;
            connection.write_all(b"220 ").await.expect("written");
            connection.flush().await.expect("flushed");
            served.add_permits(1);
            let _ = connection.read(&mut [0; 512]).await;
        });
    }
    let _all = served.acquire_many(u32::try_from(sessions).expect("a modest number")).await.expect("open");
    tokio::task::yield_now().await;
    let octets = resident_octets() - before;
    println!("{sessions} idle server sessions: {:.1} MB, {} octets each", octets as f64 / 1e6, octets / sessions as u64);
    drop(child.stdin.take());
    child.wait().expect("the clients' end");
}

async fn clients(to: SocketAddr, sessions: usize) {
    let net = TcpNet::new(ClientTls::with_system_roots().expect("roots"), None);
    let mut held: Vec<Box<dyn Connection>> = Vec::new();
    for _ in 0..sessions {
        let connection = net.dial(None, to, LIMIT).await.expect("a connection");
        let mut connection = net.secure(connection, "mx.example", TlsDemand::Opportunistic).await.expect("a session").connection;
        connection.read_exact(&mut [0; 4]).await.expect("read");
        held.push(connection);
    }
    let mut end = String::new();
    let _ = std::io::stdin().read_line(&mut end);
}
