//! The mail log: one greppable line for each acceptance, attempt, refusal and alarm.
//!
//! **Promises.** A line is one line: whatever a peer or a client said is escaped, so that nobody forges a line, a field, or a terminal's
//! colours. The call formats into a buffer that is used again and hands it over; one thread writes, many lines at a time. The mail never
//! waits for the log: when what is not yet written exceeds [`writer::PENDING_OCTETS_MAX`] (the disk or the pipe stands still), lines are
//! dropped, and the next line says how many.
//!
//! **Never** holds a secret or a message's content.
//!
//! **Does badly.** A line may be a fiftieth of a second late, and the lines of that time are lost when the process is killed; the spool's
//! journal is the record that counts.
//!
//! For people (`logfmt`), a value stands bare when it is plain and in double quotes otherwise:
//! ```text
//! 2026-11-23T20:37:00.000Z accepted id=… tenant=shop stream=receipts from=<a@shop.example> to=<b@c.example> nrcpt=1 size=10240 client=192.0.2.7 …
//! 2026-11-23T20:37:00.041Z delivered id=…/0 to=<b@c.example> host=mx.c.example addr=198.51.100.2:25 tls="TLSv1.3 …" reply="250 2.0.0 queued" delay=0.041
//! ```
//! For machines, the same members as one JSON object, with `time` and `event`.

mod line;
#[cfg(test)]
mod tests;
mod writer;

use std::cell::RefCell;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use postrider_model::doors::{Clock, Judged, Judgement, MailLog, Suppression};
use postrider_model::{AttemptFacts, Diagnosis, Message, MessageId, Outcome, Phase, Reason, Role};
use postrider_smtp::Reply;

use crate::shown::Clean;
use line::{Line, LineMaker};
pub use writer::{Sink, Writer};

/// The mail log over a writer.
pub struct LineLog {
    writer: Arc<Writer>,
    clock: Arc<dyn Clock>,
    json: bool,
}

impl LineLog {
    /// A log that writes through `writer`, as JSON or for people.
    pub fn new(writer: Arc<Writer>, clock: Arc<dyn Clock>, json: bool) -> Self {
        Self { writer, clock, json }
    }

    fn write(&self, event: &str, fill: impl FnOnce(&mut Line<'_>)) {
        thread_local! {
            static MAKER: RefCell<LineMaker> = RefCell::default();
        }
        MAKER.with_borrow_mut(|maker| maker.make(self.json, self.clock.now(), event, fill, |line| self.writer.append(line)));
    }
}

impl MailLog for LineLog {
    fn accepted(&self, message: &Message) {
        self.write("accepted", |line| {
            line.id(message.id, None);
            line.text("tenant", message.tenant.as_str());
            line.text("stream", message.stream.as_str());
            match message.envelope.reverse_path.mailbox() {
                Some(mailbox) => line.path("from", mailbox),
                None => line.word("from", "<>"),
            }
            if let Some(first) = message.recipients.first() {
                line.path("to", &first.mailbox);
            }
            line.number("nrcpt", message.recipients.len() as u64);
            line.number("size", message.content_octets);
            line.word("role", role(message.arrival.role));
            if let Some(peer) = message.arrival.peer {
                line.plain("client", peer);
            }
            if !message.arrival.hello.is_empty() {
                line.text("hello", &message.arrival.hello);
            }
            if let Some(credential) = &message.arrival.credential {
                line.text("user", credential.as_str());
            }
            if let Some(tls) = &message.arrival.tls {
                line.text("tls", tls);
            }
        });
    }

    fn attempted(&self, message: &Message, index: u32, attempt: Option<&AttemptFacts>, outcome: &Outcome) {
        let event = match outcome {
            Outcome::Delivered { .. } => "delivered",
            Outcome::Deferred { .. } => "deferred",
            Outcome::Bounced { .. } => "bounced",
        };
        self.write(event, |line| {
            line.id(message.id, Some(index));
            if let Some(recipient) = message.recipients.get(index as usize) {
                line.path("to", &recipient.mailbox);
            }
            line.text("tenant", message.tenant.as_str());
            line.text("stream", message.stream.as_str());
            if let Some(attempt) = attempt {
                facts(line, attempt);
            }
            match outcome {
                Outcome::Delivered { reply } => line.shown("reply", reply),
                Outcome::Deferred { due, diagnosis: said, delay_told: _ } => {
                    diagnosis(line, said);
                    line.plain("due", due);
                }
                Outcome::Bounced { diagnosis: said } => diagnosis(line, said),
            }
            line.seconds("delay", self.clock.now().since(message.arrival.at));
        });
    }

    fn refused(&self, peer: IpAddr, what: &str, reply: &Reply) {
        self.write("refused", |line| {
            line.plain("client", peer);
            line.quoted("what", what);
            line.shown("reply", reply);
        });
    }

    fn judged(&self, judged: &Judged<'_>) {
        if judged.judgement == Judgement::Passed {
            return;
        }
        self.write(judged.judgement.word(), |line| {
            if let Some(id) = judged.message {
                line.id(id, None);
            }
            line.text("by", judged.judge);
            if let Some(peer) = judged.peer {
                line.plain("client", peer);
            }
            if !judged.text.is_empty() {
                line.quoted("text", judged.text);
            }
        });
    }

    fn suppressed(&self, suppression: &Suppression, peer: Option<IpAddr>) {
        self.write("suppressed", |line| {
            if let Some(id) = suppression.message {
                line.id(id, None);
            }
            line.text("to", suppression.mailbox.as_str());
            line.text("tenant", suppression.tenant.as_str());
            line.text("stream", suppression.stream.as_str());
            line.word("by", suppression.cause.word());
            if let Some(peer) = peer {
                line.plain("client", peer);
            }
            if !suppression.reason.is_empty() {
                line.quoted("text", &suppression.reason);
            }
        });
    }

    fn alarm(&self, message: Option<MessageId>, text: &str) {
        say_alarm(message, text);
        self.write("alarm", |line| {
            if let Some(id) = message {
                line.id(id, None);
            }
            line.quoted("text", text);
        });
    }
}

/// An alarm in the program's own log.
pub fn say_alarm(message: Option<MessageId>, text: &str) {
    match message {
        Some(id) => tracing::error!("alarm about {id}: {}", Clean(text)),
        None => tracing::error!("alarm: {}", Clean(text)),
    }
}

fn facts(line: &mut Line<'_>, attempt: &AttemptFacts) {
    if let Some(host) = &attempt.host {
        line.text("host", host);
    }
    if let Some(address) = attempt.address {
        line.plain("addr", address);
    }
    line.text("source", attempt.source.as_str());
    if let Some(tls) = &attempt.tls {
        let trusted = if tls.trusted { "trusted" } else { "untrusted" };
        line.shown("tls", format_args!("{} {} {trusted}", tls.version, tls.cipher));
    }
    line.number("attempt_ms", attempt.duration_ms);
}

fn diagnosis(line: &mut Line<'_>, said: &Diagnosis) {
    line.plain("status", said.status());
    line.word("phase", phase(said.phase));
    match &said.reason {
        Reason::Reply(reply) => line.shown("reply", reply),
        Reason::Trouble(trouble) => line.shown("reason", trouble as &dyn Display),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Submission => "submission",
        Role::Relay => "relay",
        Role::Report => "report",
        Role::Local => "local",
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Route => "route",
        Phase::Connect => "connect",
        Phase::Greeting => "greeting",
        Phase::Hello => "ehlo",
        Phase::StartTls => "starttls",
        Phase::Auth => "auth",
        Phase::Mail => "mail",
        Phase::Recipient => "rcpt",
        Phase::Data => "data",
        Phase::Content => "content",
        Phase::EndOfData => "end-of-data",
        Phase::Local => "local",
    }
}
