//! Each personality, driven by a plain script: what is said, what is taken, what stands in the ledger.

use std::net::IpAddr;
use std::time::Duration;

use postrider_lab::{Action, FaultKind, Hostile, Manner, Moment, Pace, Personality, Provider, Space, Throttle};
use postrider_model::Timestamp;

const HEAD: &str = "EHLO relay.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<user@c.example>\r\nDATA\r\n";
const BODY: &str = "X-Token: t1\r\n\r\n..dot\r\n.\r\n";

fn peer() -> IpAddr {
    "192.0.2.9".parse().unwrap()
}

/// Everything that is written, `|` where the connection closes.
fn said(actions: &[Action]) -> String {
    let mut out = String::new();
    for action in actions {
        match action {
            Action::Write(octets) => out.push_str(&String::from_utf8_lossy(octets)),
            Action::Close => out.push('|'),
            Action::Repeat(_) => out.push_str("(for ever)"),
            Action::Pause(_) | Action::Confirmed(_) | Action::Secure => {}
        }
    }
    out
}

/// One session with one message, at a time in seconds; the last reply it hears.
fn run(provider: &mut Provider, script: &str, at_seconds: u64) -> String {
    let now = Timestamp::from_millis(at_seconds * 1000);
    let (id, mut actions) = provider.connect(peer(), now);
    for line in script.split_inclusive('\n') {
        actions.extend(provider.feed(id, line.as_bytes(), now));
    }
    provider.closed(id);
    said(&actions).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn the_honest_takes_and_notes() {
    let mut provider = Provider::new(Personality::honest("mx.example"), 1);
    assert_eq!(run(&mut provider, &format!("{HEAD}{BODY}"), 0), "250 2.0.0 taken");
    let taken = &provider.ledger.taken[0];
    assert_eq!((taken.token.as_deref(), taken.recipients.as_slice()), (Some("t1"), &["user@c.example".to_owned()][..]));
    assert_eq!(taken.content, b"X-Token: t1\r\n\r\n.dot\r\n");
    assert_eq!(provider.ledger.copies("t1", "user@c.example"), 1);
    assert!(provider.ledger.complaints.is_empty(), "{:?}", provider.ledger.complaints);
}

#[test]
fn each_personality_says_its_word() {
    let honest = || Personality::honest("mx.example");
    let fault = |at, kind| honest().with(at, kind, 100);
    let table: Vec<(&str, Personality, &str, usize)> = vec![
        ("full", Personality { space: Space::MailboxFull, ..honest() }, "452 4.2.2", 0),
        ("over", Personality { space: Space::MailboxOver, ..honest() }, "552 5.2.2", 0),
        ("disk", Personality { space: Space::DiskFull, ..honest() }, "452 4.3.1", 0),
        ("greylist", Personality { greylist: Some(Duration::from_secs(60)), ..honest() }, "450 4.7.1", 0),
        ("liar", fault(Moment::EndOfData, FaultKind::TakeAndDrop), "|", 1),
        ("liar's sibling", fault(Moment::EndOfData, FaultKind::Drop), "|", 0),
        ("silent", fault(Moment::Mail, FaultKind::Silence), "250 ENHANCEDSTATUSCODES", 0),
        ("bare", fault(Moment::Recipient, FaultKind::Hostile(Hostile::Bare550)), "550", 0),
        ("endless", fault(Moment::EndOfData, FaultKind::Hostile(Hostile::Endless)), "(for ever)", 0),
        ("999", fault(Moment::EndOfData, FaultKind::Hostile(Hostile::Code999)), "999", 0),
        ("greeting", fault(Moment::Connect, FaultKind::ReplyAndDrop("554 5.7.1 go away".into())), "|", 0),
    ];
    for (name, personality, reply, taken) in table {
        let mut provider = Provider::new(personality, 1);
        let script = HEAD.split_inclusive('\n');
        let now = Timestamp::from_millis(0);
        let (id, mut all) = provider.connect(peer(), now);
        let mut found = said(&all).contains(reply);
        for line in script.chain([BODY]) {
            let actions = provider.feed(id, line.as_bytes(), now);
            found |= said(&actions).contains(reply);
            all.extend(actions);
        }
        assert!(found, "{name}: {:?}", said(&all));
        assert_eq!(provider.ledger.taken.len(), taken, "{name}");
        assert!(provider.ledger.taken.iter().all(|t| !t.said), "{name}");
    }
}

#[test]
fn greylisting_ends() {
    let mut provider = Provider::new(Personality { greylist: Some(Duration::from_secs(60)), ..Personality::honest("mx.example") }, 1);
    let script = format!("{HEAD}{BODY}");
    run(&mut provider, HEAD, 0);
    run(&mut provider, HEAD, 59);
    assert_eq!(provider.ledger.refused.len(), 2);
    assert_eq!(run(&mut provider, &script, 60), "250 2.0.0 taken");
}

#[test]
fn a_throttle_counts_what_it_saw() {
    let throttle = Throttle { sessions_max: None, sessions_per_minute: Some(2), messages_per_minute: None, manner: Manner::Close };
    let mut provider = Provider::new(Personality { throttle: Some(throttle), ..Personality::honest("mx.example") }, 1);
    for expected in ["221 2.0.0 bye", "221 2.0.0 bye", "|"] {
        let last = run(&mut provider, "QUIT\r\n", 0);
        assert!(last.ends_with(expected) || last == "|", "{last:?}");
    }
    assert_eq!((provider.ledger.throttled, provider.ledger.sessions.len()), (1, 3));
}

#[test]
fn pace_is_given_as_pauses() {
    let pace = Pace { reply: Duration::from_secs(5), octet: Duration::from_millis(100) };
    let mut provider = Provider::new(Personality { pace, ..Personality::honest("mx") }, 1);
    let (_, actions) = provider.connect(peer(), Timestamp::from_millis(0));
    let octets = "220 mx ESMTP\r\n".len();
    assert_eq!(actions[0], Action::Pause(pace.reply));
    assert_eq!(actions.iter().filter(|a| **a == Action::Pause(pace.octet)).count(), octets);
}

#[test]
fn wrong_doings_are_complained_about() {
    let mut plain = Personality::honest("mx.example");
    plain.offers.pipelining = false;
    let table = [
        ("EHLO x\r\nMAIL FROM:<a@b> SMTPUTF8 BODY=BINARYMIME RET=FULL\r\n", "RET=FULL that was not offered"),
        ("EHLO x\r\nMAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n", "out of order"),
        ("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nbare\nlf\r\n.\r\n", "bare LF"),
        ("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\u{fc}\r\n.\r\n", "8-bit"),
        ("EHLO x\r\nWHAT\r\n", "unknown command"),
    ];
    for (script, complaint) in table {
        let mut provider = Provider::new(plain.clone(), 1);
        run(&mut provider, script, 0);
        assert!(provider.ledger.complaints.iter().any(|c| c.contains(complaint)), "{script:?}: {:?}", provider.ledger.complaints);
    }
    let mut provider = Provider::new(plain, 1);
    let (id, _) = provider.connect(peer(), Timestamp::from_millis(0));
    provider.feed(id, b"EHLO x\r\nMAIL FROM:<a@b>\r\n", Timestamp::from_millis(0));
    assert!(provider.ledger.complaints[0].contains("PIPELINING"));
}
