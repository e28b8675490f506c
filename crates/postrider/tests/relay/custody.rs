//! Mail through the whole relay, and what stopping and killing leave of it.

use crate::harness::{Hop, Relay, Session, config};

const MAIL: &str = "From: a@shop.example\r\nTo: b@c.example\r\nSubject: one\r\n\r\nHello.";

#[test]
fn mail_is_taken_delivered_and_logged() {
    let hop = Hop::open(|_| None);
    let mut relay = Relay::start(&config(hop.port));
    let mut session = Session::log_in(relay.address("submission"));
    let reply = session.send("a@shop.example", "b@[127.0.0.1]", MAIL);
    assert!(reply.starts_with("250 2."), "{reply}");
    let taken = hop.take();
    assert!(taken.starts_with("Received: ") && taken.contains("Subject: one\r\n\r\nHello.\r\n.\r\n"), "{taken}");
    let accepted = relay.mail.wait("accepted");
    let id = accepted.split("id=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    assert!(accepted.contains("from=<a@shop.example> to=<b@[127.0.0.1]> nrcpt=1") && accepted.contains("user=app"), "{accepted}");
    let delivered = relay.mail.wait("delivered");
    assert!(delivered.contains(&format!("id={id}/0")) && delivered.contains("reply=\"250 2.0.0 taken\""), "{delivered}");
    assert!(relay.folder.said(&["queue"]).contains("nothing waits"));
}

#[test]
fn a_refused_delivery_is_reported_to_its_sender() {
    let hop = Hop::open(|rcpt| rcpt.contains("nobody").then_some("550 5.1.1 no such user"));
    let mut relay = Relay::start(&config(hop.port));
    let mut session = Session::log_in(relay.address("submission"));
    session.send("sender@[127.0.0.1]", "nobody@[127.0.0.1]", MAIL);
    let bounced = relay.mail.wait("bounced");
    assert!(bounced.contains("status=5.1.1 phase=rcpt reply=\"550 5.1.1 no such user\""), "{bounced}");
    let report = hop.take();
    assert!(report.contains("multipart/report") && report.contains("550 5.1.1 no such user"), "{report}");
}

#[test]
fn nobody_relays_through_us() {
    let mut relay = Relay::start(&config(1));
    let mut session = Session::open(relay.address("relay"));
    session.say("MAIL FROM:<a@b.example>");
    let reply = session.say("RCPT TO:<x@y.example>");
    assert!(reply.starts_with("550 5.7.1") || reply.starts_with("554 5.7.1"), "{reply}");
    relay.mail.wait("refused client=127.0.0.1");
    let mut session = Session::open(relay.address("submission"));
    let reply = session.say("MAIL FROM:<a@b.example>");
    assert!(reply.starts_with("530 5.7.0"), "{reply}");
}

#[test]
fn a_kill_and_a_term_lose_nothing() {
    // Nobody listens there, so everything waits.
    let mut relay = Relay::start(&config(1));
    let count = |relay: &Relay| {
        let said = relay.folder.said(&["queue", "count", "--json"]);
        serde_json::from_str::<serde_json::Value>(&said).unwrap()["deliveries"].as_u64().unwrap()
    };
    let mut session = Session::log_in(relay.address("submission"));
    for _ in 0..20 {
        assert!(session.send("a@shop.example", "b@[127.0.0.1]", MAIL).starts_with("250"));
    }
    relay = Relay::start_in(relay.kill(), &[]);
    assert_eq!(count(&relay), 20);
    let mut session = Session::log_in(relay.address("submission"));
    session.send("a@shop.example", "b@[127.0.0.1]", MAIL);
    relay.signal("TERM");
    let (status, said, folder) = relay.ended();
    assert!(status.success() && said.contains("stopped; nothing is lost"), "{status} {said}");
    assert!(!folder.data().join("control.sock").exists());
    let relay = Relay::start_in(folder, &[]);
    assert_eq!(count(&relay), 21);
}

#[test]
fn a_term_with_a_session_open_ends_in_time_and_in_good_order() {
    let relay = Relay::start(&config(1));
    let mut idle = Session::log_in(relay.address("submission"));
    let mut busy = Session::log_in(relay.address("submission"));
    busy.say("MAIL FROM:<a@shop.example>");
    relay.signal("INT");
    let (status, said, _) = relay.ended();
    assert!(status.success(), "{status} {said}");
    let last = idle.reply();
    assert!(last.is_empty() || last.starts_with("421"), "{last}");
}

/// Takes the relay's connection and answers until MAIL; then it falls silent, in the middle of a transaction. Before that a drain would
/// just let the connection be.
fn silent_at_mail(hop: &std::net::TcpListener) -> std::net::TcpStream {
    use std::io::{BufRead as _, BufReader, Write as _};
    let (mut connection, _) = hop.accept().unwrap();
    let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
    connection.write_all(b"220 hop.example\r\n").unwrap();
    assert!(lines.next().unwrap().unwrap().starts_with("EHLO "));
    connection.write_all(b"250 hop.example\r\n").unwrap();
    assert!(lines.next().unwrap().unwrap().starts_with("MAIL FROM:"));
    connection
}

/// A next hop that listens; who accepts decides what it says.
fn silent_hop() -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn a_delivery_under_way_is_cut_off_by_the_drain_timeout_and_kept() {
    let (hop, port) = silent_hop();
    let relay = Relay::start(&config(port).replace("\"5s\"", "\"1s\""));
    relay.folder.said(&["send", "--to", "b@[127.0.0.1]"]);
    let _connected = silent_at_mail(&hop);
    relay.signal("TERM");
    let (status, said, folder) = relay.ended();
    assert!(status.success() && said.contains("stopped"), "{status} {said}");
    let relay = Relay::start_in(folder, &[]);
    assert!(relay.folder.said(&["queue", "count"]).contains("1 messages"));
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let (hop, port) = silent_hop();
    let mut relay = Relay::start(&config(port).replace("\"5s\"", "\"1h\""));
    relay.folder.said(&["send", "--to", "b@[127.0.0.1]"]);
    let _connected = silent_at_mail(&hop);
    relay.signal("TERM");
    relay.said.wait("stopping: transactions under way have 3600 s");
    relay.signal("TERM");
    let (status, said, folder) = relay.ended();
    assert!(status.code() == Some(130) && said.contains("ended at once"), "{status} {said}");
    let relay = Relay::start_in(folder, &[]);
    assert!(relay.folder.said(&["queue", "count"]).contains("1 messages"));
}

#[test]
fn a_spool_is_inspected_and_verified_when_its_relay_has_stopped() {
    let relay = Relay::start(&config(1));
    let mut session = Session::log_in(relay.address("submission"));
    session.send("a@shop.example", "b@[127.0.0.1]", MAIL);
    let (said, _) = relay.folder.complained(&["spool", "verify"]);
    assert!(said.contains("a relay runs on"), "{said}");
    relay.signal("TERM");
    let (_, _, folder) = relay.ended();
    let said = folder.said(&["spool", "inspect"]);
    assert!(said.contains("1 messages wait for 1 recipients"), "{said}");
    assert!(folder.said(&["spool", "verify"]).contains("everything is sound"));
    let segments = std::fs::read_dir(folder.data().join("spool/log")).unwrap().map(|entry| entry.unwrap().path());
    let used = segments.max_by_key(|path| std::fs::read(path).unwrap().iter().filter(|octet| **octet != 0).count()).unwrap();
    let mut octets = std::fs::read(&used).unwrap();
    let at = octets.windows(6).position(|six| six == b"Hello.").expect("the mail stands in the log");
    octets[at] ^= 1;
    std::fs::write(&used, octets).unwrap();
    let (said, status) = folder.complained(&["spool", "verify"]);
    assert!(status == 1 && said.contains("WRONG: "), "{said}");
    let (said, _) = folder.complained(&["spool", "verify", "--capture"]);
    assert!(said.contains("there is no spool at"), "{said}");
}
