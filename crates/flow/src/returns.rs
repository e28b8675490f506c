//! The report a settlement owes, made before the settlement is handed over, so that both go to disk as one (docs/custody.md, instant 3).

use std::sync::Arc;

use bytes::Bytes;
use postrider_core::returns::{self, Owed};
use postrider_mail::HeaderWatch;
use postrider_mail::dsn::{self, Action, RecipientReport, Words};
use postrider_model::policy::Snapshot;
use postrider_model::{Arrival, BodyType, Content, Message, Outcome, Priority, Protocol, Reason, Recipient, Report, Role};

use crate::Doors;
use crate::submit::new_id;

/// The report these outcomes owe to the message's sender, if they owe one.
pub(crate) async fn report(doors: &Doors, snapshot: &Snapshot, message: &Message, outcomes: &[(u32, Outcome)]) -> Option<Report> {
    let owed = returns::owed(message, outcomes)?;
    let original = match doors.spool.open(message.id).await {
        Ok(opened) => beginning(opened.content).await,
        // A report without the header is better than none.
        Err(_) => Bytes::new(),
    };
    Some(compose(doors, snapshot, message, &owed, &original))
}

/// As much of the content as a report may quote.
async fn beginning(content: Content) -> Bytes {
    match content {
        Content::Held(octets) => octets.slice(..octets.len().min(dsn::RETURNED_OCTETS_MAX)),
        Content::Streamed(mut source) => source.next().await.ok().flatten().unwrap_or_default(),
    }
}

fn compose(doors: &Doors, snapshot: &Snapshot, message: &Message, owed: &Owed<'_>, original: &[u8]) -> Report {
    let id = new_id(doors);
    let texts: Vec<_> = owed.failed.iter().map(|failed| Texts::new(failed)).collect();
    let mut header = HeaderWatch::new();
    header.feed(original);
    let facts = header.finish();
    let name = snapshot.host_name.as_str();
    let report = dsn::Report {
        boundary: &format!("={:032x}", id.0),
        message_id: &format!("<{id}@{name}>"),
        date: id.accepted_at().seconds(),
        from: &format!("MAILER-DAEMON@{name}"),
        to: &owed.to.to_string(),
        reporting_mta: name,
        arrival_date: message.arrival.at.seconds(),
        id: &message.id.to_string(),
        envelope_id: None,
        original_message_id: facts.message_id_text.as_deref(),
        recipients: texts.iter().map(Texts::report).collect(),
        original,
    };
    let content = Bytes::from(report.render());
    let mut envelope = returns::envelope(owed);
    envelope.body = if content.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime };
    let message = Message {
        id,
        tenant: message.tenant.clone(),
        stream: message.stream.clone(),
        envelope,
        arrival: Arrival {
            at: id.accepted_at(),
            role: Role::Report,
            peer: None,
            hello: "".into(),
            protocol: Protocol::Local,
            tls: None,
            credential: None,
        },
        priority: Priority::Normal,
        deadline: None,
        recipients: vec![Recipient { mailbox: owed.to.clone() }],
        content_octets: content.len() as u64,
    };
    Report { message: Arc::new(message), content }
}

/// What is said of one recipient, as text.
struct Texts {
    recipient: String,
    words: String,
    remote: bool,
    host: Option<Arc<str>>,
    status: (u8, u16, u16),
    at: u64,
}

impl Texts {
    fn new(failed: &returns::Failed<'_>) -> Self {
        let diagnosis = failed.diagnosis;
        let status = diagnosis.status();
        Self {
            recipient: failed.recipient.mailbox.to_string(),
            words: diagnosis.describe(),
            remote: matches!(diagnosis.reason, Reason::Reply(_)),
            host: diagnosis.remote.clone(),
            // A delivery that was given up is a failure whatever the last word's class was (RFC 3464 §2.3.4).
            status: (5, status.subject, status.detail),
            at: diagnosis.at.seconds(),
        }
    }

    fn report(&self) -> RecipientReport<'_> {
        RecipientReport {
            final_recipient: &self.recipient,
            original_recipient: None,
            action: Action::Failed,
            status: self.status,
            remote_mta: self.host.as_deref(),
            words: Some(if self.remote { Words::Remote(&self.words) } else { Words::Ours(&self.words) }),
            last_attempt: Some(self.at),
            will_retry_until: None,
        }
    }
}
