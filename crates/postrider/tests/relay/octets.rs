//! Octets that would be a line, a command or a header for somebody else; followed to where they could do harm: spool, wire, logs.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Hop, Relay, Session, config};

/// What is slipped in, before a mark that is looked for.
const EVIL: [&[u8]; 10] =
    [b"\r\n", b"\r", b"\n", b"\0", b"\x85", "\u{85}".as_bytes(), "\u{2028}".as_bytes(), "\u{10d}\u{10a}".as_bytes(), b"%0d%0a", b"\x1b[2J"];

/// A line of ours that somebody would like to write.
const FORGED: &str = "2026-11-23T20:37:00.041Z delivered id=FORGED";

/// Lines with a place (`*`) for it.
const PLACES: [&str; 8] = [
    "EHLO a*",
    "MAIL FROM:<a*@b.example> SMTPUTF8",
    "MAIL FROM:<\"a*\"@b.example> SMTPUTF8",
    "MAIL FROM:<a@b*.example> SMTPUTF8",
    "MAIL FROM:<a@b.example> SMTPUTF8 AUTH=a*",
    "MAIL FROM:<a@b.example> SMTPUTF8 ENVID=a*",
    "RCPT TO:<a*@[127.0.0.1]>",
    "RCPT TO:<\"a*\"@[127.0.0.1]> ORCPT=rfc822;a*",
];

fn slip_in(relay: &Relay) {
    for listener in ["submission", "relay"] {
        let address = relay.address(listener);
        for (place, evil) in PLACES.iter().flat_map(|place| EVIL.map(|evil| (place, evil))) {
            let mut session = if listener == "relay" { Session::open(address) } else { Session::log_in(address) };
            if place.starts_with("RCPT") {
                session.say("MAIL FROM:<a@b.example> SMTPUTF8");
            }
            let mut line = Vec::new();
            for (nth, part) in place.split('*').enumerate() {
                if nth > 0 {
                    line.extend_from_slice(evil);
                    line.extend_from_slice(FORGED.as_bytes());
                }
                line.extend_from_slice(part.as_bytes());
            }
            line.extend_from_slice(b"\r\nQUIT\r\n");
            session.write(&line);
            let said = session.rest();
            // Behind a CR LF it is a command of its own, and none that we know.
            let command = if evil.windows(2).any(|two| two == b"\r\n") { said.lines().nth(1) } else { said.lines().next() };
            let first = said.lines().next();
            assert!(first.into_iter().chain(command).any(|reply| reply.starts_with('5')), "{}: {said}", line.escape_ascii());
        }
    }
    for evil in EVIL {
        let mut session = Session::open(relay.address("submission"));
        let plain = STANDARD.encode([b"\0app", evil, FORGED.as_bytes(), b"\0secret"].concat());
        assert!(session.say(&format!("AUTH PLAIN {plain}")).starts_with('5'));
    }
}

/// All octets under a folder.
fn octets_in(folder: &Path, into: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => octets_in(&entry.path(), into),
            false => into.extend(std::fs::read(entry.path()).unwrap()),
        }
    }
}

fn holds(octets: &[u8], part: &str) -> bool {
    memchr::memmem::find(octets, part.as_bytes()).is_some()
}

/// A word that begins a line of the mail log.
fn is_event(word: &str) -> bool {
    ["accepted", "delivered", "deferred", "bounced", "refused"].contains(&word)
}

fn no_forged_line(format: &str) {
    let hop = Hop::open(|_| None);
    let mut relay = Relay::start(&config(hop.port).replace("format = \"human\"", &format!("format = \"{format}\"")));
    slip_in(&relay);
    let mut session = Session::log_in(relay.address("submission"));
    assert!(session.send("", "\"x> id=FORGED to=<y\"@[127.0.0.1]", "Subject: honest\r\n\r\nx").starts_with("250"));
    let taken = hop.take();
    assert!(!taken.contains("delivered id=FORGED"), "{taken}");
    relay.signal("TERM");
    let log = relay.mail.all();
    let (_, said, folder) = relay.ended();
    let mut spool = Vec::new();
    octets_in(&folder.data().join("spool"), &mut spool);
    assert!(holds(&spool, "Subject: honest"), "the control: this is where mail is");
    assert!(!holds(&spool, "delivered id=FORGED"));
    assert!(!said.contains("FORGED"), "{said}");
    assert!(log.contains("id=FORGED to=<y"), "the control: a name that is odd and legal is in it: {log}");
    for line in log.lines() {
        assert!(!line.chars().any(|letter| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202e}')), "{line:?}");
        let event = if format == "json" {
            serde_json::from_str::<serde_json::Value>(line).expect(line)["event"].as_str().unwrap_or_default().to_owned()
        } else {
            line.split(' ').nth(1).unwrap_or_default().to_owned()
        };
        assert!(is_event(&event), "{line}");
        assert!(!line.contains("delivered id=FORGED"), "{line}");
    }
}

#[test]
fn nobody_forges_a_line_of_the_log_for_people() {
    no_forged_line("human");
}

#[test]
fn nobody_forges_a_line_of_the_log_for_machines() {
    no_forged_line("json");
}

/// Smuggling in both directions: what looks like an end of data is content, comes out stuffed, and is one message.
#[test]
fn a_false_end_of_data_is_one_message_on_both_sides() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port));
    let mut session = Session::log_in(relay.address("submission"));
    for (nth, evil) in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\r\n\0.\r\n"].into_iter().enumerate() {
        let content = format!("Subject: {nth}\r\n\r\nx{evil}MAIL FROM:<evil@b.example>");
        let reply = session.send("a@shop.example", "b@[127.0.0.1]", &content);
        assert!(reply.starts_with("554 5.6.0"), "{evil:?}: {reply}");
    }
    // In chunks, dots mean nothing on the way in; on the way out they are stuffed.
    session.say("MAIL FROM:<a@shop.example>");
    session.say("RCPT TO:<b@[127.0.0.1]>");
    session.write(b"BDAT 19\r\nSubject: whole\r\n\r\n.");
    assert!(session.reply().starts_with("250"));
    session.write(b"BDAT 2\r\n\r\nBDAT 28 LAST\r\nMAIL FROM:<evil@b.example>\r\n");
    assert!(session.reply().starts_with("250") && session.reply().starts_with("250"));
    let taken = hop.take();
    assert!(taken.ends_with("\r\n\r\n..\r\nMAIL FROM:<evil@b.example>\r\n.\r\n"), "{taken}");
    assert!(hop.taken.try_recv().is_err(), "one message");
    assert_eq!(relay.status()["health"]["accepted"], 1);
}

/// Headers in absurd numbers, sizes and names: taken as they are, delivered as they are, reported in a bounded way.
#[test]
fn absurd_headers_pass_unchanged_and_bounded() {
    let hop = Hop::open(|rcpt| rcpt.contains("nobody").then_some("550 5.1.1 no such user"));
    let relay = Relay::start(&config(hop.port));
    let before_kib = relay.memory_peak_kib();
    let folded = format!("X-Long:{}\r\n", "\r\n 0123456789012345678901234567890123456789012345678901234567890".repeat(16_384));
    let names = "__proto__: x\r\nconstructor: y\r\ntoString: z\r\nX-:\r\nX-Empty: \r\n";
    let nested: String = (0..10_000).map(|depth| format!("Content-Type: multipart/mixed; boundary={depth}\r\n\r\n--{depth}\r\n")).collect();
    let words = format!("X-Words:{}\r\n", "\r\n =?utf-8?Q?=28=E2=9C=93?= (((".repeat(40_000));
    let groups = format!("To:{}\r\n", "\r\n g: a@b.example, \"(\" <c@d.example>;,".repeat(30_000));
    let deep = format!("X: {}\r\n", "(".repeat(60_000));
    for header in ["X: y\r\n".repeat(100_000), folded, names.to_owned(), deep, nested, words, groups] {
        let mut session = Session::log_in(relay.address("submission"));
        let content = format!("Subject: absurd\r\n{header}\r\nbody");
        assert!(session.send("a@shop.example", "b@[127.0.0.1]", &content).starts_with("250"));
        assert!(hop.take().ends_with(&format!("\r\n{content}\r\n.\r\n")), "{} octets", header.len());
        assert!(session.send("sender@[127.0.0.1]", "nobody@[127.0.0.1]", &content).starts_with("250"));
        let report = hop.take();
        assert!(report.contains("multipart/report") && report.len() < 128 * 1024, "{} octets", report.len());
    }
    let grown_kib = relay.memory_peak_kib() - before_kib;
    assert!(grown_kib < 64 * 1024, "{grown_kib} KiB for headers");
}

/// Terminal sequences in subjects and addresses, in what the commands print.
#[test]
fn a_subject_steers_no_terminal() {
    let folder = crate::harness::Folder::new();
    folder.configure(&config(1));
    let relay = Relay::start_in(folder, &["--capture"]);
    let mut session = Session::log_in(relay.address("submission"));
    let evil = "a\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{2028}b";
    let reply = session.send("a@shop.example", "b@c.example", &format!("Subject: {evil}\r\n\r\n{evil}"));
    assert!(reply.starts_with("250"), "{reply}");
    for words in [&["capture", "list"][..], &["capture", "list", "--json"], &["queue"], &["queue", "--json"], &["queue", "count"]] {
        let said = relay.folder.said(words);
        let steers = |letter: char| letter != '\n' && (letter.is_control() || matches!(letter, '\u{202e}' | '\u{2028}'));
        assert!(!said.chars().any(steers), "{words:?}: {said:?}");
        assert!(words[0] != "capture" || said.contains("[2J"), "the control: it is shown, escaped: {said:?}");
    }
    let json: serde_json::Value = serde_json::from_str(relay.folder.said(&["capture", "list", "--json"]).trim()).unwrap();
    assert_eq!(json["subject"], evil, "a program reads what was sent");
}
