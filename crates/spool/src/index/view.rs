//! The queue in a person's hands: listing, counting, altering.

use std::collections::BinaryHeap;

use postrider_model::doors::{DeliveryState, DeliveryView, QueueCount, QueueFilter};
use postrider_model::{DeliveryId, Group, MessageId, Timestamp};
use smallvec::SmallVec;

use super::Index;
use super::entry::{DeliveryEntry, MessageEntry, Standing};

/// Messages looked at in one hold of the lock.
pub(crate) const SLICE: u32 = 16_384;
/// Steps spent on counting what stands before one delivery; beyond it the count stays at what was counted.
const AHEAD_STEPS_MAX: u64 = 10_000;
/// Groups told by `count`.
const GROUPS_MAX: usize = 1_000;

impl Index {
    /// The end of the slots, for walking in slices.
    pub(crate) fn slots_end(&self) -> u32 {
        self.messages.end()
    }

    /// Adds matching deliveries of one slice to the `max` smallest after `after`.
    pub(crate) fn collect(
        &self,
        from: u32,
        filter: &QueueFilter,
        after: Option<DeliveryId>,
        max: usize,
        smallest: &mut BinaryHeap<DeliveryId>,
    ) {
        for slot in from..from.saturating_add(SLICE).min(self.messages.end()) {
            let Some(entry) = self.messages.get(slot) else { continue };
            for delivery in &entry.deliveries {
                let id = DeliveryId { message: entry.id, index: delivery.index };
                if after.is_some_and(|after| id <= after) || !self.matches(entry, delivery, filter) {
                    continue;
                }
                if smallest.len() < max {
                    smallest.push(id);
                } else if smallest.peek().is_some_and(|largest| id < *largest) {
                    smallest.pop();
                    smallest.push(id);
                }
            }
        }
    }

    pub(super) fn matches(&self, entry: &MessageEntry, delivery: &DeliveryEntry, filter: &QueueFilter) -> bool {
        let host = &self.hosts[delivery.host];
        delivery.state != Standing::Settling
            && filter.message.is_none_or(|id| id == entry.id)
            && filter.tenant.as_ref().is_none_or(|tenant| *tenant == self.lanes[entry.lane].tenant)
            && filter.host.as_ref().is_none_or(|text| **text == *host.text)
            && filter.site.as_ref().is_none_or(|site| {
                host.placed && self.groups.get(host.group).is_some_and(|group| matches!(&group.name, Group::Site(name) if name == site))
            })
    }

    /// One delivery, when it lives.
    pub(crate) fn view(&self, id: DeliveryId) -> Option<DeliveryView> {
        let slot = self.find(id.message)?;
        let entry = &self.messages[slot];
        let delivery = entry.delivery(id.index).filter(|delivery| delivery.state != Standing::Settling)?;
        let (lane, host) = (&self.lanes[entry.lane], &self.hosts[delivery.host]);
        let site = self.groups.get(host.group).and_then(|group| match &group.name {
            Group::Site(site) => Some(site.clone()),
            Group::Host(_) => None,
        });
        let waiting = delivery.state == Standing::Waiting;
        Some(DeliveryView {
            id,
            tenant: lane.tenant.clone(),
            stream: lane.stream.clone(),
            host: host.text.clone(),
            site,
            arrived_at: entry.arrived_at,
            due: delivery.due,
            attempts: delivery.attempts(),
            state: if waiting { DeliveryState::Waiting } else { DeliveryState::Lent },
            content_octets: entry.content_octets,
            ahead: if waiting { self.ahead(slot, entry, delivery) } else { 0 },
        })
    }

    /// How many of its group are due before it, or due now with a better rank.
    fn ahead(&self, slot: u32, entry: &MessageEntry, delivery: &DeliveryEntry) -> u64 {
        let Some(group) = self.groups.get(self.hosts[delivery.host].group) else { return 0 };
        let place = (entry.rank(), delivery.due.millis(), slot, delivery.index);
        let mine = self.hosts[delivery.host].queues.iter().find(|(lane, _)| *lane == entry.lane).map(|(_, queue)| queue);
        let is_due = mine
            .is_some_and(|queue| queue.now.contains(&super::lane::NowKey { rank: place.0, due: place.1, slot: place.2, index: place.3 }));
        let mut ahead = 0;
        for hosts in group.lanes.values() {
            for (_, host) in hosts {
                for (_, queue) in &self.hosts[*host].queues {
                    let before = queue.now.iter().take_while(|key| !is_due || (key.rank, key.due, key.slot, key.index) < place);
                    ahead += before.take(AHEAD_STEPS_MAX as usize).count() as u64;
                }
                if ahead >= AHEAD_STEPS_MAX {
                    return ahead;
                }
            }
        }
        if is_due {
            return ahead;
        }
        for (due, host, lane) in &group.later {
            if *due > place.1 || ahead >= AHEAD_STEPS_MAX {
                break;
            }
            for (_, queue) in self.hosts[*host].queues.iter().filter(|(of, _)| of == lane) {
                let before = queue.later.iter().take_while(|key| (key.due, key.slot, key.index) < (place.1, place.2, place.3));
                ahead += before.take(AHEAD_STEPS_MAX as usize).count() as u64;
            }
        }
        ahead
    }

    /// The live deliveries of one message.
    pub(crate) fn live_indices(&self, id: MessageId) -> SmallVec<[u32; 4]> {
        let entry = self.find(id).map(|slot| &self.messages[slot]);
        let live = entry.into_iter().flat_map(|entry| &entry.deliveries).filter(|delivery| delivery.state != Standing::Settling);
        live.map(|delivery| delivery.index).collect()
    }

    /// Messages with a live delivery, live deliveries, and those of them that are lent: what costs nothing to know.
    pub(crate) fn live_counts(&self) -> (u64, u64, u64) {
        (self.live_messages, self.live, self.lent)
    }

    pub(crate) fn count(&self) -> QueueCount {
        let mut groups: Vec<(String, u64)> = Vec::new();
        for (_, group) in self.groups.iter().filter(|(_, group)| group.waiting > 0) {
            let name = match &group.name {
                Group::Host(host) => host.to_string(),
                Group::Site(site) => site.to_string(),
            };
            groups.push((name, group.waiting));
        }
        groups.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        groups.truncate(GROUPS_MAX);
        QueueCount { messages: self.live_messages, deliveries: self.live, lent: self.lent, groups }
    }
}

/// What memory knows of a live delivery, for a copy of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) index: u32,
    pub(crate) due: Timestamp,
    pub(crate) attempts: u32,
    pub(crate) told_life: u32,
    pub(crate) told_offset: u32,
    pub(crate) delay_told: bool,
}

impl Index {
    /// Where a message's record is, and how its deliveries stand.
    pub(crate) fn told_of(&self, id: MessageId) -> Option<(super::Place, Vec<Told>)> {
        let entry = &self.messages[self.find(id)?];
        let told = entry.deliveries.iter().map(|delivery| Told {
            index: delivery.index,
            due: delivery.due,
            attempts: delivery.attempts(),
            told_life: delivery.told_life,
            told_offset: delivery.told_offset,
            delay_told: delivery.delay_told,
        });
        Some((entry.place, told.collect()))
    }
}
