//! What clients were promised: deliveries that were acknowledged and of which the mail log knows no end yet.

use std::collections::{BTreeMap, BTreeSet};

use postrider_model::MessageId;

use super::book::{Fact, Outcome, Verdict};

/// Acknowledged deliveries without an end.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    open: BTreeMap<MessageId, BTreeSet<u32>>,
    /// A delivery may end before its client has read the 250.
    ended: BTreeMap<MessageId, BTreeSet<u32>>,
    /// Up to where [`Promises::some`] has gone.
    seen: Option<MessageId>,
}

impl Promises {
    /// A fact was noted.
    pub(crate) fn see(&mut self, fact: &Fact) {
        match fact {
            Fact::Offered(offered) => {
                let Verdict::Positive(Some(id)) = offered.verdict else { return };
                let ended = self.ended.get(&id);
                let open = (0..offered.recipients.len() as u32).filter(|index| ended.is_none_or(|ended| !ended.contains(index)));
                self.open.insert(id, open.collect());
            }
            Fact::Attempted { message, index, outcome: Outcome::Delivered | Outcome::Bounced, .. } => {
                self.ended.entry(*message).or_default().insert(*index);
                if let Some(open) = self.open.get_mut(message) {
                    open.remove(index);
                }
            }
            _ => {}
        }
    }

    /// The open deliveries of a message.
    pub(crate) fn of(&self, message: MessageId) -> BTreeSet<u32> {
        self.open.get(&message).cloned().unwrap_or_default()
    }

    /// Some messages with open deliveries; others at the next call.
    pub(crate) fn some(&mut self, count: usize) -> Vec<MessageId> {
        let waits = |(_, open): &(&MessageId, &BTreeSet<u32>)| !open.is_empty();
        let after = self.seen.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut some: Vec<_> = self.open.range((after, std::ops::Bound::Unbounded)).filter(waits).map(|(id, _)| *id).take(count).collect();
        self.seen = some.last().copied();
        if some.len() < count {
            some = self.open.iter().filter(waits).map(|(id, _)| *id).take(count).collect();
        }
        some
    }
}
