//! The seam to the disk: everything the spool reads or writes goes through these two traits.
//!
//! **Promises.** No other module of this crate touches a file. A simulator brings its own [`Disk`] that loses and tears what was not synced,
//! refuses, and fails its syncs; the code above cannot tell the difference.
//!
//! **Never** retries a failed sync: after one, the pages may be gone while the kernel says all is well (docs/custody.md, R5).

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use postrider_model::doors::{SYNC_TIME_BOUNDS_US, SyncTimes};
use rustix::fs::FlockOperation;

/// A directory tree. Names are relative to its root, with `/` between folders.
pub trait Disk: Send + Sync {
    /// The names in a folder, sorted; empty when there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Makes a folder, and makes its name durable; no trouble when it is there.
    fn make_folder(&self, folder: &str) -> io::Result<()>;

    /// Opens a file to read and write.
    fn open(&self, name: &str, how: Opening) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file; no trouble when it is gone. Durable only after [`Disk::sync_folder`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Octets that may still be allocated.
    fn free_octets(&self) -> io::Result<u64>;

    /// How long the syncs of files took; nothing where nobody measures.
    fn sync_times(&self) -> SyncTimes {
        SyncTimes::default()
    }

    /// Takes an exclusive lock that lives as long as what is returned. `WouldBlock` when another process has it.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Send + Sync>>;
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It must be there, and is only read.
    Read,
    /// It must be there.
    Existing,
    /// It must not be there.
    New,
}

/// One open file. All operations are positional, so that a file may be shared.
pub trait DiskFile: Send + Sync {
    /// Its length.
    fn octets(&self) -> io::Result<u64>;

    /// Fills the buffer from `offset`; returns how much was there (less only at the end of the file).
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all slices, one behind the other, from `offset`.
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Takes disk space for the first `octets` octets, and makes the file at least that long. What was never written reads as zero.
    fn allocate(&self, octets: u64) -> io::Result<()>;

    /// Cuts or lengthens it.
    fn set_octets(&self, octets: u64) -> io::Result<()>;

    /// Returns when all that was written is on stable storage.
    fn sync(&self) -> io::Result<()>;

    /// Says that these octets will be read soon. A hint; nothing depends on it.
    fn will_need(&self, _offset: u64, _octets: u64) {}
}

/// A folder of the real file system.
pub struct RealDisk {
    root: PathBuf,
    stopwatch: Arc<Stopwatch>,
}

/// Counts syncs by how long they took.
#[derive(Default)]
struct Stopwatch {
    counts: [AtomicU64; SYNC_TIME_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Stopwatch {
    /// The one place where the spool looks at a clock: nothing is decided by it.
    #[allow(clippy::disallowed_methods)]
    fn time<T>(&self, sync: impl FnOnce() -> T) -> T {
        let begun = std::time::Instant::now();
        let done = sync();
        self.count(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        done
    }

    fn count(&self, took_us: u64) {
        self.counts[SYNC_TIME_BOUNDS_US.partition_point(|bound| *bound < took_us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(took_us, Ordering::Relaxed);
    }

    fn read(&self) -> SyncTimes {
        let counts = std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed));
        SyncTimes { counts, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

impl RealDisk {
    /// Uses `root`, and makes it, durable with its name, when it is not there.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let missing: Vec<PathBuf> = root.ancestors().take_while(|folder| !folder.exists()).map(PathBuf::from).collect();
        fs::create_dir_all(&root)?;
        for made in missing {
            // A relative path with one name has the current folder as its parent.
            let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(std::path::Path::new(".")))?.sync_all()?;
        }
        Ok(Self { root, stopwatch: Arc::default() })
    }

    /// Uses `root`, which must be there.
    pub fn existing(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        if fs::metadata(&root)?.is_dir() { Ok(Self { root, stopwatch: Arc::default() }) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }
}

impl Disk for RealDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(trouble) if trouble.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(trouble) => return Err(trouble),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        let path = self.root.join(folder);
        fs::create_dir_all(&path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }

    fn open(&self, name: &str, how: Opening) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(how != Opening::Read).create_new(how == Opening::New);
        Ok(Arc::new(RealFile(options.open(self.root.join(name))?, self.stopwatch.clone())))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.root.join(name)) {
            Err(trouble) if trouble.kind() != io::ErrorKind::NotFound => Err(trouble),
            _ => Ok(()),
        }
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.root.join(folder))?.sync_all()
    }

    fn free_octets(&self) -> io::Result<u64> {
        let facts = rustix::fs::statvfs(&self.root)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    fn sync_times(&self) -> SyncTimes {
        self.stopwatch.read()
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Send + Sync>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.root.join(name))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }
}

struct RealFile(File, Arc<Stopwatch>);

/// The kernel takes at most this many slices in one call (IOV_MAX).
const SLICES_MAX: usize = 1024;

impl DiskFile for RealFile {
    fn octets(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(trouble) if trouble.kind() == io::ErrorKind::Interrupted => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(done)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        for chunk in slices.chunks(SLICES_MAX) {
            let whole: usize = chunk.iter().map(|slice| slice.len()).sum();
            let mut done = loop {
                match rustix::io::pwritev(&self.0, chunk, offset) {
                    Ok(count) => break count,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(trouble) => return Err(trouble.into()),
                }
            };
            // A short write is rare: what is left goes slice by slice.
            let mut at = 0;
            for slice in chunk {
                let skip = done.saturating_sub(at).min(slice.len());
                if skip < slice.len() {
                    self.0.write_all_at(&slice[skip..], offset + (at + skip) as u64)?;
                }
                at += slice.len();
            }
            done = whole;
            offset += done as u64;
        }
        Ok(())
    }

    fn allocate(&self, octets: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, octets) {
            Err(rustix::io::Errno::OPNOTSUPP) => self.0.set_len(octets.max(self.0.metadata()?.len())),
            other => Ok(other?),
        }
    }

    fn set_octets(&self, octets: u64) -> io::Result<()> {
        self.0.set_len(octets)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.time(|| self.0.sync_data())
    }

    fn will_need(&self, offset: u64, octets: u64) {
        // A file system that cannot is no worse off.
        let _ = rustix::fs::fadvise(&self.0, offset, std::num::NonZeroU64::new(octets), rustix::fs::Advice::WillNeed);
    }
}

/// Reads exactly `octets` octets from `offset`; less is an error.
pub(crate) fn read_exactly(file: &dyn DiskFile, offset: u64, octets: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; octets];
    read_into(file, offset, &mut buffer)?;
    Ok(buffer)
}

/// Fills a buffer from `offset`; less is an error.
pub(crate) fn read_into(file: &dyn DiskFile, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let count = file.read_at(buffer, offset)?;
    if count < buffer.len() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is too short"));
    }
    Ok(())
}

/// Whether the disk had no room (or no quota) left.
pub(crate) fn is_full(trouble: &io::Error) -> bool {
    matches!(trouble.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_counted_by_how_long_they_took() {
        let watch = Stopwatch::default();
        for us in [0, 100, 101, 2_000_000, 2_000_001] {
            watch.count(us);
        }
        assert_eq!(watch.time(|| 7), 7);
        let SyncTimes { counts, sum_us } = watch.read();
        assert_eq!((counts[1], counts[11], counts[12], counts.iter().sum::<u64>()), (1, 1, 1, 6));
        assert!(sum_us >= 4_000_202);
    }
}
