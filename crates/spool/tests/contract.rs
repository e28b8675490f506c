//! The laws of the Spool door, on the real disk with threads, and on a disk in memory pumped by hand.

mod common;

use std::sync::{Arc, Mutex};

use common::disk::MemoryDisk;
use common::{Room, drive, options, room, tiny};
use postrider_model::BoxFuture;
use postrider_model::contract::{SPOOL_LAWS, Workshop};
use postrider_model::doors::Spool;
use postrider_spool::EmbeddedSpool;

struct Real {
    room: Room,
    last: Mutex<Option<Arc<EmbeddedSpool>>>,
}

impl Workshop for Real {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Spool>> {
        Box::pin(async {
            let mut last = self.last.lock().unwrap();
            if let Some(spool) = last.take() {
                spool.close();
                drop(spool);
            }
            let spool = EmbeddedSpool::open(options(&self.room)).expect("a sound log");
            *last = Some(spool.clone());
            spool as Arc<dyn Spool>
        })
    }
}

#[tokio::test]
async fn the_real_disk_keeps_every_law() {
    for (nth, (law, test)) in SPOOL_LAWS.iter().enumerate() {
        eprintln!("law: {law}");
        test(Arc::new(Real { room: room(&format!("contract-{nth}")), last: Mutex::new(None) })).await;
    }
}

struct InMemory {
    disk: MemoryDisk,
    last: Mutex<Option<Arc<EmbeddedSpool>>>,
}

impl Workshop for InMemory {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Spool>> {
        Box::pin(async {
            // The last one is not closed: the process ends without a word.
            self.disk.restart_process();
            let spool = EmbeddedSpool::open_manual(&tiny(), Arc::new(self.disk.clone())).expect("a sound log");
            *self.last.lock().unwrap() = Some(spool.clone());
            spool as Arc<dyn Spool>
        })
    }
}

#[test]
fn a_disk_in_memory_keeps_every_law() {
    for (law, test) in SPOOL_LAWS {
        eprintln!("law: {law}");
        let workshop = Arc::new(InMemory { disk: MemoryDisk::new(64 << 20), last: Mutex::new(None) });
        let idle = EmbeddedSpool::open_manual(&tiny(), Arc::new(MemoryDisk::new(64 << 20))).unwrap();
        let mut law_kept = std::pin::pin!(test(workshop.clone()));
        let kept = drive(
            &idle,
            std::future::poll_fn(|context| {
                if let Some(spool) = workshop.last.lock().unwrap().as_ref() {
                    spool.pump();
                }
                law_kept.as_mut().poll(context)
            }),
        );
        assert_eq!(kept, Some(()), "{law}: it never ends");
    }
}
