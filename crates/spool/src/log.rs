//! The log's writing end. One owner: the committer.
//!
//! **Promises.** What [`Log::commit`] calls done is synced. A segment is sealed and synced before the next one's header is written, so at most the
//! newest segment has a torn end. After a failed sync nothing is written any more ([`Log::commit`] answers `Poisoned`).
//!
//! A write refused for want of space leaves the log as it was: the next write goes to the same place, and the link from record to record keeps what
//! the refused write left behind from ever being read. What waits for space is not overtaken by what is newer of the same message.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::sync::Arc;

use postrider_model::MessageId;
use postrider_model::doors::SpoolTrouble;
use smallvec::SmallVec;

use crate::disk::is_full;
use crate::footer::{FooterBuilder, FooterMark, TRAILER_OCTETS, Trailer, sealing_octets};
use crate::frame::Frame;
use crate::index::Place;
use crate::record::{ALIGNMENT, HEADER_OCTETS, Header, Kind};
use crate::segment::{RECORDS_START, Slot, SlotState, io_trouble};
use crate::slots::Slots;

pub(crate) struct Log {
    slots: Arc<Slots>,
    tail: Option<Tail>,
    /// A slot whose header was refused for want of space: on disk it may have begun the next life, so no other slot may.
    beginning: Option<(Slot, bool)>,
    next_life: u32,
    next_sequence: u64,
    takes_over: u32,
    syncs: u64,
}

/// The segment that is written.
struct Tail {
    slot: Slot,
    offset: u32,
    synced_to: u32,
    link: u32,
    footer: FooterBuilder,
    /// It is of the reserve: mail has no right to it.
    of_reserve: bool,
}

/// A frame that is durable, where, and the sequence of its first event.
pub(crate) struct Done {
    pub(crate) frame: Frame,
    pub(crate) place: Place,
    pub(crate) sequence: u64,
}

/// What became of a batch.
#[derive(Default)]
pub(crate) struct Committed {
    pub(crate) done: Vec<Done>,
    /// Not written, and not to be tried again.
    pub(crate) refused: Vec<(Frame, SpoolTrouble)>,
    /// Not written for want of space; to be tried again, before anything newer of the same message.
    pub(crate) kept: Vec<Frame>,
    /// Whose frames are kept.
    waiting: BTreeSet<MessageId>,
    /// A frame about any message is kept.
    all_wait: bool,
    /// How far each segment that was touched is used, and whether it was sealed.
    pub(crate) touched: Vec<Touched>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Touched {
    pub(crate) life: u32,
    pub(crate) used_octets: u64,
    pub(crate) next_sequence: u64,
    pub(crate) sealed: bool,
}

/// Frames that stand in the tail but are not written yet, and the state to go back to.
struct Run {
    placed: Vec<Done>,
    offset: u32,
    link: u32,
    sequence: u64,
    footer: FooterMark,
}

impl Log {
    pub(crate) fn new(slots: Arc<Slots>, next_life: u32, next_sequence: u64, takes_over: u32) -> Self {
        Self { slots, tail: None, beginning: None, next_life, next_sequence, takes_over, syncs: 0 }
    }

    /// Segments begun from now on take nobody's records over.
    pub(crate) fn end_takeover(&mut self) {
        self.takes_over = 0;
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The file that is written, and up to where it is synced.
    pub(crate) fn tail(&self) -> Option<(String, u32)> {
        self.tail.as_ref().map(|tail| (tail.slot.name.clone(), tail.synced_to))
    }

    /// Whether mail must be refused although the tail has room, because the tail is of the reserve and the reserve is not whole again.
    fn is_reserved(&mut self) -> bool {
        let Some(tail) = &mut self.tail else { return false };
        if tail.of_reserve && self.slots.has_room_for_mail() {
            tail.of_reserve = false;
        }
        tail.of_reserve
    }

    /// The largest record a segment is sure to hold: its footer entry is never larger than itself.
    pub(crate) fn record_octets_max(segment_octets: u32) -> u64 {
        u64::from(segment_octets - RECORDS_START) / 2
    }

    /// Makes a batch durable. `Err`: the log is poisoned, and nothing of the batch counts.
    pub(crate) fn commit(&mut self, batch: Vec<Frame>) -> Result<Committed, (SpoolTrouble, Vec<Frame>)> {
        let mut committed = Committed::default();
        let mut run: Option<Run> = None;
        let mut rest = batch.into_iter();
        while let Some(frame) = rest.next() {
            if committed.must_wait(&frame) || frame.is_new() && self.is_reserved() {
                committed.shelve(frame);
                continue;
            }
            let mut frame = Some(frame);
            let mut rolled = false;
            while !self.place(&mut run, &mut frame) {
                let Some(unplaced) = frame.take() else { break };
                if std::mem::replace(&mut rolled, true) {
                    committed.refused.push((unplaced, SpoolTrouble::Io("the record is larger than a segment".into())));
                    break;
                }
                match self.roll(&mut run, &mut committed, unplaced.is_new()) {
                    // What was refused on the way may be older.
                    Ok(()) if committed.must_wait(&unplaced) => {
                        committed.shelve(unplaced);
                        break;
                    }
                    Ok(()) => frame = Some(unplaced),
                    Err(Trouble::NoRoom) => {
                        committed.shelve(unplaced);
                        break;
                    }
                    Err(Trouble::Poison(why)) => return Err((why, frames(run, committed, Some(unplaced), rest))),
                }
            }
        }
        if let Some(run) = run
            && let Err(why) = self.write_and_sync(run, &mut committed)
        {
            return Err((why, frames(None, committed, None, rest)));
        }
        Ok(committed)
    }

    /// Takes a frame and puts it behind the last one in the tail; leaves it when it does not fit.
    fn place(&mut self, run: &mut Option<Run>, waiting: &mut Option<Frame>) -> bool {
        let Some(tail) = &mut self.tail else { return false };
        let Some(mut frame) = waiting.take() else { return true };
        let (mark, octets) = (tail.footer.mark(), frame.octets());
        for summary in &frame.summaries {
            tail.footer.add(tail.offset, octets as u32, summary);
        }
        let end = u64::from(tail.offset) + octets + sealing_octets(tail.footer.octets());
        if end > u64::from(self.slots.ground.segment_octets) {
            tail.footer.back_to(mark);
            *waiting = Some(frame);
            return false;
        }
        let run = run.get_or_insert_with(|| Run {
            placed: Vec::new(),
            offset: tail.offset,
            link: tail.link,
            sequence: self.next_sequence,
            footer: mark,
        });
        let header = &mut frame.header;
        (header.synced_to, header.link, header.sequence) = (tail.synced_to, tail.link, self.next_sequence);
        let octets_of_header = header.bind(tail.slot.binding(), tail.offset, frame.meta_hash);
        frame.buffer[..HEADER_OCTETS].copy_from_slice(&octets_of_header);
        let place = Place { life: tail.slot.header.life, offset: tail.offset, octets: octets as u32 };
        tail.link = frame.header.check as u32;
        tail.offset += octets as u32;
        let sequence = self.next_sequence;
        self.next_sequence += frame.events;
        run.placed.push(Done { frame, place, sequence });
        true
    }

    /// Seals the tail and begins the next segment.
    fn roll(&mut self, run: &mut Option<Run>, committed: &mut Committed, for_mail: bool) -> Result<(), Trouble> {
        let was_beginning = self.beginning.is_some();
        let taken = self.beginning.take().map_or_else(|| self.slots.take_free(for_mail), Ok);
        let (mut slot, of_reserve) = match taken {
            Ok(taken) => taken,
            Err(trouble) => {
                tracing::warn!(%trouble, "no segment can be had");
                return Err(Trouble::NoRoom);
            }
        };
        let sealed = match run.take() {
            Some(run) => self.write_and_sync(run, committed).and_then(|()| self.seal(committed)),
            None => self.seal(committed),
        };
        if let Err(why) = sealed {
            self.slots.give_free(slot);
            return Err(Trouble::Poison(why));
        }
        if self.tail.is_some() {
            // The seal was refused for want of space: the tail stays.
            debug_assert!(!was_beginning, "a life begins when the tail is sealed");
            self.slots.give_free(slot);
            return Err(Trouble::NoRoom);
        }
        let begun = slot.turn_to(SlotState::Open, self.next_life, self.takes_over, self.next_sequence);
        self.syncs += 1;
        match begun {
            Ok(()) => {}
            Err(trouble) if is_full(&trouble) => {
                self.beginning = Some((slot, of_reserve));
                return Err(Trouble::NoRoom);
            }
            Err(trouble) => return Err(Trouble::Poison(io_trouble(&slot.name, &trouble))),
        }
        self.slots.opened(&slot);
        self.next_life += 1;
        let footer = FooterBuilder::default();
        self.tail = Some(Tail { slot, offset: RECORDS_START, synced_to: RECORDS_START, link: 0, footer, of_reserve });
        Ok(())
    }

    fn write_and_sync(&mut self, run: Run, committed: &mut Committed) -> Result<(), SpoolTrouble> {
        let Some(tail) = &mut self.tail else { return Ok(()) };
        const PADDING: [u8; ALIGNMENT] = [0; ALIGNMENT];
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(run.placed.len() * 3);
        for done in &run.placed {
            let plain = done.frame.buffer.len() + done.frame.body.len();
            slices.push(IoSlice::new(&done.frame.buffer));
            if !done.frame.body.is_empty() {
                slices.push(IoSlice::new(&done.frame.body));
            }
            if plain % ALIGNMENT != 0 {
                slices.push(IoSlice::new(&PADDING[..ALIGNMENT - plain % ALIGNMENT]));
            }
        }
        if let Err(trouble) = tail.slot.file.write_at(&slices, run.offset.into()) {
            if !is_full(&trouble) {
                return Err(io_trouble(&tail.slot.name, &trouble));
            }
            (tail.offset, tail.link, self.next_sequence) = (run.offset, run.link, run.sequence);
            tail.footer.back_to(run.footer);
            run.placed.into_iter().for_each(|done| committed.shelve(done.frame));
            return Ok(());
        }
        self.syncs += 1;
        tail.slot.file.sync().map_err(|trouble| io_trouble(&tail.slot.name, &trouble))?;
        tail.synced_to = tail.offset;
        let touched =
            Touched { life: tail.slot.header.life, used_octets: tail.offset.into(), next_sequence: self.next_sequence, sealed: false };
        committed.touched.push(touched);
        committed.done.extend(run.placed);
        Ok(())
    }

    /// Writes the tail's footer and forgets the tail. It stays when there was no room to write even that.
    fn seal(&mut self, committed: &mut Committed) -> Result<(), SpoolTrouble> {
        let Some(tail) = &mut self.tail else { return Ok(()) };
        let meta = tail.footer.finish();
        let mut header = Header::new(Kind::Footer, meta.len(), 0, 0);
        (header.synced_to, header.link, header.sequence) = (tail.synced_to, tail.link, self.next_sequence);
        let binding = tail.slot.binding();
        let head = header.bind(binding, tail.offset, xxhash_rust::xxh3::xxh3_64(&meta));
        let trailer = Trailer { footer_offset: tail.offset }.encode(binding);
        let end = u64::from(self.slots.ground.segment_octets) - TRAILER_OCTETS as u64;
        let file = &tail.slot.file;
        let written = file
            .write_at(&[IoSlice::new(&head), IoSlice::new(&meta)], tail.offset.into())
            .and_then(|()| file.write_at(&[IoSlice::new(&trailer)], end));
        match written {
            Err(trouble) if is_full(&trouble) => return Ok(()),
            other => other.map_err(|trouble| io_trouble(&tail.slot.name, &trouble))?,
        }
        self.syncs += 1;
        tail.slot.file.sync().map_err(|trouble| io_trouble(&tail.slot.name, &trouble))?;
        let used_octets = u64::from(tail.offset) + header.record_octets();
        committed.touched.push(Touched { life: binding.life, used_octets, next_sequence: self.next_sequence, sealed: true });
        self.tail = None;
        Ok(())
    }

    /// Seals the tail, and begins an empty segment as the proof that the seal was synced.
    pub(crate) fn close(&mut self) -> Result<Committed, SpoolTrouble> {
        let mut committed = Committed::default();
        if self.tail.is_some() {
            match self.roll(&mut None, &mut committed, false) {
                Ok(()) | Err(Trouble::NoRoom) => {}
                Err(Trouble::Poison(why)) => return Err(why),
            }
        }
        Ok(committed)
    }
}

enum Trouble {
    /// No slot can be had.
    NoRoom,
    /// A write or sync failed.
    Poison(SpoolTrouble),
}

impl Committed {
    /// Finds no room for a frame. What is new is refused, and a copy is dropped, because compaction makes it anew; everything else waits for space.
    fn shelve(&mut self, frame: Frame) {
        if frame.is_new() || frame.is_copy() {
            return self.refused.push((frame, SpoolTrouble::Full));
        }
        match frame.subject() {
            Some(id) => drop(self.waiting.insert(id)),
            None => self.all_wait = true,
        }
        self.kept.push(frame);
    }

    /// Whether something older of the same message waits: written before it, a deferral would undo an end, or a copy raise it.
    fn must_wait(&self, frame: &Frame) -> bool {
        if self.kept.is_empty() || frame.is_new() {
            return false;
        }
        self.all_wait || frame.subject().is_none_or(|id| self.waiting.contains(&id))
    }
}

fn frames(run: Option<Run>, committed: Committed, frame: Option<Frame>, rest: impl Iterator<Item = Frame>) -> Vec<Frame> {
    let mut all: SmallVec<[Frame; 8]> = SmallVec::new();
    all.extend(committed.done.into_iter().chain(run.into_iter().flat_map(|run| run.placed)).map(|done| done.frame));
    all.extend(committed.refused.into_iter().map(|(frame, _)| frame).chain(committed.kept).chain(frame).chain(rest));
    all.into_vec()
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
