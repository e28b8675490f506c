//! Messages that stay when they are done: the engine of the `Keeping` door, on files.
//!
//! **Promises.** What is kept goes when its stream's time is over, counted from its arrival; a changed time holds for what is kept already, and a stream that keeps nothing
//! any more, or is gone, loses what it kept at the next look. All of it together stays below a bound of octets: the oldest go first, and somebody is told. The spool's disk is left
//! alone: nothing is kept when that would take the room that mail needs.
//!
//! **Never** holds mail back, and is no custody: a file that cannot be written is told, counted, and done without. Not in a backup.
//!
//! **Does badly.** Each message costs a sync of a file and of its folder before its last outcome is settled. Memory holds about 60 octets for each. What a person removes while the relay
//! runs counts until its time is over.

pub mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use postrider_model::doors::{Clock, Keeping, KeepingTrouble, MailLog, Registry};
use postrider_model::{BoxFuture, Content, Message, MessageId, StreamName, TenantName, Timestamp, limits};

use file::{Facts, Named};

/// How often it is looked what has had its time.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Octets that a disk gives out at once: what a small file really takes.
const BLOCK_OCTETS: u64 = 4_096;

/// Room on the disk that is left alone: twice what the spool keeps back for settling, so that mail is refused long after nothing is kept any more.
const ROOM_OCTETS: u64 = 2 * limits::RESERVE_BYTES;

/// Chunks of a content on their way to the disk.
const CHUNKS_MAX: usize = 4;

/// Files that are removed in one go.
const REMOVED_AT_ONCE: usize = 1_000;

/// A tenant's stream.
type Lane = Arc<(TenantName, StreamName)>;

/// What is kept, as memory knows it.
#[derive(Default)]
struct Index {
    by_id: BTreeMap<MessageId, (Lane, u64)>,
    lanes: BTreeSet<Lane>,
    octets: u64,
}

impl Index {
    fn add(&mut self, named: &Named, octets: u64) {
        let lane = Arc::new((named.tenant.clone(), named.stream.clone()));
        let lane = self.lanes.get(&lane).cloned().unwrap_or_else(|| {
            self.lanes.insert(lane.clone());
            lane
        });
        let octets = octets.next_multiple_of(BLOCK_OCTETS);
        self.octets += octets;
        if let Some((_, before)) = self.by_id.insert(named.id, (lane, octets)) {
            self.octets -= before;
        }
    }

    fn forget(&mut self, id: MessageId) {
        if let Some((_, octets)) = self.by_id.remove(&id) {
            self.octets -= octets;
        }
    }

    fn named(&self, id: MessageId) -> Option<Named> {
        self.by_id.get(&id).map(|(lane, _)| Named { id, tenant: lane.0.clone(), stream: lane.1.clone() })
    }

    /// The oldest, as many as must go so that so many octets find room below the bound.
    fn too_many(&self, more: u64, max: u64) -> Vec<Named> {
        let mut left = self.octets.saturating_add(more);
        let oldest = self.by_id.iter().take_while(|(_, (_, octets))| {
            let goes = left > max;
            left = left.saturating_sub(*octets);
            goes
        });
        oldest.filter_map(|(id, _)| self.named(*id)).collect()
    }

    /// Those whose time is over. Streams of which nothing is known stay.
    fn expired(&self, retentions: &BTreeMap<Lane, Option<Duration>>, now: Timestamp) -> Vec<Named> {
        let is_over = |(id, (lane, _)): &(&MessageId, &(Lane, u64))| {
            retentions.get(lane).is_some_and(|time| time.is_none_or(|time| id.accepted_at().after(time) <= now))
        };
        self.by_id.iter().filter(is_over).filter_map(|(id, _)| self.named(*id)).collect()
    }
}

/// Counts, for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that are kept.
    pub messages: u64,
    /// Octets of disk that they take.
    pub octets: u64,
    /// Messages that could not be kept, since the start.
    pub failed: u64,
    /// Messages that went before their time, for want of room below the bound, since the start.
    pub evicted: u64,
}

/// The files, and what memory knows of them.
pub struct Keep {
    folder: PathBuf,
    index: Mutex<Index>,
    octets_max: AtomicU64,
    clock: Arc<dyn Clock>,
    log: Arc<dyn MailLog>,
    /// The last message could not be kept.
    is_troubled: AtomicBool,
    /// Somebody was told that messages go before their time.
    is_told: AtomicBool,
    failed: AtomicU64,
    evicted: AtomicU64,
    unique: AtomicU64,
}

impl Keep {
    /// Looks what is kept in a folder, which is made when something is to be kept there. A folder that cannot be read is told, and mail goes on.
    pub fn open(folder: &Path, octets_max: u64, clock: Arc<dyn Clock>, log: Arc<dyn MailLog>) -> Arc<Self> {
        let mut index = Index::default();
        let looked = file::walk(folder, true, |named, octets| index.add(&named, octets));
        if let Err(trouble) = &looked {
            let shown = folder.display();
            log.alarm(
                None,
                &format!(
                    "cannot look at the kept messages in {shown}: {trouble}; see its owner, or move it away, and start again. Mail goes on"
                ),
            );
        }
        Arc::new(Self {
            folder: folder.to_owned(),
            index: Mutex::new(index),
            octets_max: AtomicU64::new(octets_max),
            clock,
            log,
            is_troubled: AtomicBool::new(looked.is_err()),
            is_told: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            unique: AtomicU64::new(0),
        })
    }

    /// After a reload: how many octets there may be. What is too much goes at the next look.
    pub fn set_octets_max(&self, octets_max: u64) {
        self.octets_max.store(octets_max, Ordering::Relaxed);
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        let index = self.index();
        Counts {
            messages: index.by_id.len() as u64,
            octets: index.octets,
            failed: self.failed.load(Ordering::Relaxed),
            evicted: self.evicted.load(Ordering::Relaxed),
        }
    }

    /// Lets go what has had its time, again and again. Until this future is dropped.
    pub async fn run(self: Arc<Self>, registry: Arc<dyn Registry>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look(&*registry).await;
        }
    }

    /// Lets go what has had its time by now.
    pub async fn look(self: &Arc<Self>, registry: &dyn Registry) {
        let lanes: Vec<Lane> = self.index().lanes.iter().cloned().collect();
        let mut retentions = BTreeMap::new();
        for lane in lanes {
            // While the registry is silent its streams keep what they have.
            if let Ok(stream) = registry.stream(&lane.0, &lane.1).await {
                retentions.insert(lane, stream.retention);
            }
        }
        let expired = self.index().expired(&retentions, self.clock.now());
        self.let_go(expired).await;
        self.make_room(0).await;
        let mut index = self.index();
        let used: BTreeSet<Lane> = index.by_id.values().map(|(lane, _)| lane.clone()).collect();
        index.lanes = used;
    }

    /// The oldest go until so many octets find room.
    async fn make_room(self: &Arc<Self>, more: u64) {
        let max = self.octets_max.load(Ordering::Relaxed);
        let oldest = self.index().too_many(more, max);
        if oldest.is_empty() {
            if self.index().octets < max / 2 {
                self.is_told.store(false, Ordering::Relaxed);
            }
            return;
        }
        self.evicted.fetch_add(oldest.len() as u64, Ordering::Relaxed);
        if !self.is_told.swap(true, Ordering::Relaxed) {
            self.log.alarm(
                None,
                &format!(
                    "kept messages go before their time: they take {max} octets, which is [kept] size_max. Raise it, or shorten the retention of a stream"
                ),
            );
        }
        self.let_go(oldest).await;
    }

    async fn let_go(self: &Arc<Self>, all: Vec<Named>) {
        for some in all.chunks(REMOVED_AT_ONCE) {
            let (keep, some) = (self.clone(), some.to_vec());
            let removed = tokio::task::spawn_blocking(move || {
                for named in some {
                    match file::remove(&keep.folder, &named) {
                        Ok(_) => keep.index().forget(named.id),
                        // It is tried again at the next look.
                        Err(trouble) => return Err(trouble),
                    }
                }
                Ok(())
            });
            if let Ok(Err(trouble)) = removed.await {
                let why = format!("kept messages in {} cannot be removed: {trouble}; see its owner", self.folder.display());
                if !self.is_troubled.swap(true, Ordering::Relaxed) {
                    self.log.alarm(None, &why);
                }
                return;
            }
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(self: &Arc<Self>, message: &Message, content: Content) -> io::Result<()> {
        let max = self.octets_max.load(Ordering::Relaxed);
        if message.content_octets > max {
            return Err(io::Error::other(format!("one of {} octets is larger than [kept] size_max ({max})", message.content_octets)));
        }
        self.make_room(message.content_octets.next_multiple_of(BLOCK_OCTETS)).await;
        let (facts, unique) = (Facts::of(message), self.unique.fetch_add(1, Ordering::Relaxed));
        let named = Named { id: message.id, tenant: message.tenant.clone(), stream: message.stream.clone() };
        let (to, mut chunks) = tokio::sync::mpsc::channel::<Bytes>(CHUNKS_MAX);
        let keep = self.clone();
        let writing = tokio::task::spawn_blocking(move || {
            has_room(&keep.folder, facts.content_octets)?;
            let octets = file::write(&keep.folder, &named, &facts, unique, || chunks.blocking_recv())?;
            keep.index().add(&named, octets);
            Ok(())
        });
        // Who writes is told of the end by the sender's own; what broke off is too short, and is no message.
        let _ = feed(content, to).await;
        writing.await.map_err(io::Error::other)?
    }
}

async fn feed(content: Content, to: tokio::sync::mpsc::Sender<Bytes>) -> Option<()> {
    match content {
        Content::Held(octets) => to.send(octets).await.ok(),
        Content::Streamed(mut source) => {
            while let Some(chunk) = source.next().await.ok()? {
                to.send(chunk).await.ok()?;
            }
            Some(())
        }
    }
}

/// Whether the disk has room beside what mail needs.
fn has_room(folder: &Path, octets: u64) -> io::Result<()> {
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder);
    let facts = rustix::fs::statvfs(there)?;
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    if free < octets.saturating_add(ROOM_OCTETS) {
        return Err(io::Error::other(format!("the disk has {free} octets left, and mail needs them; make room")));
    }
    Ok(())
}

/// The door.
pub struct KeepDoor(pub Arc<Keep>);

impl Keeping for KeepDoor {
    fn has(&self, message: MessageId) -> bool {
        self.0.index().by_id.contains_key(&message)
    }

    fn keep<'a>(&'a self, message: &'a Message, content: Content) -> BoxFuture<'a, Result<(), KeepingTrouble>> {
        Box::pin(async move {
            let kept = self.0.write(message, content).await;
            let was_troubled = self.0.is_troubled.swap(kept.is_err(), Ordering::Relaxed);
            kept.map_err(|trouble| {
                self.0.failed.fetch_add(1, Ordering::Relaxed);
                KeepingTrouble { why: trouble.to_string().into(), is_news: !was_troubled }
            })
        })
    }
}

#[cfg(test)]
mod tests;
