//! The queue in a person's hands, and the journal for its readers.

use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use postrider_model::doors::{
    Alteration, DeliveryView, Hold, Journal, JournalTrouble, QueueCount, QueueFilter, SpoolDesk, SpoolHealth, SpoolTrouble,
};
use postrider_model::{BoxFuture, DeliveryId, Diagnosis, Event, Message, MessageId};

use crate::core::Item;
use crate::engine::EmbeddedSpool;
use crate::forms::{Choice, StoredAlteration};
use crate::frame::Frame;
use crate::handoff::Weight;
use crate::index::{Altered, Index, SLICE};
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
        let (mut count, mut outcome) = (0, Ok(()));
        let mut teller = Teller { spool: self, filter, due, told: BTreeSet::new(), is_told: false };
        let mut change = |index: &mut Index, altered: Altered| {
            count += altered.count;
            if altered.count > 0 && outcome.is_ok() {
                outcome = teller.tell(index, &altered);
            }
        };
        if let Some(id) = filter.message {
            self.change(|index| {
                let mut altered = Altered::default();
                if let Some(slot) = index.find(id) {
                    index.make_message_due(slot, filter, due, &mut altered);
                }
                change(index, altered);
            });
        } else {
            self.in_slices(|index, from| {
                let altered = index.make_due(from, filter, due);
                change(index, altered);
            });
        }
        outcome.map(|()| count)
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

/// Octets of host names in one record.
const HOSTS_OCTETS_MAX: usize = 16 * 1024;

/// Writes a change by hand to the log while memory is changed: under the same lock, so that both see the same order.
struct Teller<'a> {
    spool: &'a EmbeddedSpool,
    filter: &'a QueueFilter,
    due: postrider_model::Timestamp,
    /// Hosts of the Site that were written.
    told: BTreeSet<Box<str>>,
    is_told: bool,
}

impl Teller<'_> {
    fn tell(&mut self, index: &Index, altered: &Altered) -> Result<(), SpoolTrouble> {
        if self.filter.site.is_none() {
            // The record chooses as the filter does, so one is enough for all slices.
            return if std::mem::replace(&mut self.is_told, true) {
                Ok(())
            } else {
                self.give(self.filter.host.iter().map(|host| (**host).into()).collect())
            };
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
        let choice = Choice { message: self.filter.message, tenant: self.filter.tenant.clone(), hosts };
        let frame = Frame::alteration(StoredAlteration { due: self.due, choice });
        self.spool.core.give(Item::Frame(Box::new(frame)), Weight::Urgent).map_err(|_| SpoolTrouble::Closed)
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
