//! Next hops that are broken, or that want to break us: every word of theirs becomes a typed outcome, and the mail is kept.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::harness::{Relay, config};

/// What a hop does in its place.
#[derive(Clone)]
enum Does {
    /// Says this, and goes on listening.
    Says(&'static [u8]),
    /// Says so many times this, without a pause.
    Repeats(&'static [u8], usize),
    /// Says this for as long as it is read.
    Endlessly(&'static [u8]),
    /// Hangs up.
    HangsUp,
    /// Says nothing more.
    FallsSilent,
}

/// A hop, on a loopback address of its own; everything but one place is as it should be.
#[derive(Clone)]
struct Hop {
    /// The beginning of the command, or `220` for the greeting and `.` for the end of data.
    at: &'static str,
    does: Does,
    /// What it tells in EHLO.
    offers: &'static str,
}

impl Hop {
    fn at(at: &'static str, does: Does) -> Self {
        Self { at, does, offers: "250-hop.test\r\n250 PIPELINING\r\n" }
    }
}

/// Hops of one port; each tells the lines it heard when a connection of its ended.
struct Hops {
    port: u16,
    heard: Receiver<(usize, Vec<String>)>,
    earlier: BTreeMap<usize, Vec<Vec<String>>>,
}

fn address(number: usize, port: u16) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 1, u8::try_from(number + 1).unwrap()), port).into()
}

impl Hops {
    fn open(hops: &[Hop]) -> Self {
        let first = TcpListener::bind(address(0, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others = (1..hops.len()).map(|number| TcpListener::bind(address(number, port)).expect("the port is free on loopback"));
        let (sender, heard) = channel();
        for (number, (listener, hop)) in std::iter::once(first).chain(others).zip(hops).enumerate() {
            let (hop, sender) = (hop.clone(), sender.clone());
            std::thread::spawn(move || serve(&listener, &hop, number, &sender));
        }
        Self { port, heard, earlier: BTreeMap::new() }
    }

    /// What the next connection of this hop was told.
    fn heard_by(&mut self, number: usize) -> Vec<String> {
        loop {
            if let Some(lines) = self.earlier.get_mut(&number).filter(|sessions| !sessions.is_empty()).map(|sessions| sessions.remove(0)) {
                return lines;
            }
            let (from, lines) = self.heard.recv_timeout(std::time::Duration::from_secs(60)).expect("a connection ends");
            self.earlier.entry(from).or_default().push(lines);
        }
    }
}

fn serve(listener: &TcpListener, hop: &Hop, number: usize, heard: &Sender<(usize, Vec<String>)>) {
    for stream in listener.incoming().map_while(Result::ok) {
        let (hop, heard) = (hop.clone(), heard.clone());
        std::thread::spawn(move || {
            let mut lines = Vec::new();
            // A relay that hangs up has ended this conversation; that is what is tested.
            let _ = converse(&stream, &hop, &mut lines);
            let _ = heard.send((number, lines));
        });
    }
}

fn converse(mut stream: &TcpStream, hop: &Hop, lines: &mut Vec<String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    if hop.at == "220" {
        return does(stream, &hop.does, &mut reader);
    }
    stream.write_all(b"220 hop.test\r\n")?;
    let mut in_content = false;
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        lines.push(line.clone());
        if in_content && line != "." {
            continue;
        }
        in_content = false;
        if line.starts_with(hop.at) {
            does(stream, &hop.does, &mut reader)?;
            continue;
        }
        let reply = match line.get(..4).unwrap_or(&line) {
            "EHLO" => hop.offers,
            "DATA" => {
                in_content = true;
                "354 go on\r\n"
            }
            "QUIT" => return stream.write_all(b"221 bye\r\n"),
            _ => "250 ok\r\n",
        };
        stream.write_all(reply.as_bytes())?;
    }
}

fn does(mut stream: &TcpStream, does: &Does, reader: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    match does {
        Does::Says(octets) => return stream.write_all(octets),
        Does::Repeats(octets, times) => {
            let whole = octets.repeat(*times);
            stream.write_all(&whole)?;
        }
        Does::Endlessly(octets) => loop {
            stream.write_all(octets)?;
        },
        Does::HangsUp => return stream.shutdown(std::net::Shutdown::Both),
        Does::FallsSilent => {}
    }
    // Whatever else is said, the answer was the last word.
    reader.read_to_end(&mut Vec::new()).map(drop)
}

/// What is expected in the mail log: the event, and parts of its line.
type Expected = (&'static str, &'static [&'static str]);

fn hostile() -> Vec<(&'static str, Hop, Expected)> {
    use Does::{Endlessly, FallsSilent, HangsUp, Repeats, Says};
    let malformed: Expected = ("deferred", &["phase=mail", "reason=\"protocol error: malformed reply\""]);
    vec![
        ("a bare code", Hop::at("RCPT", Says(b"550\r\n")), ("bounced", &["status=5.0.0 phase=rcpt reply=\"550\""])),
        ("a status alone", Hop::at("RCPT", Says(b"550 5.7.2\r\n")), ("bounced", &["status=5.7.2 phase=rcpt reply=\"550 5.7.2\""])),
        ("endless lines", Hop::at("EHLO", Endlessly(b"250-x\r\n")), ("deferred", &["phase=ehlo", "too many lines"])),
        ("a line of 8 MB", Hop::at("MAIL", Repeats(b"250 xxxxxxxxxxxx", 1 << 19)), ("deferred", &["phase=mail", "reply line too long"])),
        ("a greeting of 8 MB", Hop::at("220", Repeats(b"220 xxxxxxxxxxxx", 1 << 19)), ("deferred", &["phase=greeting", "too long"])),
        ("a NUL", Hop::at("MAIL", Says(b"250 o\0k\r\n")), ("deferred", &["phase=mail", "NUL in reply"])),
        (
            "escape sequences",
            Hop::at("RCPT", Says(b"550 5.1.1 \x1b[2J\x1b]0;owned\x07 \xc2\x9b2J\xe2\x80\xae no\r\n")),
            ("bounced", &["reply=\"550 5.1.1 \\\\x1b[2J\\\\x1b]0;owned\\\\x07 \\\\x9b2J\\\\u{202e} no\""]),
        ),
        (
            "HTML",
            Hop::at("RCPT", Says(b"550 5.1.1 <script>alert(1)</script>\r\n")),
            ("bounced", &["reply=\"550 5.1.1 <script>alert(1)</script>\""]),
        ),
        ("not UTF-8", Hop::at("RCPT", Says(b"550 5.1.1 J\xfcrgen\xff\r\n")), ("bounced", &["reply=\"550 5.1.1 J\u{fffd}rgen\u{fffd}\""])),
        ("999", Hop::at("MAIL", Says(b"999 evil\r\n")), malformed),
        ("a word", Hop::at("MAIL", Says(b"ok\r\n")), malformed),
        ("an empty line", Hop::at("MAIL", Says(b"\r\n")), malformed),
        ("differing codes", Hop::at("MAIL", Says(b"250-ok\r\n550 no\r\n")), ("deferred", &["phase=mail", "different codes"])),
        ("a web server", Hop::at("220", Says(b"HTTP/1.1 400 Bad Request\r\n")), ("deferred", &["phase=greeting", "malformed"])),
        ("an early 250", Hop::at("DATA", Says(b"354 go\r\n250 queued\r\n")), ("deferred", &["unsolicited reply"])),
        ("250 to DATA", Hop::at("DATA", Says(b"250 queued\r\n")), ("deferred", &["phase=data", "unexpected reply: 250 queued"])),
        ("354 to the end of data", Hop::at(".", Says(b"354 more\r\n")), ("deferred", &["phase=end-of-data", "unexpected reply: 354 more"])),
        ("a no to DATA", Hop::at("DATA", Says(b"451 4.7.1 not now\r\n")), ("deferred", &["phase=data reply=\"451 4.7.1 not now\""])),
        ("a no to the end of data", Hop::at(".", Says(b"451 4.7.1 not now\r\n")), ("deferred", &["phase=end-of-data reply=\"451"])),
        ("silence", Hop::at("MAIL", FallsSilent), ("deferred", &["phase=mail", "no reply within"])),
        ("silence at once", Hop::at("220", FallsSilent), ("deferred", &["phase=greeting", "no reply within"])),
        ("gone at once", Hop::at("220", HangsUp), ("deferred", &["phase=greeting", "connection lost"])),
        ("gone at EHLO", Hop::at("EHLO", HangsUp), ("deferred", &["phase=ehlo", "connection lost"])),
        ("gone at MAIL", Hop::at("MAIL", HangsUp), ("deferred", &["phase=mail", "connection lost"])),
        ("gone at RCPT", Hop::at("RCPT", HangsUp), ("deferred", &["phase=rcpt", "connection lost"])),
        ("gone at DATA", Hop::at("DATA", HangsUp), ("deferred", &["phase=data", "connection lost"])),
        ("gone at the dot", Hop::at(".", HangsUp), ("deferred", &["phase=end-of-data", "the message may have been taken"])),
    ]
}

#[test]
fn whatever_a_next_hop_says_is_bounded_typed_and_shown_harmlessly_and_the_mail_is_kept() {
    let cases = hostile();
    let hops = Hops::open(&cases.iter().map(|(_, hop, _)| hop.clone()).collect::<Vec<_>>());
    let timeouts = "[delivery.timeouts]\nkeep_idle = \"0s\"\nmail = \"3s\"\ngreeting = \"3s\"\n";
    let mut relay = Relay::start(&format!("{}{timeouts}", config(hops.port)));
    let (before_kib, before) = (relay.memory_peak_kib(), relay.holds());
    let mut kept = 0;
    for (number, (name, _, (event, parts))) in cases.iter().enumerate() {
        let to = format!("x@[{}]", address(number, 0).ip());
        let id = relay.folder.said(&["send", "--from", "", "--to", &to]).trim().to_owned();
        let line = relay.mail.wait(&format!("{event} id={id}/0"));
        assert!(parts.iter().all(|part| line.contains(part)), "{name}: {line}");
        assert!(!line.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{name}: {line:?}");
        kept += u64::from(*event == "deferred");
        if *name == "a no to DATA" {
            // The words are shown once the outcome is on disk, which may be a moment after its line in the log.
            let told = |said: String| said.contains(", DATA with ") && said.contains("451 4.7.1 not now");
            assert!((0..500).any(|_| told(relay.folder.said(&["explain", &id]))), "{name}");
        }
        assert_eq!(relay.waiting(), kept, "{name}");
    }
    assert!(kept > 15);
    relay.await_holding(before);
    let grown_kib = relay.memory_peak_kib() - before_kib;
    assert!(grown_kib < 32 * 1024, "{grown_kib} KiB for replies");
}

/// CVE-2021-38371: what was slipped in before the handshake is not believed, and that connection is not used again.
#[test]
fn replies_slipped_in_before_tls_end_the_connection() {
    let offers = "250-hop.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n";
    let injected = Hop { offers, ..Hop::at("STARTTLS", Does::Says(b"220 go\r\n250-evil.test\r\n250 SIZE 1\r\n")) };
    let mut hops = Hops::open(&[injected]);
    let mut relay = Relay::start(&config(hops.port));
    relay.folder.said(&["send", "--from", "", "--to", "x@[127.0.1.1]"]);
    // Opportunistic TLS (RFC 7435): the mail goes over a new connection, which asks for none.
    let line = relay.mail.wait("delivered");
    assert!(!line.contains(" tls="), "{line}");
    let first = hops.heard_by(0);
    assert_eq!(first, ["EHLO relay.test", "STARTTLS"], "nothing is said behind the injection");
    relay.signal("TERM");
    drop(relay.ended());
    let second = hops.heard_by(0);
    assert_eq!(second[..2], ["EHLO relay.test", "MAIL FROM:<>"], "what the injected EHLO offered (SIZE) is forgotten");
}
