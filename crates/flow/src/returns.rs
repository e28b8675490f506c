//! The report a settlement owes, made before the settlement is handed over, so that both go to disk as one (docs/custody.md, instant 3).

use std::sync::Arc;

use bytes::Bytes;
use postrider_core::local::{self, Resolved};
use postrider_core::retry::{self, Life};
use postrider_core::returns::{self, Handed, News, Owed};
use postrider_mail::HeaderWatch;
use postrider_mail::dsn::{self, Action, RecipientReport, Words};
use postrider_model::policy::Snapshot;
use postrider_model::{
    Arrival, BodyType, Content, Mend, Message, Outcome, Parcel, Priority, Protocol, Reason, Recipient, Report, Role, Timestamp,
};
use postrider_smtp::EnhancedStatus;

use crate::Doors;
use crate::render;
use crate::submit::new_id;

/// Who took what was delivered.
pub(crate) struct Taker {
    pub(crate) handed: Handed,
    pub(crate) host: Option<Arc<str>>,
}

impl Taker {
    /// Nothing was delivered.
    pub(crate) fn nobody() -> Self {
        Self { handed: Handed::WithoutReports, host: None }
    }
}

/// The report these outcomes owe to the message's sender, if they owe one.
pub(crate) async fn report(
    doors: &Doors,
    snapshot: &Snapshot,
    message: &Message,
    parcel: &Parcel,
    outcomes: &[(u32, Outcome)],
    taker: Taker,
) -> Option<Report> {
    let owed = returns::owed(message, &parcel.deliveries, outcomes, taker.handed)?;
    let original = match doors.spool.open(message.id).await {
        Ok(opened) => beginning(opened.content).await,
        // A report without the header is better than none.
        Err(_) => Bytes::new(),
    };
    let until = retry::last_instant(&snapshot.retry, &Life::of(parcel));
    Some(Composer { doors, snapshot, message, owed: &owed, original: &original, until, taker: taker.host }.compose())
}

/// As much of the content as a report may quote.
async fn beginning(content: Content) -> Bytes {
    match content {
        Content::Held(octets) => octets.slice(..octets.len().min(dsn::RETURNED_OCTETS_MAX)),
        Content::Streamed(mut source) => source.next().await.ok().flatten().unwrap_or_default(),
    }
}

struct Composer<'a> {
    doors: &'a Doors,
    snapshot: &'a Snapshot,
    message: &'a Message,
    owed: &'a Owed<'a>,
    original: &'a [u8],
    /// What is delayed is tried until then.
    until: Timestamp,
    taker: Option<Arc<str>>,
}

impl Composer<'_> {
    fn compose(&self) -> Report {
        let Self { doors, snapshot, message, owed, original, .. } = self;
        let id = new_id(doors);
        let texts: Vec<_> = owed.told.iter().map(|told| Texts::new(told, self.until, id.accepted_at(), &self.taker)).collect();
        let mut header = HeaderWatch::new();
        header.feed(original);
        let facts = header.finish();
        let name = snapshot.host_name.as_str();
        let given_id = message.mend.message_id.then(|| format!("<{}>", render::message_id(snapshot, message.id)));
        let report = dsn::Report {
            boundary: &format!("={:032x}", id.0),
            message_id: &format!("<{id}@{name}>"),
            date: id.accepted_at().seconds(),
            from: &format!("MAILER-DAEMON@{name}"),
            to: &owed.to.to_string(),
            reporting_mta: name,
            arrival_date: message.arrival.at.seconds(),
            id: &message.id.to_string(),
            envelope_id: message.envelope.envid.as_deref(),
            original_message_id: facts.message_id_text.as_deref().or(given_id.as_deref()),
            recipients: texts.iter().map(Texts::report).collect(),
            original,
            returns_content: returns::returns_content(message, owed) && original.len() as u64 == message.content_octets,
        };
        let content = Bytes::from(report.render());
        // A sender here may be an alias. One that nobody has any more is found out where the report is delivered.
        let ends = match local::resolve(&snapshot.routing, owed.to) {
            Resolved::To(ends) => ends,
            Resolved::Foreign | Resolved::Unknown => vec![owed.to.clone()],
        };
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
            release_at: None,
            recipients: ends.into_iter().map(Recipient::new).collect(),
            mend: Mend::default(),
            body_hash: None,
            held: None,
            content_octets: content.len() as u64,
        };
        Report { message: Arc::new(message), content }
    }
}

/// What is said of one recipient, as text.
struct Texts {
    recipient: String,
    original: Option<String>,
    action: Action,
    words: String,
    remote: bool,
    host: Option<Arc<str>>,
    status: EnhancedStatus,
    at: Timestamp,
    until: Option<Timestamp>,
}

impl Texts {
    fn new(told: &returns::Told<'_>, until: Timestamp, now: Timestamp, taker: &Option<Arc<str>>) -> Self {
        let taken = |action, reply: &postrider_smtp::Reply| {
            (action, reply.to_string(), true, taker.clone(), reply.status().unwrap_or(EnhancedStatus::new(2, 0, 0)), now)
        };
        let failed = |action, diagnosis: &postrider_model::Diagnosis| {
            let remote = matches!(diagnosis.reason, Reason::Reply(_));
            (action, diagnosis.describe(), remote, diagnosis.remote.clone(), diagnosis.status(), diagnosis.at)
        };
        let (action, words, remote, host, status, at) = match told.news {
            News::Failed(diagnosis) => failed(Action::Failed, diagnosis),
            News::Delayed(diagnosis) => failed(Action::Delayed, diagnosis),
            News::Relayed(reply) => taken(Action::Relayed, reply),
            News::Delivered(reply) => taken(Action::Delivered, reply),
        };
        let original = told.recipient.original.as_ref().map(|original| format!("{};{}", original.address_type, original.address));
        let until = (action == Action::Delayed).then_some(until);
        Self { recipient: told.recipient.mailbox.to_string(), original, action, words, remote, host, status, at, until }
    }

    fn report(&self) -> RecipientReport<'_> {
        RecipientReport {
            final_recipient: &self.recipient,
            original_recipient: self.original.as_deref(),
            action: self.action,
            status: (self.status.class, self.status.subject, self.status.detail),
            remote_mta: self.host.as_deref(),
            words: Some(if self.remote { Words::Remote(&self.words) } else { Words::Ours(&self.words) }),
            last_attempt: Some(self.at.seconds()),
            will_retry_until: self.until.map(Timestamp::seconds),
        }
    }
}
