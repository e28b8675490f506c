//! Slot files: fixed-size files under `log/`, each living several lives. A life has a number, its *generation*, that only grows.
//!
//! **Promises.** A slot has two copies of its header, in sectors of their own, written in turn; the valid copy with the higher turn rules. So a
//! header write that tears leaves the state before it, and a slot whose header was ever synced always tells what it is. Both copies unreadable
//! is a slot that was never prepared when the second copy was never written, and corruption otherwise.
//!
//! **Never** writes a record before the header of its life is synced.

use std::io::{self, IoSlice};
use std::sync::Arc;

use postrider_model::doors::SpoolTrouble;
use xxhash_rust::xxh3::xxh3_64;

use crate::disk::{Disk, DiskFile, Opening, read_exactly};
use crate::footer::TRAILER_OCTETS;
use crate::record::Binding;

/// Where the slots are.
pub(crate) const FOLDER: &str = "log";
/// Where the first record of a slot begins: behind the two header copies.
pub(crate) const RECORDS_START: u32 = 8192;
const COPY_SPACING: u64 = 4096;
const COPY_OCTETS: usize = 64;
const MAGIC: &[u8; 4] = b"PRSP";
const VERSION: u16 = 3;
/// The oldest version that is read. Version 2 adds wishes of senders, and what was told of delays; version 3 records about no message. What older ones say reads the same.
const VERSION_MIN: u16 = 1;

/// What a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// It may be used for a new life.
    Free,
    /// It holds records.
    Open,
}

/// A slot's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotHeader {
    pub(crate) log: u128,
    pub(crate) life: u32,
    pub(crate) state: SlotState,
    /// The segment whose live records this one was opened to take over; zero for none (docs/custody.md, R3).
    pub(crate) takes_over: u32,
    /// The sequence the next event had when this life began.
    pub(crate) first_sequence: u64,
    /// Counts header writes of this slot; odd turns stand in the second copy.
    turn: u32,
}

impl SlotHeader {
    fn encode(&self) -> [u8; COPY_OCTETS] {
        let mut out = [0; COPY_OCTETS];
        out[..4].copy_from_slice(MAGIC);
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[6] = match self.state {
            SlotState::Free => 1,
            SlotState::Open => 2,
        };
        out[8..24].copy_from_slice(&self.log.to_le_bytes());
        out[24..28].copy_from_slice(&self.life.to_le_bytes());
        out[28..32].copy_from_slice(&self.takes_over.to_le_bytes());
        out[32..40].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[40..44].copy_from_slice(&self.turn.to_le_bytes());
        let check = xxh3_64(&out[..56]);
        out[56..].copy_from_slice(&check.to_le_bytes());
        out
    }

    /// `Ok(None)`: no valid copy. `Err`: a valid copy of something newer.
    fn decode(octets: &[u8]) -> Result<Option<Self>, String> {
        let Some(octets) = octets.get(..COPY_OCTETS).and_then(|octets| <&[u8; COPY_OCTETS]>::try_from(octets).ok()) else {
            return Ok(None);
        };
        let four = |at: usize| u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
        if &octets[..4] != MAGIC || eight(56) != xxh3_64(&octets[..56]) {
            return Ok(None);
        }
        let version = u16::from_le_bytes([octets[4], octets[5]]);
        let state = match (version, octets[6]) {
            (VERSION_MIN..=VERSION, 1) => SlotState::Free,
            (VERSION_MIN..=VERSION, 2) => SlotState::Open,
            (version, state) => {
                return Err(format!(
                    "segment version {version}, state {state}; this release knows the versions {VERSION_MIN} to {VERSION}"
                ));
            }
        };
        Ok(Some(Self {
            log: u128::from(eight(8)) | u128::from(eight(16)) << 64,
            life: four(24),
            state,
            takes_over: four(28),
            first_sequence: eight(32),
            turn: four(40),
        }))
    }
}

/// An open slot file with its header.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: SlotHeader,
}

impl Slot {
    /// Makes a new free slot of `octets` octets, durable with its name. With `zero_fill` its blocks are written once, so that later
    /// syncs have no extents to convert.
    pub(crate) fn create(disk: &dyn Disk, number: u32, octets: u64, log: u128, zero_fill: bool) -> io::Result<Slot> {
        let name = format!("{FOLDER}/seg-{number:05}");
        let file = disk.open(&name, Opening::New)?;
        let made = Self::prepare(disk, file.as_ref(), octets, log, zero_fill);
        match made {
            Ok(header) => Ok(Slot { name, file, header }),
            Err(trouble) => {
                // What could not be prepared gives its space back; the name says nothing.
                let _ = disk.remove(&name);
                Err(trouble)
            }
        }
    }

    fn prepare(disk: &dyn Disk, file: &dyn DiskFile, octets: u64, log: u128, zero_fill: bool) -> io::Result<SlotHeader> {
        file.allocate(octets)?;
        if zero_fill {
            let zeros = vec![0; 256 * 1024];
            let mut offset = 0;
            while offset < octets {
                let count = (octets - offset).min(zeros.len() as u64);
                file.write_at(&[IoSlice::new(&zeros[..count as usize])], offset)?;
                offset += count;
            }
        }
        let header = SlotHeader { log, life: 0, state: SlotState::Free, takes_over: 0, first_sequence: 0, turn: 0 };
        file.write_at(&[IoSlice::new(&header.encode())], 0)?;
        file.sync()?;
        disk.sync_folder(FOLDER)?;
        Ok(header)
    }

    /// Opens a slot and reads its header. `Ok(None)`: it was never prepared.
    pub(crate) fn open(disk: &dyn Disk, file_name: &str, how: Opening) -> Result<Option<Slot>, SpoolTrouble> {
        let name = format!("{FOLDER}/{file_name}");
        let file = disk.open(&name, how).map_err(|trouble| io_trouble(&name, &trouble))?;
        let mut head = vec![0; RECORDS_START as usize];
        file.read_at(&mut head, 0).map_err(|trouble| io_trouble(&name, &trouble))?;
        let (first, second) = head.split_at(COPY_SPACING as usize);
        let unknown = |trouble| SpoolTrouble::Unknown(format!("{name}: {trouble}"));
        let copies = [SlotHeader::decode(first).map_err(unknown)?, SlotHeader::decode(second).map_err(unknown)?];
        match copies.into_iter().flatten().max_by_key(|header| header.turn) {
            Some(header) => Ok(Some(Slot { name, file, header })),
            None if second.iter().all(|octet| *octet == 0) => Ok(None),
            None => Err(SpoolTrouble::Corrupt(format!("{name}, offset 0: both copies of the header are damaged"))),
        }
    }

    /// Begins a life (`Open`) or ends it (`Free`), synced.
    pub(crate) fn turn_to(&mut self, state: SlotState, life: u32, takes_over: u32, first_sequence: u64) -> io::Result<()> {
        let header = SlotHeader { state, life, takes_over, first_sequence, turn: self.header.turn + 1, ..self.header };
        self.file.write_at(&[IoSlice::new(&header.encode())], u64::from(header.turn % 2) * COPY_SPACING)?;
        // A failed sync is never taken for a full disk, whatever it says: after it nothing is known.
        self.file.sync().map_err(|trouble| io::Error::other(format!("sync: {trouble}")))?;
        self.header = header;
        Ok(())
    }

    /// Writes what stands here up to `used_octets` once more, and syncs: after a failed sync it may read well and be on no disk.
    pub(crate) fn confirm(&self, used_octets: u64) -> io::Result<()> {
        let start = u64::from(RECORDS_START);
        if used_octets > start {
            let records = read_exactly(self.file.as_ref(), start, (used_octets - start) as usize)?;
            self.file.write_at(&[IoSlice::new(&records)], start)?;
            let end = self.file.octets()? - TRAILER_OCTETS as u64;
            let trailer = read_exactly(self.file.as_ref(), end, TRAILER_OCTETS)?;
            self.file.write_at(&[IoSlice::new(&trailer)], end)?;
        }
        self.file.write_at(&[IoSlice::new(&self.header.encode())], u64::from(self.header.turn % 2) * COPY_SPACING)?;
        self.file.sync()
    }

    pub(crate) fn binding(&self) -> Binding {
        Binding { log: self.header.log, life: self.header.life }
    }
}

/// The slot's number, when the name is that of a slot.
pub(crate) fn slot_number(file_name: &str) -> Option<u32> {
    file_name.strip_prefix("seg-")?.parse().ok()
}

pub(crate) fn io_trouble(name: &str, trouble: &io::Error) -> SpoolTrouble {
    SpoolTrouble::Io(format!("{name}: {trouble}"))
}
