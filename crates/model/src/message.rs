//! What was accepted: the envelope, how it came, and the content.

use std::net::IpAddr;

use bytes::Bytes;
use postrider_smtp::parameters::{Notify, OriginalRecipient, Ret};
use postrider_smtp::wishes::{DeliverBy, MtPriority};
use postrider_smtp::{ForwardPath, Host, Mailbox, ReversePath};

use crate::doors::{OnHold, SpoolTrouble};
use crate::{BoxFuture, CredentialName, MessageId, StreamName, TenantName, Timestamp};

/// The durable facts of one message, without its content. Written once, with the acceptance, and never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id, here and everywhere.
    pub id: MessageId,
    /// Whose mail it is.
    pub tenant: TenantName,
    /// The tenant's class of mail.
    pub stream: StreamName,
    /// The reverse-path and its parameters.
    pub envelope: Envelope,
    /// How and when it came.
    pub arrival: Arrival,
    /// Before others of its lane.
    pub priority: Priority,
    /// After this instant it is not sent any more, but bounced (`None`: the retry policy's give-up time alone rules).
    pub deadline: Option<Timestamp>,
    /// Before this instant it is not sent (RFC 4865), and its age counts from it.
    pub release_at: Option<Timestamp>,
    /// One delivery for each.
    pub recipients: Vec<Recipient>,
    /// Length of the content as it stands in the spool.
    pub content_octets: u64,
    /// What is added to it when it is sent.
    pub mend: Mend,
    /// SHA-256 of the stored body in its relaxed form, taken while it arrived (RFC 6376 §3.4.4); `None` where nobody was to sign it, and for what is
    /// hashed when it is sent.
    pub body_hash: Option<[u8; 32]>,
    /// Held from its first moment on, whoever judged it so; what a person does to the hold later stands elsewhere.
    pub held: Option<OnHold>,
}

/// What a message lacks, and is given when it is sent (RFC 6409 §8). The values follow from its other facts, so every attempt gives the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mend {
    /// Date.
    pub date: bool,
    /// From.
    pub from: bool,
    /// Message-ID.
    pub message_id: bool,
    /// The empty line between header and text.
    pub empty_line: bool,
}

impl Message {
    /// Since when it waits for its delivery: its age, for retries and reports, counts from here.
    pub fn waits_since(&self) -> Timestamp {
        self.release_at.map_or(self.arrival.at, |at| at.max(self.arrival.at))
    }
}

/// The reverse-path and the parameters of MAIL (RFC 5321 §2.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Who hears of failures.
    pub reverse_path: ReversePath,
    /// What the content may hold (RFC 6152).
    pub body: BodyType,
    /// Whether the addresses or the header may hold UTF-8 (RFC 6531).
    pub smtputf8: bool,
    /// How much of the message a report of a failure returns (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// The sender's name for this envelope, for its reports (RFC 3461 §4.4).
    pub envid: Option<Box<str>>,
    /// By when delivery is wanted, counted from the arrival (RFC 2852). In mode R the message's deadline says the same.
    pub deliver_by: Option<DeliverBy>,
    /// Before or after others, as the client put it, for the next hop (RFC 6710).
    pub mt_priority: Option<MtPriority>,
}

impl Envelope {
    /// An envelope without further wishes.
    pub fn new(reverse_path: ReversePath, body: BodyType, smtputf8: bool) -> Self {
        Self { reverse_path, body, smtputf8, ret: None, envid: None, deliver_by: None, mt_priority: None }
    }
}

/// The BODY parameter, or what the content was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyType {
    /// Only octets below 128.
    SevenBit,
    /// Lines of any octets (RFC 6152).
    EightBitMime,
    /// Any octets: parts of it hold NUL, bare CR or bare LF, and travel in chunks or in another encoding (RFC 3030 §3).
    BinaryMime,
}

/// What a sender asks to be told, the same of all recipients (RFC 3461).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportWishes {
    /// When.
    pub notify: Option<Notify>,
    /// How much of the message comes back with a failure.
    pub ret: Option<Ret>,
    /// The sender's name for the envelope.
    pub envid: Option<Box<str>>,
}

/// One recipient of the envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address. A bare `Postmaster` was given our domain before acceptance.
    pub mailbox: Mailbox,
    /// When its sender wants to hear of it (RFC 3461 §4.1); `None`: as RFC 3461 §5.2.3 leaves to us, of failures.
    pub notify: Option<Notify>,
    /// The address as the first sender wrote it (RFC 3461 §4.2).
    pub original: Option<Box<OriginalRecipient>>,
}

impl Recipient {
    /// A recipient without further wishes.
    pub fn new(mailbox: Mailbox) -> Self {
        Self { mailbox, notify: None, original: None }
    }

    /// The recipient as a forward-path.
    pub fn forward_path(&self) -> ForwardPath {
        ForwardPath::Mailbox(self.mailbox.clone())
    }

    /// Where it goes.
    pub fn host(&self) -> &Host {
        self.mailbox.host()
    }
}

/// How a message came to us; the trace field is made from it at each attempt (RFC 5321 §4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The instant of the end of data.
    pub at: Timestamp,
    /// Submitted by a client of ours, relayed, or made by us.
    pub role: Role,
    /// The client's address; `None` for mail made here.
    pub peer: Option<IpAddr>,
    /// What the client called itself, as it said it (bounded, printable).
    pub hello: Box<str>,
    /// The protocol it spoke.
    pub protocol: Protocol,
    /// TLS version and cipher suite, as one phrase, when the session was secured.
    pub tls: Option<Box<str>>,
    /// What the client authenticated with.
    pub credential: Option<CredentialName>,
}

/// By which door a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// From a client that proved itself (RFC 6409).
    Submission,
    /// From another server (RFC 5321 §3.6).
    Relay,
    /// A report made by us (RFC 3464).
    Report,
    /// Handed over the control socket.
    Local,
}

/// The protocol, for the `with` clause of the trace field (RFC 3848, RFC 6531 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HELO was said.
    Smtp,
    /// EHLO was said.
    Esmtp,
    /// Made or handed over here.
    Local,
}

/// Urgency inside a lane; higher goes first. Nothing starves: fairness between lanes does not look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Campaigns.
    Low,
    /// The usual.
    #[default]
    Normal,
    /// Pass words and receipts.
    High,
}

/// The content of a stored message, ready to be read once from its start.
pub enum Content {
    /// All of it, in memory.
    Held(Bytes),
    /// Chunk by chunk, for what is too large to hold.
    Streamed(Box<dyn ContentSource>),
}

/// A content read chunk by chunk.
pub trait ContentSource: Send {
    /// The next chunk, at most 256 KiB; `None` at the end.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SpoolTrouble>>;
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Held(octets) => write!(f, "Held({} octets)", octets.len()),
            Content::Streamed(_) => f.write_str("Streamed"),
        }
    }
}
