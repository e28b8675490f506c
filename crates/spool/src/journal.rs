//! The journal's files: every event, in order, in files by day, apart from the log's segments that come and go.
//!
//! **Promises.** Events stand in the order of their sequence without a gap. A segment is recycled only after its events are synced here. After a
//! crash the end of the newest file is cut at the last whole frame, written again (a sync that failed may have lied), and what the log still has
//! is appended. A file is at most [`FILE_OCTETS_MAX`] long, so that a start reads little.
//!
//! **Never** keeps more than its limits of octets and days; a reader that fell behind them is told where the rest begins. Never stands in the
//! way of mail because history cannot be read: a file that cannot be is left as it is, out of use, until a start can read it.
//!
//! ```text
//! file:  "PRSJ" version u16, zero u16, log u128, first sequence u64, check u64   then frames
//! frame: payload length u32, zero u32, sequence u64, check u64, payload
//! ```

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use postrider_model::doors::{HeldFile, SpoolTrouble};
use postrider_model::{Event, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use crate::disk::{Disk, DiskFile, Opening, is_full, read_exactly};
use crate::events::{put_event, take_event};
use crate::segment::io_trouble;

/// Where the files are.
pub(crate) const FOLDER: &str = "journal";
/// Octets of one file; a day has as many files as it needs.
pub(crate) const FILE_OCTETS_MAX: u64 = 64 * 1024 * 1024;
/// Octets appended without a sync.
const UNSYNCED_OCTETS_MAX: u64 = 8 * 1024 * 1024;
const HEADER_OCTETS: usize = 40;
const FRAME_OCTETS: usize = 24;
const MAGIC: &[u8; 4] = b"PRSJ";
const VERSION: u16 = 3;
/// The oldest version that is read. Version 3 adds what is about no message; what older ones say reads the same in it.
const VERSION_MIN: u16 = 1;
/// Places remembered for readers that come back for more.
const CURSORS_MAX: usize = 64;
/// Reads of the log that may fail before its events there are given up, each after twice as many turns of the keeper as the one before.
const LOG_READS_MAX: u32 = 10;
/// Octets read at once.
const CHUNK_OCTETS: u64 = 256 * 1024;

/// How much history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalLimits {
    /// Octets of all files.
    pub octets_max: u64,
    /// Days before the newest event.
    pub days_max: u32,
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self { octets_max: 4 * 1024 * 1024 * 1024, days_max: 30 }
    }
}

/// The journal's writing end, and its files.
pub(crate) struct Archive {
    disk: Arc<dyn Disk>,
    log: u128,
    limits: JournalLimits,
    files: Vec<File>,
    /// The sequence after the last event written, and after the last one synced.
    next: u64,
    synced: u64,
    unsynced_octets: u64,
    /// The next event does not follow the last file's end.
    gap: bool,
    /// Where sequences are that readers will ask for next: file number and offset.
    cursors: BTreeMap<u64, (u64, u64)>,
    /// Files that could not be read at the start.
    set_aside: Vec<String>,
    /// Reads of the log that failed, one after the other, and turns to wait before the next.
    failures: u32,
    turns_to_wait: u32,
}

struct File {
    name: String,
    file: Arc<dyn DiskFile>,
    first: u64,
    octets: u64,
    /// `YYYY-MM-DD`, as its name begins.
    date: String,
}

impl Archive {
    /// Its files, as far as they are written.
    pub(crate) fn files(&self) -> Vec<HeldFile> {
        let held = |file: &File| HeldFile { name: file.name.clone(), octets: file.octets, octets_to_copy: file.octets };
        self.files.iter().map(held).collect()
    }

    /// Opens what is there, and repairs the newest file's end.
    pub(crate) fn open(disk: Arc<dyn Disk>, log: u128, limits: JournalLimits) -> Result<Self, SpoolTrouble> {
        let failed = |trouble: io::Error| io_trouble(FOLDER, &trouble);
        disk.make_folder(FOLDER).map_err(failed)?;
        let (mut files, mut set_aside) = (Vec::new(), Vec::new());
        let names = disk.list(FOLDER).map_err(failed)?;
        let newest = names.last().cloned();
        for name in names {
            let path = format!("{FOLDER}/{name}");
            match open_file(disk.as_ref(), &path, log) {
                Ok(Some(file)) => files.push(file),
                // A crash left the newest file without a whole header: it never held an event that counted.
                Ok(None) if Some(&name) == newest.as_ref() => disk.remove(&path).map_err(failed)?,
                Ok(None) => set_aside.push(aside(path, "the header is damaged")),
                Err(trouble @ SpoolTrouble::Unknown(_)) => return Err(trouble),
                Err(trouble) => set_aside.push(aside(path, &trouble.to_string())),
            }
        }
        files.sort_by_key(|file| file.first);
        let mut archive = Self {
            disk,
            log,
            limits,
            files,
            next: 0,
            synced: 0,
            unsynced_octets: 0,
            gap: false,
            cursors: BTreeMap::new(),
            set_aside,
            failures: 0,
            turns_to_wait: 0,
        };
        archive.repair_end()?;
        Ok(archive)
    }

    fn repair_end(&mut self) -> Result<(), SpoolTrouble> {
        let octets = loop {
            let Some(newest) = self.files.last() else { return Ok(()) };
            match read_exactly(newest.file.as_ref(), 0, newest.octets as usize) {
                Ok(octets) => break octets,
                Err(trouble) => self.set_aside.push(aside(newest.name.clone(), &trouble.to_string())),
            }
            self.files.pop();
        };
        let Some(newest) = self.files.last_mut() else { return Ok(()) };
        let failed = |trouble: io::Error| io_trouble(&newest.name, &trouble);
        let mut frames = Frames { octets: &octets, at: HEADER_OCTETS, log: self.log, next: newest.first };
        while frames.next().is_some() {}
        self.next = frames.next;
        let end = frames.at;
        newest.octets = end as u64;
        newest.file.set_octets(end as u64).map_err(failed)?;
        newest.file.write_at(&[IoSlice::new(&octets[..end])], 0).map_err(failed)?;
        newest.file.sync().map_err(failed)?;
        self.disk.sync_folder(FOLDER).map_err(|trouble| io_trouble(FOLDER, &trouble))?;
        self.synced = self.next;
        Ok(())
    }

    /// The sequence of the event that is wanted next; zero when nothing was ever written.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// All events before this one are on stable storage here.
    pub(crate) fn synced(&self) -> u64 {
        self.synced
    }

    /// The log has nothing before this sequence: history goes on there, perhaps behind a gap.
    pub(crate) fn begin_at(&mut self, sequence: u64) {
        if self.next < sequence {
            (self.next, self.synced, self.gap) = (sequence, sequence, true);
        }
    }

    /// Octets of its files.
    pub(crate) fn octets(&self) -> u64 {
        self.files.iter().map(|file| file.octets).sum()
    }

    /// Whether the log shall not be read again yet, because it failed lately.
    pub(crate) fn waits_to_read(&mut self) -> bool {
        self.turns_to_wait = self.turns_to_wait.saturating_sub(1);
        self.turns_to_wait > 0
    }

    /// The log could be read, or could not. Whether it failed so often that its events there must be given up.
    pub(crate) fn log_was_read(&mut self, read: bool) -> bool {
        self.failures = if read { 0 } else { self.failures + 1 };
        self.turns_to_wait = if read { 0 } else { 1 << self.failures.min(LOG_READS_MAX) };
        self.failures >= LOG_READS_MAX
    }

    /// Appends events that follow the last one. `Ok(false)`: the disk is full; some history was given up, or nothing can be done.
    pub(crate) fn append(&mut self, events: &[Event]) -> Result<bool, SpoolTrouble> {
        // A part of them may have been appended before the disk was full.
        let events = &events[events.partition_point(|event| event.sequence < self.next)..];
        match self.try_append(events) {
            Ok(()) => {}
            Err(trouble) if is_full(&trouble) => {
                if self.files.len() > 1 {
                    self.forget_oldest()?;
                }
                return Ok(false);
            }
            Err(trouble) => return Err(io_trouble(FOLDER, &trouble)),
        }
        if self.unsynced_octets > UNSYNCED_OCTETS_MAX {
            self.sync()?;
        }
        events.last().map_or(Ok(true), |last| self.keep_limits(last.at).map(|()| true))
    }

    fn try_append(&mut self, events: &[Event]) -> io::Result<()> {
        let mut rest = events;
        while let Some(first) = rest.first() {
            let date = date_of(first.at);
            if self.gap || self.files.last().is_none_or(|file| file.octets >= FILE_OCTETS_MAX || date > file.date) {
                // A clock that went back does not make the files' order go back.
                let date = self.files.last().map_or(date.clone(), |file| file.date.clone().max(date));
                self.begin_file(date, first.sequence)?;
                self.gap = false;
            }
            let Some(file) = self.files.last_mut() else { return Ok(()) };
            let mut out = Vec::new();
            let mut count = 0;
            for event in rest {
                if count > 0 && (file.octets + out.len() as u64 >= FILE_OCTETS_MAX || date_of(event.at) > file.date) {
                    break;
                }
                put_frame(&mut out, event, self.log);
                count += 1;
            }
            file.file.write_at(&[IoSlice::new(&out)], file.octets)?;
            file.octets += out.len() as u64;
            self.unsynced_octets += out.len() as u64;
            self.next = rest[count - 1].sequence + 1;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// A new file, synced with its name; the one before it is synced first.
    fn begin_file(&mut self, date: String, first: u64) -> io::Result<()> {
        if let Some(last) = self.files.last() {
            last.file.sync().map_err(|trouble| io::Error::other(format!("sync: {trouble}")))?;
        }
        let stem = format!("{FOLDER}/{date}.");
        let names = self.files.iter().map(|file| &file.name).chain(&self.set_aside);
        let last = names.filter_map(|name| name.strip_prefix(&stem)?.parse::<u32>().ok()).max();
        let name = format!("{stem}{:04}", last.unwrap_or(0) + 1);
        let file = self.disk.open(&name, Opening::New)?;
        let begun = file.write_at(&[IoSlice::new(&header_of(self.log, first))], 0);
        if let Err(trouble) = begun {
            let _ = self.disk.remove(&name);
            return Err(trouble);
        }
        let synced = file.sync().and_then(|()| self.disk.sync_folder(FOLDER));
        synced.map_err(|trouble| io::Error::other(format!("sync: {trouble}")))?;
        self.synced = self.next;
        self.unsynced_octets = 0;
        self.files.push(File { name, file, first, octets: HEADER_OCTETS as u64, date });
        Ok(())
    }

    /// Returns when all that was appended is on stable storage.
    pub(crate) fn sync(&mut self) -> Result<(), SpoolTrouble> {
        if let Some(newest) = self.files.last() {
            newest.file.sync().map_err(|trouble| io_trouble(&newest.name, &trouble))?;
        }
        self.synced = self.next;
        self.unsynced_octets = 0;
        Ok(())
    }

    fn keep_limits(&mut self, now: Timestamp) -> Result<(), SpoolTrouble> {
        let days = u64::from(self.limits.days_max) * 86_400_000;
        let oldest_date = date_of(Timestamp::from_millis(now.millis().saturating_sub(days)));
        while self.files.len() > 1 {
            let octets: u64 = self.files.iter().map(|file| file.octets).sum();
            if octets <= self.limits.octets_max && self.files[0].date >= oldest_date {
                return Ok(());
            }
            self.forget_oldest()?;
        }
        Ok(())
    }

    /// Whether there is history that may be given up for space.
    pub(crate) fn can_forget(&self) -> bool {
        self.files.len() > 1
    }

    fn forget_oldest(&mut self) -> Result<(), SpoolTrouble> {
        let oldest = self.files.remove(0);
        self.disk.remove(&oldest.name).map_err(|trouble| io_trouble(&oldest.name, &trouble))
    }

    /// Events from `sequence` on; `Err` with the first that is kept.
    pub(crate) fn read(&mut self, sequence: u64, max: usize) -> Result<Result<Vec<Event>, u64>, SpoolTrouble> {
        if sequence >= self.next {
            return Ok(Ok(Vec::new()));
        }
        let nth = match self.files.partition_point(|file| file.first <= sequence).checked_sub(1) {
            Some(nth) => nth,
            None => return Ok(Err(self.files.first().map_or(self.next, |file| file.first))),
        };
        let file = &self.files[nth];
        let known = self.cursors.get(&sequence).filter(|(first, _)| *first == file.first).map(|(_, at)| (*at, sequence));
        let (mut at, mut next) = known.unwrap_or((HEADER_OCTETS as u64, file.first));
        let mut events = Vec::new();
        while events.len() < max && at < file.octets {
            let want = (file.octets - at).min(CHUNK_OCTETS);
            let mut chunk = read_exactly(file.file.as_ref(), at, want as usize).map_err(|trouble| io_trouble(&file.name, &trouble))?;
            let whole =
                FRAME_OCTETS + chunk.get(..4).map_or(0, |length| u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize);
            if whole > chunk.len() && at + whole as u64 <= file.octets {
                chunk = read_exactly(file.file.as_ref(), at, whole).map_err(|trouble| io_trouble(&file.name, &trouble))?;
            }
            let mut frames = Frames { octets: &chunk, at: 0, log: self.log, next };
            while events.len() < max
                && let Some(payload) = frames.next()
            {
                if frames.next > sequence {
                    events.push(take_event(frames.next - 1, payload).map_err(|_| damaged(&file.name, at))?);
                }
            }
            if frames.at == 0 {
                return Err(damaged(&file.name, at));
            }
            (at, next) = (at + frames.at as u64, frames.next);
        }
        if events.is_empty()
            && let Some(later) = self.files.get(nth + 1)
        {
            return Ok(Err(later.first));
        }
        if self.cursors.len() >= CURSORS_MAX {
            self.cursors.pop_first();
        }
        self.cursors.insert(next, (file.first, at));
        Ok(Ok(events))
    }
}

fn damaged(name: &str, offset: u64) -> SpoolTrouble {
    SpoolTrouble::Corrupt(format!("{name}, offset {offset}: a frame of the journal is damaged"))
}

/// Tells of a file that is left as it is, and gives its name.
fn aside(name: String, why: &str) -> String {
    tracing::error!(name, why, "a file of the journal cannot be read: its history is out of reach until a start can read it");
    name
}

/// Opens a file; `None` when its header is not whole.
fn open_file(disk: &dyn Disk, path: &str, log: u128) -> Result<Option<File>, SpoolTrouble> {
    let failed = |trouble: io::Error| io_trouble(path, &trouble);
    let file = disk.open(path, Opening::Existing).map_err(failed)?;
    let octets = file.octets().map_err(failed)?;
    let date = path.chars().skip(FOLDER.len() + 1).take(10).collect();
    Ok(read_header(path, file.as_ref(), log)?.map(|first| File { name: path.to_owned(), file, first, octets, date }))
}

/// The first sequence of a file; `None` when its header is not whole.
fn read_header(path: &str, file: &dyn DiskFile, log: u128) -> Result<Option<u64>, SpoolTrouble> {
    let mut header = [0; HEADER_OCTETS];
    let count = file.read_at(&mut header, 0).map_err(|trouble| io_trouble(path, &trouble))?;
    if count < HEADER_OCTETS { Ok(None) } else { parse_header(path, &header, log) }
}

fn header_of(log: u128, first: u64) -> [u8; HEADER_OCTETS] {
    let mut header = [0; HEADER_OCTETS];
    header[..4].copy_from_slice(MAGIC);
    header[4..6].copy_from_slice(&VERSION.to_le_bytes());
    header[8..24].copy_from_slice(&log.to_le_bytes());
    header[24..32].copy_from_slice(&first.to_le_bytes());
    let check = xxh3_64(&header[..32]);
    header[32..].copy_from_slice(&check.to_le_bytes());
    header
}

fn parse_header(path: &str, header: &[u8; HEADER_OCTETS], log: u128) -> Result<Option<u64>, SpoolTrouble> {
    let check = u64::from_le_bytes(header[32..].try_into().unwrap_or_default());
    if &header[..4] != MAGIC || xxh3_64(&header[..32]) != check {
        return Ok(None);
    }
    let version = u16::from_le_bytes([header[4], header[5]]);
    if !(VERSION_MIN..=VERSION).contains(&version) || header[8..24] != log.to_le_bytes() {
        return Err(SpoolTrouble::Unknown(format!("{path}: journal version {version} of another release or log")));
    }
    Ok(Some(u64::from_le_bytes(header[24..32].try_into().unwrap_or_default())))
}

fn put_frame(out: &mut Vec<u8>, event: &Event, log: u128) {
    put_payload(out, event.sequence, log, |out| put_event(out, event));
}

fn put_payload(out: &mut Vec<u8>, sequence: u64, log: u128, put: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + FRAME_OCTETS, 0);
    put(out);
    let length = (out.len() - start - FRAME_OCTETS) as u32;
    let check = frame_check(sequence, log, &out[start + FRAME_OCTETS..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 8..start + 16].copy_from_slice(&sequence.to_le_bytes());
    out[start + 16..start + 24].copy_from_slice(&check.to_le_bytes());
}

fn frame_check(sequence: u64, log: u128, payload: &[u8]) -> u64 {
    let mut bound = [0; 36];
    bound[..8].copy_from_slice(&sequence.to_le_bytes());
    bound[8..24].copy_from_slice(&log.to_le_bytes());
    bound[24..28].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bound[28..].copy_from_slice(&xxh3_64(payload).to_le_bytes());
    xxh3_64(&bound)
}

/// Walks frames that follow each other.
pub(crate) struct Frames<'a> {
    pub(crate) octets: &'a [u8],
    pub(crate) at: usize,
    pub(crate) log: u128,
    pub(crate) next: u64,
}

impl<'a> Frames<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let head = self.octets.get(self.at..)?.get(..FRAME_OCTETS)?;
        let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
        let sequence = u64::from_le_bytes(head[8..16].try_into().ok()?);
        let check = u64::from_le_bytes(head[16..24].try_into().ok()?);
        let payload = self.octets.get(self.at + FRAME_OCTETS..)?.get(..length)?;
        if sequence != self.next || frame_check(sequence, self.log, payload) != check {
            return None;
        }
        self.at += FRAME_OCTETS + length;
        self.next += 1;
        Some(payload)
    }
}

/// The events that any octets hold, read as a file; for the checks.
pub(crate) fn events_of_file(octets: &[u8], log: u128) -> Vec<Event> {
    let Ok(Some(first)) = octets.first_chunk().map_or(Ok(None), |header| parse_header("a file", header, log)) else { return Vec::new() };
    let mut frames = Frames { octets, at: HEADER_OCTETS, log, next: first };
    let mut events = Vec::new();
    while let Some(payload) = frames.next() {
        let Ok(event) = take_event(frames.next - 1, payload) else { break };
        events.push(event);
    }
    events
}

/// A file of sound frames around any payloads: the input, cut into pieces by the octets it begins with; for the checks.
pub(crate) fn whole_file(input: &[u8]) -> Vec<u8> {
    let (cuts, payload) = input.split_at(input.len().min(4));
    let first = u64::from(cuts.first().copied().unwrap_or_default());
    let mut out = header_of(7, first).to_vec();
    let mut rest = payload;
    for (nth, cut) in cuts.iter().chain([&u8::MAX]).enumerate() {
        let (piece, after) = rest.split_at(rest.len().min(usize::from(*cut) * 4));
        put_payload(&mut out, first + nth as u64, 7, |out| out.extend_from_slice(piece));
        rest = after;
    }
    out
}

/// Checks a whole file; gives its events' count, or what is wrong.
pub(crate) fn verify_file(disk: &dyn Disk, name: &str, log: u128) -> Result<u64, SpoolTrouble> {
    let path = format!("{FOLDER}/{name}");
    let failed = |trouble: io::Error| io_trouble(&path, &trouble);
    let file = disk.open(&path, Opening::Read).map_err(failed)?;
    let Some(first) = read_header(&path, file.as_ref(), log)? else { return Err(damaged(&path, 0)) };
    let octets = read_exactly(file.as_ref(), 0, file.octets().map_err(failed)? as usize).map_err(failed)?;
    let mut frames = Frames { octets: &octets, at: HEADER_OCTETS, log, next: first };
    while let Some(payload) = frames.next() {
        take_event(0, payload).map_err(|_| damaged(&path, frames.at as u64))?;
    }
    if frames.at == octets.len() { Ok(frames.next - first) } else { Err(damaged(&path, frames.at as u64)) }
}

fn date_of(at: Timestamp) -> String {
    let (year, month, day, ..) = at.civil();
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
