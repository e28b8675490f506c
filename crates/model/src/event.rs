//! Facts, written in the same commit as what they tell.

use std::net::IpAddr;
use std::sync::Arc;

use crate::doors::Suppression;
use crate::{AttemptFacts, DeliveryId, Message, MessageId, Outcome, Timestamp};

/// One fact. `sequence` only grows, has no gaps within a log, and is never moved by compaction.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its place in the log's history.
    pub sequence: u64,
    /// When it became true.
    pub at: Timestamp,
    /// What it says.
    pub kind: EventKind,
}

/// The closed list of facts.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// Custody began.
    Accepted {
        /// The message.
        message: Arc<Message>,
        /// The message whose failure it reports, when it is a report of ours.
        reports_on: Option<MessageId>,
    },
    /// An attempt, or a decision without one, gave an outcome for a delivery.
    Settled {
        /// The delivery.
        delivery: DeliveryId,
        /// The attempt's circumstances.
        attempt: Option<Arc<AttemptFacts>>,
        /// What became of it.
        outcome: Outcome,
    },
    /// Something that is about no message here.
    Noted(Notice),
}

/// A fact that stands in a record of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An address is not written to any more.
    Suppressed {
        /// Which, by which stream, and by whose word: an unsubscription is the recipient's own.
        suppression: Arc<Suppression>,
        /// From where the word came, when that was the web.
        peer: Option<IpAddr>,
    },
}

impl Notice {
    /// When it became true.
    pub fn at(&self) -> Timestamp {
        match self {
            Notice::Suppressed { suppression, .. } => suppression.since,
        }
    }
}
