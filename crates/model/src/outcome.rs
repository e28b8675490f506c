//! What an attempt made of a delivery, and who said so.

use std::net::SocketAddr;
use std::sync::Arc;

use postrider_smtp::{EnhancedStatus, Reply};

use crate::{SourceName, Timestamp};

/// What became of one delivery in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took it.
    Delivered {
        /// Its reply to the end of data.
        reply: Reply,
    },
    /// Not yet.
    Deferred {
        /// When it is tried again.
        due: Timestamp,
        /// Why it was not taken.
        diagnosis: Diagnosis,
        /// From now on nobody is told of its delay: this settlement's report does, an earlier one did, or the sender wants none.
        delay_told: bool,
    },
    /// Never; its sender is told.
    Bounced {
        /// Why.
        diagnosis: Diagnosis,
    },
}

impl Outcome {
    /// Whether custody ends here.
    pub fn is_terminal(&self) -> bool {
        !matches!(self, Outcome::Deferred { .. })
    }
}

/// Why a delivery failed, kept whole until the last report is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// When it was found.
    pub at: Timestamp,
    /// Where in the session.
    pub phase: Phase,
    /// What was said, or what went wrong.
    pub reason: Reason,
    /// The remote MTA's name, when one was reached.
    pub remote: Option<Arc<str>>,
    /// Its address.
    pub address: Option<SocketAddr>,
}

/// The peer's own words, or trouble of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The peer replied.
    Reply(Reply),
    /// It did not get that far.
    Trouble(Trouble),
}

impl Diagnosis {
    /// The status for reports: the peer's enhanced status, or one that its code or our trouble stands for (RFC 3463).
    pub fn status(&self) -> EnhancedStatus {
        match &self.reason {
            Reason::Reply(reply) => {
                reply.status().unwrap_or(EnhancedStatus { class: if reply.is_permanent() { 5 } else { 4 }, subject: 0, detail: 0 })
            }
            Reason::Trouble(trouble) => trouble.status(),
        }
    }

    /// One line for people and logs.
    pub fn describe(&self) -> String {
        match &self.reason {
            Reason::Reply(reply) => reply.to_string(),
            Reason::Trouble(trouble) => trouble.to_string(),
        }
    }
}

/// Where a session stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Looking the next hop up.
    Route,
    /// Dialling.
    Connect,
    /// Waiting for the 220.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// STARTTLS and the handshake.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA, up to its 354.
    Data,
    /// The content.
    Content,
    /// From the final dot to its reply.
    EndOfData,
    /// In our own house.
    Local,
}

/// Trouble of the world, as an attempt meets it. Matched without a wildcard arm, so that nothing becomes permanent by default.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The name does not exist (NXDOMAIN, from a server that answered).
    #[error("the domain {0} does not exist")]
    NoSuchDomain(Arc<str>),
    /// The domain says that it takes no mail (RFC 7505).
    #[error("the domain {0} takes no mail (null MX)")]
    NullMx(Arc<str>),
    /// The domain exists, and has neither MX nor address.
    #[error("the domain {0} has no mail host")]
    NoMailHost(Arc<str>),
    /// The DNS did not answer, or not with sense.
    #[error("DNS look-up of {0} failed: {1}")]
    DnsFailed(Arc<str>, Arc<str>),
    /// Nobody could be reached.
    #[error("connection failed: {0}")]
    ConnectFailed(Arc<str>),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Dropped(Arc<str>),
    /// The peer said nothing for too long.
    #[error("no reply within {0} s")]
    Silent(u64),
    /// The peer did not speak SMTP.
    #[error("protocol error: {0}")]
    Protocol(Arc<str>),
    /// TLS could not be had where it must.
    #[error("TLS failed: {0}")]
    Tls(Arc<str>),
    /// The connection broke between the final dot and its reply: the peer may have the mail.
    #[error("connection lost after the end of data; the message may have been taken ({0})")]
    Ambiguous(Arc<str>),
    /// The next hop is ourselves.
    #[error("mail for {0} loops back to this host")]
    Loop(Arc<str>),
    /// The give-up time or the deadline passed.
    #[error("not delivered in time")]
    Expired,
    /// The peer cannot take this content.
    #[error("the next hop does not support {0}")]
    Unsupported(Arc<str>),
    /// A fault of ours; the mail waits.
    #[error("internal fault: {0}")]
    Internal(Arc<str>),
    /// A person decided.
    #[error("cancelled by the operator: {0}")]
    Operator(Arc<str>),
    /// The peer said in advance that it does not take so much (RFC 1870 §6.2).
    #[error("the message is too large for the next hop: {0}")]
    TooLarge(Arc<str>),
    /// The content is binary, the peer takes no such content (RFC 3030 §3), and no encoding of ours helps.
    #[error("the next hop does not take binary content (BINARYMIME), and this one cannot be encoded: {0}")]
    Binary(Arc<str>),
    /// It must be signed, and its header cannot be.
    #[error("the message cannot be signed, and does not leave unsigned: {0}")]
    Unsignable(Arc<str>),
    /// The recipient is not written to any more, so nothing was sent.
    #[error("suppressed: {0}")]
    Suppressed(Arc<str>),
}

impl Trouble {
    /// The enhanced status it stands for (RFC 3463 §3; RFC 7505 §4).
    pub fn status(&self) -> EnhancedStatus {
        let (class, subject, detail) = match self {
            Trouble::NoSuchDomain(_) => (5, 1, 2),
            Trouble::NullMx(_) => (5, 1, 10),
            Trouble::NoMailHost(_) => (5, 4, 4),
            Trouble::DnsFailed(..) => (4, 4, 3),
            Trouble::ConnectFailed(_) => (4, 4, 1),
            Trouble::Dropped(_) | Trouble::Ambiguous(_) | Trouble::Silent(_) => (4, 4, 2),
            Trouble::Protocol(_) => (4, 5, 0),
            Trouble::Tls(_) => (4, 7, 5),
            Trouble::Loop(_) => (5, 4, 6),
            Trouble::Expired => (5, 4, 7),
            Trouble::Unsupported(_) => (5, 6, 7),
            Trouble::Internal(_) => (4, 3, 0),
            Trouble::Operator(_) => (5, 7, 0),
            Trouble::TooLarge(_) => (5, 3, 4),
            Trouble::Binary(_) => (5, 6, 1),
            Trouble::Unsignable(_) => (5, 6, 0),
            Trouble::Suppressed(_) => (5, 7, 1),
        };
        EnhancedStatus { class, subject, detail }
    }
}

/// The circumstances of one attempt, the same for all recipients of its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFacts {
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// From where.
    pub source: SourceName,
    /// The host's name, when one was reached.
    pub host: Option<Arc<str>>,
    /// Its address.
    pub address: Option<SocketAddr>,
    /// How the session was secured.
    pub tls: Option<TlsFacts>,
}

/// What a TLS handshake gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: Arc<str>,
    /// The cipher suite's IANA name.
    pub cipher: Arc<str>,
    /// Whether the chain was valid for the name (opportunistic TLS does not demand it).
    pub trusted: bool,
}
