use super::*;

use postrider_model::{Arrival, MessageId, Phase, Priority, Protocol, Reason, Role, StreamName, TenantName, Timestamp, Trouble};
use postrider_smtp::Reply;

fn message(reverse_path: &str, recipients: &[&str]) -> Message {
    Message {
        id: MessageId(1),
        tenant: TenantName::new("t"),
        stream: StreamName::new("s"),
        envelope: Envelope::new(ReversePath::parse(reverse_path).unwrap(), BodyType::SevenBit, false),
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
        release_at: None,
        mend: Default::default(),
        body_hash: None,
        held: None,
        recipients: recipients.iter().map(|text| Recipient::new(Mailbox::parse(text).unwrap())).collect(),
        content_octets: 0,
    }
}

fn diagnosis() -> Diagnosis {
    Diagnosis { at: Timestamp::default(), phase: Phase::Recipient, reason: Reason::Trouble(Trouble::Expired), remote: None, address: None }
}

fn suppressed() -> Outcome {
    let reason = Reason::Trouble(Trouble::Suppressed("unsubscribed".into()));
    Outcome::Bounced { diagnosis: Diagnosis { at: Timestamp::from_millis(1), phase: Phase::Local, reason, remote: None, address: None } }
}

fn bounced() -> Outcome {
    Outcome::Bounced { diagnosis: diagnosis() }
}

fn deferred() -> Outcome {
    Outcome::Deferred { due: Timestamp::default(), diagnosis: diagnosis(), delay_told: false }
}

fn delivered() -> Outcome {
    Outcome::Delivered { reply: Reply::new(250, None, "ok") }
}

fn lent(indices: &[u32], delay_told: bool) -> Vec<LentDelivery> {
    indices.iter().map(|index| LentDelivery { index: *index, attempts: 1, delay_told }).collect()
}

fn told(message: &Message, outcomes: &[(u32, Outcome)]) -> Option<(String, Vec<u32>)> {
    let owed = owed(message, &lent(&[0, 1, 2, 3], false), outcomes, Handed::WithoutReports)?;
    Some((owed.to.to_string(), owed.told.iter().map(|told| told.index).collect()))
}

fn notify(text: &str) -> Option<Notify> {
    let asks = |word| text.contains(word);
    (!text.is_empty()).then(|| Notify { success: asks("SUCCESS"), failure: asks("FAILURE"), delay: asks("DELAY") })
}

#[test]
fn only_a_bounce_with_a_sender_is_told() {
    let known = message("<a@b.example>", &["x@y.example"]);
    let null = message("<>", &["x@y.example"]);
    for (outcome, owes) in [(bounced(), true), (deferred(), false), (delivered(), false)] {
        let expected = owes.then(|| ("a@b.example".to_owned(), vec![0]));
        assert_eq!(told(&known, &[(0, outcome.clone())]), expected);
        assert_eq!(told(&null, &[(0, outcome)]), None);
    }
    assert_eq!(told(&known, &[]), None);
}

#[test]
fn what_notify_asks_for_is_told_and_nothing_else() {
    let late = || Outcome::Deferred { due: Timestamp::default(), diagnosis: diagnosis(), delay_told: true };
    let cases = [
        // NOTIFY; then for bounced, suppressed, delayed, taken without DSN, taken with DSN, in a mailbox: what is told.
        ("", ["failed", "", "delayed", "", "", ""]),
        ("NEVER", ["", "", "delayed", "", "", ""]),
        ("FAILURE", ["failed", "failed", "delayed", "", "", ""]),
        ("DELAY", ["", "", "delayed", "", "", ""]),
        ("SUCCESS", ["", "", "delayed", "relayed", "", "delivered"]),
        ("SUCCESS,FAILURE,DELAY", ["failed", "failed", "delayed", "relayed", "", "delivered"]),
    ];
    for (asked, expected) in cases {
        let mut message = message("<a@b.example>", &["x@y.example"]);
        message.recipients[0].notify = notify(asked);
        let situations = [
            (bounced(), Handed::WithoutReports),
            (suppressed(), Handed::WithoutReports),
            (late(), Handed::WithoutReports),
            (delivered(), Handed::WithoutReports),
            (delivered(), Handed::WithReports),
            (delivered(), Handed::ToMailbox),
        ];
        for ((outcome, handed), expected) in situations.into_iter().zip(expected) {
            let outcomes = [(0, outcome)];
            let owed = owed(&message, &lent(&[0], false), &outcomes, handed);
            let said = owed.map_or("", |owed| match owed.told[0].news {
                News::Failed(_) => "failed",
                News::Delayed(_) => "delayed",
                News::Relayed(_) => "relayed",
                News::Delivered(_) => "delivered",
            });
            assert_eq!(said, expected, "NOTIFY={asked}, {handed:?}");
        }
    }
}

#[test]
fn a_delay_is_told_once() {
    let message = message("<a@b.example>", &["x@y.example", "z@y.example"]);
    let late = Outcome::Deferred { due: Timestamp::default(), diagnosis: diagnosis(), delay_told: true };
    let outcomes = [(0, late.clone()), (1, late)];
    let mut before = lent(&[0, 1], false);
    before[0].delay_told = true;
    let owed = owed(&message, &before, &outcomes, Handed::WithoutReports).unwrap();
    assert_eq!(owed.told.iter().map(|told| told.index).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_delay_is_due_by_age_or_by_the_senders_own_time() {
    let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
    let policy = RetryPolicy { delay_notice: Duration::from_secs(100), ..RetryPolicy::default() };
    let talkative = RetryPolicy { delay_notice_unasked: true, ..policy.clone() };
    for (asked, by, policy, first_told) in [
        ("", None, &policy, None),
        ("", None, &talkative, Some(100)),
        ("DELAY", None, &policy, Some(100)),
        ("FAILURE", None, &talkative, None),
        ("", Some("30;N"), &policy, Some(30)),
        ("", Some("-5;N"), &policy, Some(0)),
        ("FAILURE", Some("30;N"), &policy, None),
        ("DELAY", Some("300;N"), &policy, Some(100)),
        ("", Some("30;R"), &policy, None),
    ] {
        let mut message = message("<a@b.example>", &["x@y.example"]);
        message.recipients[0].notify = notify(asked);
        message.envelope.deliver_by = by.and_then(DeliverBy::parse);
        let first = (0..1000).find(|now| delay_is_due(policy, &message, &message.recipients[0], at(*now)));
        assert_eq!(first, first_told, "NOTIFY={asked} BY={by:?}");
        message.envelope.reverse_path = ReversePath::Null;
        assert!(!delay_is_due(policy, &message, &message.recipients[0], at(999)), "there is nobody to tell");
    }
    let mut held = message("<a@b.example>", &["x@y.example"]);
    held.recipients[0].notify = notify("DELAY");
    held.release_at = Some(at(500));
    let first = (0..1000).find(|now| delay_is_due(&policy, &held, &held.recipients[0], at(*now)));
    assert_eq!(first, Some(600), "its age counts from its release");
}

#[test]
fn a_by_goes_on_with_what_is_left_of_it() {
    let mut message = message("<a@b.example>", &["x@y.example"]);
    for (by, seconds, left) in [
        ("120;R", 50, Some("70;R")),
        ("120;R", 120, None),
        ("120;RT", 119, Some("1;RT")),
        ("20;N", 50, Some("-30;N")),
        ("-5;NT", 5, Some("-10;NT")),
    ] {
        message.envelope.deliver_by = DeliverBy::parse(by);
        let now = Timestamp::from_millis(seconds * 1000 + 999);
        assert_eq!(deliver_by_left(&message, now).map(|by| by.to_string()).as_deref(), left, "{by}");
    }
    message.envelope.deliver_by = DeliverBy::parse("20;NT");
    let outcomes = [(0, delivered())];
    let relayed = |message: &Message, handed| owed(message, &lent(&[0], false), &outcomes, handed).is_some();
    assert!(relayed(&message, Handed::WithReports) && relayed(&message, Handed::WithoutReports) && !relayed(&message, Handed::ToMailbox));
    message.recipients[0].notify = notify("NEVER");
    assert!(!relayed(&message, Handed::WithReports));
}

#[test]
fn one_settlement_makes_one_report_in_the_order_of_the_envelope() {
    let message = message("<a@b.example>", &["0@y.example", "1@y.example", "2@y.example", "3@y.example"]);
    let outcomes = [(3, bounced()), (1, delivered()), (0, bounced()), (2, deferred()), (0, bounced()), (9, bounced())];
    assert_eq!(told(&message, &outcomes), Some(("a@b.example".into(), vec![0, 3])), "each once, and none that is not there");
    let owed = owed(&message, &[], &outcomes, Handed::WithReports).unwrap();
    assert_eq!(owed.told[1].recipient.mailbox.to_string(), "3@y.example");
}

#[test]
fn only_a_failure_returns_the_content_and_only_when_asked() {
    let mut message = message("<a@b.example>", &["x@y.example"]);
    message.recipients[0].notify = notify("SUCCESS,FAILURE");
    for (ret, outcome, returned) in [
        (None, bounced(), false),
        (Some(Ret::Headers), bounced(), false),
        (Some(Ret::Full), bounced(), true),
        (Some(Ret::Full), delivered(), false),
    ] {
        message.envelope.ret = ret;
        let outcomes = [(0, outcome)];
        let owed = owed(&message, &[], &outcomes, Handed::WithoutReports).unwrap();
        assert_eq!(returns_content(&message, &owed), returned);
    }
}

#[test]
fn a_report_comes_from_nobody() {
    for (from, to, smtputf8) in
        [("<a@b.example>", "x@y.example", false), ("<ä@b.example>", "x@y.example", true), ("<a@b.example>", "ü@y.example", false)]
    {
        let mut message = message(from, &[to]);
        let outcomes = [(0, bounced())];
        let envelope = envelope(&owed(&message, &[], &outcomes, Handed::WithReports).unwrap());
        assert_eq!((envelope.reverse_path.is_null(), envelope.smtputf8), (true, smtputf8));
        message.envelope = envelope;
        assert!(told(&message, &outcomes).is_none(), "so its own failure is told to nobody");
    }
}
