//! Memory: every live delivery, found by message, by group, and by time. Pure; it never touches the disk.
//!
//! **Promises.** Every step is O(log n) in what waits. A group that nobody has claimed and that has mail stands in `heads` exactly once.
//! A delivery is in its lane exactly while it waits.
//!
//! **Does badly.** Mail that becomes due moves from the *later* to the *now* set when its group is lent; of a great backlog only
//! [`lend::MIGRATE_MAX`] move in one step, so priority is exact among those, not among a million that became due in the same instant.

mod alter;
mod deliveries;
mod divert;
pub(crate) mod entry;
mod groups;
mod hold;
mod lane;
mod lend;
mod pause;
mod replay;
pub(crate) mod segments;
mod settle;
mod slab;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashTable;
use postrider_model::doors::QueueFilter;
use postrider_model::{Group, Message, MessageId, SiteName, StreamName, TenantName, Timestamp};
use postrider_smtp::Host;

pub(crate) use alter::Altered;
pub(crate) use entry::{DeliveryEntry, Extra, MessageEntry, Place, Standing};
use groups::{GroupEntry, HostEntry};
use hold::{Holds, Turn};
pub(crate) use replay::Replayed;
use segments::Segments;
pub(crate) use settle::Fate;
use slab::Slab;
pub(crate) use view::{Candidate, SLICE, Told};

use crate::alteration::StoredAlteration;

/// The whole index. One lock stands around it; nothing here takes long.
#[derive(Default)]
pub(crate) struct Index {
    messages: Slab<MessageEntry>,
    /// By id. A hash table, because its order never shows.
    by_id: HashTable<u32>,
    hosts: Slab<HostEntry>,
    host_numbers: BTreeMap<Host, u32>,
    /// Mail of a host that goes another way than the host's place: an entry of its own.
    diverted: BTreeMap<(Host, SiteName), u32>,
    /// Such entries of a host that was displaced; they go when they are empty.
    recalled: BTreeMap<Host, Vec<u32>>,
    lanes: Slab<LaneName>,
    lane_numbers: BTreeMap<(TenantName, StreamName), u32>,
    /// Streams that are lent one recipient a parcel. There are as few as there are streams.
    single: BTreeSet<(TenantName, StreamName)>,
    groups: Slab<GroupEntry>,
    group_numbers: BTreeMap<Group, u32>,
    /// When each unclaimed group with mail wants to be claimed.
    heads: BTreeSet<(Timestamp, u32)>,
    pub(crate) segments: Segments,
    /// Messages with a delivery that waits or is lent.
    live_messages: u64,
    /// Deliveries that wait or are lent.
    live: u64,
    /// Of them lent.
    lent: u64,
    next_loan: u64,
    /// A group wants to be claimed earlier than before.
    wake: bool,
    /// Ids of messages on their way to the log.
    arriving: BTreeSet<MessageId>,
    /// Replay: nothing is enqueued, and no name forgotten, until the end.
    recovering: bool,
    /// What is held, and why.
    holds: Holds,
    /// Changes by hand under way: they reach what arrives until their record stands.
    turns: Vec<Turn>,
    next_turn: u64,
    /// Lanes of tenants that are not lent from.
    paused: BTreeSet<TenantName>,
    /// Replay: changes by hand, for the end.
    alterations: Vec<(Place, StoredAlteration)>,
}

struct LaneName {
    tenant: TenantName,
    stream: StreamName,
    refs: u32,
    /// Its tenant is paused: groups do not know what waits in it.
    paused: bool,
}

/// What a new message brings.
pub(crate) struct NewMessage<'a> {
    pub(crate) message: &'a Message,
    pub(crate) place: Place,
    pub(crate) extra: Extra,
}

impl Index {
    /// Takes a message that was just made durable: all its recipients wait, due at once.
    pub(crate) fn accepted(&mut self, new: NewMessage<'_>) {
        let message = new.message;
        self.arriving.remove(&message.id);
        debug_assert!(self.find(message.id).is_none(), "{} is here twice", message.id);
        let lane = self.lane(&message.tenant, &message.stream);
        let deliveries = message.recipients.iter().enumerate().map(|(index, recipient)| {
            let host = self.host(recipient.host());
            (index as u32, host)
        });
        let deliveries = deliveries.map(|(index, host)| fresh_delivery(index, host, message.waits_since())).collect();
        let entry = MessageEntry {
            id: message.id,
            place: new.place,
            lane,
            arrived_at: message.arrival.at,
            content_octets: message.content_octets,
            revision: 0,
            unsynced: 0,
            priority: message.priority,
            null_reverse_path: message.envelope.reverse_path.is_null(),
            extra: new.extra.kept(),
            deliveries,
        };
        let slot = self.insert(entry);
        if let Some(hold) = &message.held {
            self.turn_message(slot, &QueueFilter::default(), Some(hold));
        }
        self.take_turns(slot);
    }

    /// Whether a new message may have this id: no message here has it, and none on its way to the log. From then on it is taken.
    pub(crate) fn take_id(&mut self, id: MessageId) -> bool {
        self.find(id).is_none() && self.arriving.insert(id)
    }

    /// The message with this id did not arrive.
    pub(crate) fn give_id_back(&mut self, id: MessageId) {
        self.arriving.remove(&id);
    }

    fn insert(&mut self, entry: MessageEntry) -> u32 {
        let id = entry.id;
        self.segments.pin(entry.place);
        self.lanes[entry.lane].refs += 1;
        self.live_messages += 1;
        self.live += entry.deliveries.len() as u64;
        for delivery in &entry.deliveries {
            self.hosts[delivery.host].refs += 1;
            self.segments.pin_told(delivery.told_life);
        }
        let slot = self.messages.insert(entry);
        let Self { messages, by_id, .. } = self;
        by_id.insert_unique(hash(id), slot, |slot| hash(messages[*slot].id));
        if !self.recovering {
            for nth in 0..self.messages[slot].deliveries.len() {
                self.enqueue(slot, self.messages[slot].deliveries[nth].index);
            }
        }
        slot
    }

    /// Forgets a message; gives what was kept of it beyond the numbers.
    fn remove(&mut self, slot: u32) -> Option<MessageEntry> {
        let entry = self.messages.remove(slot)?;
        if let Ok(found) = self.by_id.find_entry(hash(entry.id), |other| *other == slot) {
            found.remove();
        }
        self.segments.unpin(entry.place);
        for delivery in &entry.deliveries {
            self.forget_delivery(delivery);
        }
        self.release_lane(entry.lane);
        Some(entry)
    }

    fn forget_delivery(&mut self, delivery: &DeliveryEntry) {
        self.segments.unpin_told(delivery.told_life);
        if delivery.state == Standing::Held {
            self.holds.let_go(delivery.loan);
        }
        self.hosts[delivery.host].refs -= 1;
        self.tidy_host(delivery.host);
    }

    pub(crate) fn find(&self, id: MessageId) -> Option<u32> {
        self.by_id.find(hash(id), |slot| self.messages[*slot].id == id).copied()
    }

    /// The entry of a message that somebody still waits for.
    pub(crate) fn live_entry(&self, id: MessageId) -> Option<&MessageEntry> {
        self.find(id).map(|slot| &self.messages[slot]).filter(|entry| entry.is_live())
    }

    pub(crate) fn entry(&self, id: MessageId) -> Option<&MessageEntry> {
        self.find(id).map(|slot| &self.messages[slot])
    }

    /// The number of a lane, made when it is new.
    fn lane(&mut self, tenant: &TenantName, stream: &StreamName) -> u32 {
        let key = (tenant.clone(), stream.clone());
        if let Some(number) = self.lane_numbers.get(&key) {
            return *number;
        }
        // Number zero is never served last, so that turns begin with the first lane.
        let number =
            self.lanes.insert(LaneName { tenant: key.0.clone(), stream: key.1.clone(), refs: 0, paused: self.paused.contains(&key.0) });
        self.lane_numbers.insert(key, number);
        number
    }

    fn release_lane(&mut self, lane: u32) {
        self.lanes[lane].refs -= 1;
        if self.lanes[lane].refs == 0
            && !self.recovering
            && let Some(name) = self.lanes.remove(lane)
        {
            self.lane_numbers.remove(&(name.tenant, name.stream));
        }
    }

    /// Whether the dispatcher should look again; asked once.
    pub(crate) fn take_wake(&mut self) -> bool {
        std::mem::take(&mut self.wake)
    }

    /// Messages that have a record in a segment (and whether it is the whole message), at most `max` and in one
    /// slice, from a slot number on; and where to go on.
    pub(crate) fn in_segment(&self, life: u32, from: u32, max: usize) -> (Vec<(MessageId, bool)>, Option<u32>) {
        let mut found = Vec::new();
        let end = from.saturating_add(SLICE).min(self.messages.end());
        for slot in from..end {
            let Some(entry) = self.messages.get(slot) else { continue };
            let told = entry.deliveries.iter().any(|delivery| delivery.told_life == life);
            if entry.place.life == life || told {
                if found.len() == max {
                    return (found, Some(slot));
                }
                found.push((entry.id, entry.place.life == life));
            }
        }
        (found, Some(end).filter(|end| *end < self.messages.end()))
    }
}

fn fresh_delivery(index: u32, host: u32, due: Timestamp) -> DeliveryEntry {
    DeliveryEntry { index, host, due, loan: 0, attempts: 0, told_life: 0, told_offset: 0, state: Standing::Waiting, delay_told: false }
}

/// Ids of version 7 have 74 random bits; mixing their halves spreads them.
fn hash(id: MessageId) -> u64 {
    (id.0 as u64 ^ (id.0 >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
