use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use postrider_model::{Outcome, Timestamp};
use postrider_smtp::Reply;

use super::*;
use crate::alteration::{Choice, StoredAlteration, StoredChange};
use crate::disk::{Disk, DiskFile, Opening};
use crate::forms::{SettlementParts, State};
use crate::frame::SettlePurpose;
use crate::index::Fate;
use crate::slots::Ground;

/// A disk in memory with no room for anything new.
#[derive(Default)]
struct NoRoom;

struct Memory(Mutex<Vec<u8>>);

impl Disk for NoRoom {
    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn make_folder(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn open(&self, _: &str, _: Opening) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Memory(Mutex::default())))
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn sync_folder(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn free_octets(&self) -> io::Result<u64> {
        Ok(0)
    }
    fn lock(&self, _: &str) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }
}

impl DiskFile for Memory {
    fn octets(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let octets = self.0.lock().unwrap();
        let from = (offset as usize).min(octets.len());
        let count = buffer.len().min(octets.len() - from);
        buffer[..count].copy_from_slice(&octets[from..from + count]);
        Ok(count)
    }
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut octets = self.0.lock().unwrap();
        let mut at = offset as usize;
        for slice in slices {
            let length = octets.len().max(at + slice.len());
            octets.resize(length, 0);
            octets[at..at + slice.len()].copy_from_slice(slice);
            at += slice.len();
        }
        Ok(())
    }
    fn allocate(&self, octets: u64) -> io::Result<()> {
        self.set_octets(octets)
    }
    fn set_octets(&self, octets: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(octets as usize, 0);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

const SEGMENT: u32 = 64 * 1024;

/// A log with one segment, and no other to be had.
fn log_of_one_segment() -> Log {
    let ground = Ground {
        disk: Arc::new(NoRoom),
        log: 7,
        segment_octets: SEGMENT,
        reserve_octets: 0,
        reserve_slots: 0,
        pool_slots: 2,
        zero_fill: false,
    };
    let slot = Slot::create(ground.disk.as_ref(), 1, SEGMENT.into(), 7, false).unwrap();
    Log::new(Arc::new(Slots::new(ground, BTreeMap::new(), vec![slot], 2)), 1, 1, 0)
}

/// A settlement whose record takes about so many octets.
fn settlement(id: u128, octets: usize) -> Frame {
    let outcomes = vec![(0, Outcome::Delivered { reply: Reply::new(250, None, "x".repeat(octets)) })];
    let (message, at) = (MessageId(id), Timestamp::from_millis(1));
    let parts = SettlementParts { message, at, attempt: None, outcomes: &outcomes, attempts: &[1], report: None };
    let fates = vec![(0, Fate::Ended)];
    let purpose = SettlePurpose { message, at, attempt: None, outcomes: Vec::new(), fates, report: None };
    Frame::settlement(&parts, purpose)
}

fn alteration(hosts: usize) -> Frame {
    let choice = Choice { hosts: vec!["host.example".into(); hosts], ..Choice::default() };
    Frame::alteration(StoredAlteration { change: StoredChange::Due(Timestamp::from_millis(5)), choice }, None)
}

fn ids(frames: &[Frame]) -> Vec<u128> {
    frames.iter().map(|frame| frame.subject().map_or(0, |id| id.0)).collect()
}

/// A log with about `room` octets left.
fn nearly_full(room: usize) -> Log {
    let mut log = log_of_one_segment();
    while log.tail.as_ref().is_none_or(|tail| (SEGMENT - tail.offset) as usize > room + 1_600) {
        let committed = log.commit(vec![settlement(99, 900)]).map_err(|(trouble, _)| trouble).unwrap();
        assert_eq!(committed.done.len(), 1);
    }
    log
}

fn commit(log: &mut Log, batch: Vec<Frame>) -> (Vec<u128>, Vec<u128>, Vec<u128>, Vec<Frame>) {
    let committed = log.commit(batch).map_err(|(trouble, _)| trouble).unwrap();
    let done: Vec<Frame> = committed.done.into_iter().map(|done| done.frame).collect();
    let refused: Vec<Frame> = committed.refused.into_iter().map(|(frame, _)| frame).collect();
    (ids(&done), ids(&refused), ids(&committed.kept), committed.kept)
}

#[test]
fn what_waits_for_space_is_not_overtaken_by_what_is_newer_of_the_same_message() {
    let mut log = nearly_full(2_000);
    let batch = vec![settlement(1, 9_000), settlement(2, 50), settlement(1, 50)];
    let (done, refused, waiting, kept) = commit(&mut log, batch);
    assert_eq!((done, refused, waiting), (vec![2], vec![], vec![1, 1]));
    // And not by the next batch.
    let (done, _, waiting, _) = commit(&mut log, kept.into_iter().chain([settlement(3, 50), settlement(1, 40)]).collect());
    assert_eq!((done, waiting), (vec![3], vec![1, 1, 1]));
}

/// Written behind the end it was made before, a copy would raise the dead at the next start.
#[test]
fn a_copy_without_space_is_dropped_and_never_follows_a_settlement() {
    let mut log = nearly_full(2_000);
    let due = Timestamp::from_millis(1);
    let diagnosis = None;
    let many: Vec<(u32, State)> = (0..4_000)
        .map(|nth| (nth, State::Live { due, attempts: 1, diagnosis: diagnosis.clone(), delay_told: false, held: None }))
        .collect();
    let (done, refused, waiting, _) = commit(&mut log, vec![Frame::standing(MessageId(4), &many), settlement(4, 50)]);
    assert_eq!((done, refused, waiting), (vec![4], vec![4], vec![]));
}

#[test]
fn a_change_by_hand_keeps_its_place_among_all_others() {
    let mut log = nearly_full(2_000);
    let (done, _, waiting, _) = commit(&mut log, vec![settlement(5, 9_000), alteration(1), settlement(6, 50)]);
    assert_eq!((done, waiting), (vec![], vec![5, 0, 6]));
    let mut log = nearly_full(2_000);
    let (done, _, waiting, _) = commit(&mut log, vec![alteration(900), settlement(7, 50)]);
    assert_eq!((done, waiting), (vec![], vec![0, 7]));
}
