//! A disk in memory that forgets what was not synced: whole writes, sectors of them, and names. It can crash at any operation, fail any sync
//! and be full.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

use postrider_spool::disk::{Disk, DiskFile, Opening};

const SECTOR: usize = 512;

#[derive(Default)]
struct State {
    files: Vec<FileState>,
    names: BTreeMap<String, usize>,
    /// What the names are after a crash, but for unsynced changes that made it by luck.
    durable_names: BTreeMap<String, usize>,
    locked: bool,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    fail_sync_at: Option<u64>,
    /// Reads of files whose names begin so fail.
    unreadable: Option<String>,
    /// There is no room for a write at the head of a file.
    no_room_for_headers: bool,
    capacity: u64,
}

#[derive(Default)]
struct FileState {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync: offset and octets.
    dirty: Vec<(usize, Vec<u8>)>,
    allocated: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct MemoryDisk(Arc<Mutex<State>>);

/// A small generator of numbers, the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

impl MemoryDisk {
    pub fn new(capacity: u64) -> Self {
        Self(Arc::new(Mutex::new(State { capacity, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// From the operation with this number on, everything fails.
    pub fn crash_at(&self, operation: u64) {
        self.state().crash_at = Some(operation);
    }

    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// The next sync after so many operations fails, and what it should have written is lost although it can still be read.
    pub fn fail_sync_at(&self, operation: u64) {
        self.state().fail_sync_at = Some(operation);
    }

    pub fn set_capacity(&self, capacity: u64) {
        self.state().capacity = capacity;
    }

    /// From now on files whose names begin so cannot be read; `None`: all can.
    pub fn fail_reads(&self, of: Option<&str>) {
        self.state().unreadable = of.map(str::to_owned);
    }

    /// Whether the file system has no room even to write the head of a file anew, as some that copy on write.
    pub fn refuse_headers(&self, refuse: bool) {
        self.state().no_room_for_headers = refuse;
    }

    /// Octets of all files in a folder.
    pub fn octets_in(&self, folder: &str) -> u64 {
        self.names().iter().filter(|name| name.starts_with(folder)).map(|name| self.octets(name).len() as u64).sum()
    }

    /// The process ended, the machine did not: what was written can be read.
    pub fn restart_process(&self) {
        let mut state = self.state();
        (state.locked, state.crashed, state.crash_at) = (false, false, None);
    }

    /// The power went: a disk with what is left, by the dice.
    pub fn after_crash(&self, dice: &mut Dice) -> MemoryDisk {
        let state = self.state();
        let mut files = Vec::new();
        for file in &state.files {
            let mut kept = file.durable.clone();
            let length = if dice.below(2) == 0 { file.now.len() } else { file.durable.len() };
            kept.resize(length.max(file.durable.len()), 0);
            for (offset, octets) in &file.dirty {
                let fortune = dice.below(4);
                for (nth, sector) in octets.chunks(SECTOR).enumerate() {
                    let survives = fortune == 0 || fortune > 1 && dice.below(2) == 0;
                    let at = offset + nth * SECTOR;
                    if survives && at < kept.len() {
                        let end = (at + sector.len()).min(kept.len());
                        kept[at..end].copy_from_slice(&sector[..end - at]);
                    }
                }
            }
            files.push(FileState { now: kept.clone(), durable: kept, dirty: Vec::new(), allocated: file.allocated });
        }
        let mut names = state.durable_names.clone();
        let touched: BTreeSet<&String> = state.names.keys().chain(state.durable_names.keys()).collect();
        for name in touched {
            if state.names.get(name) != state.durable_names.get(name) && dice.below(2) == 0 {
                match state.names.get(name) {
                    Some(file) => names.insert(name.clone(), *file),
                    None => names.remove(name),
                };
            }
        }
        let durable_names = names.clone();
        Self(Arc::new(Mutex::new(State { files, names, durable_names, capacity: state.capacity, ..State::default() })))
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// Changes a file's octets behind everybody's back.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[name];
        let file = &mut state.files[file];
        change(&mut file.now);
        file.durable = file.now.clone();
    }

    pub fn octets(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[name]].now.clone()
    }

    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.operations += 1;
        if state.crash_at.is_some_and(|at| state.operations > at) {
            state.crashed = true;
        }
        if state.crashed { Err(io::Error::other("the machine is off")) } else { Ok(state) }
    }

    fn used(state: &State) -> u64 {
        state.names.values().map(|file| state.files[*file].allocated).sum()
    }
}

impl Disk for MemoryDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.begin()?;
        let prefix = format!("{folder}/");
        Ok(state.names.keys().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect())
    }

    fn make_folder(&self, _: &str) -> io::Result<()> {
        self.begin().map(drop)
    }

    fn open(&self, name: &str, how: Opening) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.begin()?;
        let found = state.names.get(name).copied();
        let file = match (found, how) {
            (Some(_), Opening::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(file), _) => file,
            (None, Opening::New) => {
                state.files.push(FileState::default());
                let file = state.files.len() - 1;
                state.names.insert(name.to_owned(), file);
                file
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(MemoryFile { disk: self.clone(), file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.begin()?.names.remove(name);
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.begin()?;
        let prefix = format!("{folder}/");
        let state = &mut *state;
        state.durable_names.retain(|name, _| !name.starts_with(&prefix));
        for (name, file) in state.names.iter().filter(|(name, _)| name.starts_with(&prefix)) {
            state.durable_names.insert(name.clone(), *file);
        }
        Ok(())
    }

    fn free_octets(&self) -> io::Result<u64> {
        let state = self.begin()?;
        Ok(state.capacity.saturating_sub(Self::used(&state)))
    }

    fn lock(&self, _: &str) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.begin()?;
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Unlock(self.clone())))
    }
}

struct Unlock(MemoryDisk);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl DiskFile for MemoryFile {
    fn octets(&self) -> io::Result<u64> {
        Ok(self.disk.begin()?.files[self.file].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.begin()?;
        let is_unreadable = |prefix: &String| state.names.iter().any(|(name, file)| *file == self.file && name.starts_with(prefix));
        if state.unreadable.as_ref().is_some_and(is_unreadable) {
            return Err(io::Error::other("the sector cannot be read"));
        }
        let octets = &state.files[self.file].now;
        let from = (offset as usize).min(octets.len());
        let count = buffer.len().min(octets.len() - from);
        buffer[..count].copy_from_slice(&octets[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut state = self.disk.begin()?;
        let octets: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let (from, end) = (offset as usize, offset as usize + octets.len());
        let growth = (end as u64).saturating_sub(state.files[self.file].allocated);
        if growth > 0 && MemoryDisk::used(&state) + growth > state.capacity || state.no_room_for_headers && from < 8192 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = &mut state.files[self.file];
        file.allocated += growth;
        if file.now.len() < end {
            file.now.resize(end, 0);
        }
        file.now[from..end].copy_from_slice(&octets);
        file.dirty.push((from, octets));
        Ok(())
    }

    fn allocate(&self, octets: u64) -> io::Result<()> {
        let mut state = self.disk.begin()?;
        let growth = octets.saturating_sub(state.files[self.file].allocated);
        if MemoryDisk::used(&state) + growth > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = &mut state.files[self.file];
        file.allocated += growth;
        let length = file.now.len().max(octets as usize);
        file.now.resize(length, 0);
        Ok(())
    }

    fn set_octets(&self, octets: u64) -> io::Result<()> {
        self.disk.begin()?.files[self.file].now.resize(octets as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.begin()?;
        let fails = state.fail_sync_at.is_some_and(|at| state.operations >= at);
        if fails {
            state.fail_sync_at = None;
        }
        let file = &mut state.files[self.file];
        if fails {
            // The kernel forgets that these pages were dirty.
            file.dirty.clear();
            return Err(io::Error::other("sync failed"));
        }
        let length = file.now.len().max(file.durable.len());
        file.durable.resize(length, 0);
        for (offset, octets) in std::mem::take(&mut file.dirty) {
            file.durable[offset..offset + octets.len()].copy_from_slice(&octets);
        }
        Ok(())
    }
}
