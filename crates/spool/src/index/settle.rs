//! The end of loans, in memory at once and in the log's books when it is durable.

use bytes::Bytes;
use postrider_model::doors::SpoolTrouble;
use postrider_model::{DeliveryId, Loan, Message, MessageId, Outcome, Timestamp};
use smallvec::SmallVec;
use std::sync::Arc;

use super::Index;
use super::entry::{MessageEntry, Place, Standing};

/// What a settled record says of one delivery, without the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits. `told`: the record holds its newest diagnosis.
    Live { due: Timestamp, attempts: u32, told: bool, delay_told: bool },
    /// Custody of it ended.
    Ended,
}

impl Fate {
    /// The fate an outcome means, after so many attempts.
    pub(crate) fn of(outcome: &Outcome, attempts: u32) -> Self {
        match outcome {
            Outcome::Delivered { .. } | Outcome::Bounced { .. } => Fate::Ended,
            Outcome::Deferred { due, delay_told, .. } => Fate::Live { due: *due, attempts, told: true, delay_told: *delay_told },
        }
    }

    /// How a delivery of a new message stands.
    pub(crate) fn fresh(arrived_at: Timestamp, release_at: Option<Timestamp>) -> Self {
        Fate::Live { due: release_at.map_or(arrived_at, |at| at.max(arrived_at)), attempts: 0, told: false, delay_told: false }
    }
}

impl Index {
    /// Whether a loan may settle these deliveries; gives the attempts each will have had.
    pub(crate) fn attempts_after(
        &self,
        id: MessageId,
        loan: Loan,
        outcomes: &[(u32, Outcome)],
    ) -> Result<SmallVec<[u32; 4]>, SpoolTrouble> {
        let entry = self.find(id).map(|slot| &self.messages[slot]).ok_or(SpoolTrouble::NoSuchMessage)?;
        let mut indices: SmallVec<[u32; 4]> = outcomes.iter().map(|(index, _)| *index).collect();
        indices.sort_unstable();
        if indices.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(SpoolTrouble::LoanEnded);
        }
        let attempts = outcomes.iter().map(|(index, _)| {
            let delivery = entry.delivery(*index).filter(|delivery| delivery.is_lent_as(loan));
            delivery.map(|delivery| delivery.attempts().saturating_add(1)).ok_or(SpoolTrouble::LoanEnded)
        });
        attempts.collect()
    }

    /// Settles in memory. The loan was asked about before, under another lock, and is asked about again. Gives back what was warm.
    pub(crate) fn settle(
        &mut self,
        id: MessageId,
        loan: Loan,
        outcomes: &[(u32, Outcome)],
    ) -> Result<Option<(Arc<Message>, Bytes)>, SpoolTrouble> {
        self.attempts_after(id, loan, outcomes)?;
        let slot = self.find(id).ok_or(SpoolTrouble::NoSuchMessage)?;
        for (index, outcome) in outcomes {
            let Some(delivery) = self.messages[slot].delivery_mut(*index) else { continue };
            self.lent -= 1;
            match outcome {
                Outcome::Delivered { .. } | Outcome::Bounced { .. } => {
                    delivery.state = Standing::Settling;
                    self.live -= 1;
                    self.holds.forget_return(DeliveryId { message: id, index: *index });
                }
                Outcome::Deferred { due, delay_told, .. } => {
                    delivery.delay_told = *delay_told;
                    delivery.attempts = delivery.attempts.saturating_add(1);
                    delivery.due = *due;
                    self.come_back(slot, *index);
                }
            }
        }
        let entry = &mut self.messages[slot];
        self.live_messages -= u64::from(!entry.is_live());
        entry.unsynced += 1;
        entry.revision = entry.revision.wrapping_add(1);
        Ok(entry.take_warm())
    }

    /// A settlement's record is durable at `place`. Gives the message's entry when nothing is left of it.
    pub(crate) fn settled_durably(&mut self, id: MessageId, place: Place, fates: &[(u32, Fate)]) -> Option<MessageEntry> {
        let slot = self.find(id)?;
        self.messages[slot].unsynced = self.messages[slot].unsynced.saturating_sub(1);
        for (index, fate) in fates {
            match fate {
                Fate::Live { .. } => self.told(slot, *index, place),
                Fate::Ended => self.ended(slot, *index, place.life),
            }
        }
        self.messages[slot].deliveries.is_empty().then(|| self.remove(slot)).flatten()
    }

    /// A checkpoint of a message is durable: its record and what was told of its deliveries are there now.
    pub(crate) fn moved(&mut self, id: MessageId, place: Place, fates: &[(u32, Fate)]) {
        let Some(slot) = self.find(id) else { return };
        let old = std::mem::replace(&mut self.messages[slot].place, place);
        self.segments.pin(place);
        self.segments.unpin(old);
        self.segments.depend(place.life, old.life);
        self.retold(id, place, fates);
        // What the copy says without a diagnosis, the message's own record says: nothing else is needed any more.
        for (index, fate) in fates {
            if matches!(fate, Fate::Live { told: false, .. })
                && let Some(delivery) = self.messages[slot].delivery_mut(*index)
            {
                let old = std::mem::take(&mut delivery.told_life);
                self.segments.unpin_told(old);
            }
        }
    }

    /// A copy of standings is durable.
    pub(crate) fn retold(&mut self, id: MessageId, place: Place, fates: &[(u32, Fate)]) {
        let Some(slot) = self.find(id) else { return };
        for (index, fate) in fates {
            if matches!(fate, Fate::Live { told: true, .. }) {
                self.told(slot, *index, place);
            }
        }
    }

    /// The newest diagnosis of a delivery stands at `place`.
    pub(super) fn told(&mut self, slot: u32, index: u32, place: Place) {
        let Some(delivery) = self.messages[slot].delivery_mut(index) else { return };
        let old = std::mem::replace(&mut delivery.told_life, place.life);
        delivery.told_offset = place.offset;
        self.segments.unpin_told(old);
        self.segments.pin_told(place.life);
    }

    /// Custody of a delivery ended by a record in `life`, which may not go before the message's own record.
    pub(super) fn ended(&mut self, slot: u32, index: u32, life: u32) {
        let entry = &mut self.messages[slot];
        let on = entry.place.life;
        if let Ok(nth) = entry.deliveries.binary_search_by_key(&index, |delivery| delivery.index)
            && let Some(delivery) = entry.deliveries.remove(nth)
        {
            self.forget_delivery(&delivery);
        }
        self.segments.depend(life, on);
    }
}
