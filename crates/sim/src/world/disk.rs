//! The disk: it loses or tears what was not synced, refuses, fills up, fails a sync, and kills the relay at a given operation.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use postrider_lab::Chance;
use postrider_spool::disk::{Disk, DiskFile, Opening};

use super::book::Fact;
pub use super::medium::Loss;
use super::medium::Medium;
use super::{Switch, World, lock};

/// The simulated disk of one machine.
pub struct SimDisk {
    switch: Arc<Switch>,
    state: Mutex<State>,
    /// Itself, for the files it hands out.
    this: Weak<SimDisk>,
    /// Who notes a failed sync.
    world: OnceLock<Weak<World>>,
}

struct State {
    files: BTreeMap<u64, Medium>,
    next_file: u64,
    /// Names as a reader sees them, and as they are safe.
    seen: BTreeMap<String, u64>,
    safe: BTreeMap<String, u64>,
    /// Changes of names that no sync has covered.
    pending: Vec<NameChange>,
    folders: BTreeSet<String>,
    locked: bool,
    capacity: u64,
    /// Changing operations in this life so far.
    operations: u64,
    crash_at: Option<u64>,
    fail_syncs: u32,
    failed_syncs: u32,
    /// Changing operations over all lives.
    pub(crate) total_operations: u64,
    chance: Chance,
}

#[derive(Clone)]
struct NameChange {
    name: String,
    /// `None` removes it.
    file: Option<u64>,
}

impl SimDisk {
    pub(crate) fn new(switch: Arc<Switch>, chance: Chance, capacity: u64) -> Arc<Self> {
        let state = State {
            files: BTreeMap::new(),
            next_file: 0,
            seen: BTreeMap::new(),
            safe: BTreeMap::new(),
            pending: Vec::new(),
            folders: BTreeSet::new(),
            locked: false,
            capacity,
            operations: 0,
            crash_at: None,
            fail_syncs: 0,
            failed_syncs: 0,
            total_operations: 0,
            chance,
        };
        Arc::new_cyclic(|this| Self { switch, state: Mutex::new(state), this: this.clone(), world: OnceLock::new() })
    }

    pub(crate) fn belongs_to(&self, world: Weak<World>) {
        let _ = self.world.set(world);
    }

    /// A life begins: the relay dies at this changing operation, if it gets that far.
    pub fn begin_life(&self, crash_at: Option<u64>) {
        let mut state = lock(&self.state);
        (state.operations, state.crash_at, state.locked) = (0, crash_at, false);
    }

    /// Changing operations in this life so far.
    pub fn operations(&self) -> u64 {
        lock(&self.state).operations
    }

    /// Changing operations over all lives.
    pub fn total_operations(&self) -> u64 {
        lock(&self.state).total_operations
    }

    /// The next syncs fail.
    pub fn fail_syncs(&self, count: u32) {
        lock(&self.state).fail_syncs = count;
    }

    /// How many syncs have failed so far.
    pub fn failed_syncs(&self) -> u32 {
        lock(&self.state).failed_syncs
    }

    /// Changes how much it holds.
    pub fn set_capacity(&self, octets: u64) {
        lock(&self.state).capacity = octets;
    }

    /// The power went.
    pub fn lose_power(&self, loss: Loss) {
        let mut state = lock(&self.state);
        let State { files, seen, safe, pending, chance, .. } = &mut *state;
        for change in std::mem::take(pending) {
            let kept = match loss {
                Loss::All => false,
                Loss::Nothing => true,
                Loss::Tail | Loss::Sectors => chance.percent(50),
            };
            if kept {
                change.apply(safe);
            }
        }
        *seen = safe.clone();
        files.retain(|number, _| safe.values().any(|kept| kept == number));
        for medium in files.values_mut() {
            medium.lose(loss, chance);
        }
    }

    /// The machine forgets the pages it holds in memory; what is dirty stays.
    pub fn drop_caches(&self) {
        lock(&self.state).files.values_mut().for_each(Medium::evict);
    }

    /// Before each changing operation: fails when the relay is dead, and kills it at its hour.
    fn step(&self, state: &mut State) -> io::Result<bool> {
        if self.switch.is_dead() {
            return Err(io::Error::other("the machine is down"));
        }
        state.operations += 1;
        state.total_operations += 1;
        Ok(state.crash_at == Some(state.operations))
    }

    fn crash(&self) -> io::Error {
        self.switch.trip();
        io::Error::other("the machine went down")
    }

    fn change_name(&self, change: NameChange) -> io::Result<()> {
        let mut state = lock(&self.state);
        let dies = self.step(&mut state)?;
        change.apply(&mut state.seen);
        state.pending.push(change);
        if dies { Err(self.crash()) } else { Ok(()) }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self.file {
            Some(file) => names.insert(self.name.clone(), file),
            None => names.remove(&self.name),
        };
    }

    fn is_in(&self, folder: &str) -> bool {
        self.name.rsplit_once('/').map_or(folder.is_empty() || folder == ".", |(parent, _)| parent == folder)
    }
}

impl State {
    fn free(&self) -> u64 {
        let used: u64 = self.seen.values().filter_map(|file| self.files.get(file)).map(|m| m.allocated.max(m.octets())).sum();
        self.capacity.saturating_sub(used)
    }

    /// Takes space for a file of that length.
    fn take(&mut self, file: u64, octets: u64) -> io::Result<()> {
        let free = self.free();
        let Some(medium) = self.files.get_mut(&file) else { return Err(io::ErrorKind::NotFound.into()) };
        let more = octets.saturating_sub(medium.allocated.max(medium.octets()));
        if more > free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        medium.allocated = medium.allocated.max(octets);
        Ok(())
    }
}

impl Disk for SimDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = lock(&self.state);
        let prefix = format!("{folder}/");
        Ok(state.seen.keys().filter_map(|name| name.strip_prefix(&prefix)).filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        lock(&self.state).folders.insert(folder.to_owned());
        Ok(())
    }

    fn open(&self, name: &str, how: Opening) -> io::Result<Arc<dyn DiskFile>> {
        let found = lock(&self.state).seen.get(name).copied();
        let file = match (how, found) {
            (Opening::Read | Opening::Existing, Some(file)) => file,
            (Opening::Read | Opening::Existing, None) => return Err(io::ErrorKind::NotFound.into()),
            (Opening::New, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Opening::New, None) => {
                let file = {
                    let mut state = lock(&self.state);
                    let file = state.next_file;
                    state.next_file += 1;
                    state.files.insert(file, Medium::default());
                    file
                };
                self.change_name(NameChange { name: name.to_owned(), file: Some(file) })?;
                file
            }
        };
        let disk = self.this.upgrade().ok_or_else(|| io::Error::other("the disk is gone"))?;
        Ok(Arc::new(SimFile { disk, file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if !lock(&self.state).seen.contains_key(name) {
            return Ok(());
        }
        self.change_name(NameChange { name: name.to_owned(), file: None })
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        if self.step(&mut state)? {
            return Err(self.crash());
        }
        let (here, elsewhere) = std::mem::take(&mut state.pending).into_iter().partition(|change: &NameChange| change.is_in(folder));
        state.pending = elsewhere;
        let here: Vec<NameChange> = here;
        here.into_iter().for_each(|change| change.apply(&mut state.safe));
        Ok(())
    }

    fn free_octets(&self) -> io::Result<u64> {
        Ok(lock(&self.state).free())
    }

    fn lock(&self, _: &str) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(()))
    }
}

/// An open file; it stays readable when its name is removed.
struct SimFile {
    disk: Arc<SimDisk>,
    file: u64,
}

impl SimFile {
    fn with<R>(&self, work: impl FnOnce(&mut Medium) -> R) -> io::Result<R> {
        let mut state = lock(&self.disk.state);
        state.files.get_mut(&self.file).map(work).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&self, work: impl FnOnce(&mut State, u64) -> io::Result<()>) -> io::Result<()> {
        let mut state = lock(&self.disk.state);
        let dies = self.disk.step(&mut state)?;
        work(&mut state, self.file)?;
        if dies { Err(self.disk.crash()) } else { Ok(()) }
    }
}

impl DiskFile for SimFile {
    fn octets(&self) -> io::Result<u64> {
        self.with(|medium| medium.octets())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.disk.switch.is_dead() {
            return Err(io::Error::other("the machine is down"));
        }
        self.with(|medium| medium.read(buffer, offset))
    }

    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut data = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
        slices.iter().for_each(|slice| data.extend_from_slice(slice));
        self.change(|state, file| {
            state.take(file, offset + data.len() as u64)?;
            if let Some(medium) = state.files.get_mut(&file) {
                medium.write(offset, data);
            }
            Ok(())
        })
    }

    fn allocate(&self, octets: u64) -> io::Result<()> {
        self.change(|state, file| {
            state.take(file, octets)?;
            if let Some(medium) = state.files.get_mut(&file)
                && medium.octets() < octets
            {
                medium.set_octets(octets);
            }
            Ok(())
        })
    }

    fn set_octets(&self, octets: u64) -> io::Result<()> {
        self.change(|state, file| {
            state.take(file, octets)?;
            if let Some(medium) = state.files.get_mut(&file) {
                medium.allocated = octets;
                medium.set_octets(octets);
            }
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.disk.state);
        if self.disk.step(&mut state)? {
            return Err(self.disk.crash());
        }
        let State { files, chance, fail_syncs, failed_syncs, .. } = &mut *state;
        let Some(medium) = files.get_mut(&self.file) else { return Err(io::ErrorKind::NotFound.into()) };
        if *fail_syncs > 0 {
            *fail_syncs -= 1;
            *failed_syncs += 1;
            let loss = *chance.pick(&[Loss::All, Loss::Tail, Loss::Sectors, Loss::Nothing]);
            medium.lose_silently(loss, chance);
            drop(state);
            if let Some(world) = self.disk.world.get().and_then(Weak::upgrade) {
                world.note(Fact::SyncFailed);
            }
            return Err(io::Error::other("input/output error"));
        }
        medium.sync();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Arc<SimDisk> {
        SimDisk::new(Arc::default(), Chance::new(1), 1 << 20)
    }

    fn write(disk: &SimDisk, name: &str, text: &[u8]) -> Arc<dyn DiskFile> {
        let file = disk.open(name, Opening::New).unwrap();
        file.write_at(&[IoSlice::new(text)], 0).unwrap();
        file
    }

    #[test]
    fn a_name_that_no_sync_covered_is_lost_with_its_file() {
        let disk = disk();
        write(&disk, "log/a", b"a").sync().unwrap();
        disk.sync_folder("log").unwrap();
        write(&disk, "log/b", b"b").sync().unwrap();
        disk.remove("log/a").unwrap();
        assert_eq!(disk.list("log").unwrap(), ["b"]);
        disk.lose_power(Loss::All);
        assert_eq!(disk.list("log").unwrap(), ["a"]);
        let mut buffer = [0; 4];
        assert_eq!(disk.open("log/a", Opening::Read).unwrap().read_at(&mut buffer, 0).unwrap(), 1);
    }

    #[test]
    fn the_relay_dies_at_the_operation_it_was_told() {
        let disk = disk();
        disk.begin_life(Some(3));
        let file = write(&disk, "log/a", b"a");
        assert!(file.sync().is_err() && disk.switch.is_dead());
        assert!(file.write_at(&[IoSlice::new(b"x")], 0).is_err());
        assert_eq!(disk.operations(), 3);
    }

    #[test]
    fn a_full_disk_refuses_and_says_what_is_free() {
        let disk = disk();
        let file = write(&disk, "log/a", b"a");
        file.allocate((1 << 20) - 10).unwrap();
        assert_eq!(disk.free_octets().unwrap(), 10);
        assert_eq!(file.allocate(1 << 20).map_err(|e| e.kind()), Ok(()));
        let other = disk.open("log/b", Opening::New).unwrap();
        assert_eq!(other.allocate(1).map_err(|e| e.kind()), Err(io::ErrorKind::StorageFull));
    }

    #[test]
    fn a_failed_sync_is_told_once() {
        let disk = disk();
        let file = write(&disk, "log/a", b"a");
        disk.fail_syncs(1);
        assert!(file.sync().is_err());
        assert!(file.sync().is_ok());
        assert_eq!(disk.failed_syncs(), 1);
    }
}
