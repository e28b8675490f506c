//! The machine against scripted milters.

use super::*;

const NO_MACROS: &dyn Fn(&str) -> Option<String> = &|_| None;

/// A packet as a milter would send it.
fn packet(letter: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len() + 1).unwrap().to_be_bytes().to_vec();
    out.push(letter);
    out.extend_from_slice(payload);
    out
}

fn terms(version: u32, actions: u32, steps: u32) -> Vec<u8> {
    packet(b'O', &[version, actions, steps].map(u32::to_be_bytes).concat())
}

/// A session with these terms, its opening taken away.
fn agreed(version: u32, steps: u32) -> Session {
    let mut session = Session::new();
    session.outbox();
    session.feed(&terms(version, Actions::ALL, steps));
    assert_eq!(session.next(), Ok(Some(Answer::Agreed)));
    session
}

/// What is said, packet by packet, as letters.
fn letters(session: &mut Session) -> String {
    let (octets, mut letters, mut at) = (session.outbox(), String::new(), 0);
    while at < octets.len() {
        let length = u32::from_be_bytes(octets[at..at + 4].try_into().unwrap()) as usize;
        letters.push(octets[at + 4].into());
        at += 4 + length;
    }
    letters
}

#[test]
fn the_opening_offers_all_and_takes_versions_2_to_6() {
    assert_eq!(Session::new().outbox(), b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xf7\xff");
    for (answer, agreed) in [
        (terms(6, 0x1ff, 0), true),
        (terms(2, 1, 0x7f), true),
        (terms(1, 1, 0), false),
        (terms(7, 1, 0), false),
        (terms(6, 0x200, 0), false),
        (terms(6, 1, 0x800), false),
        (terms(6, 1, 0x1000_0000), false),
        (packet(b'O', &[0; 11]), false),
        (packet(b'c', &[]), false),
        (b"\0\0\0\0".to_vec(), false),
        (b"\x7f\0\0\0O".to_vec(), false),
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), false),
    ] {
        let mut session = Session::new();
        session.feed(&answer);
        assert_eq!(session.next().is_ok(), agreed, "{answer:?}");
    }
}

#[test]
fn a_whole_transaction_is_said_with_its_macros() {
    let mut session = agreed(6, 0);
    let value = |name: &str| (name == "i" || name == "j").then(|| name.to_uppercase());
    let address = Some("192.0.2.7:1025".parse().unwrap());
    for (command, said) in [
        (Command::Connect { name: "client.example", address }, "\0\0\0\x06DCj\0J\0\0\0\0\x1dCclient.example\x004\x04\x01192.0.2.7\0"),
        (Command::Hello("c.example"), "\0\0\0\x02DH\0\0\0\x0bHc.example\0"),
        (Command::Mail { path: "<a@b>", parameters: &["SIZE=1".into()] }, "\0\0\0\x06DMi\0I\0\0\0\0\x0eM<a@b>\0SIZE=1\0"),
        (Command::Recipient { path: "<c@d>", parameters: &[] }, "\0\0\0\x06DRi\0I\0\0\0\0\x07R<c@d>\0"),
        (Command::Data, "\0\0\0\x06DTi\0I\0\0\0\0\x01T"),
        (Command::Header { name: b"X", value: b" a\r\n b" }, "\0\0\0\x08LX\0a\n b\0"),
        (Command::EndOfHeader, "\0\0\0\x06DNi\0I\0\0\0\0\x01N"),
        (Command::Body(b"x\r\n"), "\0\0\0\x04Bx\r\n"),
        (Command::EndOfBody, "\0\0\0\x06DEi\0I\0\0\0\0\x01E"),
    ] {
        assert_eq!(session.say(command, &value), Said::Awaits);
        assert_eq!(String::from_utf8_lossy(&session.outbox()), said, "{command:?}");
        session.feed(&packet(b'c', &[]));
        assert_eq!(session.next(), Ok(Some(Answer::Verdict(Verdict::Continue))));
        assert_eq!(session.next(), Ok(None));
    }
    assert_eq!((session.say(Command::Abort, &value), session.say(Command::Quit, &value)), (Said::Quiet, Said::Quiet));
    assert_eq!(session.outbox(), b"\0\0\0\x01A\0\0\0\x01Q");
}

#[test]
fn what_was_agreed_is_left_out_or_not_answered() {
    let header = Command::Header { name: b"X", value: b" y" };
    for (version, steps, command, said) in [
        (6, 0x01, Command::Connect { name: "x", address: None }, Said::Skipped),
        (6, 0x1000, Command::Connect { name: "x", address: None }, Said::Quiet),
        (6, 0x02, Command::Hello("x"), Said::Skipped),
        (6, 0x04, Command::Mail { path: "<>", parameters: &[] }, Said::Skipped),
        (6, 0x8000, Command::Recipient { path: "<>", parameters: &[] }, Said::Quiet),
        (6, 0x20, header, Said::Skipped),
        (6, 0x80, header, Said::Quiet),
        (6, 0x40, Command::EndOfHeader, Said::Skipped),
        (6, 0x10, Command::Body(b"x"), Said::Skipped),
        (6, 0x8_0000, Command::Body(b"x"), Said::Quiet),
        (6, 0x200, Command::Data, Said::Skipped),
        (3, 0, Command::Data, Said::Skipped),
        (4, 0, Command::Data, Said::Awaits),
        (2, 0, Command::Unknown("X"), Said::Skipped),
        (3, 0, Command::Unknown("X"), Said::Awaits),
        (6, 0x1f_f7ff, Command::EndOfBody, Said::Awaits),
    ] {
        assert_eq!(agreed(version, steps).say(command, NO_MACROS), said, "{command:?} with {steps:x}");
    }
    let mut leading = agreed(6, 0x10_0000);
    leading.say(header, NO_MACROS);
    assert_eq!(leading.outbox(), b"\0\0\0\x06LX\0 y\0", "the blank stays where it was agreed");
}

#[test]
fn a_milter_may_name_its_macros() {
    let mut session = Session::new();
    session.outbox();
    let lists = [&3u32.to_be_bytes()[..], b"{rcpt_addr} x\0", &9u32.to_be_bytes()[..], b"new\0"].concat();
    session.feed(&packet(b'O', &[&[6, 0x1ff, 0].map(u32::to_be_bytes).concat()[..], &lists].concat()));
    assert_eq!(session.next(), Ok(Some(Answer::Agreed)));
    session.say(Command::Recipient { path: "<a@b>", parameters: &[] }, &|name| Some(name.len().to_string()));
    assert_eq!(session.outbox(), b"\0\0\0\x15DR{rcpt_addr}\x0011\0x\x001\0\0\0\0\x07R<a@b>\0");
}

#[test]
fn an_early_word_ends_what_is_said_of_the_message() {
    let mail = Command::Mail { path: "<>", parameters: &[] };
    let recipient = Command::Recipient { path: "<a@b>", parameters: &[] };
    for (command, letter, next) in [
        (mail, b'a', Said::Skipped),
        (mail, b'r', Said::Skipped),
        (recipient, b'd', Said::Skipped),
        (recipient, b'r', Said::Awaits),
        (Command::Hello("x"), b'a', Said::Skipped),
    ] {
        let mut session = agreed(6, 0);
        session.say(command, NO_MACROS);
        session.feed(&packet(letter, &[]));
        session.next().unwrap();
        assert_eq!(session.say(Command::EndOfHeader, NO_MACROS), next, "{command:?} {letter}");
        if next == Said::Skipped {
            session.say(Command::Abort, NO_MACROS);
            let again = if matches!(command, Command::Hello(_)) { Said::Skipped } else { Said::Awaits };
            assert_eq!(session.say(mail, NO_MACROS), again, "{command:?}: the next message");
        }
    }
    let mut session = agreed(6, 0x400);
    session.say(Command::Body(b"x"), NO_MACROS);
    session.feed(&packet(b's', &[]));
    session.next().unwrap();
    assert_eq!(session.say(Command::Body(b"x"), NO_MACROS), Said::Skipped);
    assert_eq!(session.say(Command::EndOfBody, NO_MACROS), Said::Awaits);
    assert_eq!(letters(&mut session), "BDE");
}

#[test]
fn changes_stand_at_the_end_alone_and_only_if_they_were_agreed() {
    let field = |name: &str, value: &str| Field { name: name.into(), value: value.as_bytes().to_vec() };
    for (letter, payload, change) in [
        (b'h', &b"X-Y\0a\nb\r\n\tc\0"[..], Some(Change::AddHeader(field("X-Y", " a\r\n b\r\n\tc")))),
        (b'h', b"X\0a\n\nFrom: x\0", Some(Change::AddHeader(field("X", " a\r\n From: x")))),
        (b'h', b"X\0a\rb\0", Some(Change::AddHeader(field("X", " a?b")))),
        (b'h', b"X:\0a\0", None),
        (b'h', b"\0a\0", None),
        (b'h', b"X\0a", None),
        (b'i', b"\0\0\0\x01X\0a\0", Some(Change::InsertHeader(1, field("X", " a")))),
        (b'i', b"\0\0\0", None),
        (b'm', b"\0\0\0\x02Subject\0\0", Some(Change::ChangeHeader(2, field("Subject", "")))),
        (b'b', b"new\r\n", Some(Change::ReplaceBody(b"new\r\n".to_vec()))),
        (b'e', b"<a@b>\0SIZE=1\0", Some(Change::ChangeSender("<a@b>".into()))),
        (b'+', b"<a@b>\0", Some(Change::AddRecipient("<a@b>".into(), String::new()))),
        (b'2', b"<a@b>\0NOTIFY=NEVER\0", Some(Change::AddRecipient("<a@b>".into(), "NOTIFY=NEVER".into()))),
        (b'-', b"<a@b>\0", Some(Change::DeleteRecipient("<a@b>".into()))),
        (b'-', b"<a@b>", None),
        (b'q', b"odd\0", Some(Change::Quarantine("odd".into()))),
        (b'z', b"", None),
    ] {
        let mut session = agreed(6, 0);
        session.say(Command::EndOfBody, NO_MACROS);
        session.feed(&packet(letter, payload));
        assert_eq!(session.next().ok(), change.map(|change| Some(Answer::Change(change))), "{:?} {payload:?}", char::from(letter));
        let mut early = agreed(6, 0);
        early.say(Command::EndOfHeader, NO_MACROS);
        early.feed(&packet(letter, payload));
        assert!(early.next().is_err(), "before the end");
        let mut bare = Session::new();
        bare.feed(&terms(6, 0, 0));
        bare.next().unwrap();
        bare.say(Command::EndOfBody, NO_MACROS);
        bare.feed(&packet(letter, payload));
        assert!(bare.next().is_err(), "what was not agreed");
    }
}

#[test]
fn verdicts_and_replies() {
    for (letter, payload, verdict) in [
        (b'c', "", Some("Continue")),
        (b'a', "", Some("Accept")),
        (b'd', "", Some("Discard")),
        (b'r', "", Some("Reject")),
        (b't', "", Some("TempFail")),
        (b'f', "", Some("Shutdown")),
        (b'4', "", Some("Shutdown")),
        (b'y', "550 5.7.1 no 100%% way\0", Some("550 5.7.1 no 100% way")),
        (b'y', "451-4.7.1 one\r\n451 4.7.1 two\0", Some("451 4.7.1 one two")),
        (b'y', "550 4.7.1 odd\0", Some("550 odd")),
        (b'y', "250 ok\0", None),
        (b'y', "550-a\r\n551 b\0", None),
        (b'y', "55\0", None),
        (b'y', "\0", None),
        (b'h', "X\0y\0", None),
    ] {
        let mut session = agreed(6, 0);
        session.say(Command::Data, NO_MACROS);
        session.feed(&packet(letter, payload.as_bytes()));
        let shown = session.next().ok().map(|answer| match answer {
            Some(Answer::Verdict(Verdict::Refuse(reply))) => reply.to_string(),
            Some(Answer::Verdict(verdict)) => format!("{verdict:?}"),
            other => format!("{other:?}"),
        });
        assert_eq!(shown.as_deref(), verdict, "{payload:?}");
    }
    let mut session = agreed(6, 0);
    session.say(Command::EndOfBody, NO_MACROS);
    session.feed(&[packet(b'p', &[]), packet(b'c', &[]), packet(b'c', &[])].concat());
    assert_eq!(session.next(), Ok(Some(Answer::Progress)));
    assert_eq!(session.next(), Ok(Some(Answer::Verdict(Verdict::Continue))));
    assert_eq!(session.next(), Err(Rubbish::Unasked));
}
