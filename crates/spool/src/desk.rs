//! The queue in a person's hands, and the journal for its readers.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use postrider_model::doors::{Alteration, DeliveryView, Journal, QueueCount, QueueFilter, SpoolDesk, SpoolHealth, SpoolTrouble};
use postrider_model::{BoxFuture, DeliveryId, Diagnosis, Event, Message, MessageId};

use crate::engine::EmbeddedSpool;
use crate::index::SLICE;
use crate::offload::offload;
use crate::reader::{read_diagnosis, read_message};
use crate::sync::lock;

type Shown = (Arc<Message>, Vec<(DeliveryView, Option<Diagnosis>)>);

impl SpoolDesk for EmbeddedSpool {
    fn list(&self, filter: &QueueFilter, after: Option<DeliveryId>, max: usize) -> Vec<DeliveryView> {
        let mut smallest = BinaryHeap::new();
        if let Some(message) = filter.message {
            let index = lock(&self.core.index);
            let ids = index.live_indices(message).into_iter().map(|nth| DeliveryId { message, index: nth });
            smallest.extend(ids.filter(|id| after.is_none_or(|after| *id > after)).take(max));
        } else {
            self.in_slices(|index, from| index.collect(from, filter, after, max, &mut smallest));
        }
        let index = lock(&self.core.index);
        smallest.into_sorted_vec().into_iter().filter_map(|id| index.view(id)).collect()
    }

    fn count(&self) -> QueueCount {
        lock(&self.core.index).count()
    }

    fn show(&self, id: MessageId) -> BoxFuture<'_, Result<Shown, SpoolTrouble>> {
        Box::pin(self.show_message(id))
    }

    fn alter(&self, filter: &QueueFilter, alteration: Alteration) -> Result<usize, SpoolTrouble> {
        self.core.check_sound()?;
        let Alteration::RetryNow(due) = alteration;
        let mut changed = 0;
        self.in_slices(|index, from| changed += index.make_due(from, filter, due));
        Ok(changed)
    }

    fn health(&self) -> SpoolHealth {
        let core = &self.core;
        let (open, free) = core.slots.count();
        let octets = u64::from(core.slots.ground.segment_octets);
        SpoolHealth {
            syncs: core.counters.syncs.load(Ordering::Relaxed),
            accepted: core.counters.accepted.load(Ordering::Relaxed),
            settled: core.counters.settled.load(Ordering::Relaxed),
            segments: (open + free) as u64,
            segments_free: free as u64,
            disk_octets: (open + free) as u64 * octets,
            live_octets: lock(&core.index).segments.live_octets(),
            full: core.full.load(Ordering::Relaxed),
            poisoned: core.poisoned.get().cloned(),
        }
    }
}

impl EmbeddedSpool {
    /// Walks the index in slices, so that nobody waits long for the lock.
    fn in_slices(&self, mut step: impl FnMut(&mut crate::index::Index, u32)) {
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

    async fn show_message(&self, id: MessageId) -> Result<Shown, SpoolTrouble> {
        let (views, place, told) = {
            let index = lock(&self.core.index);
            let indices = index.live_indices(id);
            let views: Vec<DeliveryView> = indices.iter().filter_map(|nth| index.view(DeliveryId { message: id, index: *nth })).collect();
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
}

impl Journal for EmbeddedSpool {
    fn read(&self, sequence: u64, max: usize) -> Result<Vec<Event>, u64> {
        let first = match self.core.ring.read(sequence, max) {
            Ok(events) => return Ok(events),
            Err(first) => first,
        };
        let Some(archive) = &self.core.archive else { return Err(first) };
        let archived = lock(archive).read(sequence, max);
        let read = match archived {
            // Between what is archived and what memory has, the log itself is read.
            Ok(Ok(events)) if events.is_empty() => self.core.events_of_log(sequence).map(|mut events| {
                events.truncate(max);
                Ok(events)
            }),
            other => other,
        };
        match read {
            Ok(read) => read,
            Err(trouble) => {
                tracing::error!(%trouble, sequence, "the journal cannot be read there; readers go on behind it");
                Err(first)
            }
        }
    }

    fn wait(&self, sequence: u64) -> BoxFuture<'_, ()> {
        Box::pin(self.core.ring.wait(sequence))
    }
}
