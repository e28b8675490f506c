//! Opening a spool.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};

use postrider_model::doors::SpoolTrouble;
use postrider_model::limits;
use tokio::sync::{Notify, Semaphore};
use xxhash_rust::xxh3::xxh3_128;

use crate::core::{Core, Counters, Writer};
use crate::disk::{Disk, RealDisk};
use crate::engine::EmbeddedSpool;
use crate::handoff::Handoff;
use crate::hold::Holds;
use crate::journal::{Archive, JournalLimits};
use crate::offload::{InPlace, Offload, Threads};
use crate::recover::{Recovered, recover};
use crate::ring::Ring;
use crate::slots::Ground;
use crate::staging::{NameSource, StagingGround};

/// Octets of a segment, unless said otherwise.
pub const SEGMENT_OCTETS: u32 = 64 * 1024 * 1024;

/// How a spool is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory; the spool keeps `log/`, `contents/`, `journal/` and `lock` in it.
    pub directory: PathBuf,
    /// Octets of one segment; at least 64 KiB.
    pub segment_octets: u32,
    /// Octets of disk that new mail may not take.
    pub reserve_octets: u64,
    /// Free segments that new mail may not take, kept for settling and compaction.
    pub reserve_segments: usize,
    /// Free segments that are kept for new use; more give their space back.
    pub pool_segments: usize,
    /// The identity of a log that does not exist yet, which should be random (`None`: made from the directory's name and the process id).
    /// It keeps segments of different logs apart.
    pub new_log_id: Option<u128>,
    /// Write fresh segments once with zeros, so that syncs in them are cheap from the start.
    pub zero_fill: bool,
    /// How much history is kept in files; `None` keeps none but the newest events in memory.
    pub journal: Option<JournalLimits>,
    /// The newest events kept in memory for those who follow the journal; each costs about a KiB.
    pub events_in_memory: usize,
    /// Threads that read and write contents.
    pub disk_threads: usize,
}

impl Options {
    /// The usual, for a data directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            segment_octets: SEGMENT_OCTETS,
            reserve_octets: limits::RESERVE_BYTES,
            reserve_segments: 2,
            pool_segments: 16,
            new_log_id: None,
            zero_fill: true,
            journal: Some(JournalLimits::default()),
            events_in_memory: 4096,
            disk_threads: 4,
        }
    }
}

/// Who runs the committer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Threads of the spool.
    Threads,
    /// The caller, with [`EmbeddedSpool::pump`]: no thread, no time.
    Manual,
}

impl EmbeddedSpool {
    /// Opens the spool of a directory on the real disk, and recovers what is there.
    ///
    /// # Errors
    /// `Corrupt` and `Unknown` name file and offset, and no segment was changed or deleted then. `Io` when another process has the spool.
    pub fn open(options: Options) -> Result<Arc<Self>, SpoolTrouble> {
        let io = |trouble: std::io::Error| SpoolTrouble::Io(format!("{}: {trouble}", options.directory.display()));
        let disk = Arc::new(RealDisk::new(&options.directory).map_err(io)?);
        let offload = Arc::new(Threads::new(options.disk_threads).map_err(io)?);
        Self::open_on(&options, disk, offload, Mode::Threads)
    }

    /// Opens a spool on any disk. `options.directory` only names it then.
    pub fn open_on(options: &Options, disk: Arc<dyn Disk>, offload: Arc<dyn Offload>, mode: Mode) -> Result<Arc<Self>, SpoolTrouble> {
        let held = disk.lock("lock").map_err(|trouble| match trouble.kind() {
            std::io::ErrorKind::WouldBlock => {
                SpoolTrouble::Io(format!("{}: another process has this spool open", options.directory.display()))
            }
            _ => SpoolTrouble::Io(format!("{}: {trouble}", options.directory.display())),
        })?;
        let directory = options.directory.to_string_lossy();
        let fallback = || xxh3_128(format!("{directory} {}", std::process::id()).as_bytes());
        let ground = Ground {
            disk: disk.clone(),
            log: options.new_log_id.unwrap_or_else(fallback),
            segment_octets: options.segment_octets.max(64 * 1024),
            reserve_octets: options.reserve_octets,
            reserve_slots: options.reserve_segments,
            pool_slots: options.pool_segments.max(options.reserve_segments + 2),
            zero_fill: options.zero_fill,
        };
        let recovered = recover(ground, options.journal, options.events_in_memory)?;
        let core = Arc::new(assemble(recovered, disk, offload, options.events_in_memory));
        while core.prepare_reserve() {}
        EmbeddedSpool::assemble(core, mode == Mode::Threads, held)
    }

    /// Opens a spool whose committer the caller pumps, with everything else in place.
    pub fn open_manual(options: &Options, disk: Arc<dyn Disk>) -> Result<Arc<Self>, SpoolTrouble> {
        Self::open_on(options, disk, Arc::new(InPlace), Mode::Manual)
    }
}

fn assemble(recovered: Recovered, disk: Arc<dyn Disk>, offload: Arc<dyn Offload>, events_max: usize) -> Core {
    let Recovered { slots, log, index, archive, events, opening } = recovered;
    let staging = StagingGround {
        disk,
        reserve_octets: slots.ground.reserve_octets,
        offload: offload.clone(),
        budget: Arc::new(Semaphore::new(limits::STAGED_OCTETS_MAX)),
        inline_max: limits::INLINE_CONTENT_OCTETS_MAX.min(slots.ground.segment_octets as usize / 4),
        names: NameSource { opening, next: AtomicU64::new(0) },
        contents_octets: AtomicU64::new(index.contents_octets()),
        under_way: AtomicUsize::new(0),
    };
    Core {
        ring: Ring::new(events, log.next_sequence(), events_max),
        journal_octets: AtomicU64::new(archive.as_ref().map_or(0, Archive::octets)),
        archive: archive.map(Mutex::new),
        slots,
        offload,
        staging: Arc::new(staging),
        index: Mutex::new(index),
        handoff: Handoff::new(),
        writer: Mutex::new(Writer { log, kept: Vec::new(), impatient: 0, disappointments: 0 }),
        bell: Notify::new(),
        work: Notify::new(),
        unsynced: AtomicUsize::new(0),
        room: Notify::new(),
        warm_octets: AtomicUsize::new(0),
        full: AtomicBool::new(false),
        poisoned: OnceLock::new(),
        counters: Counters::default(),
        doomed: Mutex::new(Vec::new()),
        keeper_bell: Handoff::new(),
        holds: Holds::new(),
        compaction: Mutex::default(),
        altering: Mutex::new(()),
        copies: AtomicUsize::new(0),
        no_room_for_copies: AtomicBool::new(false),
    }
}
