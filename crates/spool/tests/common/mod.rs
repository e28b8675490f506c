//! What the tests of this crate share.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod disk;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use postrider_model::doors::{Receipt, Spool, SpoolTrouble, SuppressedMailbox, Suppression, SuppressionCause};
use postrider_model::{
    Arrival, BodyType, Diagnosis, Envelope, Message, MessageId, Notice, Outcome, Parcel, Phase, Priority, Protocol, Reason, Recipient,
    Role, Settlement, StreamName, TenantName, Timestamp, Trouble,
};
use postrider_smtp::{Mailbox, Reply, ReversePath};
use postrider_spool::Options;

/// A folder of its own that goes at the end.
pub struct Room(PathBuf);

impl Room {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn room(name: &str) -> Room {
    let path = std::env::temp_dir().join(format!("postrider-spool-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    Room(path)
}

/// Small segments, nothing zero-filled.
pub fn options(room: &Room) -> Options {
    Options { segment_octets: 1024 * 1024, reserve_octets: 0, zero_fill: false, ..Options::new(room.path()) }
}

pub fn message(nth: u64, at_ms: u64, recipients: &[&str]) -> Message {
    let at = Timestamp::from_millis(at_ms);
    let mut entropy = [0; 10];
    entropy[2..].copy_from_slice(&nth.to_be_bytes());
    Message {
        id: MessageId::new(at, entropy),
        tenant: TenantName::new("shop"),
        stream: StreamName::new("news"),
        envelope: Envelope::new(ReversePath::parse("<sender@shop.example>").unwrap(), BodyType::SevenBit, false),
        arrival: Arrival {
            at,
            role: Role::Submission,
            peer: Some([192, 0, 2, 1].into()),
            hello: "client.example".into(),
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

pub async fn accept(spool: &dyn Spool, mut message: Message, content: &[u8]) -> Result<Receipt, SpoolTrouble> {
    let mut staging = spool.stage(Some(content.len() as u64)).await?;
    for chunk in content.chunks(16 * 1024) {
        if staging.append(chunk) {
            staging.drain().await?;
        }
    }
    let staged = staging.finish().await?;
    message.content_octets = staged.octets;
    spool.accept(Arc::new(message), staged).await
}

pub fn notice(mailbox: &str, since_ms: u64) -> Notice {
    let suppression = Suppression {
        tenant: "shop".into(),
        stream: "news".into(),
        mailbox: SuppressedMailbox::of(&Mailbox::parse(mailbox).unwrap()),
        since: Timestamp::from_millis(since_ms),
        cause: SuppressionCause::OneClick,
        message: None,
        reason: "".into(),
    };
    Notice::Suppressed { suppression: Arc::new(suppression), peer: None }
}

pub fn diagnosis(at: Timestamp) -> Diagnosis {
    let reason = Reason::Trouble(Trouble::ConnectFailed("refused".into()));
    Diagnosis { at, phase: Phase::Connect, reason, remote: Some("mx.one.example".into()), address: None }
}

/// Settles all of a parcel alike.
pub fn settled(parcel: &Parcel, at: Timestamp, outcome: &Outcome) -> Settlement {
    let outcomes = parcel.deliveries.iter().map(|delivery| (delivery.index, outcome.clone())).collect();
    Settlement { loan: parcel.loan, message: parcel.message, at, attempt: None, outcomes, report: None }
}

pub fn delivered(parcel: &Parcel, at: Timestamp) -> Settlement {
    settled(parcel, at, &Outcome::Delivered { reply: Reply::new(250, None, "taken") })
}

pub fn deferred(parcel: &Parcel, at: Timestamp, due: Timestamp) -> Settlement {
    settled(parcel, at, &Outcome::Deferred { due, diagnosis: diagnosis(at), delay_told: false })
}

/// Polls a future, pumping the spool between polls, until it is ready. `None`: it will never be.
pub fn drive<T>(spool: &postrider_spool::EmbeddedSpool, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..10_000 {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        spool.pump();
    }
    None
}

/// Segments of 64 KiB, pumped by hand.
pub fn tiny() -> Options {
    Options {
        segment_octets: 64 * 1024,
        reserve_octets: 0,
        reserve_segments: 2,
        pool_segments: 4,
        zero_fill: false,
        new_log_id: Some(7),
        events_in_memory: 16,
        ..Options::new("memory")
    }
}
