//! Changes by hand: waiting deliveries made due at another time, in memory, and again when the log is replayed.
//!
//! **Promises.** A replayed alteration reaches exactly the deliveries whose last word (the record that dated them) stands before it in the log, and
//! only makes them due earlier; so alterations may be applied in any order, all at the end of the replay, and once more from a copy. Its segment is
//! freed only after every segment before it, because the words it alters may stand in any of them.

use std::collections::{BTreeMap, BTreeSet};

use postrider_model::doors::QueueFilter;
use postrider_model::{MessageId, TenantName, Timestamp};
use smallvec::SmallVec;

use super::entry::{DeliveryEntry, MessageEntry, Place, Standing};
use super::{Index, SLICE};
use crate::forms::{Choice, StoredAlteration};

/// What one slice of a change did.
#[derive(Debug, Default)]
pub(crate) struct Altered {
    pub(crate) count: usize,
    /// The hosts of what was changed, when a Site was chosen.
    pub(crate) hosts: BTreeSet<u32>,
}

impl Index {
    /// Makes the matching waiting deliveries of one slice due at `due`.
    pub(crate) fn make_due(&mut self, from: u32, filter: &QueueFilter, due: Timestamp) -> Altered {
        let mut altered = Altered::default();
        for slot in from..from.saturating_add(SLICE).min(self.messages.end()) {
            self.make_message_due(slot, filter, due, &mut altered);
        }
        altered
    }

    /// The same of one message.
    pub(crate) fn make_message_due(&mut self, slot: u32, filter: &QueueFilter, due: Timestamp, altered: &mut Altered) {
        let Some(entry) = self.messages.get(slot) else { return };
        let matches =
            |delivery: &&DeliveryEntry| delivery.state == Standing::Waiting && delivery.due > due && self.matches(entry, delivery, filter);
        let chosen: SmallVec<[(u32, u32); 4]> =
            entry.deliveries.iter().filter(matches).map(|delivery| (delivery.index, delivery.host)).collect();
        for (index, host) in &chosen {
            self.dequeue(slot, *index);
            if let Some(delivery) = self.messages[slot].delivery_mut(*index) {
                delivery.due = due;
            }
            self.enqueue(slot, *index);
            if filter.site.is_some() {
                altered.hosts.insert(*host);
            }
        }
        if !chosen.is_empty() {
            altered.count += chosen.len();
            // A copy under way has the old date.
            let entry = &mut self.messages[slot];
            entry.revision = entry.revision.wrapping_add(1);
        }
    }

    /// A host's text, for a record.
    pub(crate) fn host_text(&self, host: u32) -> Box<str> {
        (*self.hosts[host].text).into()
    }

    /// Remembers an alteration for the end of the replay.
    pub(crate) fn replay_alteration(&mut self, place: Place, alteration: StoredAlteration) {
        self.segments.depend_on_all_before(place.life);
        self.alterations.push((place, alteration));
    }

    /// The alterations in a segment, merged: what must stay when the segment goes while older ones stay.
    pub(crate) fn alterations_in(&self, life: u32) -> Vec<StoredAlteration> {
        let mut merged: BTreeMap<&Choice, Timestamp> = BTreeMap::new();
        for (_, alteration) in self.alterations.iter().filter(|(place, _)| place.life == life) {
            let due = merged.entry(&alteration.choice).or_insert(alteration.due);
            *due = alteration.due.min(*due);
        }
        merged.into_iter().map(|(choice, due)| StoredAlteration { due, choice: choice.clone() }).collect()
    }

    /// Applies what was remembered. Nothing is in lanes yet.
    pub(super) fn apply_alterations(&mut self) {
        let alterations = Alterations::of(std::mem::take(&mut self.alterations));
        if alterations.is_empty() {
            return;
        }
        for slot in 0..self.messages.end() {
            let Some(entry) = self.messages.get(slot) else { continue };
            let tenant = &self.lanes[entry.lane].tenant;
            let dues: SmallVec<[Timestamp; 4]> = entry
                .deliveries
                .iter()
                .map(|delivery| {
                    let told_at = word_of(entry, delivery);
                    let altered = alterations.after(told_at, entry.id, tenant, &self.hosts[delivery.host].text);
                    altered.map_or(delivery.due, |due| due.min(delivery.due))
                })
                .collect();
            for (delivery, due) in self.messages[slot].deliveries.iter_mut().zip(dues) {
                delivery.due = due;
            }
        }
    }
}

/// Where a delivery was dated last.
fn word_of(entry: &MessageEntry, delivery: &DeliveryEntry) -> (u32, u32) {
    if delivery.told_life == 0 { (entry.place.life, entry.place.offset) } else { (delivery.told_life, delivery.told_offset) }
}

/// The alterations of a log by what they choose, so that a choice made every minute costs as much as one made once.
#[derive(Default)]
struct Alterations {
    messages: BTreeMap<MessageId, Vec<Dated>>,
    others: Vec<Dated>,
}

/// One choice, and when it was made due.
struct Dated {
    tenant: Option<TenantName>,
    hosts: BTreeSet<Box<str>>,
    dates: Dates,
}

impl Alterations {
    fn of(all: Vec<(Place, StoredAlteration)>) -> Self {
        let mut by_choice: BTreeMap<Choice, Dates> = BTreeMap::new();
        for (place, StoredAlteration { due, choice }) in all {
            by_choice.entry(choice).or_default().0.push(((place.life, place.offset), due));
        }
        let mut alterations = Self::default();
        for (Choice { message, tenant, hosts }, mut dates) in by_choice {
            dates.order();
            let dated = Dated { tenant, hosts: hosts.into_iter().collect(), dates };
            match message {
                Some(id) => alterations.messages.entry(id).or_default().push(dated),
                None => alterations.others.push(dated),
            }
        }
        alterations
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.others.is_empty()
    }

    /// The earliest date told behind `at` to such a delivery.
    fn after(&self, at: (u32, u32), id: MessageId, tenant: &TenantName, host: &str) -> Option<Timestamp> {
        let all = self.others.iter().chain(self.messages.get(&id).into_iter().flatten());
        let chosen = all
            .filter(|dated| dated.tenant.as_ref().is_none_or(|of| of == tenant) && (dated.hosts.is_empty() || dated.hosts.contains(host)));
        chosen.filter_map(|dated| dated.dates.after(at)).min()
    }
}

/// Places in the log, in their order, each with the earliest date told there or later.
#[derive(Default)]
struct Dates(Vec<((u32, u32), Timestamp)>);

impl Dates {
    fn order(&mut self) {
        self.0.sort_unstable();
        let mut earliest = Timestamp::NEVER;
        for (_, due) in self.0.iter_mut().rev() {
            earliest = earliest.min(*due);
            *due = earliest;
        }
    }

    fn after(&self, at: (u32, u32)) -> Option<Timestamp> {
        self.0.get(self.0.partition_point(|(place, _)| *place <= at)).map(|(_, due)| *due)
    }
}
