//! Lines as they are written, and lines that somebody would like to forge.

use std::io::Read;
use std::os::unix::net::UnixStream;

use postrider_model::{Arrival, BodyType, Envelope, Priority, Protocol, Recipient, Timestamp, TlsFacts, Trouble};
use postrider_smtp::{EnhancedStatus, Mailbox, ReversePath};

use super::*;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_795_466_220_041)
    }
}

const AT: u64 = 1_795_466_220_000;

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap_or_else(|trouble| panic!("{text:?}: {trouble}"))
}

fn message(to: &str, hello: &str) -> Message {
    Message {
        id: MessageId(0x019a_0000_0000_7000_8000_0000_0000_0001),
        tenant: "shop".into(),
        stream: "receipts".into(),
        envelope: Envelope::new(ReversePath::Mailbox(mailbox("a@shop.example")), BodyType::SevenBit, false),
        arrival: Arrival {
            at: Timestamp::from_millis(AT),
            role: Role::Submission,
            peer: Some("192.0.2.7".parse().unwrap()),
            hello: hello.into(),
            protocol: Protocol::Esmtp,
            tls: Some("TLSv1.3 TLS_AES_256_GCM_SHA384".into()),
            credential: Some("app".into()),
        },
        priority: Priority::Normal,
        deadline: None,
        release_at: None,
        mend: Default::default(),
        body_hash: None,
        held: None,
        recipients: vec![Recipient::new(mailbox(to))],
        content_octets: 10_240,
    }
}

fn attempt() -> AttemptFacts {
    AttemptFacts {
        started_at: Timestamp::from_millis(AT),
        duration_ms: 12,
        source: "default".into(),
        host: Some("mx.c.example".into()),
        address: Some("198.51.100.2:25".parse().unwrap()),
        tls: Some(TlsFacts { version: "TLSv1.3".into(), cipher: "TLS_AES_256_GCM_SHA384".into(), trusted: false }),
    }
}

/// What is written while `act` runs.
fn written(json: bool, act: impl FnOnce(&LineLog)) -> String {
    let (mut reader, sink) = UnixStream::pair().unwrap();
    let writer = Writer::start(Sink::Stream(sink), json).unwrap();
    act(&LineLog::new(writer, Arc::new(Noon), json));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

fn deferred(trouble: Trouble) -> Outcome {
    let diagnosis =
        Diagnosis { at: Timestamp::from_millis(AT), phase: Phase::Connect, reason: Reason::Trouble(trouble), remote: None, address: None };
    Outcome::Deferred { due: Timestamp::from_millis(AT + 60_000), diagnosis, delay_told: false }
}

#[test]
fn each_fact_is_one_line_for_people() {
    let reply = Reply::new(250, EnhancedStatus::parse("2.0.0"), "queued \"as\" 1");
    let text = written(false, |log| {
        let message = message("b@c.example", "client.shop.example");
        log.accepted(&message);
        log.attempted(&message, 0, Some(&attempt()), &Outcome::Delivered { reply });
        log.attempted(&message, 0, None, &deferred(Trouble::ConnectFailed("refused".into())));
        log.refused("192.0.2.9".parse().unwrap(), "RCPT TO:<x@y.example>", &Reply::new(550, EnhancedStatus::parse("5.7.1"), "no relaying"));
        log.alarm(None, "the disk is full");
    });
    let id = "019a0000-0000-7000-8000-000000000001";
    let expected = [
        format!(
            "accepted id={id} tenant=shop stream=receipts from=<a@shop.example> to=<b@c.example> nrcpt=1 size=10240 role=submission \
             client=192.0.2.7 hello=client.shop.example user=app tls=\"TLSv1.3 TLS_AES_256_GCM_SHA384\""
        ),
        format!(
            "delivered id={id}/0 to=<b@c.example> tenant=shop stream=receipts host=mx.c.example addr=198.51.100.2:25 source=default \
             tls=\"TLSv1.3 TLS_AES_256_GCM_SHA384 untrusted\" attempt_ms=12 reply=\"250 2.0.0 queued \\\"as\\\" 1\" delay=0.041"
        ),
        format!(
            "deferred id={id}/0 to=<b@c.example> tenant=shop stream=receipts status=4.4.1 phase=connect \
             reason=\"connection failed: refused\" due=2026-11-23T20:38:00.000Z delay=0.041"
        ),
        "refused client=192.0.2.9 what=\"RCPT TO:<x@y.example>\" reply=\"550 5.7.1 no relaying\"".to_owned(),
        "alarm text=\"the disk is full\"".to_owned(),
    ];
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix("2026-11-23T20:37:00.041Z ").unwrap_or(line)).collect();
    assert_eq!(lines, expected);
}

#[test]
fn each_fact_is_one_json_object_for_machines() {
    let text = written(true, |log| {
        let message = message("b@c.example", "client");
        log.accepted(&message);
        log.attempted(&message, 0, Some(&attempt()), &deferred(Trouble::Expired));
    });
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines[0]["event"], "accepted");
    assert_eq!(lines[0]["to"], "<b@c.example>");
    assert_eq!(lines[0]["size"], 10_240);
    assert_eq!(lines[1]["delay"], 0.041);
    assert_eq!(lines[1]["status"], "5.4.7");
    assert_eq!(lines[1]["addr"], "198.51.100.2:25");
}

#[test]
fn nobody_forges_a_line_or_a_field() {
    let evil = [
        "x\r\n2026-11-23T20:37:00.041Z delivered id=1",
        "x\" delivered=\"1",
        "\u{1b}[2J\u{1b}]0;owned\u{7}",
        "a\u{2028}b\u{2029}c\u{85}d",
        "\u{202e}txet\u{2066}\u{200b}",
        "\\",
        "nul\0nul",
        "\u{e0041}tag",
    ];
    for json in [false, true] {
        for text in evil {
            let line = written(json, |log| {
                log.accepted(&message("b@c.example", text));
                log.refused("192.0.2.9".parse().unwrap(), text, &Reply::new(500, None, text));
                log.attempted(&message("\"b> id=2 to=<c\"@c.example", "h"), 0, None, &deferred(Trouble::Dropped(text.into())));
                log.alarm(None, text);
            });
            assert_eq!(line.matches('\n').count(), 4, "{line:?}");
            assert!(!line.chars().any(|c| c != '\n' && crate::shown::deceives(c)), "{line:?}");
            assert!(!line.contains(" delivered=\"1"), "{line:?}");
            for line in line.lines() {
                if json {
                    serde_json::from_str::<serde_json::Value>(line).expect(line);
                } else {
                    let quotes = line.replace("\\\\", "").replace("\\\"", "").matches('"').count();
                    assert_eq!(quotes % 2, 0, "{line}");
                }
            }
        }
    }
    let forged = written(false, |log| log.accepted(&message("\"b> id=2 to=<c\"@c.example", "h")));
    assert!(forged.contains(r#" to="<\"b> id=2 to=<c\"@c.example>" nrcpt=1"#), "{forged}");
}

#[test]
fn a_log_that_stands_still_loses_lines_and_says_how_many() {
    let (mut reader, sink) = UnixStream::pair().unwrap();
    let writer = Writer::start(Sink::Stream(sink), false).unwrap();
    let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
    let lines = 3 * writer::PENDING_OCTETS_MAX / line.len();
    (0..lines).for_each(|_| writer.append(&line));
    let text = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    drop(writer);
    let text = text.join().unwrap().unwrap();
    let kept = text.lines().filter(|line| line.starts_with('x')).count();
    let said: usize = text.lines().filter_map(|line| line.split("lines=").nth(1)?.split(' ').next()?.parse::<usize>().ok()).sum();
    assert!(said > 0, "nothing was dropped");
    assert_eq!(kept + said, lines);
}

#[test]
fn a_rotated_file_is_opened_anew() {
    let directory = std::env::temp_dir().join(format!("postrider-log-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (file, rotated) = (directory.join("mail.log"), directory.join("mail.log.1"));
    let writer = Writer::start(Sink::File(file.clone()), false).unwrap();
    writer.append(b"one\n");
    writer.flush();
    std::fs::rename(&file, &rotated).unwrap();
    writer.reopen();
    writer.flush();
    writer.append(b"two\n");
    writer.flush();
    assert_eq!(std::fs::read_to_string(&rotated).unwrap(), "one\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "two\n");
    std::fs::remove_dir_all(&directory).unwrap();
}
