//! Looking at the queue: one message, a walk through all, and how old it is. Reads stand outside the lock, and each hold of the lock is bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use postrider_model::doors::{Ages, DeliveryView, QueueFilter, QueueShape, ShapeBy, Shown, SpoolTrouble, Walked};
use postrider_model::{DeliveryId, MessageId, Timestamp};

use crate::engine::EmbeddedSpool;
use crate::index::{Candidate, SLICE};
use crate::offload::offload;
use crate::reader::{read_diagnosis, read_message};
use crate::sync::lock;

/// Messages read from the disk in one page of a walk that asks for a sender.
const READS_MAX: usize = 2_048;
/// How often a message is looked up again because it moved.
const MOVES_MAX: usize = 8;

impl EmbeddedSpool {
    pub(crate) async fn show_message(&self, id: MessageId) -> Result<Shown, SpoolTrouble> {
        let (views, place, told) = {
            let index = lock(&self.core.index);
            let indices = index.live_indices(id);
            let views: Vec<DeliveryView> =
                indices.iter().filter_map(|nth| index.view(DeliveryId { message: id, index: *nth }, true)).collect();
            let (place, told) = index.told_of(id).filter(|_| !views.is_empty()).ok_or(SpoolTrouble::NoSuchMessage)?;
            (views, place, told)
        };
        let slots = self.core.slots.clone();
        offload(self.core.offload.as_ref(), move || {
            let (message, ..) = read_message(&slots, id, place, false)?;
            let mut shown = Vec::with_capacity(views.len());
            for view in views {
                let told = told.iter().find(|told| told.index == view.id.index);
                let diagnosis = match told {
                    Some(told) => read_diagnosis(&slots, id, told.index, told.told_life, told.told_offset)?,
                    None => None,
                };
                shown.push((view, diagnosis));
            }
            Ok((message, shown))
        })
        .await
    }

    /// A page of the walk. Of messages that are named, the place is that in the list; else it is the slot in memory.
    pub(crate) async fn walk_queue(&self, filter: &QueueFilter, from: u64, max: usize) -> Result<Walked, SpoolTrouble> {
        let (mut walked, mut next, mut reads) = (Walked::default(), Some(u32::try_from(from).unwrap_or(u32::MAX)), 0);
        while let Some(from) = next
            && walked.found.len() < max
            && reads < READS_MAX
        {
            let room = (max - walked.found.len()).min(READS_MAX);
            let (mut candidates, then) = self.candidates(filter, from, room);
            next = then;
            if filter.sender.is_some() {
                reads += candidates.len();
                candidates = self.of_sender(candidates, filter).await?;
            }
            let index = lock(&self.core.index);
            let ids = candidates.iter().flat_map(|of| of.indices.iter().map(|nth| DeliveryId { message: of.id, index: *nth }));
            walked.found.extend(ids.filter_map(|id| index.view(id, false)));
        }
        walked.next = next.map(u64::from);
        Ok(walked)
    }

    fn candidates(&self, filter: &QueueFilter, from: u32, room: usize) -> (Vec<Candidate>, Option<u32>) {
        let index = lock(&self.core.index);
        if filter.messages.is_empty() {
            return index.candidates(filter, from, room);
        }
        let named = filter.messages.iter().skip(from as usize).take(room);
        let found = named.filter_map(|id| index.find(*id).and_then(|slot| index.candidate(slot, filter))).collect();
        let then = from.saturating_add(u32::try_from(room).unwrap_or(u32::MAX));
        (found, Some(then).filter(|then| (*then as usize) < filter.messages.len()))
    }

    /// Those of the messages whose reverse-path is meant.
    async fn of_sender(&self, candidates: Vec<Candidate>, filter: &QueueFilter) -> Result<Vec<Candidate>, SpoolTrouble> {
        let Some(sender) = filter.sender.clone() else { return Ok(candidates) };
        let core = self.core.clone();
        let kept = offload(self.core.offload.as_ref(), move || {
            let mut kept = Vec::new();
            for candidate in candidates {
                let message = match candidate.warm.clone() {
                    Some(message) => Some(message),
                    None => read_facts(&core, candidate.id),
                };
                if message.is_some_and(|message| sender.means(&message.envelope.reverse_path)) {
                    kept.push(candidate);
                }
            }
            Ok(kept)
        });
        kept.await
    }

    /// How old the queue is, by rows.
    pub(crate) fn shape_of(&self, filter: &QueueFilter, by: ShapeBy, now: Timestamp, rows_max: usize) -> QueueShape {
        let mut shape = QueueShape::default();
        let mut rows: BTreeMap<Arc<str>, Ages> = BTreeMap::new();
        let mut from = 0;
        loop {
            let (slice, oldest) = {
                let index = lock(&self.core.index);
                if from >= index.slots_end() {
                    break;
                }
                index.shape_slice(from, filter, by, now)
            };
            from += SLICE;
            for (name, ages) in slice {
                let row = rows.entry(name).or_default();
                for (column, count) in ages.iter().enumerate() {
                    row[column] += count;
                    shape.total[column] += count;
                }
            }
            shape.oldest = [shape.oldest, oldest].into_iter().flatten().min();
        }
        shape.rows_in_all = rows.len();
        shape.rows = rows.into_iter().collect();
        shape.rows.sort_by_key(|(_, ages)| std::cmp::Reverse(ages.iter().sum::<u64>()));
        shape.rows.truncate(rows_max);
        shape
    }
}

/// A live message's facts from its record; nothing when it ended meanwhile. One that cannot be read is nobody's, and says so in the log.
fn read_facts(core: &crate::core::Core, id: MessageId) -> Option<Arc<postrider_model::Message>> {
    for _ in 0..MOVES_MAX {
        let place = lock(&core.index).live_entry(id)?.place;
        match read_message(&core.slots, id, place, false) {
            Ok((message, ..)) => return Some(message),
            Err(trouble) if lock(&core.index).live_entry(id).is_some_and(|entry| entry.place == place) => {
                tracing::error!(%trouble, message = %id, "a waiting message cannot be read; it matches no sender");
                return None;
            }
            Err(_) => {}
        }
    }
    None
}
