//! Milters: what they see, what they change, what they refuse, and what becomes of mail when they fail.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::harness::{Hop, Relay, Session, config};
use crate::signing;

/// A packet of a milter's, or of ours: a letter and what stands behind it.
type Packet = (u8, Vec<u8>);

/// What a scripted milter answers to a packet; a packet of letter 0 is sent as raw octets, and of letter 1 hangs up.
type Script = fn(u8, &[u8]) -> Vec<Packet>;

/// A milter by a script.
struct Milter {
    port: u16,
    heard: Receiver<Packet>,
}

const GO_ON: Packet = (b'c', Vec::new());

fn packet(letter: u8, payload: &[u8]) -> Packet {
    (letter, payload.to_vec())
}

impl Milter {
    fn open(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, heard) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let mut stream = stream;
                    while let Some((letter, payload)) = read(&mut stream) {
                        let _ = sender.send((letter, payload.clone()));
                        for (letter, payload) in answer(script, letter, &payload) {
                            let gone = match letter {
                                0 => stream.write_all(&payload),
                                1 => return,
                                letter => write(&mut stream, letter, &payload),
                            };
                            if gone.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self { port, heard }
    }

    /// All that was said until a packet of this letter came, macros left out: `C M R T L L N B E`.
    fn letters_until(&self, last: u8) -> String {
        let mut letters = String::new();
        loop {
            let (letter, _) = self.heard.recv_timeout(Duration::from_secs(60)).expect("the milter hears nothing more");
            if !matches!(letter, b'D' | b'O') {
                letters.push(letter.into());
            }
            if letter == last {
                return letters;
            }
        }
    }

    /// The next packet of this letter, as text.
    fn hear(&self, wanted: u8) -> String {
        loop {
            let (letter, payload) = self.heard.recv_timeout(Duration::from_secs(60)).expect("the milter hears nothing more");
            if letter == wanted {
                return String::from_utf8_lossy(&payload).replace('\0', "|");
            }
        }
    }
}

/// The opening is agreed with whatever is offered, unless the script says otherwise; macros, ABORT and QUIT have no answer.
fn answer(script: Script, letter: u8, payload: &[u8]) -> Vec<Packet> {
    let answers = script(letter, payload);
    match letter {
        b'D' | b'A' | b'Q' => Vec::new(),
        b'O' if answers.is_empty() => vec![packet(b'O', &[6u32, 0x1ff, 0].map(u32::to_be_bytes).concat())],
        _ if answers.is_empty() => vec![GO_ON],
        _ => answers,
    }
}

fn read(stream: &mut TcpStream) -> Option<Packet> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut octets = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut octets).ok()?;
    Some((octets[0], octets[1..].to_vec()))
}

fn write(stream: &mut TcpStream, letter: u8, payload: &[u8]) -> std::io::Result<()> {
    let mut octets = u32::try_from(payload.len() + 1).unwrap().to_be_bytes().to_vec();
    octets.push(letter);
    octets.extend_from_slice(payload);
    stream.write_all(&octets)
}

fn nothing_odd(_: u8, _: &[u8]) -> Vec<Packet> {
    Vec::new()
}

/// A relay with milters, in this order, each with more keys.
fn relay(smtp_port: u16, milters: &[(&str, u16, &str)]) -> Relay {
    let mut text = config(smtp_port);
    for (name, port, keys) in milters {
        write!(text, "[[milter]]\nname = \"{name}\"\naddress = \"inet:127.0.0.1:{port}\"\n{keys}\n").unwrap();
    }
    Relay::start(&text)
}

const CONTENT: &str = "From: a@shop.example\r\nTo: b@c.example\r\nDate: x\r\nMessage-ID: <1@x>\r\nSubject: one\r\n\r\nbody";

#[test]
fn a_milter_sees_all_of_a_message_and_each_the_changes_of_the_one_before() {
    let hop = Hop::open(|_| None);
    let first = Milter::open(|letter, _| match letter {
        b'E' => vec![
            packet(b'h', b"X-Added\0one\0"),
            packet(b'i', b"\0\0\0\x01DKIM-Signature\0v=1;\n\tb=x\0"),
            packet(b'm', b"\0\0\0\x01Subject\0two\0"),
            packet(b'b', b"new "),
            packet(b'b', b"body\r"),
            packet(b'b', b"\nof\n.\nlines\rand \0"),
            packet(b'e', b"<other@shop.example>\0"),
            packet(b'+', b"<also@[127.0.0.1]>\0"),
            packet(b'-', b"<gone@[127.0.0.1]>\0"),
            packet(b'p', b""),
            GO_ON,
        ],
        _ => Vec::new(),
    });
    let second = Milter::open(nothing_odd);
    let relay = relay(hop.port, &[("first", first.port, ""), ("second", second.port, "")]);
    let mut session = Session::log_in(relay.address("submission"));
    session.say("MAIL FROM:<a@shop.example> SIZE=100");
    session.say("RCPT TO:<b@[127.0.0.1]>");
    session.say("RCPT TO:<gone@[127.0.0.1]>");
    assert!(session.say("DATA").starts_with("354"));
    let reply = session.say(&format!("{CONTENT}\r\n."));
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(first.hear(b'C').split_once("4").map(|(name, _)| name.to_owned()).unwrap(), "[127.0.0.1]|");
    assert_eq!((first.hear(b'H'), first.hear(b'M')), ("client.test|".to_owned(), "<a@shop.example>|SIZE=100|".to_owned()));
    let id = reply.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(first.letters_until(b'T'), "RRT");
    assert_eq!(first.hear(b'L'), "From|a@shop.example|");
    assert_eq!(first.letters_until(b'L'), "L");
    loop {
        let macros = first.hear(b'D');
        if macros.starts_with('N') {
            assert_eq!(macros, format!("Ni|{id}|"), "the id is that of the reply");
            break;
        }
    }
    assert_eq!(first.hear(b'B'), "body\r\n");
    let mut seen = Vec::new();
    for _ in 0..7 {
        seen.push(second.hear(b'L'));
    }
    assert_eq!(seen[0], "DKIM-Signature|v=1;\n\tb=x|");
    assert_eq!((seen[5].as_str(), seen[6].as_str()), ("Subject|two|", "X-Added|one|"));
    assert_eq!(second.hear(b'B'), "new body\r\nof\r\n.\r\nlines\r\nand ?");
    let taken = hop.take();
    assert!(taken.starts_with("Received: "), "{taken}");
    assert!(taken.contains("\r\nDKIM-Signature: v=1;\r\n\tb=x\r\nFrom: a@shop.example\r\n"), "{taken}");
    assert!(taken.ends_with("Subject: two\r\nX-Added: one\r\n\r\nnew body\r\nof\r\n..\r\nlines\r\nand ?\r\n.\r\n"), "{taken}");
    assert_eq!(hop.hear("MAIL"), "MAIL FROM:<other@shop.example>");
    let mut recipients = [hop.hear("RCPT"), hop.hear("RCPT")];
    recipients.sort();
    assert_eq!(recipients, ["RCPT TO:<also@[127.0.0.1]>", "RCPT TO:<b@[127.0.0.1]>"]);
}

#[test]
fn verdicts_are_said_where_they_are_given() {
    let milter = Milter::open(|letter, payload| {
        let has = |part: &str| String::from_utf8_lossy(payload).contains(part);
        match letter {
            b'M' if has("reject@") => vec![packet(b'r', b"")],
            b'M' if has("later@") => vec![packet(b't', b"")],
            b'R' if has("words@") => vec![packet(b'y', b"551 5.7.1 not 100%% here\0")],
            b'L' if has("drop") => vec![packet(b'd', b"")],
            b'L' if has("refuse") => vec![packet(b'r', b"")],
            b'L' if has("accept") => vec![packet(b'a', b"")],
            b'B' if has("hold me") => Vec::new(),
            b'E' => vec![packet(b'q', b"looks odd\0"), GO_ON],
            _ => Vec::new(),
        }
    });
    let hop = Hop::open(|_| None);
    let mut relay = relay(hop.port, &[("judge", milter.port, "")]);
    let mut session = Session::log_in(relay.address("submission"));
    assert_eq!(session.say("MAIL FROM:<reject@x.example>").trim_end(), "550 5.7.1 refused by policy");
    assert!(session.say("MAIL FROM:<later@x.example>").starts_with("451 4.7.1"));
    session.say("MAIL FROM:<a@x.example>");
    assert_eq!(session.say("RCPT TO:<words@x.example>").trim_end(), "551 5.7.1 not 100% here");
    session.say("RSET");
    assert!(session.send("a@x.example", "b@[127.0.0.1]", "Subject: refuse\r\n\r\nx").starts_with("550 5.7.1"));
    assert!(session.send("a@x.example", "b@[127.0.0.1]", "Subject: drop\r\n\r\nx").starts_with("250"));
    relay.mail.wait("discarded id=");
    assert_eq!(relay.waiting(), 0, "what is discarded is nowhere");
    assert!(session.send("a@x.example", "b@[127.0.0.1]", "Subject: accept\r\n\r\nx").starts_with("250"));
    assert!(hop.take().contains("Subject: accept"), "and is not held, because nobody was asked at the end");
    assert!(session.send("a@x.example", "b@[127.0.0.1]", "Subject: odd\r\n\r\nhold me").starts_with("250"));
    relay.mail.wait("held id=");
    let relay = Relay::start_in(relay.kill(), &[]);
    let listed = relay.folder.said(&["queue", "list", "--state", "held", "--json"]);
    assert!(listed.contains("milter judge: looks odd"), "held through a kill: {listed}");
    relay.folder.said(&["queue", "release", "--all"]);
    assert!(hop.take().contains("Subject: odd"));
}

#[test]
fn a_milter_that_fails_leads_to_the_choice_of_policy_and_is_told_once() {
    let rubbish: Script = |letter, _| if letter == b'E' { vec![(0, b"HTTP/1.1 400 Bad Request\r\n".to_vec())] } else { Vec::new() };
    let dies: Script = |letter, _| match letter {
        b'E' => vec![packet(b'h', b"X-Half\0yes\0"), (1, Vec::new())],
        _ => Vec::new(),
    };
    let greedy: Script = |letter, _| match letter {
        b'E' => vec![packet(b'h', b"X-Half\0yes\0"); 5_000],
        _ => Vec::new(),
    };
    let silent: Script = |letter, _| if letter == b'E' { vec![(0, Vec::new())] } else { Vec::new() };
    let hop = Hop::open(|_| None);
    for (script, why) in [
        (rubbish, "a packet of 1213486160 octets"),
        (dies, "it closed the connection"),
        (greedy, "more changes of one message than anybody needs"),
        (silent, "it did not answer within 0.3 s"),
    ] {
        for (choice, code) in [("accept", "250"), ("tempfail", "451 4.7.1"), ("reject", "550 5.7.1"), ("hold", "250")] {
            let milter = Milter::open(script);
            let keys = format!("content_timeout = \"300ms\"\non_failure = \"{choice}\"");
            let mut relay = relay(hop.port, &[("bad", milter.port, &keys)]);
            let mut session = Session::log_in(relay.address("submission"));
            for _ in 0..2 {
                let reply = session.send("a@x.example", "b@[127.0.0.1]", CONTENT);
                assert!(reply.starts_with(code), "{why}, {choice}: {reply}");
            }
            let told = relay.mail.wait("alarm ");
            assert!(told.contains("milter bad at inet:") && told.contains(why) && told.contains("This is said once"), "{told}");
            match choice {
                "accept" => {
                    assert!(!hop.take().contains("X-Half"), "changes are taken whole or not at all");
                    hop.take();
                }
                "hold" => assert!(relay.folder.said(&["queue", "list", "--state", "held"]).contains("held")),
                _ => assert_eq!(relay.waiting(), 0),
            }
        }
    }
}

#[test]
fn one_that_is_away_fails_closed_unless_a_stream_says_otherwise() {
    let hop = Hop::open(|_| None);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let keys = "by_stream = [{ stream = \"bulk\", on_failure = \"accept\" }]\n[[tenant]]\nname = \"t\"\n[[tenant.stream]]\nname = \"first\"\n\
        [[tenant.stream]]\nname = \"bulk\"";
    let mut relay = relay(hop.port, &[("away", port, keys)]);
    let mut session = Session::log_in(relay.address("submission"));
    assert!(session.say("MAIL FROM:<a@x.example>").starts_with("451 4.7.1"));
    relay.mail.wait("it cannot be reached: connection refused. See whether it runs");
    let (said, _) = relay.folder.complained(&["send", "--from", "a@x.example", "--to", "b@[127.0.0.1]"]);
    assert!(said.contains("451 4.7.1"), "{said}");
    relay.folder.said(&[
        "send",
        "--tenant",
        "t",
        "--stream",
        "bulk",
        "--from",
        "a@x.example",
        "--to",
        "b@[127.0.0.1]",
        "--subject",
        "bulk",
    ]);
    assert!(hop.take().contains("Subject: bulk"));
}

#[test]
fn a_large_body_streams_to_it_and_back() {
    let milter = Milter::open(|letter, _| match letter {
        b'E' => vec![packet(b'h', b"X-Seen\0yes\0"), GO_ON],
        _ => Vec::new(),
    });
    let hop = Hop::open(|_| None);
    let relay = relay(hop.port, &[("large", milter.port, "")]);
    let line = "0123456789abcdef".repeat(60) + "\r\n";
    let body = line.repeat(30_000_000 / line.len());
    let mut session = Session::log_in(relay.address("submission"));
    assert!(session.send("a@x.example", "b@[127.0.0.1]", &format!("Subject: large\r\n\r\n{body}end")).starts_with("250"));
    let mut octets = 0;
    while let Ok((letter, payload)) = milter.heard.recv_timeout(Duration::from_secs(60)) {
        assert!(payload.len() <= 65_535);
        match letter {
            b'B' => octets += payload.len(),
            b'E' => break,
            _ => {}
        }
    }
    assert_eq!(octets, body.len() + "end\r\n".len());
    let taken = hop.take();
    assert!(taken.contains("\r\nX-Seen: yes\r\n\r\n0123"));
    assert!(taken.len() > body.len());
}

#[test]
fn a_signature_speaks_of_the_body_that_a_milter_made() {
    let milter = Milter::open(|letter, _| match letter {
        b'E' => vec![packet(b'b', b"another body\r\n"), GO_ON],
        _ => Vec::new(),
    });
    let hop = Hop::open(|_| None);
    let relay = relay(hop.port, &[("other", milter.port, "")]);
    let section = signing::keys(&relay.folder, "shop.example", "one", "");
    let milters = format!("[[milter]]\nname = \"other\"\naddress = \"inet:127.0.0.1:{}\"\n", milter.port);
    relay.folder.configure(&format!("{}{milters}{section}", config(hop.port)));
    relay.folder.said(&["reload"]);
    let mut session = Session::log_in(relay.address("submission"));
    assert!(session.send("a@shop.example", "b@[127.0.0.1]", CONTENT).starts_with("250"));
    let taken = hop.take();
    assert!(taken.contains("\r\n\r\nanother body\r\n") && signing::is_the_signed_body(&taken), "{taken}");
}

#[test]
fn the_next_message_of_a_session_begins_anew() {
    let milter = Milter::open(nothing_odd);
    let hop = Hop::open(|_| None);
    let relay = relay(hop.port, &[("calm", milter.port, "listener = [\"submission\"]")]);
    let mut session = Session::log_in(relay.address("submission"));
    session.say("MAIL FROM:<a@x.example>");
    session.say("RSET");
    assert!(session.send("a@x.example", "b@[127.0.0.1]", CONTENT).starts_with("250"));
    assert_eq!(milter.letters_until(b'E'), "CHMAAMRTLLLLLNBE", "one connection serves the session");
    session.say("QUIT");
    assert_eq!(milter.letters_until(b'Q'), "Q");
    relay.folder.said(&["send", "--from", "a@x.example", "--to", "b@[127.0.0.1]", "--subject", "local"]);
    hop.take();
    hop.take();
    assert!(milter.heard.try_recv().is_err(), "it sees the mail of its listener alone");
}

#[test]
fn check_tells_which_milters_listen() {
    let milter = Milter::open(nothing_odd);
    let folder = crate::harness::Folder::new();
    let text = format!(
        "[[milter]]\nname = \"here\"\naddress = \"inet:127.0.0.1:{}\"\n[[milter]]\nname = \"away\"\naddress = \"unix:no.sock\"\n",
        milter.port
    );
    folder.configure(&format!("{}{text}[check]\nprobe = \"127.0.0.1:1\"\n", config(1)));
    let (said, status) = folder.complained(&["check"]);
    assert_eq!(status, 3, "port 25 is closed, and a milter that is away is a warning: {said}");
    assert!(said.contains(&format!("milter         here: inet:{}@127.0.0.1 listens", milter.port)), "{said}");
    assert!(said.contains("warning        milter away: unix:") && said.contains("cannot be reached"), "{said}");
}

#[test]
fn what_is_binary_stays_binary_behind_a_milter() {
    let milter = Milter::open(|letter, _| if letter == b'E' { vec![packet(b'h', b"X-Seen\0yes\0"), GO_ON] } else { Vec::new() });
    let hop = Hop::open(|_| None);
    let relay = relay(hop.port, &[("calm", milter.port, "")]);
    let mut session = Session::log_in(relay.address("submission"));
    session.say("MAIL FROM:<a@x.example> BODY=BINARYMIME");
    session.say("RCPT TO:<b@[127.0.0.1]>");
    let content = "MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\n.\r\nMAIL FROM:<evil@x.example>\n";
    session.write(format!("BDAT {} LAST\r\n{content}", content.len()).as_bytes());
    assert!(session.reply().starts_with("250"));
    let taken = hop.take();
    assert!(taken.contains("X-Seen: yes\r\n") && taken.contains("base64") && !taken.contains("evil"), "{taken}");
}
