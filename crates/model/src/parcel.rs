//! What the spool lends, and what comes back.

use std::fmt;

use bytes::Bytes;
use postrider_smtp::Host;
use smallvec::SmallVec;

use crate::{AttemptFacts, Message, MessageId, Outcome, Priority, SiteName, StreamName, TenantName, Timestamp};

/// The number of a loan: a fence. A settlement with a number that is not the delivery's newest is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Loan(pub u64);

/// Waiting mail that is asked for together: by recipient host until its Site is known, by Site afterwards.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The Site is not known yet.
    Host(Host),
    /// All hosts placed at this Site.
    Site(SiteName),
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Group::Host(host) => write!(f, "host {host}"),
            Group::Site(site) => write!(f, "site {site}"),
        }
    }
}

/// One message, one Site, and some of its recipients, held by one worker alone until settled or handed back.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The fence.
    pub loan: Loan,
    /// The message.
    pub message: MessageId,
    /// Whose it is.
    pub tenant: TenantName,
    /// Its class.
    pub stream: StreamName,
    /// Its urgency.
    pub priority: Priority,
    /// Since when it waits for its delivery: custody began, or the sender's hold ended ([`Message::waits_since`]).
    pub waits_since: Timestamp,
    /// A report or the like: nobody hears of its failure.
    pub null_reverse_path: bool,
    /// After this it is not sent.
    pub deadline: Option<Timestamp>,
    /// Length of the content.
    pub content_octets: u64,
    /// The recipients lent; never empty.
    pub deliveries: SmallVec<[LentDelivery; 1]>,
}

/// One lent recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LentDelivery {
    /// Index in `Message::recipients`.
    pub index: u32,
    /// Attempts made so far.
    pub attempts: u32,
    /// The sender was told already that it takes long, or is not to be told.
    pub delay_told: bool,
}

/// The end of a loan: an outcome for each lent delivery, in one commit with the report it causes.
#[derive(Debug)]
pub struct Settlement {
    /// The fence.
    pub loan: Loan,
    /// The message.
    pub message: MessageId,
    /// When it was decided.
    pub at: Timestamp,
    /// The attempt; `None` where none was made (expired, no such domain, cancelled).
    pub attempt: Option<AttemptFacts>,
    /// By index in `Message::recipients`.
    pub outcomes: Vec<(u32, Outcome)>,
    /// The DSN this settlement owes, accepted in the same record.
    pub report: Option<Report>,
}

/// A report to accept together with the settlement that causes it.
#[derive(Debug)]
pub struct Report {
    /// Its facts.
    pub message: std::sync::Arc<Message>,
    /// Its content (bounded: a report quotes the header, not the body).
    pub content: Bytes,
}
