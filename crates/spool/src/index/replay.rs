//! Rebuilding memory from the log, record by record in the order they were written.

use postrider_model::doors::OnHold;
use postrider_model::{MessageId, Priority, Timestamp};
use postrider_smtp::Host;
use smallvec::SmallVec;

use super::deliveries::Deliveries;
use super::settle::Fate;
use super::{DeliveryEntry, Extra, Index, MessageEntry, Place, Standing};
use crate::forms::FileName;
use postrider_model::{StreamName, TenantName};

/// A message as a record or a footer tells it.
pub(crate) struct Replayed {
    pub(crate) id: MessageId,
    pub(crate) lane: u32,
    pub(crate) arrived_at: Timestamp,
    pub(crate) release_at: Option<Timestamp>,
    pub(crate) null_reverse_path: bool,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) priority: Priority,
    pub(crate) content_octets: u64,
    pub(crate) file: Option<FileName>,
    /// Index, host, and how it stands.
    pub(crate) deliveries: SmallVec<[(u32, u32, Fate); 1]>,
    /// Which of them are held, by index.
    pub(crate) held: Vec<(u32, OnHold)>,
}

impl Index {
    /// Until [`Index::end_replay`], nothing is put into lanes and no name is forgotten.
    pub(crate) fn begin_replay(&mut self) {
        self.recovering = true;
    }

    /// The number of a name, for [`Replayed`]; stays valid until the end of the replay.
    pub(crate) fn replay_lane(&mut self, tenant: &TenantName, stream: &StreamName) -> u32 {
        self.lane(tenant, stream)
    }

    /// The number of a host, likewise.
    pub(crate) fn replay_host(&mut self, host: &Host) -> u32 {
        self.host(host)
    }

    /// An acceptance, or a checkpoint that supersedes all that was said of the message before.
    pub(crate) fn replay_message(&mut self, place: Place, replayed: Replayed) {
        let old = self.find(replayed.id).and_then(|slot| {
            self.live -= self.messages[slot].deliveries.len() as u64;
            self.live_messages -= 1;
            self.remove(slot)
        });
        if let Some(old) = old {
            self.segments.depend(place.life, old.place.life);
        }
        let mut deliveries: Deliveries = replayed
            .deliveries
            .iter()
            .filter_map(|(index, host, fate)| match *fate {
                Fate::Ended => None,
                Fate::Live { due, attempts, told, delay_told } => Some(DeliveryEntry {
                    index: *index,
                    host: *host,
                    due,
                    loan: 0,
                    attempts: DeliveryEntry::kept_attempts(attempts),
                    told_life: if told { place.life } else { 0 },
                    told_offset: place.offset,
                    state: Standing::Waiting,
                    delay_told,
                }),
            })
            .collect();
        if deliveries.is_empty() {
            return;
        }
        for (index, hold) in &replayed.held {
            if let Ok(nth) = deliveries.binary_search_by_key(index, |delivery| delivery.index) {
                (deliveries[nth].state, deliveries[nth].loan) = (Standing::Held, self.holds.take(hold));
            }
        }
        self.insert(MessageEntry {
            id: replayed.id,
            place,
            lane: replayed.lane,
            arrived_at: replayed.arrived_at,
            content_octets: replayed.content_octets,
            revision: 0,
            unsynced: 0,
            priority: replayed.priority,
            null_reverse_path: replayed.null_reverse_path,
            extra: Extra { file: replayed.file, warm: None, deadline: replayed.deadline, release_at: replayed.release_at }.kept(),
            deliveries,
        });
    }

    /// What a settlement or a standing says of one delivery. Whether it ended one that lived until then.
    pub(crate) fn replay_fate(&mut self, id: MessageId, index: u32, fate: Fate, place: Place) -> bool {
        let Some(slot) = self.find(id) else { return false };
        if self.messages[slot].delivery(index).is_none() {
            return false;
        }
        match fate {
            Fate::Live { due, attempts, told, delay_told } => {
                if let Some(delivery) = self.messages[slot].delivery_mut(index) {
                    (delivery.due, delivery.attempts) = (due, DeliveryEntry::kept_attempts(attempts));
                    delivery.delay_told = delay_told;
                }
                if told {
                    self.told(slot, index, place);
                }
                false
            }
            Fate::Ended => {
                self.live -= 1;
                self.ended(slot, index, place.life);
                if self.messages[slot].deliveries.is_empty() {
                    self.live_messages -= 1;
                    self.remove(slot);
                }
                true
            }
        }
    }

    /// Everything that waits goes into its lane; names that nobody needs are forgotten.
    pub(crate) fn end_replay(&mut self) {
        self.apply_alterations();
        self.recovering = false;
        for slot in 0..self.messages.end() {
            let Some(entry) = self.messages.get(slot) else { continue };
            let waiting = entry.deliveries.iter().filter(|delivery| delivery.state == Standing::Waiting);
            let indices: SmallVec<[u32; 4]> = waiting.map(|delivery| delivery.index).collect();
            indices.into_iter().for_each(|index| self.enqueue(slot, index));
        }
        for host in 0..self.hosts.end() {
            self.tidy_host(host);
        }
        let unused: Vec<u32> = self.lanes.iter().filter(|(_, lane)| lane.refs == 0).map(|(number, _)| number).collect();
        for lane in unused {
            if let Some(name) = self.lanes.remove(lane) {
                self.lane_numbers.remove(&(name.tenant, name.stream));
            }
        }
    }

    /// Octets of those files.
    pub(crate) fn contents_octets(&self) -> u64 {
        self.messages.iter().filter(|(_, entry)| entry.file().is_some()).map(|(_, entry)| entry.content_octets).sum()
    }

    /// The files under `contents/` that live messages need.
    pub(crate) fn files(&self) -> std::collections::BTreeSet<FileName> {
        self.messages.iter().filter_map(|(_, entry)| entry.file()).collect()
    }
}
