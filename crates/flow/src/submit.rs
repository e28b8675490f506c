//! Taking custody: from a complete transaction to a receipt. SMTP and the control socket meet here.

use std::net::IpAddr;
use std::sync::Arc;

use postrider_core::{plan, times};
use postrider_mail::{HeaderFacts, HeaderWatch};
use postrider_model::doors::{Judged, Judgement, OnHold, Principal, Receipt, SpoolTrouble, Staged};
use postrider_model::limits::JUDGED_HEADER_OCTETS_MAX;
use postrider_model::{Arrival, Envelope, Message, MessageId, Protocol, Recipient, Role, Timestamp};
use postrider_smtp::Reply;
use postrider_smtp::wishes::Hold;

use crate::Doors;
use crate::allowed::Meters;
use crate::{preflight, sign};

/// A complete transaction, before anything is promised.
#[derive(Debug)]
pub(crate) struct Submission {
    /// The id it was judged under, when it was.
    pub(crate) id: Option<MessageId>,
    /// It is to be held from its first moment on, for this reason.
    pub(crate) held: Option<String>,
    pub(crate) principal: Principal,
    pub(crate) role: Role,
    pub(crate) envelope: Envelope,
    /// Not to be sent before.
    pub(crate) hold: Option<Hold>,
    /// Nor before there is room under its allowance, and when that is.
    pub(crate) waits_until: Option<Timestamp>,
    pub(crate) recipients: Vec<Recipient>,
    /// What the content was found to be.
    pub(crate) facts: HeaderFacts,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) hello: Box<str>,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<Box<str>>,
}

/// What looks at a content of this role and sender while it arrives: as much of it as its judges and its signatures will ask for.
///
/// # Errors
/// When it cannot be said now.
pub(crate) async fn watch(doors: &Doors, role: Role, principal: Option<&Principal>) -> Result<HeaderWatch, Reply> {
    let watch = match preflight::keeps_header(doors, role, principal).await? {
        true => HeaderWatch::keeping_header(JUDGED_HEADER_OCTETS_MAX),
        false => HeaderWatch::new(),
    };
    Ok(if sign::concerns(doors, role) { watch.hashing_body() } else { watch })
}

/// Adds a mailbox that several names lead to.
pub(crate) fn push_once(recipients: &mut Vec<Recipient>, end: Recipient) {
    if !recipients.iter().any(|other| other.mailbox == end.mailbox) {
        recipients.push(end);
    }
}

/// A fresh id.
pub(crate) fn new_id(doors: &Doors) -> MessageId {
    let mut octets = [0; 10];
    doors.entropy.fill(&mut octets);
    MessageId::new(doors.clock.now(), octets)
}

/// Finds room for the submission under its allowances; what has none now waits. It is counted before custody, so what the spool then refuses has counted, too.
///
/// # Errors
/// When it is refused for now.
pub(crate) fn find_room(doors: &Doors, meters: &Meters, submission: &mut Submission) -> Result<(), Reply> {
    let now = doors.clock.now();
    if let Some(waits) = meters.take(&submission.principal, submission.recipients.len(), now)? {
        submission.waits_until = Some(waits.until);
        let text = format!("waits until {}: {}", waits.until, waits.why);
        let judged = Judged { judge: "allowance", judgement: Judgement::Held, peer: submission.peer, message: submission.id, text: &text };
        doors.log.judged(&judged);
    }
    Ok(())
}

/// Gives the submission an id and hands it to the spool. `Ok` means that it is on stable storage.
pub(crate) async fn take_custody(doors: &Doors, submission: Submission, content: Staged) -> Result<Receipt, SpoolTrouble> {
    let id = submission.id.unwrap_or_else(|| new_id(doors));
    let arrived_at = id.accepted_at();
    let release_at = times::release_at(submission.hold, arrived_at).max(submission.waits_until);
    let given_up_at = submission.principal.give_up_after.map(|time| release_at.unwrap_or(arrived_at).after(time));
    let message = Message {
        id,
        tenant: submission.principal.tenant,
        stream: submission.principal.stream,
        priority: times::priority(submission.principal.priority, submission.envelope.mt_priority),
        deadline: times::sooner(times::deadline(submission.envelope.deliver_by, arrived_at), given_up_at),
        release_at,
        envelope: submission.envelope,
        arrival: Arrival {
            at: arrived_at,
            role: submission.role,
            peer: submission.peer,
            hello: submission.hello,
            protocol: submission.protocol,
            tls: submission.tls,
            credential: submission.principal.credential,
        },
        recipients: submission.recipients,
        mend: plan::mend(submission.role, &submission.facts),
        body_hash: submission.facts.body_hash,
        held: submission.held.map(|reason| OnHold { since: arrived_at, reason: reason.into() }),
        content_octets: content.octets,
    };
    // The line is made of the facts, and written only when they are true.
    let facts = Arc::new(message);
    let receipt = doors.spool.accept(facts.clone(), content).await?;
    doors.log.accepted(&facts);
    Ok(receipt)
}
