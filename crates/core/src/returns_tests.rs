use super::*;

use postrider_model::{Arrival, MessageId, Phase, Priority, Protocol, Reason, Role, StreamName, TenantName, Timestamp, Trouble};
use postrider_smtp::Reply;

fn message(reverse_path: &str, recipients: &[&str]) -> Message {
    Message {
        id: MessageId(1),
        tenant: TenantName::new("t"),
        stream: StreamName::new("s"),
        envelope: Envelope { reverse_path: ReversePath::parse(reverse_path).unwrap(), body: BodyType::SevenBit, smtputf8: false },
        arrival: Arrival {
            at: Timestamp::default(),
            role: Role::Relay,
            peer: None,
            hello: "x".into(),
            protocol: Protocol::Esmtp,
            tls: None,
            credential: None,
        },
        priority: Priority::Normal,
        deadline: None,
        recipients: recipients.iter().map(|text| Recipient { mailbox: Mailbox::parse(text).unwrap() }).collect(),
        content_octets: 0,
    }
}

fn diagnosis() -> Diagnosis {
    Diagnosis { at: Timestamp::default(), phase: Phase::Recipient, reason: Reason::Trouble(Trouble::Expired), remote: None, address: None }
}

fn bounced() -> Outcome {
    Outcome::Bounced { diagnosis: diagnosis() }
}

fn deferred() -> Outcome {
    Outcome::Deferred { due: Timestamp::default(), diagnosis: diagnosis() }
}

fn delivered() -> Outcome {
    Outcome::Delivered { reply: Reply::new(250, None, "ok") }
}

fn told(message: &Message, outcomes: &[(u32, Outcome)]) -> Option<(String, Vec<u32>)> {
    owed(message, outcomes).map(|owed| (owed.to.to_string(), owed.failed.iter().map(|failed| failed.index).collect()))
}

#[test]
fn only_a_bounce_with_a_sender_is_told() {
    let known = message("<a@b.example>", &["x@y.example"]);
    let null = message("<>", &["x@y.example"]);
    for (outcome, owes) in [(bounced(), true), (deferred(), false), (delivered(), false)] {
        assert_eq!(owes_report(&known.envelope, &outcome), owes);
        assert!(!owes_report(&null.envelope, &outcome));
        let expected = owes.then(|| ("a@b.example".to_owned(), vec![0]));
        assert_eq!(told(&known, &[(0, outcome.clone())]), expected);
        assert_eq!(told(&null, &[(0, outcome)]), None);
    }
    assert_eq!(told(&known, &[]), None);
}

#[test]
fn one_settlement_makes_one_report_in_the_order_of_the_envelope() {
    let message = message("<a@b.example>", &["0@y.example", "1@y.example", "2@y.example", "3@y.example"]);
    let outcomes = [(3, bounced()), (1, delivered()), (0, bounced()), (2, deferred()), (0, bounced()), (9, bounced())];
    assert_eq!(told(&message, &outcomes), Some(("a@b.example".into(), vec![0, 3])), "each once, and none that is not there");
    let owed = owed(&message, &outcomes).unwrap();
    assert_eq!(owed.failed[1].recipient.mailbox.to_string(), "3@y.example");
}

#[test]
fn a_report_comes_from_nobody() {
    for (from, to, smtputf8) in
        [("<a@b.example>", "x@y.example", false), ("<ä@b.example>", "x@y.example", true), ("<a@b.example>", "ü@y.example", true)]
    {
        let message = message(from, &[to]);
        let outcomes = [(0, bounced())];
        let envelope = envelope(&owed(&message, &outcomes).unwrap());
        assert_eq!((envelope.reverse_path.is_null(), envelope.smtputf8), (true, smtputf8));
        assert!(!owes_report(&envelope, &bounced()), "so its own failure is told to nobody");
    }
}
