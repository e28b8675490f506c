//! Metrics and health of the real program.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::{Folder, Hop, Relay, Session, config};

/// The relay with a metrics listener on a port that is free.
fn start(smtp_port: u16) -> (Relay, SocketAddr) {
    let folder = Folder::new();
    folder.configure(&format!("{}[metrics]\nlisten = \"127.0.0.1:0\"\n", config(smtp_port)));
    let relay = Relay::start_in(folder, &[]);
    let line = relay.said.seen("metrics on http://");
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
    (relay, address)
}

pub fn get(address: SocketAddr, path: &str) -> Result<(String, String), std::io::Error> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok((head.split(' ').nth(1).unwrap_or_default().to_owned(), body.to_owned()))
}

/// Asks until the text has the line: the follower counts a moment behind the fact.
fn await_line(address: SocketAddr, line: &str) {
    let mut text = String::new();
    for _ in 0..5_000 {
        text = get(address, "/metrics").unwrap().1;
        if text.lines().any(|found| found == line) {
            return;
        }
    }
    panic!("{line}\n{text}");
}

#[test]
fn mail_refusals_and_health_are_told() {
    let hop = Hop::open(|rcpt| rcpt.contains("nobody").then_some("550 5.1.1 unknown"));
    let (relay, address) = start(hop.port);
    assert_eq!(get(address, "/readyz").unwrap(), ("200".to_owned(), "ready\n".to_owned()));
    assert_eq!(get(address, "/livez").unwrap().0, "200");
    relay.folder.said(&["send", "--from", "", "--to", "a@[127.0.0.1]"]);
    hop.take();
    relay.folder.said(&["send", "--from", "", "--to", "nobody@[127.0.0.1]"]);
    let mut session = Session::open(relay.address("relay"));
    session.say("MAIL FROM:<a@b.example>");
    assert!(session.say("RCPT TO:<c@d.example>").starts_with("554"));
    for line in [
        "postrider_messages_accepted_total{tenant=\"default\",role=\"local\"} 2",
        "postrider_deliveries_total{outcome=\"delivered\",provider=\"default\"} 1",
        "postrider_deliveries_total{outcome=\"bounced\",provider=\"default\"} 1",
        "postrider_delivery_failures_total{outcome=\"bounced\",status=\"5.1\"} 1",
        "postrider_refused_total{reason=\"relay_denied\"} 1",
        "postrider_sessions 1",
        "postrider_queue_deliveries 0",
        "postrider_draining 0",
    ] {
        await_line(address, line);
    }
}

#[test]
fn a_relay_that_drains_is_alive_and_not_ready() {
    let (relay, address) = start(1);
    // A transaction under way holds the drain up.
    let mut session = Session::log_in(relay.address("submission"));
    session.say("MAIL FROM:<a@shop.example>");
    relay.signal("TERM");
    let mut seen = get(address, "/readyz").unwrap();
    for _ in 0..10_000 {
        if seen.0 == "503" {
            break;
        }
        seen = get(address, "/readyz").unwrap();
    }
    assert!(seen.0 == "503" && seen.1.starts_with("draining"), "{seen:?}");
    assert_eq!(get(address, "/livez").unwrap().0, "200");
    drop(session);
    let (status, ..) = relay.ended();
    assert!(status.success());
}

#[test]
fn a_port_in_use_is_told_with_its_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = Folder::new();
    let port = taken.local_addr().unwrap().port();
    folder.configure(&format!("{}[metrics]\nlisten = \"127.0.0.1:{port}\"\n", config(1)));
    let (said, status) = folder.complained(&["serve"]);
    assert!(status == 1 && said.contains("(metrics)") && said.contains("choose another address under [metrics] listen"), "{said}");
}

#[test]
fn garbage_on_the_metrics_port_and_on_the_open_socket_never_ends_the_process() {
    let folder = Folder::new();
    let open = folder.0.join("sendmail.sock");
    folder.configure(&format!("{}[metrics]\nlisten = \"127.0.0.1:0\"\n[sendmail]\nsocket = {open:?}\n", config(1)));
    let relay = Relay::start_in(folder, &[]);
    let line = relay.said.seen("metrics on http://");
    let address: SocketAddr = line.split("http://").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
    let before = relay.holds();
    for garbage in [
        vec![0; 4096],
        vec![0xff; 4096],
        b"QUIT\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        [b"GET /".to_vec(), b"a".repeat(1 << 20), b" HTTP/1.1\r\n\r\n".to_vec()].concat(),
        [b"GET /metrics HTTP/1.1\r\n".to_vec(), b"x: y\r\n".repeat(100_000)].concat(),
        b"POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 18446744073709551616\r\n\r\n".to_vec(),
        b"POST /v1/submit HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0".to_vec(),
        b"POST /v1/submit HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{}".to_vec(),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(&garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        let mut stream = std::os::unix::net::UnixStream::connect(&open).unwrap();
        let _ = stream.write_all(&garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // Many who say half a request: on the open socket one user has two places, and the control socket is not touched.
    let halves: Vec<_> = (0..40).map(|_| std::os::unix::net::UnixStream::connect(&open).unwrap()).collect();
    halves.iter().for_each(|mut half| drop(half.write_all(b"GET /v1/intake HTT")));
    assert!(relay.folder.said(&["status"]).contains("delivers"));
    drop(halves);
    assert_eq!(get(address, "/readyz").unwrap().0, "200");
    relay.await_holding(before);
}
