//! Changes by hand: memory first, then one record, in the order in which memory changed.

use std::collections::BTreeSet;

use postrider_model::Timestamp;
use postrider_model::doors::{QueueFilter, SpoolTrouble};

use crate::alteration::{Choice, StoredAlteration, StoredChange};
use crate::core::Item;
use crate::engine::EmbeddedSpool;
use crate::frame::Frame;
use crate::handoff::Weight;
use crate::index::{Altered, Index};

/// Octets of host names in one record.
const HOSTS_OCTETS_MAX: usize = 16 * 1024;

impl EmbeddedSpool {
    /// Makes what waits and matches due.
    pub(crate) fn make_due(&self, filter: &QueueFilter, due: Timestamp) -> Result<usize, SpoolTrouble> {
        let (mut count, mut outcome) = (0, Ok(()));
        let mut teller = Teller { spool: self, filter, due, told: BTreeSet::new(), is_told: false };
        let mut change = |index: &mut Index, altered: Altered| {
            count += altered.count;
            if altered.count > 0 && outcome.is_ok() {
                outcome = teller.tell(index, &altered);
            }
        };
        if filter.messages.is_empty() {
            self.in_slices(|index, from| {
                let altered = index.make_due(from, filter, due);
                change(index, altered);
            });
        } else {
            self.change(|index| {
                let mut altered = Altered::default();
                for id in &filter.messages {
                    if let Some(slot) = index.find(*id) {
                        index.make_message_due(slot, filter, due, &mut altered);
                    }
                }
                change(index, altered);
            });
        }
        outcome.map(|()| count)
    }

    /// Holds or releases what matches. The record comes last: until it stands, what arrives takes part, and a crash leaves nothing of it.
    pub(crate) fn turn(&self, filter: &QueueFilter, change: StoredChange) -> Result<usize, SpoolTrouble> {
        let hold = match &change {
            StoredChange::Held(hold) => Some(hold),
            StoredChange::Released(_) | StoredChange::Due(_) => None,
        };
        if !filter.messages.is_empty() {
            return self.change(|index| {
                let slots: Vec<u32> = filter.messages.iter().filter_map(|id| index.find(*id)).collect();
                let count = slots.into_iter().map(|slot| index.turn_message(slot, filter, hold)).sum();
                if count > 0 { self.tell_turn(index, filter, &change, None).map(|()| count) } else { Ok(count) }
            });
        }
        let turn = self.change(|index| index.begin_turn(filter, hold));
        let mut count = 0;
        self.in_slices(|index, from| count += index.turn_slice(from, filter, hold));
        self.change(|index| self.tell_turn(index, filter, &change, Some(turn))).map(|()| count)
    }

    /// Hands the record over; of a Site, as many as its hosts' names need, and none when it has no host.
    fn tell_turn(&self, index: &mut Index, filter: &QueueFilter, change: &StoredChange, turn: Option<u64>) -> Result<(), SpoolTrouble> {
        let Some(site) = &filter.site else { return self.give_alteration(change.clone(), filter, Vec::new(), turn) };
        let mut parts: Vec<Vec<Box<str>>> = Vec::new();
        let mut octets = HOSTS_OCTETS_MAX;
        for host in index.hosts_at(site) {
            if octets >= HOSTS_OCTETS_MAX {
                octets = 0;
                parts.push(Vec::new());
            }
            octets += host.len();
            parts.last_mut().into_iter().for_each(|part| part.push(host.clone()));
        }
        let Some(last) = parts.pop() else {
            turn.into_iter().for_each(|turn| index.end_turn(turn));
            return Ok(());
        };
        for part in parts {
            self.give_alteration(change.clone(), filter, part, None)?;
        }
        self.give_alteration(change.clone(), filter, last, turn)
    }

    fn give_alteration(
        &self,
        change: StoredChange,
        filter: &QueueFilter,
        hosts: Vec<Box<str>>,
        turn: Option<u64>,
    ) -> Result<(), SpoolTrouble> {
        let frame = Frame::alteration(StoredAlteration { change, choice: Choice::of(filter, hosts) }, turn);
        self.core.give(Item::Frame(Box::new(frame)), Weight::Urgent).map_err(|_| SpoolTrouble::Closed)
    }
}

/// Writes a new date to the log while memory is changed: under the same lock, so that both see the same order.
struct Teller<'a> {
    spool: &'a EmbeddedSpool,
    filter: &'a QueueFilter,
    due: Timestamp,
    /// Hosts of the Site that were written.
    told: BTreeSet<Box<str>>,
    is_told: bool,
}

impl Teller<'_> {
    fn tell(&mut self, index: &Index, altered: &Altered) -> Result<(), SpoolTrouble> {
        if self.filter.site.is_none() {
            // The record chooses as the filter does, so one is enough for all slices.
            return if std::mem::replace(&mut self.is_told, true) { Ok(()) } else { self.give(Vec::new()) };
        }
        let (mut hosts, mut octets) = (Vec::new(), 0);
        for host in altered.hosts.iter().map(|host| index.host_text(*host)) {
            if !self.told.insert(host.clone()) {
                continue;
            }
            octets += host.len();
            hosts.push(host);
            if octets > HOSTS_OCTETS_MAX {
                octets = 0;
                self.give(std::mem::take(&mut hosts))?;
            }
        }
        if hosts.is_empty() { Ok(()) } else { self.give(hosts) }
    }

    fn give(&self, hosts: Vec<Box<str>>) -> Result<(), SpoolTrouble> {
        self.spool.give_alteration(StoredChange::Due(self.due), self.filter, hosts, None)
    }
}
