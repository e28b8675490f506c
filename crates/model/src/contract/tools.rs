//! Small makers for the laws.

use std::sync::Arc;

use postrider_smtp::{Host, Mailbox, Reply, ReversePath};

use crate::doors::{LendLimit, Spool, SpoolTrouble, SuppressedMailbox, Suppression, SuppressionCause};
use crate::{
    Arrival, BodyType, Content, Diagnosis, Envelope, Group, Message, MessageId, Notice, Outcome, Parcel, Phase, Priority, Protocol, Reason,
    Recipient, Role, Settlement, StreamName, TenantName, Timestamp, Trouble,
};

pub(super) const ALL: LendLimit = LendLimit { parcels: 1_000, recipients_per_parcel: 100 };

pub(super) fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(super) fn host(text: &str) -> Host {
    Host::parse(text).expect("a host")
}

pub(super) fn group(text: &str) -> Group {
    Group::Host(host(text))
}

/// A message that arrived at `millis`; the number makes its id unlike others.
pub(super) fn message(number: u8, millis: u64, recipients: &[&str]) -> Message {
    Message {
        id: MessageId::new(at(millis), [number; 10]),
        tenant: TenantName::new("tenant"),
        stream: StreamName::new("stream"),
        envelope: Envelope::new(ReversePath::parse("<sender@example.org>").expect("a path"), BodyType::EightBitMime, false),
        arrival: Arrival {
            at: at(millis),
            role: Role::Submission,
            peer: None,
            hello: "client.example.org".into(),
            protocol: Protocol::Esmtp,
            tls: Some("TLSv1.3".into()),
            credential: None,
        },
        priority: Priority::Normal,
        deadline: None,
        release_at: None,
        mend: Default::default(),
        body_hash: None,
        held: None,
        recipients: recipients.iter().map(|text| Recipient::new(Mailbox::parse(text).expect("a mailbox"))).collect(),
        content_octets: 0,
    }
}

pub(super) async fn accept(spool: &dyn Spool, mut message: Message, content: &[u8]) -> Arc<Message> {
    let mut staging = spool.stage(None).await.expect("room for a content");
    for chunk in content.chunks(10_000) {
        if staging.append(chunk) {
            staging.drain().await.expect("room for a content");
        }
    }
    let staged = staging.finish().await.expect("a staged content");
    assert_eq!(staged.octets, content.len() as u64);
    message.content_octets = staged.octets;
    let message = Arc::new(message);
    let receipt = spool.accept(message.clone(), staged).await.expect("custody");
    assert_eq!((receipt.message, receipt.at), (message.id, message.arrival.at));
    message
}

pub(super) fn notice(millis: u64) -> Notice {
    let suppression = Suppression {
        tenant: TenantName::new("tenant"),
        stream: StreamName::new("stream"),
        mailbox: SuppressedMailbox::of(&Mailbox::parse("a@one.example").expect("a mailbox")),
        since: at(millis),
        cause: SuppressionCause::OneClick,
        message: None,
        reason: "".into(),
    };
    Notice::Suppressed { suppression: Arc::new(suppression), peer: None }
}

pub(super) async fn content_of(spool: &dyn Spool, id: MessageId) -> Result<(Arc<Message>, Vec<u8>), SpoolTrouble> {
    let opened = spool.open(id).await?;
    Ok((opened.message, octets_of(opened.content).await?))
}

pub(super) async fn octets_of(content: Content) -> Result<Vec<u8>, SpoolTrouble> {
    let mut octets = Vec::new();
    match content {
        Content::Held(held) => octets.extend_from_slice(&held),
        Content::Streamed(mut source) => {
            while let Some(chunk) = source.next().await? {
                assert!(!chunk.is_empty() && chunk.len() <= 256 * 1024);
                octets.extend_from_slice(&chunk);
            }
        }
    }
    Ok(octets)
}

pub(super) fn settled(parcel: &Parcel, millis: u64, outcome: &Outcome) -> Settlement {
    let outcomes = parcel.deliveries.iter().map(|delivery| (delivery.index, outcome.clone())).collect();
    Settlement { loan: parcel.loan, message: parcel.message, at: at(millis), attempt: None, outcomes, report: None }
}

pub(super) fn delivered() -> Outcome {
    Outcome::Delivered { reply: Reply::new(250, None, "taken") }
}

pub(super) fn bounced(millis: u64) -> Outcome {
    Outcome::Bounced { diagnosis: diagnosis(millis) }
}

pub(super) fn deferred(millis: u64, due: u64) -> Outcome {
    Outcome::Deferred { due: at(due), diagnosis: diagnosis(millis), delay_told: false }
}

fn diagnosis(millis: u64) -> Diagnosis {
    let reason = Reason::Trouble(Trouble::Expired);
    Diagnosis { at: at(millis), phase: Phase::Local, reason, remote: None, address: None }
}
