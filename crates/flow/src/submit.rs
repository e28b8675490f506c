//! Taking custody: from a complete transaction to a receipt. SMTP and the control socket meet here.

use std::net::IpAddr;
use std::sync::Arc;

use postrider_model::doors::{Principal, Receipt, SpoolTrouble, Staged};
use postrider_model::{Arrival, BodyType, Envelope, Message, MessageId, Protocol, Recipient, Role};
use postrider_smtp::{Mailbox, ReversePath};

use crate::Doors;

/// A complete transaction, before anything is promised.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) principal: Principal,
    pub(crate) role: Role,
    pub(crate) reverse_path: ReversePath,
    pub(crate) body: BodyType,
    pub(crate) smtputf8: bool,
    pub(crate) recipients: Vec<Mailbox>,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) hello: Box<str>,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<Box<str>>,
}

/// A fresh id.
pub(crate) fn new_id(doors: &Doors) -> MessageId {
    let mut octets = [0; 10];
    doors.entropy.fill(&mut octets);
    MessageId::new(doors.clock.now(), octets)
}

/// Gives the submission an id and hands it to the spool. `Ok` means that it is on stable storage.
pub(crate) async fn take_custody(doors: &Doors, submission: Submission, content: Staged) -> Result<Receipt, SpoolTrouble> {
    let id = new_id(doors);
    let message = Message {
        id,
        tenant: submission.principal.tenant,
        stream: submission.principal.stream,
        envelope: Envelope { reverse_path: submission.reverse_path, body: submission.body, smtputf8: submission.smtputf8 },
        arrival: Arrival {
            at: id.accepted_at(),
            role: submission.role,
            peer: submission.peer,
            hello: submission.hello,
            protocol: submission.protocol,
            tls: submission.tls,
            credential: submission.principal.credential,
        },
        priority: submission.principal.priority,
        deadline: None,
        recipients: submission.recipients.into_iter().map(|mailbox| Recipient { mailbox }).collect(),
        content_octets: content.octets,
    };
    // The line is made of the facts, and written only when they are true.
    let facts = Arc::new(message);
    let receipt = doors.spool.accept(facts.clone(), content).await?;
    doors.log.accepted(&facts);
    Ok(receipt)
}
