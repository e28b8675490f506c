//! A copy that is made while mail comes, goes, and segments would be recycled.

mod common;

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::sync::Arc;

use common::disk::{Dice, MemoryDisk};
use common::{accept, delivered, drive, message, tiny};
use postrider_model::doors::{HeldFile, Hold, LendLimit, QueueFilter, Spool, SpoolDesk, SpoolTrouble};
use postrider_model::{Group, MessageId, Timestamp};
use postrider_smtp::Host;
use postrider_spool::disk::{Disk, Opening};
use postrider_spool::inspect::look;
use postrider_spool::{EmbeddedSpool, Options};

const SEGMENT: u64 = 64 * 1024;
const NOW: Timestamp = Timestamp::from_millis(90_000);

fn put(spool: &EmbeddedSpool, nth: u64, octets: usize) -> Result<MessageId, SpoolTrouble> {
    let message = message(nth, 1_000 + nth, &["a@one.example"]);
    let id = message.id;
    drive(spool, accept(spool, message, &vec![b'x'; octets])).expect("an answer").map(|_| id)
}

/// Delivers up to so many; which.
fn deliver(spool: &EmbeddedSpool, parcels: usize) -> Vec<MessageId> {
    let group = Group::Host(Host::parse("one.example").unwrap());
    spool.ready(NOW, 1);
    let lent = spool.lend(&group, NOW, LendLimit { parcels, recipients_per_parcel: 100 }).parcels;
    for parcel in &lent {
        spool.settle(delivered(parcel, NOW)).unwrap();
    }
    spool.release(&group, Timestamp::default());
    lent.iter().map(|parcel| parcel.message).collect()
}

fn waiting(spool: &EmbeddedSpool) -> BTreeSet<MessageId> {
    spool.list(&QueueFilter::default(), None, usize::MAX).into_iter().map(|view| view.id.message).collect()
}

fn copy_file(from: &MemoryDisk, to: &MemoryDisk, file: &HeldFile) {
    let octets = from.octets(&file.name);
    let made = to.open(&file.name, Opening::New).unwrap();
    let part = &octets[..usize::try_from(file.octets_to_copy).unwrap().min(octets.len())];
    made.write_at(&[IoSlice::new(part)], 0).unwrap();
    made.set_octets(file.octets).unwrap();
    made.sync().unwrap();
}

fn hold(spool: &EmbeddedSpool) -> Box<dyn Hold> {
    drive(spool, spool.hold()).expect("an answer").unwrap()
}

/// Mail comes and goes, and the keeper does what it may.
fn go_on(spool: &EmbeddedSpool, dice: &mut Dice, nth: &mut u64, rounds: u64) {
    for _ in 0..rounds {
        *nth += 1;
        put(spool, *nth, 200 + dice.below(20_000) as usize).unwrap();
        deliver(spool, dice.below(3) as usize);
        spool.pump();
    }
}

#[test]
fn a_copy_has_what_was_acknowledged_and_nothing_that_had_ended() {
    for seed in 1..=40 {
        let mut dice = Dice::new(seed);
        let disk = MemoryDisk::new(4_000 * SEGMENT);
        let options = tiny();
        let spool = EmbeddedSpool::open_manual(&options, Arc::new(disk.clone())).unwrap();
        let mut nth = 0;
        let (mut acknowledged, mut ended) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..20 + dice.below(60) {
            nth += 1;
            acknowledged.insert(put(&spool, nth, 200 + dice.below(40_000) as usize).unwrap());
            ended.extend(deliver(&spool, dice.below(2) as usize));
            if dice.below(4) == 0 {
                while spool.pump() {}
            }
        }
        let held = hold(&spool);
        let files = held.files().to_vec();
        let copy = MemoryDisk::new(4_000 * SEGMENT);
        for folder in ["log", "contents", "journal"] {
            copy.make_folder(folder).unwrap();
        }
        for file in &files {
            go_on(&spool, &mut dice, &mut nth, 2);
            copy_file(&disk, &copy, file);
        }
        go_on(&spool, &mut dice, &mut nth, 20);
        for name in disk.names().into_iter().filter(|name| name.starts_with("contents/")) {
            let octets = disk.octets(&name).len() as u64;
            copy_file(&disk, &copy, &HeldFile { name, octets, octets_to_copy: octets });
        }
        drop(held);
        while spool.pump() {}
        drop(spool);
        let findings = look(Arc::new(copy.clone()), true).unwrap();
        assert!(findings.troubles.is_empty(), "seed {seed}: {findings:?}");
        let restored = EmbeddedSpool::open_manual(&options, Arc::new(copy)).unwrap();
        let expected: BTreeSet<MessageId> = acknowledged.difference(&ended).copied().collect();
        assert_eq!(waiting(&restored), expected, "seed {seed}");
        for id in &expected {
            drive(&restored, restored.open(*id)).expect("an answer").unwrap();
        }
        // It is a spool like any other: all is delivered, and its room comes back.
        while !deliver(&restored, 1_000).is_empty() {
            while restored.pump() {}
        }
        drive(&restored, restored.flush()).unwrap().unwrap();
        assert_eq!(waiting(&restored).len(), 0, "seed {seed}");
    }
}

#[test]
fn while_somebody_holds_nothing_is_given_back_and_afterwards_it_is() {
    let disk = MemoryDisk::new(4_000 * SEGMENT);
    let spool = EmbeddedSpool::open_manual(&tiny(), Arc::new(disk)).unwrap();
    let (first, second) = (hold(&spool), hold(&spool));
    for nth in 0..400 {
        put(&spool, nth, 10_000).unwrap();
        deliver(&spool, 1);
        spool.pump();
    }
    drop(first);
    while spool.pump() {}
    let before = spool.health().segments - spool.health().segments_free;
    assert!(before > 50, "{before} segments stay while the second one holds");
    drop(second);
    while spool.pump() {}
    let after = spool.health().segments - spool.health().segments_free;
    assert!(after < 5, "{after}");
}

#[test]
fn a_hold_ends_when_the_disk_is_full() {
    let disk = MemoryDisk::new(60 * SEGMENT);
    let options = Options { reserve_octets: 2 * SEGMENT, journal: None, ..tiny() };
    let spool = EmbeddedSpool::open_manual(&options, Arc::new(disk)).unwrap();
    let held = hold(&spool);
    let mut nth = 0;
    let full = loop {
        nth += 1;
        match put(&spool, nth, 10_000) {
            Ok(_) => drop(deliver(&spool, 1)),
            Err(trouble) => break trouble,
        }
        spool.pump();
        assert!(nth < 10_000, "the disk does not fill although nothing is given back");
    };
    assert_eq!(full, SpoolTrouble::Full);
    while spool.pump() {}
    assert!(drive(&spool, held.broken()).is_some(), "who copies is told");
    drop(held);
    put(&spool, nth + 1, 10_000).unwrap();
    // Who begins anew is not counted out by what was broken.
    let again = hold(&spool);
    let used = spool.health().segments - spool.health().segments_free;
    for more in 0..100 {
        if put(&spool, nth + 2 + more, 10_000).is_err() {
            break;
        }
        deliver(&spool, 1);
    }
    assert!(spool.health().segments - spool.health().segments_free > used);
    drop(again);
}
