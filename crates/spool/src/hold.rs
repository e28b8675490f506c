//! Holding still for a copy: while somebody holds, the keeper gives nothing back, so that what stands on disk can be read at leisure
//! (docs/custody.md, A copy while running).
//!
//! **Promises.** Everything acknowledged before a hold began stands in what its list names; of the newest segment only what was synced. Mail goes on.
//! A hold ends by itself when the disk gets full: mail is worth more than a copy. Who held is told.

use std::sync::{Arc, Mutex, MutexGuard};

use postrider_model::BoxFuture;
use postrider_model::doors::{HeldFile, Hold, SpoolTrouble};
use tokio::sync::{oneshot, watch};

use crate::core::{Core, Item};
use crate::engine::EmbeddedSpool;
use crate::handoff::Weight;
use crate::sync::lock;

/// Who holds.
pub(crate) struct Holds {
    count: Mutex<usize>,
    /// Grows when all holds are broken.
    broken: watch::Sender<u64>,
}

impl Holds {
    pub(crate) fn new() -> Self {
        Self { count: Mutex::new(0), broken: watch::Sender::new(0) }
    }

    /// For one step of the keeper: nobody begins to hold in the midst of it. Whether it may give back.
    pub(crate) fn step(&self, full: bool) -> (MutexGuard<'_, usize>, bool) {
        let mut count = lock(&self.count);
        if full && *count > 0 {
            tracing::warn!("the disk is full: copies under way are given up, so that space can be freed");
            *count = 0;
            self.broken.send_modify(|times| *times += 1);
        }
        let free = *count == 0;
        (count, free)
    }
}

/// One hold on the spool.
struct SpoolHold {
    core: Arc<Core>,
    files: Vec<HeldFile>,
    broken: watch::Receiver<u64>,
}

impl Hold for SpoolHold {
    fn files(&self) -> &[HeldFile] {
        &self.files
    }

    fn broken(&self) -> BoxFuture<'_, ()> {
        let mut broken = self.broken.clone();
        // The sender lives as long as the core.
        Box::pin(async move { drop(broken.changed().await) })
    }
}

impl Drop for SpoolHold {
    fn drop(&mut self) {
        let mut count = lock(&self.core.holds.count);
        if !self.broken.has_changed().unwrap_or(true) {
            *count = count.saturating_sub(1);
        }
        drop(count);
        let _ = self.core.keeper_bell.give((), Weight::Urgent);
    }
}

impl EmbeddedSpool {
    pub(crate) async fn begin_hold(&self) -> Result<Box<dyn Hold>, SpoolTrouble> {
        let core = self.core.clone();
        core.check_sound()?;
        // On a full disk it would be broken at once; and whether it is full still is asked here.
        core.check_room()?;
        let broken = {
            let mut count = lock(&core.holds.count);
            *count += 1;
            core.holds.broken.subscribe()
        };
        let mut hold = SpoolHold { core: core.clone(), files: Vec::new(), broken };
        // What was acknowledged stands before this; and the journal knows nothing that the log's copy will not have.
        flush(&core).await?;
        if let Some(archive) = &core.archive {
            hold.files.extend(lock(archive).files());
        }
        {
            // No record is on its way while the writer is ours.
            let writer = lock(&core.writer);
            let octets = u64::from(core.slots.ground.segment_octets);
            let tail = writer.log.tail();
            hold.files.extend(core.slots.open_names().into_iter().map(|name| {
                let synced = tail.as_ref().filter(|(tail, _)| *tail == name).map(|(_, synced_to)| u64::from(*synced_to));
                HeldFile { name, octets, octets_to_copy: synced.unwrap_or(octets) }
            }));
        }
        Ok(Box::new(hold))
    }
}

async fn flush(core: &Core) -> Result<(), SpoolTrouble> {
    let (answer, answered) = oneshot::channel();
    core.give(Item::Flush(answer), Weight::Urgent).map_err(|_| SpoolTrouble::Closed)?;
    answered.await.unwrap_or(Err(SpoolTrouble::Closed))
}
