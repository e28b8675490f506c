//! What memory keeps of one waiting message: 96 octets, and 24 to 60 more in its lane. A queue of a million is a million of these, so each octet counts.

use postrider_model::doors::DeliveryState;
use postrider_model::{Loan, Message, MessageId, Priority, Timestamp};
use std::sync::Arc;

use bytes::Bytes;

use super::deliveries::Deliveries;
use crate::forms::FileName;

/// Where a record is: the life (generation) of its segment, its offset, and its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) life: u32,
    pub(crate) offset: u32,
    pub(crate) octets: u32,
}

/// A message with at least one delivery that is not durably ended.
pub(crate) struct MessageEntry {
    pub(crate) id: MessageId,
    pub(crate) place: Place,
    pub(crate) lane: u32,
    pub(crate) arrived_at: Timestamp,
    pub(crate) content_octets: u64,
    /// Counts settlements, so that compaction sees that its copy is stale.
    pub(crate) revision: u32,
    /// Settlements that are not synced yet.
    pub(crate) unsynced: u16,
    /// An enum, so that a slab's empty place needs no octets of its own.
    pub(crate) priority: Priority,
    pub(crate) null_reverse_path: bool,
    pub(crate) extra: Option<Box<Extra>>,
    /// Sorted by index.
    pub(crate) deliveries: Deliveries,
}

/// What few messages have.
#[derive(Default)]
pub(crate) struct Extra {
    /// A content in a file of its own.
    pub(crate) file: Option<FileName>,
    /// Facts and content, until the first attempt.
    pub(crate) warm: Option<(Arc<Message>, Bytes)>,
    /// After this it is not sent.
    pub(crate) deadline: Option<Timestamp>,
    /// Before this it is not sent.
    pub(crate) release_at: Option<Timestamp>,
}

impl Extra {
    /// Nothing, when there is nothing in it.
    pub(crate) fn kept(self) -> Option<Box<Self>> {
        (self.file.is_some() || self.warm.is_some() || self.deadline.is_some() || self.release_at.is_some()).then(|| Box::new(self))
    }
}

/// One delivery.
pub(crate) struct DeliveryEntry {
    pub(crate) index: u32,
    pub(crate) host: u32,
    pub(crate) due: Timestamp,
    /// While lent, the low half of the newest loan's number, which is enough for a fence; while held, the number of the hold.
    pub(crate) loan: u32,
    /// Stays at the highest it can say.
    pub(crate) attempts: u16,
    /// Life and offset of the record with its last diagnosis; life 0 for none.
    pub(crate) told_life: u32,
    pub(crate) told_offset: u32,
    pub(crate) state: Standing,
    /// Nobody is told of its delay any more.
    pub(crate) delay_told: bool,
}

/// Where a delivery stands in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In its lane.
    Waiting,
    /// With a worker.
    Lent,
    /// Not lent until a person releases it.
    Held,
    /// Settled for good, but not synced: gone for everybody, kept for the log's book-keeping.
    Settling,
}

impl Standing {
    /// As a person is told.
    pub(crate) fn shown(self) -> DeliveryState {
        match self {
            Standing::Waiting => DeliveryState::Waiting,
            Standing::Lent | Standing::Settling => DeliveryState::Lent,
            Standing::Held => DeliveryState::Held,
        }
    }
}

/// A fence by the low half of a loan's number: two loans of one delivery that agree in it lie four thousand million loans apart.
pub(crate) fn fence(loan: Loan) -> u32 {
    loan.0 as u32
}

impl DeliveryEntry {
    /// Whether this loan, and no newer one, holds it.
    pub(crate) fn is_lent_as(&self, loan: Loan) -> bool {
        self.state == Standing::Lent && self.loan == fence(loan)
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.into()
    }

    /// Attempts as an entry keeps them.
    pub(crate) fn kept_attempts(attempts: u32) -> u16 {
        u16::try_from(attempts).unwrap_or(u16::MAX)
    }
}

impl MessageEntry {
    pub(crate) fn delivery(&self, index: u32) -> Option<&DeliveryEntry> {
        self.deliveries.binary_search_by_key(&index, |delivery| delivery.index).ok().map(|nth| &self.deliveries[nth])
    }

    pub(crate) fn delivery_mut(&mut self, index: u32) -> Option<&mut DeliveryEntry> {
        self.deliveries.binary_search_by_key(&index, |delivery| delivery.index).ok().map(|nth| &mut self.deliveries[nth])
    }

    /// Whether anybody still waits for it.
    pub(crate) fn is_live(&self) -> bool {
        self.deliveries.iter().any(|delivery| delivery.state != Standing::Settling)
    }

    pub(crate) fn file(&self) -> Option<FileName> {
        self.extra.as_ref().and_then(|extra| extra.file)
    }

    pub(crate) fn warm(&self) -> Option<&(Arc<Message>, Bytes)> {
        self.extra.as_ref().and_then(|extra| extra.warm.as_ref())
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.extra.as_ref().and_then(|extra| extra.deadline)
    }

    /// As [`Message::waits_since`].
    pub(crate) fn waits_since(&self) -> Timestamp {
        let release_at = self.extra.as_ref().and_then(|extra| extra.release_at);
        release_at.map_or(self.arrived_at, |at| at.max(self.arrived_at))
    }

    /// Takes what was warm; an extra with nothing left in it goes.
    pub(crate) fn take_warm(&mut self) -> Option<(Arc<Message>, Bytes)> {
        let mut extra = *self.extra.take()?;
        let warm = extra.warm.take();
        self.extra = extra.kept();
        warm
    }

    /// The place inside a lane: what is due is taken by priority, then deadline, then due time.
    pub(crate) fn rank(&self) -> u64 {
        // Two bits of priority, the rest a deadline that no clock reaches.
        (2 - self.priority as u64) << 62 | self.deadline().map_or(u64::MAX, Timestamp::millis).min(u64::MAX >> 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue of a million is a million entries: what makes one larger should be a decision.
    #[test]
    fn an_entry_is_small() {
        assert_eq!((size_of::<DeliveryEntry>(), size_of::<Option<MessageEntry>>()), (32, 96));
    }
}
