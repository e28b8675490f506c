//! The head of a message, made at the attempt from stored facts (ARCHITECTURE.md, "One stored body, heads made late").

use postrider_mail::mend::Missing;
use postrider_mail::trace::{Received, With};
use postrider_model::policy::Snapshot;
use postrider_model::{Envelope, Mend, Message, MessageId, Protocol, Role, Timestamp};
use postrider_smtp::{Host, Mailbox};

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
    let written = Lacking { envelope: &message.envelope, id: message.id, at: message.arrival.at };
    written.complete(snapshot, message.mend, &mut head);
    head
}

/// The Message-ID of a message that has none of its own.
pub(crate) fn message_id(snapshot: &Snapshot, id: MessageId) -> String {
    format!("{id}@{}", snapshot.host_name)
}

/// What the fields are made of that a message lacks (`core::plan`).
pub(crate) struct Lacking<'a> {
    pub(crate) envelope: &'a Envelope,
    pub(crate) id: MessageId,
    pub(crate) at: Timestamp,
}

impl Lacking<'_> {
    /// Writes them.
    pub(crate) fn complete(&self, snapshot: &Snapshot, mend: Mend, head: &mut Vec<u8>) {
        if mend == Mend::default() {
            return;
        }
        // The empty line goes where the header ends (`parted`).
        let Mend { date, from, message_id: id, empty_line: _ } = mend;
        let sender = || match self.envelope.reverse_path.mailbox() {
            Some(mailbox) => written(mailbox, self.envelope.smtputf8),
            None => format!("MAILER-DAEMON@{}", snapshot.host_name),
        };
        let (from, id) = (from.then(sender), id.then(|| message_id(snapshot, self.id)));
        let missing = Missing { date: date.then(|| self.at.seconds()), from: from.as_deref(), message_id: id.as_deref() };
        missing.write(head);
    }
}

/// An address as a header may hold it: domains in letters beyond ASCII only where SMTPUTF8 was said (RFC 6532).
fn written(mailbox: &Mailbox, smtputf8: bool) -> String {
    match mailbox.host() {
        Host::Domain(domain) if !smtputf8 => format!("{}@{}", mailbox.local_part(), domain.to_ascii()),
        _ => mailbox.to_string(),
    }
}
