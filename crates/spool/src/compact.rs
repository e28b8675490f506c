//! Compaction: what lives in a mostly dead segment is copied to the log's end, so that the segment can be freed (docs/custody.md, R7).
//!
//! **Promises.** Only segments that depend on nothing are emptied, so that a copy always leads to a free segment; the oldest one always
//! qualifies. One step reads at most [`MESSAGES_PER_STEP`] messages, and the next begins when those copies are durable: compaction rides along with
//! the committer's batches and holds nothing up. A copy that memory outran (a settlement came meanwhile) is thrown away and made again.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use postrider_model::MessageId;
use postrider_model::doors::SpoolTrouble;

use crate::copy::copy_of;
use crate::core::{Core, Item};
use crate::handoff::Weight;
use crate::sync::lock;

/// Messages copied in one step.
const MESSAGES_PER_STEP: usize = 64;
/// Segments that may be used beyond twice what lives before compaction begins.
const SLACK_SEGMENTS: u64 = 4;

/// Where compaction stands.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    victim: Option<u32>,
    /// The slot of the index where the walk goes on.
    from: u32,
    /// Segments with something that cannot be read: they stay as they are, for the operator.
    unreadable: BTreeSet<u32>,
}

impl Core {
    /// One step. Whether anything was done.
    pub(crate) fn compact(&self) -> bool {
        if self.copies.load(Ordering::Acquire) > 0 || self.no_room_for_copies.load(Ordering::Acquire) {
            return false;
        }
        let mut compaction = lock(&self.compaction);
        let victim = match compaction.victim {
            Some(victim) => victim,
            None => match self.choose_victim(&compaction.unreadable) {
                Some(victim) => *compaction.victim.insert(victim),
                None => return false,
            },
        };
        let (messages, next) = lock(&self.index).in_segment(victim, compaction.from, MESSAGES_PER_STEP);
        let mut copied_any = false;
        for (id, whole) in messages {
            match self.copy_message(id, whole) {
                Ok(copied) => copied_any |= copied,
                Err(trouble) => {
                    tracing::error!(%trouble, message = %id, "a waiting message cannot be read; its segment is not compacted");
                    compaction.unreadable.insert(victim);
                }
            }
        }
        match next {
            Some(next) => compaction.from = next,
            None => {
                // What was passed over is met again when this or another victim is walked at a later bell.
                (compaction.victim, compaction.from) = (None, 0);
            }
        }
        // A walk that copied nothing waits for a bell: what it passed over has a settlement under way, and that will ring.
        copied_any || next.is_some()
    }

    fn choose_victim(&self, unreadable: &BTreeSet<u32>) -> Option<u32> {
        let index = lock(&self.index);
        let octets = u64::from(self.slots.ground.segment_octets);
        let used = index.segments.iter().count() as u64 * octets;
        let live = index.segments.live_octets();
        // Mail that is refused for want of space is worth more work. What is denser than half stays then: packed anew it would be no smaller, and
        // the work would have no end.
        let densest = match (used > live * 2 + SLACK_SEGMENTS * octets, self.full.load(Ordering::Relaxed)) {
            (true, _) => u64::MAX,
            (false, true) if used > live + live / 4 + octets => octets / 2,
            (false, _) => return None,
        };
        let candidates = index
            .segments
            .iter()
            .filter(|(life, book)| book.sealed && book.depends_on.is_empty() && book.live_records > 0 && !unreadable.contains(life))
            .filter(|(_, book)| book.live_octets <= densest);
        candidates.min_by_key(|(_, book)| book.live_octets).map(|(life, _)| life)
    }

    /// Hands a copy to the committer. `false`: not now.
    fn copy_message(&self, id: MessageId, whole: bool) -> Result<bool, SpoolTrouble> {
        let (place, told, revision) = {
            let index = lock(&self.index);
            let Some(entry) = index.entry(id).filter(|entry| entry.unsynced == 0) else { return Ok(false) };
            let revision = entry.revision;
            let Some((place, told)) = index.told_of(id) else { return Ok(false) };
            (place, told, revision)
        };
        let frame = match copy_of(&self.slots, id, place, &told, whole) {
            Ok(frame) => frame,
            Err(SpoolTrouble::NoSuchMessage) => return Ok(false),
            Err(trouble) => return Err(trouble),
        };
        let index = lock(&self.index);
        let is_true = index.entry(id).is_some_and(|entry| entry.unsynced == 0 && entry.revision == revision && entry.place == place);
        if !is_true {
            return Ok(false);
        }
        self.copies.fetch_add(1, Ordering::AcqRel);
        // Given under the lock: no settlement of this message can stand before its copy in the log without being in the copy.
        if self.give(Item::Frame(Box::new(frame)), Weight::Outcomes(1)).is_err() {
            self.copies.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(true)
    }
}
