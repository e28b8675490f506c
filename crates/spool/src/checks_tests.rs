use std::net::SocketAddr;
use std::path::Path;

use postrider_model::doors::{OnHold, SuppressedMailbox, Suppression, SuppressionCause};
use postrider_model::{
    Arrival, AttemptFacts, BodyType, CredentialName, Diagnosis, Envelope, Mend, Message, MessageId, Notice, Phase, Priority, Protocol,
    Reason, Recipient, Role, SourceName, StreamName, TenantName, Timestamp, TlsFacts, Trouble,
};
use postrider_smtp::parameters::{Notify, OriginalRecipient, Ret};
use postrider_smtp::wishes::{DeliverBy, MtPriority};
use postrider_smtp::{EnhancedStatus, Mailbox, Reply, ReversePath};
use proptest::prelude::*;

use super::*;
use crate::alteration::{Choice, StoredAlteration, StoredChange};
use crate::forms::{FileName, State, StoredMessage, StoredOutcome, StoredSettlement};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn messages() -> Vec<Message> {
    let recipients = |texts: &[&str]| texts.iter().map(|text| Recipient::new(Mailbox::parse(text).unwrap())).collect();
    let plain = Message {
        id: MessageId(1),
        tenant: TenantName::new("a"),
        stream: StreamName::new("b"),
        envelope: Envelope::new(ReversePath::Null, BodyType::SevenBit, false),
        arrival: Arrival {
            at: at(5),
            role: Role::Report,
            peer: None,
            hello: "".into(),
            protocol: Protocol::Local,
            tls: None,
            credential: None,
        },
        priority: Priority::Low,
        deadline: None,
        release_at: None,
        mend: Default::default(),
        body_hash: None,
        held: None,
        recipients: recipients(&["a@one.example"]),
        content_octets: 0,
    };
    let full = Message {
        id: MessageId(u128::MAX),
        envelope: Envelope::new(ReversePath::parse("<\"a b\"@[IPv6:2001:db8::1]>").unwrap(), BodyType::EightBitMime, true),
        arrival: Arrival {
            at: at(u64::MAX),
            role: Role::Local,
            peer: Some("2001:db8::2".parse().unwrap()),
            hello: "héllo".into(),
            protocol: Protocol::Esmtp,
            tls: Some("TLSv1.3".into()),
            credential: Some(CredentialName::new("key")),
        },
        priority: Priority::High,
        deadline: Some(at(9)),
        release_at: None,
        recipients: recipients(&["a@one.example", "b@[192.0.2.1]", "é@bücher.example", "\"q\\\"\"@x.example"]),
        content_octets: u64::MAX,
        body_hash: Some([7; 32]),
        ..plain.clone()
    };
    let relayed = Message { arrival: Arrival { role: Role::Relay, protocol: Protocol::Smtp, ..plain.arrival.clone() }, ..plain.clone() };
    let mut wished = full.clone();
    wished.envelope.ret = Some(Ret::Headers);
    wished.envelope.envid = Some("QQ314159".into());
    wished.envelope.deliver_by = DeliverBy::parse("-7;NT");
    wished.envelope.mt_priority = MtPriority::parse("-9");
    wished.release_at = Some(at(77));
    for (recipient, notify) in wished.recipients.iter_mut().zip([(false, false, false), (true, true, true), (false, true, false)]) {
        let (success, failure, delay) = notify;
        recipient.notify = Some(Notify { success, failure, delay });
        recipient.original = Some(Box::new(OriginalRecipient { address_type: "rfc822".into(), address: "Alice@one.example".into() }));
    }
    let mut held = plain.clone();
    held.release_at = Some(at(8));
    held.mend = Mend { date: true, from: false, message_id: true, empty_line: true };
    held.held = Some(OnHold { since: at(5), reason: "odd".into() });
    let mut by_return = plain.clone();
    by_return.envelope.deliver_by = DeliverBy::parse("120;R");
    vec![plain, full, relayed, wished, held, by_return]
}

fn notices() -> Vec<Notice> {
    let clicked = Suppression {
        tenant: TenantName::new("shop"),
        stream: StreamName::new("news"),
        mailbox: SuppressedMailbox::of(&Mailbox::parse("\"A b\"@Bücher.example").unwrap()),
        since: at(9),
        cause: SuppressionCause::OneClick,
        message: Some(MessageId(4)),
        reason: "".into(),
    };
    let by_phone = Suppression { cause: SuppressionCause::Operator, message: None, reason: "by phone\n\"ü\"".into(), ..clicked.clone() };
    let suppressed = |suppression, peer| Notice::Suppressed { suppression: std::sync::Arc::new(suppression), peer };
    vec![suppressed(clicked, Some("2001:db8::2".parse().unwrap())), suppressed(by_phone, None)]
}

fn diagnoses() -> Vec<Diagnosis> {
    let name = || std::sync::Arc::<str>::from("name");
    let troubles = [
        Trouble::NoSuchDomain(name()),
        Trouble::NullMx(name()),
        Trouble::NoMailHost(name()),
        Trouble::DnsFailed(name(), "why".into()),
        Trouble::ConnectFailed(name()),
        Trouble::Dropped(name()),
        Trouble::Silent(300),
        Trouble::Protocol(name()),
        Trouble::Tls(name()),
        Trouble::Ambiguous(name()),
        Trouble::Loop(name()),
        Trouble::Expired,
        Trouble::Unsupported(name()),
        Trouble::Internal(name()),
        Trouble::Operator(name()),
        Trouble::TooLarge(name()),
        Trouble::Binary(name()),
        Trouble::Unsignable(name()),
        Trouble::Suppressed(name()),
    ];
    let phases = [Phase::Route, Phase::Connect, Phase::Greeting, Phase::Hello, Phase::StartTls, Phase::Auth, Phase::Mail, Phase::Recipient];
    let phases = phases.into_iter().chain([Phase::Data, Phase::Content, Phase::EndOfData, Phase::Local]).cycle();
    let address: SocketAddr = "[2001:db8::3]:25".parse().unwrap();
    let mut all: Vec<Diagnosis> = troubles
        .into_iter()
        .zip(phases)
        .map(|(trouble, phase)| Diagnosis { at: at(7), phase, reason: Reason::Trouble(trouble), remote: None, address: None })
        .collect();
    let reply = Reply::new(550, Some(EnhancedStatus::new(5, 7, 509)), "no\nreally");
    all.push(Diagnosis { at: at(8), phase: Phase::Data, reason: Reason::Reply(reply), remote: Some(name()), address: Some(address) });
    all
}

fn forms() -> Vec<(Kind, Form)> {
    let mut forms = Vec::new();
    let states: Vec<(u32, State)> = diagnoses()
        .into_iter()
        .enumerate()
        .map(|(nth, diagnosis)| {
            (
                nth as u32,
                State::Live {
                    due: at(3),
                    attempts: 9,
                    diagnosis: Some(diagnosis).filter(|_| nth != 0),
                    delay_told: nth % 2 == 0,
                    held: (nth % 3 == 1).then(|| OnHold { since: at(4), reason: "to be looked at".into() }),
                },
            )
        })
        .chain([(99, State::Ended)])
        .collect();
    for message in messages() {
        let file = Body::File(FileName { opening: 3, nth: u64::MAX }, 77);
        forms.push((Kind::Acceptance, Form::Acceptance(StoredMessage { message: message.clone(), body: Body::Inline })));
        let live = states[..message.recipients.len()].to_vec();
        forms.push((Kind::Checkpoint, Form::Checkpoint(StoredMessage { message: message.clone(), body: file }, live)));
        let attempt = AttemptFacts {
            started_at: at(1),
            duration_ms: 20,
            source: SourceName::new("s"),
            host: Some("mx".into()),
            address: Some("192.0.2.9:25".parse().unwrap()),
            tls: Some(TlsFacts { version: "TLSv1.2".into(), cipher: "C".into(), trusted: true }),
        };
        let mut outcomes: Vec<Outcome> = diagnoses().into_iter().map(|diagnosis| Outcome::Bounced { diagnosis }).collect();
        outcomes.extend(diagnoses().into_iter().map(|diagnosis| Outcome::Deferred {
            due: at(4),
            delay_told: diagnosis.remote.is_some(),
            diagnosis,
        }));
        outcomes.push(Outcome::Delivered { reply: Reply::new(250, None, "ok") });
        let outcomes = outcomes.into_iter().enumerate();
        let settlement = StoredSettlement {
            message: message.id,
            at: at(2),
            attempt: Some(attempt),
            outcomes: outcomes.map(|(nth, outcome)| StoredOutcome { index: nth as u32, attempts: 3, outcome }).collect(),
            report: Some(StoredMessage { message, body: Body::Inline }),
        };
        forms.push((Kind::Settlement, Form::Settlement(settlement)));
    }
    forms.push((Kind::Standing, Form::Standing(MessageId(5), states)));
    forms.push((Kind::Transferred, Form::Transferred(12)));
    forms.extend(notices().into_iter().map(|notice| (Kind::Notice, Form::Notice(notice))));
    let choices = [
        Choice::default(),
        Choice {
            messages: vec![MessageId(6)],
            tenant: Some(TenantName::new("t")),
            hosts: vec!["one.example".into(), "[192.0.2.1]".into()],
            ..Choice::default()
        },
    ];
    let dated = |choice| StoredAlteration { change: StoredChange::Due(at(11)), choice };
    forms.extend(choices.clone().map(|choice| (Kind::Alteration, Form::Alteration(dated(choice)))));
    let wide = Choice {
        messages: vec![MessageId(6), MessageId(8)],
        stream: Some(StreamName::new("s")),
        arrived_from: Some(at(1)),
        arrived_to: Some(at(2)),
        ..choices[1].clone()
    };
    let hold = OnHold { since: at(4), reason: "to be looked at".into() };
    for (change, choice) in [
        (StoredChange::Due(at(11)), wide.clone()),
        (StoredChange::Held(hold.clone()), wide),
        (StoredChange::Held(hold), Choice::default()),
        (StoredChange::Released(at(12)), choices[1].clone()),
    ] {
        forms.push((Kind::Change, Form::Alteration(StoredAlteration { change, choice })));
    }
    forms
}

#[test]
fn every_form_reads_back_and_every_cut_or_longer_one_is_damage() {
    for (kind, form) in forms() {
        let mut meta = Vec::new();
        put_form(&mut meta, &form);
        assert_eq!(Form::decode(kind, &meta).as_ref(), Ok(&form));
        for cut in 0..meta.len() {
            assert!(Form::decode(kind, &meta[..cut]).is_err(), "{kind:?} cut at {cut}");
        }
        meta.push(0);
        assert!(Form::decode(kind, &meta).is_err(), "{kind:?} with an octet more");
    }
}

#[test]
fn a_reply_of_too_many_lines_is_stored_with_a_mark() {
    let reply = Reply::new(550, None, "line\n".repeat(40));
    let outcome = Outcome::Delivered { reply };
    let mut out = Vec::new();
    crate::stored::put_outcome(&mut out, &outcome);
    let Ok(Outcome::Delivered { reply }) = crate::stored::take_outcome(&mut crate::codec::Decoder::new(&out)) else { panic!("damaged") };
    assert_eq!((reply.lines().len(), reply.lines()[15].as_str()), (16, "..."));
}

/// The corpora are these forms, and whatever fuzzing found later.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut names: Vec<_> = std::fs::read_dir(folder).expect("a corpus").map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.iter().map(|name| std::fs::read(name).unwrap()).collect()
}

#[test]
fn the_corpora_pass() {
    let (records, files, journals) = (corpus("record"), corpus("file"), corpus("journal"));
    assert!(records.len() >= 13 && files.len() >= 2 && journals.len() >= 3, "the corpora are there");
    journals.iter().for_each(|input| journal(input));
    records.iter().for_each(|input| record(input));
    files.iter().for_each(|input| file(input));
}

#[test]
fn forms_with_a_flipped_octet_do_no_harm() {
    for (kind, form) in forms() {
        let choice = Kind::ALL.iter().position(|(known, _)| *known == kind).unwrap() as u8;
        let mut input = vec![choice];
        put_form(&mut input, &form);
        record(&input);
        for nth in 1..input.len() {
            let mut damaged = input.clone();
            damaged[nth] = damaged[nth].wrapping_add(0x11);
            record(&damaged);
        }
    }
}

proptest! {
    #[test]
    fn any_octets_do_no_harm(choice in any::<u8>(), octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        file(&octets);
        journal(&octets);
        let mut input = vec![choice];
        input.extend_from_slice(&octets);
        record(&input);
    }
}

#[test]
#[ignore = "writes the corpora"]
fn write_corpora() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (nth, (kind, form)) in forms().into_iter().enumerate() {
        let choice = Kind::ALL.iter().position(|(known, _)| *known == kind).unwrap() as u8;
        let mut input = vec![choice];
        put_form(&mut input, &form);
        std::fs::write(folder.join(format!("record/{kind:?}-{nth:02}").to_lowercase()), &input).unwrap();
        let mut footer = FooterBuilder::default();
        for summary in Summary::of(form) {
            footer.add(8192, 64, &summary);
        }
        std::fs::write(folder.join(format!("file/footer-{nth:02}")), footer.finish()).unwrap();
    }
    let outcome = Outcome::Delivered { reply: Reply::new(250, None, "ok") };
    let delivery = postrider_model::DeliveryId { message: MessageId(5), index: 2 };
    let settled = postrider_model::EventKind::Settled { delivery, attempt: None, outcome };
    let accepted = messages().into_iter().map(|message| {
        let reports_on = Some(MessageId(9)).filter(|_| message.deadline.is_some());
        postrider_model::EventKind::Accepted { message: std::sync::Arc::new(message), reports_on }
    });
    let noted = notices().into_iter().map(postrider_model::EventKind::Noted);
    for (nth, kind) in accepted.chain([settled]).chain(noted).enumerate() {
        let mut event = Vec::new();
        put_event(&mut event, &postrider_model::Event { sequence: 9, at: at(3), kind });
        // The first of four frames holds it whole; `whole_file` cuts it there.
        let mut input = vec![event.len().div_ceil(4) as u8, 0, 0, 0];
        input.extend_from_slice(&event);
        std::fs::write(folder.join(format!("journal/event-{nth:02}")), &input).unwrap();
    }
}
