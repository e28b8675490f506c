//! From what is on the disk to a running log (docs/custody.md, R3, R4, R8, R9).
//!
//! Order: read every slot's header; throw away a take-over that was not finished; replay footers, and the records of the one segment that may have a
//! torn end; confirm on disk what a failed sync may have left in memory only; copy what lives in that segment to fresh ones and free it; remove
//! contents files that nobody names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postrider_model::doors::SpoolTrouble;
use postrider_model::{Event, MessageId};

use crate::alteration::StoredAlteration;
use crate::copy::copy_of;
use crate::disk::{Disk, Opening, read_exactly};
use crate::events::{EVENTS_OF_LOG_MAX, events_in};
use crate::footer::{FooterTrouble, Summary, TRAILER_OCTETS, Trailer, replay_footer, replay_summary};
use crate::forms::{CONTENTS, FileName, Form, State};
use crate::frame::{Frame, Purpose};
use crate::index::{Index, Place};
use crate::journal::{Archive, JournalLimits};
use crate::log::Log;
use crate::record::{Kind, Scan};
use crate::segment::{FOLDER, RECORDS_START, Slot, SlotState, io_trouble, slot_number};
use crate::slots::{Ground, Slots};

/// What the end of a segment is read ahead for: the footer of some 7,000 messages of 10 KB.
const FOOTER_OCTETS_USUAL: u64 = 512 * 1024;

/// A log that can be written, and memory that agrees with it.
pub(crate) struct Recovered {
    pub(crate) slots: Arc<Slots>,
    pub(crate) log: Log,
    pub(crate) index: Index,
    pub(crate) archive: Option<Archive>,
    /// Events that the journal did not have yet.
    pub(crate) events: Vec<Event>,
    /// No file under `contents/` was named by this opening before.
    pub(crate) opening: u32,
}

/// All slots as the disk has them.
pub(crate) struct Found {
    pub(crate) log: Option<u128>,
    pub(crate) open: BTreeMap<u32, Slot>,
    pub(crate) free: Vec<Slot>,
    /// Slots that were never prepared.
    pub(crate) unprepared: Vec<String>,
    pub(crate) next_number: u32,
    pub(crate) next_life: u32,
    pub(crate) next_sequence: u64,
}

/// Reads the headers of all slots.
pub(crate) fn find_slots(disk: &dyn Disk, how: Opening) -> Result<Found, SpoolTrouble> {
    let names = disk.list(FOLDER).map_err(|trouble| io_trouble(FOLDER, &trouble))?;
    let mut found = Found {
        log: None,
        open: BTreeMap::new(),
        free: Vec::new(),
        unprepared: Vec::new(),
        next_number: 1,
        next_life: 1,
        next_sequence: 1,
    };
    for name in names {
        let Some(number) = slot_number(&name) else {
            return Err(SpoolTrouble::Unknown(format!("{FOLDER}/{name}: not a segment")));
        };
        found.next_number = found.next_number.max(number + 1);
        let Some(slot) = Slot::open(disk, &name, how)? else {
            found.unprepared.push(format!("{FOLDER}/{name}"));
            continue;
        };
        let header = slot.header;
        if *found.log.get_or_insert(header.log) != header.log {
            return Err(SpoolTrouble::Unknown(format!("{}: a segment of another log", slot.name)));
        }
        found.next_life = found.next_life.max(header.life + 1);
        found.next_sequence = found.next_sequence.max(header.first_sequence);
        match header.state {
            SlotState::Free => found.free.push(slot),
            SlotState::Open => {
                let (name, life) = (slot.name.clone(), header.life);
                if let Some(other) = found.open.insert(life, slot) {
                    return Err(SpoolTrouble::Corrupt(format!("{name} and {}, offset 0: both are generation {life}", other.name)));
                }
            }
        }
    }
    Ok(found)
}

/// Recovers.
pub(crate) fn recover(mut ground: Ground, journal: Option<JournalLimits>, events_max: usize) -> Result<Recovered, SpoolTrouble> {
    let disk = ground.disk.clone();
    for folder in [FOLDER, CONTENTS] {
        disk.make_folder(folder).map_err(|trouble| io_trouble(folder, &trouble))?;
    }
    let mut found = find_slots(disk.as_ref(), Opening::Existing)?;
    ground.log = found.log.unwrap_or(ground.log);
    for name in std::mem::take(&mut found.unprepared) {
        disk.remove(&name).map_err(|trouble| io_trouble(&name, &trouble))?;
    }
    read_ahead(&found);
    let superseded = finish_takeover(&mut found)?;
    let mut index = Index::default();
    index.begin_replay();
    let newest = found.open.keys().next_back().copied();
    let mut tail = None;
    let mut ended_before = BTreeMap::new();
    for (life, slot) in &found.open {
        let torn_end_allowed = Some(*life) == newest || Some(*life) == superseded;
        let replayed = replay_segment(&mut index, slot, torn_end_allowed)?;
        found.next_sequence = found.next_sequence.max(replayed.next_sequence);
        let book = index.segments.begin(*life);
        (book.sealed, book.used_octets, book.next_sequence) = (true, replayed.used_octets, replayed.next_sequence);
        if Some(*life) == newest {
            tail = Some((*life, replayed));
        } else if Some(*life) == superseded {
            ended_before = replayed.ended;
        }
    }
    // The heir tells these ends, too, but after the superseded segment's own records it ended nothing any more; and both are about to go.
    if let Some((_, replayed)) = &mut tail {
        ended_before.into_iter().for_each(|(id, indices)| replayed.ended.entry(id).or_default().extend(indices));
    }
    if let Some((life, replayed)) = &mut tail
        && found.open.keys().any(|older| older != life && Some(*older) != superseded)
    {
        replayed.alterations = index.alterations_in(*life);
    }
    index.end_replay();
    confirm(&found, &index, newest.into_iter().chain(superseded))?;
    let log = found.open.values().chain(&found.free).next().map_or(ground.log, |slot| slot.header.log);
    let mut archive = journal.map(|limits| Archive::open(disk.clone(), log, limits)).transpose()?;
    let events = match &mut archive {
        Some(archive) => archive_log(archive, &found, &index, events_max)?,
        None => Vec::new(),
    };
    found.next_sequence = found.next_sequence.max(archive.as_ref().map_or(0, Archive::next));
    let opening = found.next_life;
    let free = found.free.into_iter().filter(|slot| slot.file.octets().is_ok_and(|octets| octets == u64::from(ground.segment_octets)));
    let free = free.collect();
    let slots = Arc::new(Slots::new(ground, found.open, free, found.next_number));
    if let Some(life) = superseded {
        release(&slots, &mut index, life)?;
    }
    let takes_over = tail.as_ref().map_or(0, |(life, _)| *life);
    let mut log = Log::new(slots.clone(), found.next_life, found.next_sequence, takes_over);
    if let Some((life, replayed)) = tail {
        take_over(&slots, &mut index, &mut log, life, &replayed)?;
        release(&slots, &mut index, life)?;
    }
    log.end_takeover();
    remove_unnamed(disk.as_ref(), &index.files())?;
    Ok(Recovered { slots, log, index, archive, events, opening })
}

/// A sync that failed may have lied: what it was for reads well, and the next power cut takes it. That can be the end of the newest segment, that of the
/// one it took over from, and the header of a segment that was just freed. Nothing is built on these before they are written again and synced: no event
/// goes to the journal, and no segment is freed because another one is.
fn confirm(found: &Found, index: &Index, suspects: impl Iterator<Item = u32>) -> Result<(), SpoolTrouble> {
    for slot in &found.free {
        slot.confirm(0).map_err(|trouble| io_trouble(&slot.name, &trouble))?;
    }
    for slot in suspects.filter_map(|life| found.open.get(&life)) {
        let used = index.segments.iter().find(|(life, _)| *life == slot.header.life).map_or(0, |(_, book)| book.used_octets);
        slot.confirm(used).map_err(|trouble| io_trouble(&slot.name, &trouble))?;
    }
    Ok(())
}

/// Asks for the footers of all segments, and for all of the newest, which has to be scanned: the disk reads while we replay.
fn read_ahead(found: &Found) {
    let newest = found.open.keys().next_back();
    for (life, slot) in &found.open {
        let octets = slot.file.octets().unwrap_or_default();
        let from = if Some(life) == newest { 0 } else { octets.saturating_sub(FOOTER_OCTETS_USUAL) };
        slot.file.will_need(from, octets - from);
    }
}

/// Brings the journal to where the log is; gives the newest of what it did not have.
fn archive_log(archive: &mut Archive, found: &Found, index: &Index, events_max: usize) -> Result<Vec<Event>, SpoolTrouble> {
    let first = found.open.values().map(|slot| slot.header.first_sequence).min();
    archive.begin_at(first.unwrap_or(found.next_sequence));
    let mut all = Vec::new();
    for (life, book) in index.segments.iter().filter(|(_, book)| book.next_sequence > 0) {
        if book.next_sequence <= archive.next() {
            continue;
        }
        // Segments may have gone while no journal was kept.
        let first = found.open[&life].header.first_sequence;
        if archive.next() < first {
            all.clear();
            archive.begin_at(first);
        }
        while archive.next() < book.next_sequence {
            let events = events_in(&found.open[&life], archive.next(), book.next_sequence, EVENTS_OF_LOG_MAX)?;
            while !archive.append(&events)? {
                if !archive.can_forget() {
                    return Err(SpoolTrouble::Full);
                }
            }
            all.extend(events);
            all.drain(..all.len().saturating_sub(events_max));
        }
    }
    archive.sync()?;
    Ok(all)
}

/// Frees what an unfinished take-over began. Gives the segment that a finished one superseded, when it is not free yet.
fn finish_takeover(found: &mut Found) -> Result<Option<u32>, SpoolTrouble> {
    let taking = |found: &Found| {
        let heirs = found.open.values().filter(|slot| found.open.contains_key(&slot.header.takes_over));
        heirs.map(|slot| (slot.header.life, slot.header.takes_over)).collect::<Vec<_>>()
    };
    let heirs = taking(found);
    let Some(&(_, superseded)) = heirs.first() else { return Ok(None) };
    for (life, _) in &heirs {
        if is_transferred(&found.open[life], superseded)? {
            return Ok(Some(superseded));
        }
    }
    for (life, _) in heirs {
        if let Some(mut slot) = found.open.remove(&life) {
            slot.turn_to(SlotState::Free, life, 0, found.next_sequence).map_err(|trouble| io_trouble(&slot.name, &trouble))?;
            found.free.push(slot);
        }
    }
    Ok(None)
}

fn is_transferred(slot: &Slot, superseded: u32) -> Result<bool, SpoolTrouble> {
    let octets = read_all(slot)?;
    let mut scan = Scan::new(&octets, slot.binding(), RECORDS_START);
    while let Some(found) = scan.next() {
        let is_mark = Kind::from_tag(found.header.tag) == Some(Kind::Transferred);
        if is_mark && Form::decode(Kind::Transferred, found.meta) == Ok(Form::Transferred(superseded)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What replaying a segment showed.
#[derive(Default)]
pub(crate) struct ReplayedSegment {
    pub(crate) next_sequence: u64,
    pub(crate) used_octets: u64,
    pub(crate) records: u64,
    /// Deliveries that lived until a record here ended them.
    pub(crate) ended: BTreeMap<MessageId, Vec<u32>>,
    /// Changes by hand told here, of words in older segments.
    pub(crate) alterations: Vec<StoredAlteration>,
}

fn replay_segment(index: &mut Index, slot: &Slot, torn_end_allowed: bool) -> Result<ReplayedSegment, SpoolTrouble> {
    if let Some(replayed) = replay_by_footer(index, slot)? {
        return Ok(replayed);
    }
    if !torn_end_allowed {
        return Err(SpoolTrouble::Corrupt(format!("{}: the footer of a sealed segment is damaged", slot.name)));
    }
    replay_by_scan(index, slot)
}

fn replay_by_footer(index: &mut Index, slot: &Slot) -> Result<Option<ReplayedSegment>, SpoolTrouble> {
    let failed = |trouble: std::io::Error| io_trouble(&slot.name, &trouble);
    let octets = slot.file.octets().map_err(failed)?;
    let Some(end) = octets.checked_sub(TRAILER_OCTETS as u64).filter(|end| *end > RECORDS_START.into()) else { return Ok(None) };
    let trailer = read_exactly(slot.file.as_ref(), end, TRAILER_OCTETS).map_err(failed)?;
    let Some(trailer) = Trailer::decode(&trailer, slot.binding()) else { return Ok(None) };
    let Some(length) = end.checked_sub(trailer.footer_offset.into()) else { return Ok(None) };
    // Only the footer is read; its offset is what it is bound to.
    let octets = read_exactly(slot.file.as_ref(), trailer.footer_offset.into(), length as usize).map_err(failed)?;
    let Some(found) = record_at_offset(&octets, slot, trailer.footer_offset) else { return Ok(None) };
    let (meta, header) = found;
    let mut replayed = ReplayedSegment {
        next_sequence: header.sequence,
        used_octets: u64::from(trailer.footer_offset) + header.record_octets(),
        records: u64::from(trailer.footer_offset > RECORDS_START),
        ..ReplayedSegment::default()
    };
    let ended = &mut |id, nth| replayed.ended.entry(id).or_default().push(nth);
    replay_footer(index, slot.header.life, meta, ended).map_err(|trouble| {
        let place = format!("{}, offset {}", slot.name, trailer.footer_offset);
        match trouble {
            FooterTrouble::Damaged => SpoolTrouble::Corrupt(format!("{place}: the footer cannot be decoded")),
            FooterTrouble::Unknown(tag) => SpoolTrouble::Unknown(format!("{place}: footer entry {tag}")),
        }
    })?;
    Ok(Some(replayed))
}

/// A footer record whose octets begin at `offset` of its slot.
fn record_at_offset<'a>(octets: &'a [u8], slot: &Slot, offset: u32) -> Option<(&'a [u8], crate::record::Header)> {
    let header = crate::record::Header::read(octets)?;
    let meta = octets.get(crate::record::HEADER_OCTETS..)?.get(..header.meta_octets as usize)?;
    let sound = Kind::from_tag(header.tag) == Some(Kind::Footer) && header.is_bound(slot.binding(), offset, meta);
    sound.then_some((meta, header))
}

fn replay_by_scan(index: &mut Index, slot: &Slot) -> Result<ReplayedSegment, SpoolTrouble> {
    let octets = read_all(slot)?;
    let mut scan = Scan::new(&octets, slot.binding(), RECORDS_START);
    let mut replayed = ReplayedSegment { next_sequence: slot.header.first_sequence, ..ReplayedSegment::default() };
    while let Some(found) = scan.next() {
        let (tag, offset) = (found.header.tag, found.offset);
        let Some(kind) = Kind::from_tag(tag) else {
            return Err(SpoolTrouble::Unknown(format!("{}, offset {offset}: record kind {tag}", slot.name)));
        };
        if kind == Kind::Footer {
            continue;
        }
        let form = Form::decode(kind, found.meta)
            .map_err(|_| SpoolTrouble::Corrupt(format!("{}, offset {offset}: the record cannot be decoded", slot.name)))?;
        replayed.records += 1;
        replayed.next_sequence = found.header.sequence + form.events();
        let place = Place { life: slot.header.life, offset, octets: found.header.record_octets() as u32 };
        for summary in Summary::of(form) {
            let ended = &mut |id, nth| replayed.ended.entry(id).or_default().push(nth);
            replay_summary(index, place, &summary, ended);
        }
    }
    if let Some(later) = scan.proof_of_damage() {
        let (name, offset) = (&slot.name, scan.offset);
        return Err(SpoolTrouble::Corrupt(format!(
            "{name}, offset {offset}: damaged, and not by a crash: a later record ({later}) is whole"
        )));
    }
    replayed.used_octets = scan.offset.into();
    Ok(replayed)
}

/// All octets of a slot.
pub(crate) fn read_all(slot: &Slot) -> Result<Vec<u8>, SpoolTrouble> {
    let failed = |trouble: std::io::Error| io_trouble(&slot.name, &trouble);
    let octets = slot.file.octets().map_err(failed)?;
    read_exactly(slot.file.as_ref(), 0, octets as usize).map_err(failed)
}

/// Copies what lives in the old tail to fresh segments, synced, with the mark that all is copied.
fn take_over(slots: &Slots, index: &mut Index, log: &mut Log, life: u32, replayed: &ReplayedSegment) -> Result<(), SpoolTrouble> {
    // First the changes by hand: they are about what stands in older segments, and must not touch the copies.
    let mut frames: Vec<Frame> = replayed.alterations.iter().cloned().map(|alteration| Frame::alteration(alteration, None)).collect();
    // Then the ends: one must not be forgotten while an older segment still has the message. They stand before the copies, so that
    // they could end nothing that came after them.
    for (id, indices) in &replayed.ended {
        let mut indices = indices.clone();
        indices.sort_unstable();
        indices.dedup();
        let states: Vec<(u32, State)> = indices.iter().map(|nth| (*nth, State::Ended)).collect();
        frames.push(Frame::standing(*id, &states));
    }
    let mut copied = false;
    let mut from = 0;
    loop {
        let (ids, next) = index.in_segment(life, from, 256);
        for (id, whole) in ids {
            let (place, told) = index.told_of(id).ok_or(SpoolTrouble::NoSuchMessage)?;
            frames.push(copy_of(slots, id, place, &told, whole)?);
        }
        copied |= !frames.is_empty();
        write_copies(index, log, std::mem::take(&mut frames))?;
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    if copied {
        write_copies(index, log, vec![Frame::transferred(life)])?;
    }
    Ok(())
}

fn write_copies(index: &mut Index, log: &mut Log, frames: Vec<Frame>) -> Result<(), SpoolTrouble> {
    let committed = log.commit(frames).map_err(|(trouble, _)| trouble)?;
    if !committed.kept.is_empty() || !committed.refused.is_empty() {
        return Err(SpoolTrouble::Full);
    }
    for done in committed.done {
        match done.frame.purpose {
            Purpose::Move { id, fates, .. } => index.moved(id, done.place, &fates),
            Purpose::Retell { id, fates, .. } => index.retold(id, done.place, &fates),
            Purpose::Alter { .. } => index.segments.depend_on_all_before(done.place.life),
            _ => {}
        }
    }
    for touched in committed.touched {
        let book = index.segments.begin(touched.life);
        book.used_octets = touched.used_octets;
        book.next_sequence = touched.next_sequence;
        book.sealed |= touched.sealed;
    }
    Ok(())
}

/// Frees a segment that others superseded; they inherit what it depended on.
fn release(slots: &Slots, index: &mut Index, life: u32) -> Result<(), SpoolTrouble> {
    let Some(mut slot) = slots.forget(life) else { return Ok(()) };
    index.segments.inherit(life);
    let next_sequence = index.segments.begin(life).next_sequence;
    slot.turn_to(SlotState::Free, life, 0, next_sequence).map_err(|trouble| io_trouble(&slot.name, &trouble))?;
    index.segments.freed(life);
    slots.give_free(slot);
    Ok(())
}

/// Removes contents files that no live message needs.
fn remove_unnamed(disk: &dyn Disk, needed: &BTreeSet<FileName>) -> Result<(), SpoolTrouble> {
    for name in disk.list(CONTENTS).map_err(|trouble| io_trouble(CONTENTS, &trouble))? {
        let path = format!("{CONTENTS}/{name}");
        match FileName::parse(&name) {
            Some(file) if needed.contains(&file) => {}
            Some(_) => disk.remove(&path).map_err(|trouble| io_trouble(&path, &trouble))?,
            None => tracing::warn!(%path, "not a file of ours; left alone"),
        }
    }
    Ok(())
}
