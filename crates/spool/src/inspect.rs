//! Looking at a spool's files without touching them: for `postrider spool inspect` and `postrider spool verify`.
//!
//! **Promises.** Nothing is written, locked or repaired. `verify` reads every octet that a check covers and tells every trouble with its file and
//! offset. A torn end of the newest segment is told as what it is, and is no trouble.
//!
//! **Does badly.** While a relay writes, the newest segment is read in the midst of it and may look damaged; look again, or stop the relay.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use postrider_model::doors::SpoolTrouble;
use xxhash_rust::xxh3::Xxh3Default;

use crate::disk::{Disk, Opening, RealDisk, read_exactly};
use crate::footer::{Summary, TRAILER_OCTETS, Trailer, replay_summary};
use crate::forms::{Body, CONTENTS, FileName, Form};
use crate::index::{Index, Place};
use crate::journal;
use crate::record::{Kind, Scan};
use crate::recover::{Found, find_slots, read_all};
use crate::segment::{RECORDS_START, Slot, io_trouble};

/// What was found: lines for people, and what is wrong.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// One line for each segment and total.
    pub lines: Vec<String>,
    /// What is wrong, with file and offset.
    pub troubles: Vec<String>,
}

/// Tells the segments of a spool: generations, records by kind, live and dead octets.
pub fn inspect(directory: &Path) -> Result<Findings, SpoolTrouble> {
    let disk = RealDisk::existing(directory).map_err(|trouble| io_trouble(&directory.display().to_string(), &trouble))?;
    look(Arc::new(disk), false)
}

/// The same, and checks every content, footer and journal file.
pub fn verify(directory: &Path) -> Result<Findings, SpoolTrouble> {
    let disk = RealDisk::existing(directory).map_err(|trouble| io_trouble(&directory.display().to_string(), &trouble))?;
    look(Arc::new(disk), true)
}

/// The same, on any disk.
pub fn look(disk: Arc<dyn Disk>, thorough: bool) -> Result<Findings, SpoolTrouble> {
    let found = find_slots(disk.as_ref(), Opening::Read)?;
    let mut looking = Looking { index: Index::default(), findings: Findings::default(), files: BTreeMap::new() };
    looking.index.begin_replay();
    let mut octets_by_life = BTreeMap::new();
    let superseded: BTreeSet<u32> = found.open.values().map(|slot| slot.header.takes_over).collect();
    let newest = found.open.keys().next_back().copied();
    for (life, slot) in &found.open {
        let may_be_torn = Some(*life) == newest || superseded.contains(life);
        octets_by_life.insert(*life, looking.segment(slot, may_be_torn)?);
    }
    looking.index.end_replay();
    looking.tell(&found, &octets_by_life);
    if thorough {
        looking.contents(disk.as_ref());
        looking.journal(disk.as_ref(), found.log.unwrap_or_default())?;
    }
    Ok(looking.findings)
}

struct Looking {
    index: Index,
    findings: Findings,
    /// Contents files, with length and hash.
    files: BTreeMap<FileName, (u64, u64)>,
}

/// What one segment holds.
#[derive(Default)]
struct Held {
    records: BTreeMap<Kind, u64>,
    used: u64,
    end: &'static str,
}

impl Looking {
    fn segment(&mut self, slot: &Slot, may_be_torn: bool) -> Result<Held, SpoolTrouble> {
        let octets = read_all(slot)?;
        let mut scan = Scan::new(&octets, slot.binding(), RECORDS_START);
        let mut held = Held::default();
        let mut footer_at = None;
        while let Some(found) = scan.next() {
            let Some(kind) = Kind::from_tag(found.header.tag) else {
                self.trouble(&slot.name, found.offset, &format!("record kind {} is newer than this release", found.header.tag));
                continue;
            };
            *held.records.entry(kind).or_default() += 1;
            if kind == Kind::Footer {
                footer_at = Some(found.offset);
                continue;
            }
            match Form::decode(kind, found.meta) {
                Ok(form) => {
                    let place = Place { life: slot.header.life, offset: found.offset, octets: found.header.record_octets() as u32 };
                    self.note_files(&form);
                    for summary in Summary::of(form) {
                        replay_summary(&mut self.index, place, &summary, &mut |_, _| {});
                    }
                }
                Err(_) => self.trouble(&slot.name, found.offset, "the record cannot be decoded"),
            }
        }
        held.used = scan.offset.into();
        held.end = self.judge_end(slot, &octets, &scan, footer_at, may_be_torn);
        Ok(held)
    }

    fn judge_end(&mut self, slot: &Slot, octets: &[u8], scan: &Scan<'_>, footer_at: Option<u32>, may_be_torn: bool) -> &'static str {
        let trailer = octets.len().checked_sub(TRAILER_OCTETS).and_then(|at| Trailer::decode(&octets[at..], slot.binding()));
        if let Some(later) = scan.proof_of_damage() {
            self.trouble(&slot.name, scan.offset, &format!("damaged; a later record ({later}) is whole"));
            return "damaged";
        }
        match (footer_at, trailer) {
            (Some(at), Some(trailer)) if trailer.footer_offset == at => "sealed",
            _ if may_be_torn => "open",
            (_, Some(trailer)) => {
                self.trouble(&slot.name, scan.offset, &format!("damaged between here and the footer at {}", trailer.footer_offset));
                "damaged"
            }
            (_, None) => {
                self.trouble(&slot.name, scan.offset, "the footer of a sealed segment is damaged");
                "damaged"
            }
        }
    }

    fn note_files(&mut self, form: &Form) {
        let stored = match form {
            Form::Acceptance(stored) | Form::Checkpoint(stored, _) => stored,
            _ => return,
        };
        if let Body::File(name, hash) = stored.body {
            self.files.insert(name, (stored.message.content_octets, hash));
        }
    }

    fn tell(&mut self, found: &Found, held: &BTreeMap<u32, Held>) {
        for (life, book) in self.index.segments.iter() {
            let (Some(held), Some(slot)) = (held.get(&life), found.open.get(&life)) else { continue };
            let kinds: Vec<String> = held.records.iter().map(|(kind, count)| format!("{count} {kind:?}").to_lowercase()).collect();
            let after = match book.depends_on.is_empty() {
                true => String::new(),
                false => format!("; goes only after {:?}", book.depends_on),
            };
            let dead = held.used.saturating_sub(u64::from(RECORDS_START)).saturating_sub(book.live_octets);
            let line = format!(
                "{}: generation {life}, {}, {} octets live, {dead} dead; {}{after}",
                slot.name,
                held.end,
                book.live_octets,
                kinds.join(", ")
            );
            self.findings.lines.push(line);
        }
        let count = self.index.count();
        let (open, free) = (found.open.len(), found.free.len() + found.unprepared.len());
        let (messages, deliveries) = (count.messages, count.deliveries);
        self.findings.lines.push(format!("{open} segments in use, {free} free; {messages} messages wait for {deliveries} recipients"));
    }

    fn contents(&mut self, disk: &dyn Disk) {
        for name in self.index.files() {
            let path = name.path();
            let Some((octets, hash)) = self.files.get(&name).copied() else { continue };
            match hash_of(disk, &path, octets) {
                Ok(found) if found == hash => {}
                Ok(_) => self.trouble(&path, 0, "the content's hash fails"),
                Err(trouble) => self.trouble(&path, 0, &trouble.to_string()),
            }
        }
        let named = self.index.files();
        let unnamed = disk.list(CONTENTS).unwrap_or_default();
        let unnamed = unnamed.iter().filter(|name| FileName::parse(name).is_none_or(|name| !named.contains(&name))).count();
        self.findings.lines.push(format!("{} contents files, {unnamed} that no message needs", named.len()));
    }

    fn journal(&mut self, disk: &dyn Disk, log: u128) -> Result<(), SpoolTrouble> {
        let names = disk.list(journal::FOLDER).map_err(|trouble| io_trouble(journal::FOLDER, &trouble))?;
        let newest = names.last().cloned();
        let mut events = 0;
        for name in &names {
            match journal::verify_file(disk, name, log) {
                Ok(count) => events += count,
                Err(SpoolTrouble::Corrupt(what)) if Some(name) == newest.as_ref() => {
                    self.findings.lines.push(format!("{what} (its end may be torn)"))
                }
                Err(trouble) => self.findings.troubles.push(trouble.to_string()),
            }
        }
        self.findings.lines.push(format!("{} journal files, {events} events", names.len()));
        Ok(())
    }

    fn trouble(&mut self, name: &str, offset: u32, what: &str) {
        self.findings.troubles.push(format!("{name}, offset {offset}: {what}"));
    }
}

fn hash_of(disk: &dyn Disk, path: &str, octets: u64) -> io::Result<u64> {
    let file = disk.open(path, Opening::Read)?;
    if file.octets()? != octets {
        return Err(io::Error::other("the file has not the length its message says"));
    }
    let mut hash = Xxh3Default::new();
    let mut at = 0;
    while at < octets {
        let chunk = read_exactly(file.as_ref(), at, (octets - at).min(256 * 1024) as usize)?;
        hash.update(&chunk);
        at += chunk.len() as u64;
    }
    Ok(hash.digest())
}
