//! Deliveries on hold: they are in no lane, and nobody is lent them until a person releases them.
//!
//! **Promises.** A hold costs memory once, however many deliveries it is of. What is lent when it is put on hold is held when it comes back, whether
//! by a hand-back or by a deferral. A change that walks the queue in slices reaches what arrives meanwhile, too, until its record stands: so memory and
//! the log agree on whom it reached.

use std::collections::BTreeMap;

use postrider_model::DeliveryId;
use postrider_model::doors::{OnHold, QueueFilter};
use smallvec::SmallVec;

use super::entry::Standing;
use super::slab::Slab;
use super::{Index, SLICE};

/// Holds by number, shared by what is held for one reason since one instant.
#[derive(Default)]
pub(crate) struct Holds {
    entries: Slab<(OnHold, u64)>,
    numbers: BTreeMap<OnHold, u32>,
    /// What is lent now, and held when it comes back.
    on_return: BTreeMap<DeliveryId, u32>,
}

impl Holds {
    /// One more delivery is held by it; gives its number.
    pub(crate) fn take(&mut self, hold: &OnHold) -> u32 {
        let number = match self.numbers.get(hold) {
            Some(number) => *number,
            None => {
                let number = self.entries.insert((hold.clone(), 0));
                self.numbers.insert(hold.clone(), number);
                number
            }
        };
        if let Some((_, held)) = self.entries.get_mut(number) {
            *held += 1;
        }
        number
    }

    /// One delivery less is held by it.
    pub(crate) fn let_go(&mut self, number: u32) {
        let Some((hold, held)) = self.entries.get_mut(number) else { return };
        *held -= 1;
        if *held == 0 {
            self.numbers.remove(hold);
            self.entries.remove(number);
        }
    }

    /// A lent delivery ended: nothing comes back.
    pub(crate) fn forget_return(&mut self, id: DeliveryId) {
        if let Some(number) = self.on_return.remove(&id) {
            self.let_go(number);
        }
    }

    pub(crate) fn get(&self, number: u32) -> Option<&OnHold> {
        self.entries.get(number).map(|(hold, _)| hold)
    }

    /// What is to hold a lent delivery when it comes back.
    pub(crate) fn on_return(&self, id: DeliveryId) -> Option<&OnHold> {
        self.on_return.get(&id).and_then(|number| self.get(*number))
    }

    /// Deliveries held; those not that are still lent.
    pub(crate) fn count(&self) -> u64 {
        self.entries.iter().map(|(_, (_, held))| *held).sum::<u64>() - self.on_return.len() as u64
    }
}

/// A change under way: whom it reaches, and by what they are held from now on.
pub(crate) struct Turn {
    number: u64,
    filter: QueueFilter,
    hold: Option<OnHold>,
}

impl Index {
    /// A change begins; what arrives is changed, too, until [`Index::end_turn`].
    pub(crate) fn begin_turn(&mut self, filter: &QueueFilter, hold: Option<&OnHold>) -> u64 {
        self.next_turn += 1;
        self.turns.push(Turn { number: self.next_turn, filter: filter.clone(), hold: hold.cloned() });
        self.next_turn
    }

    /// Its record stands, or it came to nothing.
    pub(crate) fn end_turn(&mut self, number: u64) {
        self.turns.retain(|turn| turn.number != number);
    }

    /// A message that arrived just now takes part in the changes under way.
    pub(super) fn take_turns(&mut self, slot: u32) {
        let turns = std::mem::take(&mut self.turns);
        for turn in &turns {
            self.turn_message(slot, &turn.filter, turn.hold.as_ref());
        }
        self.turns = turns;
    }

    /// Holds (or releases, without a hold) what matches in one slice; says how many deliveries changed.
    pub(crate) fn turn_slice(&mut self, from: u32, filter: &QueueFilter, hold: Option<&OnHold>) -> usize {
        let slots = from..from.saturating_add(SLICE).min(self.messages.end());
        slots.map(|slot| self.turn_message(slot, filter, hold)).sum()
    }

    /// The same of one message.
    pub(crate) fn turn_message(&mut self, slot: u32, filter: &QueueFilter, hold: Option<&OnHold>) -> usize {
        let Some(entry) = self.messages.get(slot) else { return 0 };
        let matching = entry.deliveries.iter().filter(|delivery| self.matches(entry, delivery, filter));
        let chosen: SmallVec<[(u32, Standing); 4]> = matching.map(|delivery| (delivery.index, delivery.state)).collect();
        let id = entry.id;
        let mut changed = 0;
        for (index, standing) in chosen {
            let delivery = DeliveryId { message: id, index };
            changed += usize::from(match (hold, standing) {
                (_, Standing::Settling) | (None, Standing::Waiting) => false,
                (Some(hold), Standing::Waiting | Standing::Held) => self.keep(slot, index, hold),
                (Some(hold), Standing::Lent) => {
                    let number = self.holds.take(hold);
                    if let Some(before) = self.holds.on_return.insert(delivery, number) {
                        self.holds.let_go(before);
                    }
                    true
                }
                (None, Standing::Held) => self.let_wait(slot, index),
                (None, Standing::Lent) => {
                    let was_to_be_held = self.holds.on_return(delivery).is_some();
                    self.holds.forget_return(delivery);
                    was_to_be_held
                }
            });
        }
        if changed > 0 {
            // A copy under way has the old standing.
            let entry = &mut self.messages[slot];
            entry.revision = entry.revision.wrapping_add(1);
        }
        changed
    }

    fn keep(&mut self, slot: u32, index: u32, hold: &OnHold) -> bool {
        let number = self.holds.take(hold);
        self.go_out(slot, index);
        self.forget_return_of(slot, index);
        let Some(delivery) = self.messages[slot].delivery_mut(index) else { return false };
        (delivery.state, delivery.loan) = (Standing::Held, number);
        true
    }

    fn let_wait(&mut self, slot: u32, index: u32) -> bool {
        let Some(delivery) = self.messages[slot].delivery_mut(index) else { return false };
        let number = delivery.loan;
        delivery.state = Standing::Waiting;
        self.holds.let_go(number);
        self.enqueue(slot, index);
        true
    }

    /// Takes a delivery that waits or is held from where it is; what held it holds it again when it comes back.
    pub(super) fn go_out(&mut self, slot: u32, index: u32) {
        let Some(delivery) = self.messages[slot].delivery(index) else { return };
        let (state, number) = (delivery.state, delivery.loan);
        match state {
            Standing::Waiting => self.dequeue(slot, index),
            Standing::Held => {
                let id = DeliveryId { message: self.messages[slot].id, index };
                self.holds.on_return.insert(id, number);
            }
            Standing::Lent | Standing::Settling => {}
        }
    }

    fn forget_return_of(&mut self, slot: u32, index: u32) {
        let id = DeliveryId { message: self.messages[slot].id, index };
        self.holds.forget_return(id);
    }

    /// A lent delivery waits again, or is held.
    pub(super) fn come_back(&mut self, slot: u32, index: u32) {
        let id = DeliveryId { message: self.messages[slot].id, index };
        let held = self.holds.on_return.remove(&id);
        let Some(delivery) = self.messages[slot].delivery_mut(index) else { return };
        match held {
            Some(number) => (delivery.state, delivery.loan) = (Standing::Held, number),
            None => {
                delivery.state = Standing::Waiting;
                self.enqueue(slot, index);
            }
        }
    }
}
