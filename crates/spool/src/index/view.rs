//! The queue in a person's hands: listing, counting, altering.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use postrider_model::doors::{AGE_MINUTES, Ages, DeliveryView, OnHold, QueueCount, QueueFilter, ShapeBy};
use postrider_model::{DeliveryId, Group, Message, MessageId, SiteName, Timestamp};
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

    /// Whether a live delivery is meant. Which messages are meant, and whose, the caller asks.
    pub(super) fn matches(&self, entry: &MessageEntry, delivery: &DeliveryEntry, filter: &QueueFilter) -> bool {
        let (lane, host) = (&self.lanes[entry.lane], &self.hosts[delivery.host]);
        delivery.state != Standing::Settling
            && filter.state.is_none_or(|state| delivery.state.shown() == state)
            && filter.tenant.as_ref().is_none_or(|tenant| *tenant == lane.tenant)
            && filter.stream.as_ref().is_none_or(|stream| *stream == lane.stream)
            && filter.arrived_from.is_none_or(|from| entry.arrived_at >= from)
            && filter.arrived_to.is_none_or(|to| entry.arrived_at <= to)
            && filter.host.as_ref().is_none_or(|text| **text == *host.text)
            && filter.site.as_ref().is_none_or(|site| self.site_of(delivery.host) == Some(site))
    }

    /// The Site that a host is placed at.
    fn site_of(&self, host: u32) -> Option<&SiteName> {
        let host = &self.hosts[host];
        match self.groups.get(host.group).filter(|_| host.placed).map(|group| &group.name) {
            Some(Group::Site(site)) => Some(site),
            Some(Group::Host(_)) | None => None,
        }
    }

    /// The texts of all hosts placed at a Site.
    pub(crate) fn hosts_at(&self, site: &SiteName) -> Vec<Box<str>> {
        let here = self.hosts.iter().filter(|(number, _)| self.site_of(*number) == Some(site));
        here.map(|(_, host)| (*host.text).into()).collect()
    }

    /// One delivery, when it lives. `placed`: with its place in the queue, which takes steps to count.
    pub(crate) fn view(&self, id: DeliveryId, placed: bool) -> Option<DeliveryView> {
        let slot = self.find(id.message)?;
        let entry = &self.messages[slot];
        let delivery = entry.delivery(id.index).filter(|delivery| delivery.state != Standing::Settling)?;
        let (lane, host) = (&self.lanes[entry.lane], &self.hosts[delivery.host]);
        let held = match delivery.state {
            Standing::Held => self.holds.get(delivery.loan),
            Standing::Waiting | Standing::Lent | Standing::Settling => self.holds.on_return(id),
        };
        Some(DeliveryView {
            id,
            tenant: lane.tenant.clone(),
            stream: lane.stream.clone(),
            host: host.text.clone(),
            site: self.site_of(delivery.host).cloned(),
            arrived_at: entry.arrived_at,
            due: delivery.due,
            attempts: delivery.attempts(),
            state: delivery.state.shown(),
            held: held.cloned(),
            content_octets: entry.content_octets,
            ahead: placed.then(|| if delivery.state == Standing::Waiting { self.ahead(slot, entry, delivery) } else { 0 }),
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
        QueueCount { messages: self.live_messages, deliveries: self.live, lent: self.lent, held: self.holds.count(), groups }
    }
}

/// A message that may be meant, for a walk.
pub(crate) struct Candidate {
    pub(crate) id: MessageId,
    /// Its facts, when they are in memory.
    pub(crate) warm: Option<Arc<Message>>,
    /// Its deliveries that are meant.
    pub(crate) indices: SmallVec<[u32; 4]>,
}

impl Index {
    /// Messages from a slot on that are meant, until about `max` of their deliveries are found, or one slice is walked; and where to go on.
    pub(crate) fn candidates(&self, filter: &QueueFilter, from: u32, max: usize) -> (Vec<Candidate>, Option<u32>) {
        let mut found = Vec::new();
        let (mut count, end) = (0, from.saturating_add(SLICE).min(self.messages.end()));
        for slot in from..end {
            if count >= max {
                return (found, Some(slot));
            }
            if let Some(candidate) = self.candidate(slot, filter) {
                count += candidate.indices.len();
                found.push(candidate);
            }
        }
        (found, Some(end).filter(|end| *end < self.messages.end()))
    }

    /// A message, when a delivery of it is meant.
    pub(crate) fn candidate(&self, slot: u32, filter: &QueueFilter) -> Option<Candidate> {
        let entry = self.messages.get(slot)?;
        let meant = entry.deliveries.iter().filter(|delivery| self.matches(entry, delivery, filter));
        let indices: SmallVec<[u32; 4]> = meant.map(|delivery| delivery.index).collect();
        let warm = || entry.warm().map(|(message, _)| message.clone());
        if indices.is_empty() { None } else { Some(Candidate { id: entry.id, warm: warm(), indices }) }
    }

    /// The ages of what matches in one slice by row, each row once; and when the oldest arrived.
    pub(crate) fn shape_slice(
        &self,
        from: u32,
        filter: &QueueFilter,
        by: ShapeBy,
        now: Timestamp,
    ) -> (Vec<(Arc<str>, Ages)>, Option<Timestamp>) {
        let mut rows: BTreeMap<(bool, u32), Ages> = BTreeMap::new();
        let mut oldest: Option<Timestamp> = None;
        for slot in from..from.saturating_add(SLICE).min(self.messages.end()) {
            let Some(entry) = self.messages.get(slot) else { continue };
            let age_minutes = now.since(entry.arrived_at).as_secs() / 60;
            let column = AGE_MINUTES.partition_point(|minutes| *minutes <= age_minutes);
            for delivery in entry.deliveries.iter().filter(|delivery| self.matches(entry, delivery, filter)) {
                let row = match by {
                    ShapeBy::Host => (false, delivery.host),
                    ShapeBy::Site if self.site_of(delivery.host).is_none() => (false, delivery.host),
                    ShapeBy::Site => (true, self.hosts[delivery.host].group),
                    ShapeBy::Tenant => (true, entry.lane),
                };
                rows.entry(row).or_default()[column] += 1;
                oldest = Some(oldest.map_or(entry.arrived_at, |oldest| oldest.min(entry.arrived_at)));
            }
        }
        let name = |(other, number): (bool, u32)| -> Arc<str> {
            match (by, other) {
                (ShapeBy::Tenant, _) => self.lanes[number].tenant.as_str().into(),
                (ShapeBy::Host, _) | (ShapeBy::Site, false) => self.hosts[number].text.clone(),
                (ShapeBy::Site, true) => match &self.groups[number].name {
                    Group::Site(site) => site.as_str().into(),
                    Group::Host(host) => host.to_string().into(),
                },
            }
        };
        (rows.into_iter().map(|(row, ages)| (name(row), ages)).collect(), oldest)
    }
}

/// What memory knows of a live delivery, for a copy of it.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) index: u32,
    pub(crate) due: Timestamp,
    pub(crate) attempts: u32,
    pub(crate) told_life: u32,
    pub(crate) told_offset: u32,
    pub(crate) delay_told: bool,
    /// Whether it is held, or will be when it comes back.
    pub(crate) held: Option<OnHold>,
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
            held: match delivery.state {
                Standing::Held => self.holds.get(delivery.loan).cloned(),
                Standing::Waiting | Standing::Lent | Standing::Settling => {
                    self.holds.on_return(DeliveryId { message: id, index: delivery.index }).cloned()
                }
            },
        });
        Some((entry.place, told.collect()))
    }
}
