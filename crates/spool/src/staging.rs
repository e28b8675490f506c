//! Contents in the making: in memory while they are small, in a file under `contents/` beyond that.
//!
//! **Promises.** One staging holds at most about 512 KiB of memory, all together hold `limits::STAGED_OCTETS_MAX`: who finds no more room
//! moves to disk instead of waiting, so stagings never wait for each other. A content in a file is synced with its name before `finish`
//! returns. What is dropped on the way leaves no file behind, or one that the next start removes (docs/custody.md, R9).

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use postrider_model::BoxFuture;
use postrider_model::doors::{SpoolTrouble, Staged, Staging};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xxhash_rust::xxh3::Xxh3Default;

use crate::disk::{Disk, DiskFile, Opening, is_full};
use crate::forms::{CONTENTS, FileName};
use crate::frame::body_hash;
use crate::offload::{Offload, offload};
use crate::segment::io_trouble;

/// Octets a staging writes to its file at once.
const SPILL_OCTETS: usize = 256 * 1024;
/// What a staging of unknown length asks for at first.
const FIRST_PERMIT: usize = 32 * 1024;
/// What one staging may ask for at first: what it can hold before it writes to disk.
const PERMIT_MAX: usize = 512 * 1024;

/// What all stagings share.
pub(crate) struct StagingGround {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) offload: Arc<dyn Offload>,
    pub(crate) budget: Arc<Semaphore>,
    pub(crate) inline_max: usize,
    /// Octets of disk that contents may not take.
    pub(crate) reserve_octets: u64,
    pub(crate) names: NameSource,
    /// Octets of the files under `contents/`.
    pub(crate) contents_octets: AtomicU64,
    /// Stagings that may become acceptances soon.
    pub(crate) under_way: AtomicUsize,
}

impl StagingGround {
    /// Fails when so many octets would touch the reserve (docs/custody.md, R6).
    pub(crate) fn check_room(&self, octets: usize) -> Result<(), SpoolTrouble> {
        let free = self.disk.free_octets().map_err(|trouble| content_trouble(&trouble))?;
        if free < self.reserve_octets.saturating_add(octets as u64) { Err(SpoolTrouble::Full) } else { Ok(()) }
    }
}

/// Gives names to contents files.
pub(crate) struct NameSource {
    pub(crate) opening: u32,
    pub(crate) next: AtomicU64,
}

impl NameSource {
    fn next(&self) -> FileName {
        FileName { opening: self.opening, nth: self.next.fetch_add(1, Ordering::Relaxed) }
    }
}

/// Counts one staging as under way until it is handed over or dropped.
struct UnderWay(Arc<StagingGround>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file that goes unless somebody keeps it.
struct LooseFile {
    ground: Arc<StagingGround>,
    name: Option<FileName>,
    octets: u64,
}

impl LooseFile {
    fn keep(&mut self) {
        self.name = None;
    }
}

impl Drop for LooseFile {
    fn drop(&mut self) {
        if let Some(name) = self.name {
            let (ground, octets) = (self.ground.clone(), self.octets);
            self.ground.offload.run(Box::new(move || {
                // Should this fail, the next start removes it.
                if ground.disk.remove(&name.path()).is_ok() {
                    ground.contents_octets.fetch_sub(octets, Ordering::Relaxed);
                }
            }));
        }
    }
}

/// Where a finished content is.
#[derive(Clone)]
pub(crate) enum Kept {
    Held(Bytes),
    File(FileName),
}

/// The engine's handle to a finished content.
pub(crate) struct StagedBody {
    pub(crate) kept: Kept,
    pub(crate) hash: u64,
    loose: Option<LooseFile>,
    _under_way: Option<UnderWay>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl StagedBody {
    /// The content has an owner now: its file stays.
    pub(crate) fn keep(&mut self) {
        if let Some(loose) = &mut self.loose {
            loose.keep();
        }
    }

    /// It is in the committer's hands: no company any more.
    pub(crate) fn handed_over(&mut self) {
        self._under_way = None;
    }
}

struct OpenStaging {
    ground: Arc<StagingGround>,
    buffer: Vec<u8>,
    octets: u64,
    permit: OwnedSemaphorePermit,
    under_way: UnderWay,
    spilled: Option<Spilled>,
}

/// The part that stands in a file.
struct Spilled {
    file: Arc<dyn DiskFile>,
    loose: LooseFile,
    hash: Xxh3Default,
    octets: u64,
}

/// Opens a staging.
pub(crate) async fn begin(ground: Arc<StagingGround>, expected_octets: Option<u64>) -> Result<Box<dyn Staging>, SpoolTrouble> {
    if let Some(octets) = expected_octets.filter(|octets| *octets > ground.inline_max as u64) {
        ground.check_room(usize::try_from(octets).unwrap_or(usize::MAX))?;
    }
    let expected = expected_octets.map_or(FIRST_PERMIT, |octets| usize::try_from(octets).unwrap_or(PERMIT_MAX));
    let ask = expected.clamp(4096, PERMIT_MAX.min(ground.inline_max + SPILL_OCTETS));
    let permit = ground.budget.clone().acquire_many_owned(ask as u32).await.map_err(|_| SpoolTrouble::Closed)?;
    ground.under_way.fetch_add(1, Ordering::Relaxed);
    let under_way = UnderWay(ground.clone());
    let buffer = Vec::with_capacity(expected.min(ground.inline_max));
    Ok(Box::new(OpenStaging { ground, buffer, octets: 0, permit, under_way, spilled: None }))
}

impl OpenStaging {
    fn is_heavy(&self) -> bool {
        self.buffer.len() > self.permit.num_permits()
            || self.buffer.len() > self.ground.inline_max
            || self.spilled.is_some() && self.buffer.len() >= SPILL_OCTETS
    }

    /// Takes more of the budget, when the content may stay in memory and there is some.
    fn grow(&mut self) -> bool {
        let have = self.permit.num_permits();
        let want = (self.buffer.len() * 2).min(self.ground.inline_max.max(self.buffer.len()));
        if self.spilled.is_some() || self.buffer.len() > self.ground.inline_max || want <= have {
            return false;
        }
        match self.ground.budget.clone().try_acquire_many_owned((want - have) as u32) {
            Ok(more) => {
                self.permit.merge(more);
                true
            }
            Err(_) => false,
        }
    }

    async fn spill(&mut self) -> Result<(), SpoolTrouble> {
        self.ground.check_room(self.buffer.len())?;
        let octets = std::mem::take(&mut self.buffer);
        if self.spilled.is_none() {
            let name = self.ground.names.next();
            let disk = self.ground.disk.clone();
            let loose = LooseFile { ground: self.ground.clone(), name: Some(name), octets: 0 };
            let file = offload(self.ground.offload.as_ref(), move || {
                disk.open(&name.path(), Opening::New).map_err(|trouble| content_trouble(&trouble))
            });
            let file = file.await?;
            self.spilled = Some(Spilled { file, loose, hash: Xxh3Default::new(), octets: 0 });
        }
        let Some(spilled) = &mut self.spilled else { return Err(SpoolTrouble::Closed) };
        spilled.hash.update(&octets);
        let (file, at) = (spilled.file.clone(), spilled.octets);
        spilled.octets += octets.len() as u64;
        spilled.loose.octets = spilled.octets;
        self.ground.contents_octets.fetch_add(octets.len() as u64, Ordering::Relaxed);
        let written = offload(self.ground.offload.as_ref(), move || {
            file.write_at(&[IoSlice::new(&octets)], at).map_err(|trouble| content_trouble(&trouble))?;
            Ok(octets)
        });
        // The same memory takes what comes next: blocks that another thread gives back stay with the allocator, one for each part of a large content.
        self.buffer = written.await?;
        self.buffer.clear();
        Ok(())
    }

    async fn end(mut self) -> Result<Staged, SpoolTrouble> {
        if self.spilled.is_none() && self.buffer.len() > self.ground.inline_max {
            self.spill().await?;
        }
        if self.spilled.is_some() && !self.buffer.is_empty() {
            self.spill().await?;
        }
        let octets = self.octets;
        let body = match self.spilled {
            None => {
                // It may stay in memory until its first attempt, and what was reserved for a content of unknown length is mostly air.
                self.buffer.shrink_to_fit();
                let held = Bytes::from(self.buffer);
                let hash = body_hash(&held);
                StagedBody { kept: Kept::Held(held), hash, loose: None, _under_way: Some(self.under_way), _permit: Some(self.permit) }
            }
            Some(spilled) => {
                let (file, disk) = (spilled.file, self.ground.disk.clone());
                offload(self.ground.offload.as_ref(), move || {
                    file.sync().and_then(|()| disk.sync_folder(CONTENTS)).map_err(|trouble| content_trouble(&trouble))
                })
                .await?;
                let Some(name) = spilled.loose.name else { return Err(SpoolTrouble::Closed) };
                let (kept, hash) = (Kept::File(name), spilled.hash.digest());
                StagedBody { kept, hash, loose: Some(spilled.loose), _under_way: Some(self.under_way), _permit: None }
            }
        };
        Ok(Staged { octets, body: Box::new(body) })
    }
}

impl Staging for OpenStaging {
    fn append(&mut self, octets: &[u8]) -> bool {
        self.buffer.extend_from_slice(octets);
        self.octets += octets.len() as u64;
        self.is_heavy()
    }

    fn drain(&mut self) -> BoxFuture<'_, Result<(), SpoolTrouble>> {
        Box::pin(async {
            if !self.is_heavy() || self.grow() {
                return Ok(());
            }
            self.spill().await
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Staged, SpoolTrouble>> {
        Box::pin(self.end())
    }
}

fn content_trouble(trouble: &std::io::Error) -> SpoolTrouble {
    if is_full(trouble) { SpoolTrouble::Full } else { io_trouble(CONTENTS, trouble) }
}
