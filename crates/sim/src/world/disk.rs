//! The disk: it loses or tears what was not synced, refuses, fills up, fails a sync, and kills the relay at a given operation.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use postrider_lab::Chance;
use postrider_spool::disk::{Disk, DiskFile, Opening};

use super::acts::{Act, Acts, Phase};
use super::book::Fact;
pub use super::medium::Loss;
use super::medium::Medium;
use super::notebook;
use super::{Switch, World, lock};

/// At which changing operation of a life the relay dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The k-th.
    Operation(u64),
    /// The k-th in the midst of some work ([`super::acts::WORKS`]).
    Amid(&'static str, u64),
}

/// Which sync fails, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// The next.
    Next,
    /// The next of a file in this folder.
    Of(&'static str),
    /// The next of a folder.
    Folder,
    /// The next while recovering.
    Recovering,
}

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
    crash: Option<Crash>,
    fail: Option<Failing>,
    failed_syncs: u32,
    /// Changing operations over all lives.
    pub(crate) total_operations: u64,
    chance: Chance,
    /// In the midst of what all this struck.
    acts: Acts,
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
            crash: None,
            fail: None,
            failed_syncs: 0,
            total_operations: 0,
            chance,
            acts: Acts::default(),
        };
        Arc::new_cyclic(|this| Self { switch, state: Mutex::new(state), this: this.clone(), world: OnceLock::new() })
    }

    pub(crate) fn belongs_to(&self, world: Weak<World>) {
        let _ = self.world.set(world);
    }

    /// A life begins: the relay dies at this changing operation, if it gets that far.
    pub fn begin_life(&self, crash: Option<Crash>) {
        let mut state = lock(&self.state);
        (state.operations, state.crash, state.locked) = (0, crash, false);
        state.acts.enter(Phase::Recovering);
    }

    /// The relay does something else from now on.
    pub fn enter(&self, phase: Phase) {
        lock(&self.state).acts.enter(phase);
    }

    /// What this disk has done to the relay so far, by name.
    pub fn met(&self) -> BTreeSet<&'static str> {
        lock(&self.state).acts.met.clone()
    }

    /// Changing operations in this life so far.
    pub fn operations(&self) -> u64 {
        lock(&self.state).operations
    }

    /// Changing operations over all lives.
    pub fn total_operations(&self) -> u64 {
        lock(&self.state).total_operations
    }

    /// The relay dies at its k-th changing operation from now on.
    pub fn crash_after(&self, operations: u64) {
        let mut state = lock(&self.state);
        state.crash = Some(Crash::Operation(state.operations + operations));
    }

    /// A sync fails, or no more.
    pub fn fail_sync(&self, failing: Option<Failing>) {
        lock(&self.state).fail = failing;
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
        let State { files, seen, safe, pending, chance, acts, .. } = &mut *state;
        for change in std::mem::take(pending) {
            if loss.keeps_name(chance) {
                change.apply(safe);
            } else {
                acts.meet("loses a name");
            }
        }
        *seen = safe.clone();
        files.retain(|number, _| safe.values().any(|kept| kept == number));
        for (number, medium) in files.iter_mut() {
            let harm = medium.lose(loss, chance);
            acts.harmed(*number, harm);
        }
    }

    /// The machine forgets the pages it holds in memory; what is dirty stays.
    pub fn drop_caches(&self) {
        lock(&self.state).files.values_mut().for_each(Medium::evict);
    }

    /// Before each changing operation: fails when the relay is dead, and kills it at its hour.
    fn step(&self, state: &mut State, act: Act<'_>) -> io::Result<bool> {
        if self.switch.is_dead() {
            return Err(io::Error::other("the machine is down"));
        }
        state.operations += 1;
        state.total_operations += 1;
        let works = state.acts.works(&act);
        let dies = match &mut state.crash {
            Some(Crash::Operation(k)) => *k == state.operations,
            Some(Crash::Amid(work, k)) if works.contains(work) => {
                *k = k.saturating_sub(1);
                *k == 0
            }
            Some(Crash::Amid(..)) | None => false,
        };
        if dies {
            state.acts.crash(&works);
        }
        Ok(dies)
    }

    fn crash(&self) -> io::Error {
        self.switch.trip();
        io::Error::other("the machine went down")
    }

    /// A failing sync: the kernel believes that all is clean, and the disk has some of it.
    fn fail_folder(&self, mut state: MutexGuard<'_, State>, folder: &str) -> io::Error {
        let State { pending, safe, chance, .. } = &mut *state;
        let loss = Loss::any(chance);
        let (here, elsewhere) = std::mem::take(pending).into_iter().partition(|change: &NameChange| change.is_in(folder));
        *pending = elsewhere;
        let here: Vec<NameChange> = here;
        here.into_iter().filter(|_| loss.keeps_name(chance)).for_each(|change| change.apply(safe));
        state.acts.failed_sync(folder, true);
        self.sync_failed(state, folder)
    }

    fn sync_failed(&self, mut state: MutexGuard<'_, State>, name: &str) -> io::Error {
        state.fail = None;
        state.failed_syncs += 1;
        drop(state);
        if let Some(world) = self.world.get().and_then(Weak::upgrade) {
            world.note(Fact::SyncFailed { poisons: !name.starts_with("contents") && !name.starts_with(notebook::FOLDER) });
        }
        io::Error::other("input/output error")
    }

    /// Gives a file another name, whose old file goes. The new name may be safe before the old one is gone, and the other way round.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        let file = state.seen.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        let dies = self.step(&mut state, Act::name(to))?;
        for change in [NameChange { name: to.to_owned(), file: Some(file) }, NameChange { name: from.to_owned(), file: None }] {
            change.apply(&mut state.seen);
            state.pending.push(change);
        }
        if dies { Err(self.crash()) } else { Ok(()) }
    }

    fn change_name(&self, change: NameChange) -> io::Result<()> {
        let mut state = lock(&self.state);
        let dies = self.step(&mut state, Act::name(&change.name))?;
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
    /// Whether the sync of this file or folder is the one that fails.
    fn fails(&self, name: &str, folder: bool) -> bool {
        match self.fail {
            None => false,
            Some(Failing::Next) => true,
            Some(Failing::Of(of)) => !folder && name.starts_with(of),
            Some(Failing::Folder) => folder,
            Some(Failing::Recovering) => self.acts.phase() == Phase::Recovering,
        }
    }

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
            self.acts.meet("is full, and refuses to write");
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
        Ok(Arc::new(SimFile { disk, file, name: name.to_owned() }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if !lock(&self.state).seen.contains_key(name) {
            return Ok(());
        }
        self.change_name(NameChange { name: name.to_owned(), file: None })
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        if self.step(&mut state, Act::name(folder))? {
            return Err(self.crash());
        }
        if state.fails(folder, true) {
            return Err(self.fail_folder(state, folder));
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
    name: String,
}

impl SimFile {
    fn with<R>(&self, work: impl FnOnce(&mut Medium) -> R) -> io::Result<R> {
        let mut state = lock(&self.disk.state);
        state.files.get_mut(&self.file).map(work).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&self, act: Act<'_>, work: impl FnOnce(&mut State, u64) -> io::Result<()>) -> io::Result<()> {
        let mut state = lock(&self.disk.state);
        state.acts.begun(self.file, &act);
        let dies = self.disk.step(&mut state, act)?;
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
        let act = Act::write(&self.name, offset, &data);
        self.change(act, |state, file| {
            state.take(file, offset + data.len() as u64)?;
            if let Some(medium) = state.files.get_mut(&file) {
                medium.write(offset, data);
            }
            Ok(())
        })
    }

    fn allocate(&self, octets: u64) -> io::Result<()> {
        self.change(Act::name(&self.name), |state, file| {
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
        self.change(Act::name(&self.name), |state, file| {
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
        let act = state.acts.of_sync(self.file, &self.name);
        if self.disk.step(&mut state, act)? {
            return Err(self.disk.crash());
        }
        let fails = state.fails(&self.name, false);
        let State { files, chance, acts, .. } = &mut *state;
        let Some(medium) = files.get_mut(&self.file) else { return Err(io::ErrorKind::NotFound.into()) };
        if fails {
            medium.lose_silently(Loss::any(chance), chance);
            acts.failed_sync(&self.name, false);
            return Err(self.disk.sync_failed(state, &self.name));
        }
        medium.sync();
        acts.synced(self.file);
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
        disk.begin_life(Some(Crash::Operation(3)));
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
        disk.fail_sync(Some(Failing::Next));
        assert!(file.sync().is_err());
        assert!(file.sync().is_ok());
        assert_eq!(disk.failed_syncs(), 1);
    }

    #[test]
    fn the_relay_dies_in_the_midst_of_the_work_it_was_told() {
        let disk = disk();
        disk.begin_life(Some(Crash::Amid("staging a large content", 2)));
        disk.enter(Phase::Working);
        let log = write(&disk, "log/a", b"a");
        assert!(log.sync().is_ok());
        let file = disk.open("contents/a", Opening::New).unwrap();
        assert!(file.write_at(&[IoSlice::new(b"x")], 0).is_err() && disk.switch.is_dead());
        assert!(disk.met().contains("crash while staging a large content"));
    }

    #[test]
    fn a_folder_whose_sync_failed_forgets_names_that_look_safe() {
        let disk = disk();
        write(&disk, "log/a", b"a").sync().unwrap();
        disk.fail_sync(Some(Failing::Folder));
        assert!(disk.sync_folder("log").is_err());
        disk.sync_folder("log").unwrap();
        let kept = (0..20).any(|_| {
            disk.lose_power(Loss::All);
            disk.list("log").unwrap() == ["a"]
        });
        // Its chance decides once; the next sync does not bring the name back.
        assert_eq!(kept, disk.list("log").unwrap() == ["a"]);
    }
}
