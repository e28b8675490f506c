//! The queue in a person's hands, and the journal for its readers.

use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

use postrider_model::doors::{
    Alteration, DeliveryView, Hold, Journal, JournalTrouble, QueueCount, QueueFilter, QueueShape, ShapeBy, Shown, SpoolDesk, SpoolHealth,
    SpoolTrouble, Walked,
};
use postrider_model::{BoxFuture, DeliveryId, Event, MessageId, Timestamp};

use crate::alteration::StoredChange;
use crate::engine::EmbeddedSpool;
use crate::index::SLICE;
use crate::sync::lock;

impl SpoolDesk for EmbeddedSpool {
    fn list(&self, filter: &QueueFilter, after: Option<DeliveryId>, max: usize) -> Vec<DeliveryView> {
        let mut smallest = BinaryHeap::new();
        if filter.messages.is_empty() {
            self.in_slices(|index, from| index.collect(from, filter, after, max, &mut smallest));
        } else {
            let index = lock(&self.core.index);
            let mut messages = filter.messages.clone();
            messages.sort_unstable();
            messages.dedup();
            for message in messages {
                let candidate = index.find(message).and_then(|slot| index.candidate(slot, filter));
                let indices = candidate.into_iter().flat_map(|candidate| candidate.indices);
                let ids = indices.map(|nth| DeliveryId { message, index: nth }).filter(|id| after.is_none_or(|after| *id > after));
                smallest.extend(ids.take(max - smallest.len()));
            }
        }
        let index = lock(&self.core.index);
        smallest.into_sorted_vec().into_iter().filter_map(|id| index.view(id, false)).collect()
    }

    fn walk<'a>(&'a self, filter: &'a QueueFilter, from: u64, max: usize) -> BoxFuture<'a, Result<Walked, SpoolTrouble>> {
        Box::pin(self.walk_queue(filter, from, max))
    }

    fn count(&self) -> QueueCount {
        lock(&self.core.index).count()
    }

    fn shape(&self, filter: &QueueFilter, by: ShapeBy, now: Timestamp, rows_max: usize) -> QueueShape {
        self.shape_of(filter, by, now, rows_max)
    }

    fn show(&self, id: MessageId) -> BoxFuture<'_, Result<Shown, SpoolTrouble>> {
        Box::pin(self.show_message(id))
    }

    fn alter(&self, filter: &QueueFilter, alteration: Alteration) -> Result<usize, SpoolTrouble> {
        self.core.check_sound()?;
        let _alone = lock(&self.core.altering);
        match alteration {
            Alteration::RetryNow(due) => self.make_due(filter, due),
            Alteration::Hold(hold) => self.turn(filter, StoredChange::Held(hold)),
            Alteration::Release(at) => self.turn(filter, StoredChange::Released(at)),
        }
    }

    fn hold(&self) -> BoxFuture<'_, Result<Box<dyn Hold>, SpoolTrouble>> {
        Box::pin(self.begin_hold())
    }

    fn health(&self) -> SpoolHealth {
        let core = &self.core;
        let (open, free) = core.slots.count();
        let octets = u64::from(core.slots.ground.segment_octets);
        let contents_octets = core.staging.contents_octets.load(Ordering::Relaxed);
        let journal_octets = core.journal_octets.load(Ordering::Relaxed);
        let (messages, deliveries, lent, live_octets) = {
            let index = lock(&core.index);
            let (messages, deliveries, lent) = index.live_counts();
            (messages, deliveries, lent, index.segments.live_octets())
        };
        SpoolHealth {
            messages,
            deliveries,
            lent,
            syncs: core.counters.syncs.load(Ordering::Relaxed),
            accepted: core.counters.accepted.load(Ordering::Relaxed),
            settled: core.counters.settled.load(Ordering::Relaxed),
            segments: (open + free) as u64,
            segments_free: free as u64,
            disk_octets: (open + free) as u64 * octets + contents_octets + journal_octets,
            contents_octets,
            journal_octets,
            live_octets,
            full: core.full.load(Ordering::Relaxed),
            poisoned: core.poisoned.get().cloned(),
            sync_times: core.slots.ground.disk.sync_times(),
        }
    }
}

impl EmbeddedSpool {
    /// Walks the index in slices, so that nobody waits long for the lock.
    pub(crate) fn in_slices(&self, mut step: impl FnMut(&mut crate::index::Index, u32)) {
        let mut from = 0;
        loop {
            let mut index = lock(&self.core.index);
            if from >= index.slots_end() {
                return;
            }
            step(&mut index, from);
            let wake = index.take_wake();
            drop(index);
            if wake {
                self.core.bell.notify_one();
            }
            from += SLICE;
        }
    }
}

/// How often a read is tried: events move from the log to the journal while somebody looks for them in the one and then in the other.
const READS_MAX: usize = 3;

impl Journal for EmbeddedSpool {
    fn read(&self, sequence: u64, max: usize) -> Result<Vec<Event>, JournalTrouble> {
        let mut last = JournalTrouble::Gone(sequence);
        for _ in 0..READS_MAX {
            match self.read_once(sequence, max) {
                Err(trouble @ JournalTrouble::Unreadable(_)) => last = trouble,
                read => return read,
            }
        }
        Err(last)
    }

    fn wait(&self, sequence: u64) -> BoxFuture<'_, ()> {
        Box::pin(self.core.ring.wait(sequence))
    }

    fn end(&self) -> u64 {
        self.core.ring.end()
    }
}

impl EmbeddedSpool {
    fn read_once(&self, sequence: u64, max: usize) -> Result<Vec<Event>, JournalTrouble> {
        let first = match self.core.ring.read(sequence, max) {
            Ok(events) => return Ok(events),
            Err(first) => first,
        };
        let Some(archive) = &self.core.archive else { return Err(JournalTrouble::Gone(first)) };
        let archived = lock(archive).read(sequence, max).map_err(JournalTrouble::Unreadable)?;
        match archived.map_err(JournalTrouble::Gone)? {
            // Between what is archived and what memory has, the log itself is read.
            events if events.is_empty() => {
                let mut events = self.core.events_of_log(sequence).map_err(JournalTrouble::Unreadable)?;
                events.truncate(max);
                Ok(events)
            }
            events => Ok(events),
        }
    }
}
