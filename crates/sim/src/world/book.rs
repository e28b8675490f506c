//! The book: every observed fact with its time, and one number that stands for all of it.

use std::fmt::{self, Write};
use std::net::IpAddr;

use postrider_model::{DeliveryId, MessageId, Timestamp};

/// What became of one transaction, as its client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The end of data was answered with 250; the id it named.
    Positive(Option<MessageId>),
    /// A negative reply, to whatever.
    Refused(u16),
    /// The final dot was sent, and no reply came.
    Unknown,
    /// It broke off before the final dot.
    Broken,
}

/// One transaction that a client began, with a token of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The token in its header.
    pub token: String,
    /// Which mail of which client it is a try of.
    pub mail: (usize, usize),
    /// Whose mail.
    pub tenant: String,
    /// The reverse-path; empty when null.
    pub reverse_path: String,
    /// The recipients that were answered with 250.
    pub recipients: Vec<String>,
    /// What became of it.
    pub verdict: Verdict,
}

/// The terminal word of the mail log on one recipient, or a deferral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered.
    Delivered,
    /// Deferred until then.
    Deferred(Timestamp),
    /// Bounced.
    Bounced,
}

/// Who or what an outcome that is no delivery goes back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It was delivered.
    None,
    /// Somebody replied; before MAIL a reply speaks of the host and not of the mail.
    Reply {
        /// The code.
        code: u16,
        /// The session did not stand yet.
        before_mail: bool,
    },
    /// The DNS says that nobody takes mail there.
    Absent,
    /// Its time has passed.
    Late,
    /// The recipient wants no mail of this stream.
    Silence,
    /// Trouble of the world.
    Trouble,
}

/// An event of the journal, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalEvent {
    /// Custody began.
    Accepted {
        /// The message.
        message: MessageId,
        /// How many recipients.
        recipients: usize,
        /// What it reports on, when it is a report.
        reports_on: Option<MessageId>,
    },
    /// An outcome.
    Settled {
        /// The delivery.
        delivery: DeliveryId,
        /// What became of it.
        outcome: Outcome,
    },
    /// A word of silence.
    Suppressed {
        /// Whose, of which stream ([`who`]).
        who: u64,
    },
}

/// One number for an address that a stream does not write to.
pub fn who(tenant: &str, stream: &str, mailbox: &str) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    let _ = write!(hash, "{tenant}/{stream}/{mailbox}");
    hash.0
}

/// One observed fact.
#[derive(Clone, PartialEq, Eq)]
pub enum Fact {
    /// A relay began to run.
    LifeBegan(u32),
    /// It ended, and how.
    LifeEnded(String),
    /// The disk failed a sync; what it held may be lost.
    SyncFailed {
        /// It was none of a content, whose client is simply refused: most of these poison the log.
        poisons: bool,
    },
    /// The scenario changed the weather.
    Changed(String),
    /// Another policy rules, with so many connections for each remote.
    Reloaded(Vec<u32>),
    /// A stream (`tenant/stream`) is sent from these addresses alone; `None`: from all.
    Pooled(&'static str, Option<Vec<IpAddr>>),
    /// A delivery that was acknowledged and has not ended, and of which `explain` knows nothing.
    Invisible {
        /// The message.
        message: MessageId,
        /// The recipient's index.
        index: u32,
    },
    /// A transaction of a client ended.
    Offered(Box<Offered>),
    /// Somebody who asked a stream for silence heard that it has it.
    Silenced {
        /// The stream, as clients name it.
        user: String,
        /// Who.
        mailbox: String,
    },
    /// The mail log: custody began.
    Accepted(MessageId),
    /// The mail log: an outcome.
    Attempted {
        /// The message.
        message: MessageId,
        /// The recipient's index.
        index: u32,
        /// A report of the relay itself.
        report: bool,
        /// The reverse-path; empty when null.
        reverse_path: String,
        /// The recipient.
        recipient: String,
        /// What became of it.
        outcome: Outcome,
        /// In its words.
        why: String,
        /// Why it is no delivery.
        cause: Cause,
        /// When the attempt began, when there was one.
        began: Option<Timestamp>,
    },
    /// The journal: an event, durable when it is read.
    Journal {
        /// Its place.
        sequence: u64,
        /// What it says.
        event: JournalEvent,
    },
    /// The journal shows another event where it had shown one before.
    Rewritten(u64),
    /// The mail log: a refusal to a client.
    RefusedClient(String),
    /// The mail log: an alarm.
    Alarm(String),
    /// The relay opened a connection to a remote.
    Opened {
        /// Which remote.
        remote: usize,
        /// From which address of the relay.
        source: IpAddr,
        /// The connection's number.
        connection: u64,
    },
    /// The relay let it go.
    Closed {
        /// The connection's number.
        connection: u64,
    },
    /// A remote took the message number `nth` of its ledger.
    Taken {
        /// Which remote.
        remote: usize,
        /// Which message.
        nth: usize,
        /// Its token.
        token: Option<String>,
    },
    /// The relay has read the whole positive reply to it.
    Confirmed {
        /// Which remote.
        remote: usize,
        /// Which message.
        nth: usize,
    },
    /// How the schedule stands at a Site.
    Window {
        /// The Site.
        site: String,
        /// Connections open.
        connections: u32,
        /// The window.
        window: u32,
    },
    /// How many deliveries wait.
    Queue(u64),
    /// What the disk still holds when no delivery waits any more.
    Rest {
        /// Files under `contents/`.
        contents: usize,
        /// Segments in use.
        segments: u64,
    },
}

impl fmt::Debug for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::LifeBegan(life) => write!(f, "life {life} began"),
            Fact::LifeEnded(how) => write!(f, "life ended: {how}"),
            Fact::SyncFailed { poisons } => write!(f, "sync failed{}", if *poisons { "" } else { ", of a content" }),
            Fact::Changed(what) => write!(f, "change: {what}"),
            Fact::Reloaded(limits) => write!(f, "reloaded: {limits:?} connections"),
            Fact::Pooled(stream, addresses) => write!(f, "{stream} is sent from {addresses:?}"),
            Fact::Invisible { message, index } => write!(f, "{message}/{index} is not explained"),
            Fact::Offered(o) => write!(f, "offered {} <{}> {:?} {:?}", o.token, o.reverse_path, o.recipients, o.verdict),
            Fact::Silenced { user, mailbox } => write!(f, "{user} does not write to <{mailbox}> any more"),
            Fact::Accepted(id) => write!(f, "log accepted {id}"),
            Fact::Attempted { message, index, report, reverse_path, recipient, outcome, why, cause, began } => {
                let report = if *report { " report" } else { "" };
                let began = began.map_or(0, Timestamp::millis);
                write!(f, "log {message}/{index}{report} <{reverse_path}> <{recipient}> {outcome:?}: {why} ({cause:?}, began {began})")
            }
            Fact::Journal { sequence, event } => write!(f, "journal {sequence} {event:?}"),
            Fact::Rewritten(sequence) => write!(f, "journal {sequence} rewritten"),
            Fact::RefusedClient(what) => write!(f, "log refused {what}"),
            Fact::Alarm(text) => write!(f, "log alarm: {text}"),
            Fact::Opened { remote, source, connection } => write!(f, "connection {connection} opened {source} to remote {remote}"),
            Fact::Closed { connection } => write!(f, "connection {connection} closed"),
            Fact::Taken { remote, nth, token } => write!(f, "remote {remote} took #{nth} {token:?}"),
            Fact::Confirmed { remote, nth } => write!(f, "remote {remote} confirmed #{nth}"),
            Fact::Window { site, connections, window } => write!(f, "window {site} {connections}/{window}"),
            Fact::Queue(deliveries) => write!(f, "queue {deliveries}"),
            Fact::Rest { contents, segments } => write!(f, "the disk still holds {contents} contents and {segments} segments"),
        }
    }
}

/// All facts in order.
#[derive(Debug, Default)]
pub struct Book {
    /// Facts with their times.
    pub facts: Vec<(Timestamp, Fact)>,
    hash: u64,
}

impl Book {
    /// Appends a fact.
    pub fn note(&mut self, at: Timestamp, fact: Fact) {
        let mut hash = Fnv(if self.facts.is_empty() { 0xcbf2_9ce4_8422_2325 } else { self.hash });
        // It cannot fail: nothing is stored.
        let _ = writeln!(hash, "{} {fact:?}", at.millis());
        self.hash = hash.0;
        self.facts.push((at, fact));
    }

    /// One number for the whole book: the same seed gives the same number (C8).
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// FNV-1a over what is written.
struct Fnv(u64);

impl Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for octet in text.bytes() {
            self.0 = (self.0 ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}
