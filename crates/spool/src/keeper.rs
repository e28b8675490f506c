//! Housekeeping, one bounded step at a time, beside the committer and never in its way.
//!
//! Steps, in order: remove contents files of ended messages (R9), free dead segments (R2), keep free slots ready, compact (R7). While somebody holds
//! (`hold`), nothing is given back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use postrider_model::doors::SpoolTrouble;

use postrider_model::Event;

use crate::core::Core;
use crate::disk::is_full;
use crate::events::{EVENTS_OF_LOG_MAX, events_in};
use crate::handoff::Patience;
use crate::journal::Archive;
use crate::segment::{FOLDER, SlotState, io_trouble};
use crate::sync::lock;

/// Events archived in one step.
const EVENTS_PER_STEP: usize = 1024;
/// Free slots kept ready for mail.
const SLOTS_AHEAD: usize = 2;
/// Contents files removed in one step.
const FILES_PER_STEP: usize = 64;

impl Core {
    /// One turn of the keeper's thread. `false`: it is over.
    pub(crate) fn keep_waiting(&self) -> bool {
        let taken = self.keeper_bell.take(None, || Patience {
            company: 0,
            company_wait: Duration::ZERO,
            outcomes: 1,
            outcomes_wait: Duration::ZERO,
        });
        while !taken.closed && self.keep_once() {}
        !taken.closed
    }

    /// One step. Whether there was anything to do.
    pub(crate) fn keep_once(&self) -> bool {
        if self.poisoned.get().is_some() {
            return false;
        }
        match self.step() {
            Ok(done) => done,
            Err(trouble) => {
                self.poison(&trouble);
                false
            }
        }
    }

    fn step(&self) -> Result<bool, SpoolTrouble> {
        let (_nobody_begins, free) = self.holds.step(self.full.load(Ordering::Relaxed));
        if !free {
            return Ok(self.archive()? || self.prepare_slot());
        }
        Ok(self.remove_doomed() || self.archive()? || self.free_dead()? || self.prepare_slot() || self.compact() || self.drop_surplus()?)
    }

    fn remove_doomed(&self) -> bool {
        let doomed: Vec<_> = {
            let mut all = lock(&self.doomed);
            let keep = all.len().saturating_sub(FILES_PER_STEP);
            all.split_off(keep)
        };
        for (name, octets) in &doomed {
            match self.slots.ground.disk.remove(&name.path()) {
                Ok(()) => drop(self.staging.contents_octets.fetch_sub(*octets, Ordering::Relaxed)),
                Err(trouble) => tracing::warn!(path = name.path(), %trouble, "a content that nobody needs could not be removed"),
            }
        }
        !doomed.is_empty()
    }

    /// Copies new events to the journal's files; syncs them when a segment waits for that.
    fn archive(&self) -> Result<bool, SpoolTrouble> {
        let Some(archive) = &self.archive else { return Ok(false) };
        let mut archive = lock(archive);
        let done = self.archive_some(&mut archive);
        self.journal_octets.store(archive.octets(), Ordering::Relaxed);
        done
    }

    fn archive_some(&self, archive: &mut Archive) -> Result<bool, SpoolTrouble> {
        let (next, synced) = (archive.next(), archive.synced());
        let events = match self.ring.read(next, EVENTS_PER_STEP) {
            Ok(events) => events,
            Err(_) if archive.waits_to_read() => return Ok(false),
            Err(_) => match self.events_of_log(next) {
                Ok(events) => {
                    archive.log_was_read(true);
                    events
                }
                Err(trouble) => return self.not_archived(archive, next, &trouble),
            },
        };
        if !events.is_empty() {
            return archive.append(&events);
        }
        let waits = next > synced && {
            let segments = &lock(&self.index).segments;
            segments.freeable(synced).is_none() && segments.freeable(next).is_some()
        };
        if waits {
            archive.sync()?;
        }
        Ok(waits)
    }

    /// Trouble with reading history is no trouble of the log: mail goes on, the segment waits, and is read again later. What can never be read is
    /// given up in the end, or no segment would ever be free again (R7); readers are told the gap.
    fn not_archived(&self, archive: &mut Archive, next: u64, trouble: &SpoolTrouble) -> Result<bool, SpoolTrouble> {
        tracing::error!(%trouble, sequence = next, "events cannot be read from the log into the journal; mail goes on");
        if !archive.log_was_read(false) {
            return Ok(false);
        }
        let end = lock(&self.index).segments.iter().map(|(_, book)| book.next_sequence).find(|end| *end > next);
        let Some(end) = end else { return Ok(false) };
        tracing::error!(from = next, to = end, "these events are given up; the journal goes on behind them");
        archive.sync()?;
        archive.begin_at(end);
        archive.log_was_read(true);
        Ok(true)
    }

    /// Events that the ring has lost already, from the first segment that has them.
    pub(crate) fn events_of_log(&self, from: u64) -> Result<Vec<Event>, SpoolTrouble> {
        let found =
            lock(&self.index).segments.iter().find(|(_, book)| book.next_sequence > from).map(|(life, book)| (life, book.next_sequence));
        let Some((life, end)) = found else { return Ok(Vec::new()) };
        let Some(slot) = self.slots.of_life(life) else { return Ok(Vec::new()) };
        events_in(&slot, from, end, EVENTS_OF_LOG_MAX)
    }

    fn free_dead(&self) -> Result<bool, SpoolTrouble> {
        let archived_to = match &self.archive {
            Some(archive) => lock(archive).synced(),
            None => u64::MAX,
        };
        let Some((life, next_sequence)) = lock(&self.index).segments.freeable(archived_to) else { return Ok(false) };
        let Some(mut slot) = self.slots.forget(life) else { return Ok(false) };
        match slot.turn_to(SlotState::Free, life, 0, next_sequence) {
            Ok(()) => {}
            Err(trouble) if is_full(&trouble) => {
                // Some file systems have no room even for this. Whether it is free on disk or not, it may be.
                self.slots.opened(&slot);
                return Ok(false);
            }
            Err(trouble) => return Err(io_trouble(&slot.name, &trouble)),
        }
        lock(&self.index).segments.freed(life);
        self.slots.give_free(slot);
        self.no_room_for_copies.store(false, Ordering::Release);
        Ok(true)
    }

    /// Gives the space of free slots beyond the pool back.
    fn drop_surplus(&self) -> Result<bool, SpoolTrouble> {
        let Some(slot) = self.slots.surplus(self.slots.ground.pool_slots) else { return Ok(false) };
        let disk = self.slots.ground.disk.as_ref();
        disk.remove(&slot.name).and_then(|()| disk.sync_folder(FOLDER)).map_err(|trouble| io_trouble(&slot.name, &trouble))?;
        Ok(true)
    }

    /// Makes one slot of the reserve, when it is not whole. Whether one was made.
    pub(crate) fn prepare_reserve(&self) -> bool {
        let (_, free) = self.slots.count();
        free < self.slots.ground.reserve_slots && self.prepare_slot()
    }

    /// Keeps slots ready, so that the committer seldom has to make one.
    fn prepare_slot(&self) -> bool {
        let (_, free) = self.slots.count();
        if free >= self.slots.ground.reserve_slots + SLOTS_AHEAD {
            return false;
        }
        let leave = if free < self.slots.ground.reserve_slots { 0 } else { self.slots.ground.reserve_octets };
        match self.slots.create(leave, self.slots.ground.zero_fill) {
            Ok(slot) => {
                self.slots.give_free(slot);
                true
            }
            Err(_) => false,
        }
    }
}

impl Core {
    /// Seals the log at the end.
    pub(crate) fn seal(&self) {
        if self.poisoned.get().is_some() {
            return;
        }
        let closed = lock(&self.writer).log.close();
        let archived = closed.map(drop).and_then(|()| {
            while self.archive()? {}
            match &self.archive {
                Some(archive) => lock(archive).sync(),
                None => Ok(()),
            }
        });
        if let Err(trouble) = archived {
            self.poison(&trouble);
        }
    }
}
