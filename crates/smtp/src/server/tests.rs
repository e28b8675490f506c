//! What dialogues cannot show: writes, memory, the driver's own moves.

use super::*;
use crate::path::ForwardPath;

/// Moves until a Read or the end; says yes to all; gives one string per step.
fn steps(server: &mut Server) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        let step = match server.next() {
            Step::Read => return said,
            Step::Close => {
                said.push("close".into());
                return said;
            }
            Step::Write(octets) => format!("write {}", octets.escape_ascii()),
            Step::Content(octets) => format!("content {}", octets.escape_ascii()),
            Step::Aborted => "aborted".into(),
            Step::StartTls => "starttls".into(),
            Step::Ask(question) => {
                let quiet = matches!(question, Question::Connect | Question::Hello { .. } | Question::Mail { .. } | Question::Data);
                let name = match question {
                    Question::Recipient { forward_path: ForwardPath::Mailbox(mailbox), .. } => format!("rcpt {mailbox}"),
                    question => format!("ask {question:?}"),
                };
                server.answer(Verdict::Accept);
                if quiet {
                    continue;
                }
                name
            }
        };
        said.push(step);
    }
}

fn started(config: Config) -> Server {
    let mut server = Server::new(Arc::new(config), false);
    assert_eq!(steps(&mut server), ["write 220 mx.example ESMTP Postrider\\r\\n"]);
    server.feed(b"EHLO client.example\r\n");
    assert_eq!(steps(&mut server).len(), 1);
    server
}

fn in_data(config: Config) -> Server {
    let mut server = started(config);
    server.feed(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n");
    steps(&mut server);
    assert_eq!(server.waits_for(), Wait::Content);
    server
}

fn config() -> Config {
    Config::new("mx.example")
}

#[test]
fn a_pipelined_group_is_one_write() {
    let mut server = started(config());
    server.feed(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<e@f.example>\r\nDATA\r\n");
    assert_eq!(
        steps(&mut server),
        [
            "rcpt c@d.example",
            "rcpt e@f.example",
            "write 250 2.1.0 Ok\\r\\n250 2.1.5 Ok\\r\\n250 2.1.5 Ok\\r\\n354 End data with <CR><LF>.<CR><LF>\\r\\n"
        ]
    );
    server.feed(b"x\r\n..y\r\n.\r\nMAIL FROM:<>\r\n");
    assert_eq!(
        steps(&mut server),
        ["content x\\r\\n", "content .y\\r\\n", "ask EndOfContent", "write 250 2.0.0 Ok\\r\\n250 2.1.0 Ok\\r\\n"]
    );
}

#[test]
fn an_idle_session_holds_no_buffers() {
    let mut server = in_data(config());
    let space = server.space();
    assert_eq!(space.len(), CONTENT_SPACE_OCTETS_MIN);
    space[..5].copy_from_slice(b"x\r\n.\r");
    server.filled(5);
    steps(&mut server);
    server.feed(b"\n");
    steps(&mut server);
    server.shrink();
    assert_eq!((server.inbox.memory_octets(), server.outbox.capacity()), (0, 0));
    assert!(std::mem::size_of::<Server>() < 512, "{}", std::mem::size_of::<Server>());
}

#[test]
fn room_grows_with_the_flow() {
    let mut server = in_data(config());
    for wanted in [16, 32, 64, 64] {
        let space = server.space();
        assert!(space.len() >= wanted * 1024 / 2 && space.len() <= 2 * wanted * 1024, "{} for {wanted} KiB", space.len());
        let line = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
        for (nth, octet) in space.iter_mut().enumerate() {
            *octet = line[nth % line.len()];
        }
        let octets = space.len() / line.len() * line.len();
        let all = if octets == space.len() { octets } else { 0 };
        server.filled(all);
        while matches!(server.next(), Step::Content(_)) {}
        server.inbox.clear();
    }
}

#[test]
fn the_driver_refuses_in_mid_stream() {
    let mut server = in_data(config());
    server.feed(b"some\r\n");
    assert_eq!(steps(&mut server), ["content some\\r\\n"]);
    server.abort_content(Reply::new(452, None, "Spool full"));
    server.feed(b"more\r\n.\r");
    assert_eq!(steps(&mut server), [""; 0]);
    server.feed(b"\nMAIL FROM:<>\r\n");
    assert_eq!(steps(&mut server), ["write 452 Spool full\\r\\n250 2.1.0 Ok\\r\\n"]);

    let mut server = in_data(config());
    server.feed(b"some\r\n");
    steps(&mut server);
    server.abort_content(Reply::new(421, None, "Going down"));
    assert_eq!(steps(&mut server), ["write 421 Going down\\r\\n", "close"]);
}

#[test]
fn the_driver_ends_the_session() {
    let mut server = started(config());
    server.feed(b"MAIL FROM:<a@b.example>\r\n");
    steps(&mut server);
    server.close(Reply::new(421, None, "Timeout"));
    assert_eq!(steps(&mut server), ["aborted", "write 421 Timeout\\r\\n", "close"]);
    server.close(Reply::new(421, None, "Timeout"));
    assert_eq!(steps(&mut server), ["close"]);
    server.answer(Verdict::Accept);
}

#[test]
fn an_answer_to_a_closed_session_is_no_harm() {
    let mut server = in_data(config());
    server.feed(b"x\r\n.\r\n");
    while !matches!(server.next(), Step::Ask(Question::EndOfContent)) {}
    server.end_of_input();
    server.answer(Verdict::AcceptWith("Ok: queued as 1".into()));
    assert_eq!(steps(&mut server), ["write 250 2.0.0 Ok: queued as 1\\r\\n", "close"]);
}

#[test]
fn the_end_of_input_accepts_nothing() {
    for (before, end) in [(&b""[..], &["close"][..]), (b"MAIL FROM:<a@b.example>\r\n", &["aborted", "close"]), (b"NOO", &["close"])] {
        let mut server = started(config());
        server.feed(before);
        steps(&mut server);
        server.end_of_input();
        assert_eq!(steps(&mut server), end);
    }
    for before in [&b"x\r\n."[..], b"x\r\n.\r", b"x", b""] {
        let mut server = in_data(config());
        server.feed(before);
        steps(&mut server);
        server.end_of_input();
        assert_eq!(steps(&mut server), ["aborted", "close"], "{}", before.escape_ascii());
    }
    let mut server = started(config());
    server.feed(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 10 LAST\r\n12345");
    steps(&mut server);
    server.end_of_input();
    assert_eq!(steps(&mut server), ["aborted", "close"], "a chunk cut short");
}

#[test]
fn an_early_talker_is_not_greeted() {
    let mut server = Server::new(Arc::new(config()), false);
    assert!(matches!(server.next(), Step::Ask(Question::Connect)));
    server.feed(b"EHLO spam.example\r\n");
    server.answer(Verdict::Accept);
    assert_eq!(steps(&mut server), ["write 554 5.5.1 Input sent before the greeting\\r\\n", "close"]);
}

#[test]
fn content_that_comes_while_data_is_judged_ends_the_session() {
    let mut server = started(config());
    server.feed(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n");
    steps(&mut server);
    server.feed(b"DATA\r\n");
    assert!(matches!(server.next(), Step::Ask(Question::Data)));
    server.feed(b"MAIL FROM:<evil@b.example>\r\n");
    server.answer(Verdict::Accept);
    assert_eq!(steps(&mut server), ["aborted", "write 554 5.5.0 Input sent before it was asked for\\r\\n", "close"]);
}

#[test]
fn replies_do_not_pile_up() {
    let mut server = started(Config { junk_commands_max: 100_000, ..config() });
    server.feed(&b"NOOP\r\n".repeat(5000));
    let written: Vec<usize> = steps(&mut server).iter().map(String::len).collect();
    assert!(written.len() > 2 && written.iter().all(|octets| *octets < 2 * OUTBOX_OCTETS_MAX), "{written:?}");
}

#[test]
fn an_endless_line_costs_no_memory_and_ends() {
    let mut server = started(config());
    for octets in (0..).step_by(1000) {
        server.feed(&[b'x'; 1000]);
        if steps(&mut server) == ["write 500 5.5.2 Line too long\\r\\n", "close"] {
            break;
        }
        assert!(octets < 100_000 && server.inbox.memory_octets() < 64 * 1024);
    }
}
