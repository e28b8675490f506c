//! The head of a message, made at the attempt from stored facts (ARCHITECTURE.md, "One stored body, heads made late").

use postrider_mail::trace::{Received, With};
use postrider_model::policy::Snapshot;
use postrider_model::{Message, Protocol, Role};

/// Our trace field (RFC 5321 §4.4). The recipient is named only where there is one, so that no blind copy shows (RFC 5321 §7.2).
pub(crate) fn head(snapshot: &Snapshot, message: &Message) -> Vec<u8> {
    let arrival = &message.arrival;
    let with = match (arrival.role, arrival.protocol) {
        (Role::Report | Role::Local, _) | (_, Protocol::Local) => With::Local,
        (Role::Submission | Role::Relay, Protocol::Smtp) => With::Smtp,
        (Role::Submission | Role::Relay, Protocol::Esmtp) => With::Esmtp,
    };
    let id = message.id.to_string();
    let recipient = match message.recipients.as_slice() {
        [only] => Some(only.forward_path().to_string()),
        _ => None,
    };
    let mut head = Vec::with_capacity(384);
    let received = Received {
        hello: &arrival.hello,
        peer: arrival.peer,
        by: &snapshot.host_name,
        with,
        tls: arrival.tls.as_deref(),
        authenticated: arrival.credential.is_some(),
        smtputf8: message.envelope.smtputf8,
        id: &id,
        recipient: recipient.as_deref(),
        at: arrival.at.seconds(),
    };
    received.write(&mut head);
    head
}
