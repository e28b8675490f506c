//! The control socket of a running relay, and the commands that speak to it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::harness::{Folder, Hop, Relay, config};

#[test]
fn without_a_relay_the_commands_say_so() {
    let folder = Folder::new();
    for words in [&["queue"][..], &["status"], &["reload"], &["explain", "x"], &["send", "--to", "a@b.example"], &["capture", "list"]] {
        let (said, status) = folder.complained(words);
        assert!(status == 1 && said.starts_with("postrider: no relay runs on the data directory"), "{words:?}: {said}");
    }
}

/// The class of OpenSMTPD CVE-2025-62875, on the real process.
#[test]
fn garbage_on_the_control_socket_never_ends_the_process() {
    let relay = Relay::start(&config(1));
    let socket = relay.folder.data().join("control.sock");
    let before = relay.holds();
    let request =
        |path: &str, body: &str| format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{body}").into_bytes();
    for garbage in [
        b"".to_vec(),
        vec![0; 4096],
        vec![0xff; 4096],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"QUIT\r\n".to_vec(),
        b"[".repeat(100_000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        [b"GET /".to_vec(), b"a".repeat(1 << 20), b" HTTP/1.1\r\n\r\n".to_vec()].concat(),
        [b"GET / HTTP/1.1\r\n".to_vec(), b"x: y\r\n".repeat(100_000)].concat(),
        request("/v1/retry", "content-length: 18446744073709551616\r\n\r\n{}"),
        request("/v1/retry", "content-length: -1\r\n\r\n{}"),
        request("/v1/retry", &format!("content-length: 60000\r\n\r\n{}", "[".repeat(60_000))),
        request("/v1/retry", "transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{}"),
        request("/v1/submit", "content-length: 5\r\n\r\n\0\0\0\0\0"),
        request("/v1/queue/%00%ff%0d%0a", "content-length: 0\r\n\r\n"),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let _ = stream.write_all(&garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // Half a request, many times, and nobody waits for the answer.
    let halves: Vec<UnixStream> = (0..40).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    halves.iter().for_each(|mut half| half.write_all(b"GET /v1/status HTT").unwrap());
    assert!(relay.folder.said(&["status"]).contains("delivers"));
    drop(halves);
    relay.await_holding(before);
}

#[test]
fn what_waits_is_listed_shown_explained_and_retried() {
    let hop = Hop::open(|rcpt| rcpt.contains("busy").then_some("450 4.7.1 greylisted, \u{1b}[31mtry later"));
    let mut relay = Relay::start(&config(hop.port));
    let id = relay.folder.said(&["send", "--from", "a@shop.example", "--to", "busy@[127.0.0.1]"]).trim().to_owned();
    let line = relay.mail.wait("deferred");
    assert!(line.contains(&format!("id={id}/0")) && line.contains("greylisted") && !line.contains('\u{1b}'), "{line}");
    let list = relay.folder.said(&["queue"]);
    assert!(list.contains(&id) && list.contains("127.0.0.1"), "{list}");
    for (words, part) in [
        (&["queue", "list", "--json"][..], "\"attempts\":1"),
        (&["queue", "list", "--tenant", "nobody"], "nothing waits"),
        (&["queue", "count"], "1 messages, 1 deliveries"),
        (&["queue", "count", "--json"], "\"deliveries\":1"),
        (&["queue", "show", &id], "greylisted"),
        (&["queue", "show", &id, "--json"], "greylisted"),
        (&["explain", &id, "--json"], "greylisted"),
        (&["explain", &format!("{id}/0")], "RCPT with"),
        (&["status"], "1 accepted"),
        (&["queue", "sites", "--json"], "\"sites\":["),
    ] {
        let said = relay.folder.said(words);
        assert!(said.contains(part), "{words:?}: {said}");
        assert!(!said.contains('\u{1b}'), "{words:?}: {said:?}");
    }
    assert!(relay.folder.said(&["queue", "retry", &id]).contains("1 deliveries are due now"));
    relay.mail.wait("deferred");
    for (words, part) in [
        (&["queue", "retry"][..], "required"),
        (&["explain", "nonsense"], "is not an id"),
        (&["explain", "00000000-0000-7000-8000-000000000000"], "no such message waits here"),
        (&["send", "--to", "nobody"], "is not a mailbox"),
        (&["send", "--to", "a@b.example", "--tenant", "nobody"], "there is no such tenant"),
    ] {
        let (said, _) = relay.folder.complained(words);
        assert!(said.contains(part), "{words:?}: {said}");
    }
}

#[test]
fn a_message_from_a_file_goes_as_it_is() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port));
    let file = relay.folder.0.join("message.eml");
    std::fs::write(&file, "From: a@shop.example\nSubject: from a file\n\n.dot\n").unwrap();
    relay.folder.said(&["send", "--from", "", "--to", "b@[127.0.0.1]", "--file", file.to_str().unwrap()]);
    let taken = hop.take();
    assert!(taken.ends_with("From: a@shop.example\r\nSubject: from a file\r\n\r\n..dot\r\n.\r\n"), "{taken}");
    std::fs::write(&file, "From: a@shop.example\n\nno line end").unwrap();
    relay.folder.said(&["send", "--to", "b@[127.0.0.1]", "--file", file.to_str().unwrap()]);
    assert!(hop.take().ends_with("\r\n\r\nno line end\r\n.\r\n"));
    std::fs::write(&file, "From: a\r\r\n\r\n").unwrap();
    let (said, _) = relay.folder.complained(&["send", "--to", "b@[127.0.0.1]", "--file", file.to_str().unwrap()]);
    assert!(said.contains("a bare CR"), "{said}");
}
