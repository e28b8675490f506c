//! Disks that fill, and history that cannot be read: mail goes on as far as the disk lets it, and nothing is taken for worse than it is.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::disk::{Dice, MemoryDisk};
use common::{accept, delivered, diagnosis, drive, message, notice, settled, tiny};
use postrider_model::doors::{Journal, JournalTrouble, LendLimit, Spool, SpoolDesk, SpoolTrouble};
use postrider_model::{Group, Outcome, Report, Timestamp};
use postrider_smtp::Host;
use postrider_spool::{EmbeddedSpool, Options};

const ALL: LendLimit = LendLimit { parcels: 1000, recipients_per_parcel: 100 };
const SEGMENT: u64 = 64 * 1024;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn group() -> Group {
    Group::Host(Host::parse("one.example").unwrap())
}

fn open(disk: &MemoryDisk, options: &Options) -> Result<Arc<EmbeddedSpool>, SpoolTrouble> {
    disk.restart_process();
    EmbeddedSpool::open_manual(options, Arc::new(disk.clone()))
}

fn put(spool: &EmbeddedSpool, nth: u64, octets: usize) -> Result<(), SpoolTrouble> {
    drive(spool, accept(spool, message(nth, 1_000 + nth, &["a@one.example"]), &vec![b'x'; octets])).expect("an answer").map(drop)
}

fn deliver_all(spool: &EmbeddedSpool) {
    for parcel in spool.lend(&group(), at(90_000), ALL).parcels {
        spool.settle(delivered(&parcel, at(90_000))).unwrap();
    }
    spool.release(&group(), Timestamp::default());
    drive(spool, spool.flush()).unwrap().unwrap();
}

#[test]
fn mail_does_not_follow_a_settlement_into_the_reserve() {
    let disk = MemoryDisk::new(24 * SEGMENT);
    let options = Options { reserve_octets: 2 * SEGMENT, journal: None, ..tiny() };
    let spool = open(&disk, &options).unwrap();
    let mut nth = 0;
    // Bounces with reports larger than mail: it is they that find a segment too full, and begin the next.
    let refused = 'full: loop {
        for _ in 0..4 {
            nth += 1;
            if let Err(trouble) = put(&spool, nth, 2_000) {
                break 'full trouble;
            }
        }
        nth += 1;
        let parcel = spool.lend(&group(), at(90_000), LendLimit { parcels: 1, ..ALL }).parcels.remove(0);
        let mut settlement = settled(&parcel, at(90_000), &Outcome::Bounced { diagnosis: diagnosis(at(90_000)) });
        let report = Arc::new(message(nth, 1_000 + nth, &["sender@shop.example"]));
        settlement.report = Some(Report { message: report, content: Bytes::from(vec![b'r'; 16_000]) });
        spool.settle(settlement).unwrap();
    };
    assert_eq!(refused, SpoolTrouble::Full);
    let health = spool.health();
    // Two free segments and two segments of free disk are the reserve; one of them a settlement may have begun.
    let left = 24 * SEGMENT - health.disk_octets + health.segments_free * SEGMENT;
    assert!(left >= 3 * SEGMENT, "{left}: {health:?}");
    deliver_all(&spool);
    while spool.pump() {}
    put(&spool, 10_000, 2_000).unwrap();
}

#[test]
fn notices_hold_no_segment_that_the_journal_has_and_are_refused_on_a_full_disk() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk, &tiny()).unwrap();
    put(&spool, 0, 100).unwrap();
    let note = |spool: &EmbeddedSpool, nth: u64| drive(spool, spool.note(notice("a@one.example", nth))).expect("an answer");
    // More than four segments of them.
    for nth in 0..2_500 {
        note(&spool, nth).unwrap();
    }
    while spool.pump() {}
    let health = spool.health();
    assert!(health.segments - health.segments_free <= 2, "one holds the mail: {health:?}");
    deliver_all(&spool);
    while spool.pump() {}
    let health = spool.health();
    assert!(health.segments - health.segments_free <= 1, "{health:?}");
    let spool = open(&disk, &tiny()).unwrap();
    let mut told = 0;
    while let Some(last) = spool.read(told + 1, 500).unwrap().last() {
        told = last.sequence;
    }
    assert_eq!(told, 2_502, "the mail, what became of it, and all notices");
    let small = MemoryDisk::new(12 * SEGMENT);
    let spool = open(&small, &Options { reserve_octets: 2 * SEGMENT, journal: None, ..tiny() }).unwrap();
    let both = |nth| put(&spool, nth, 2_000).and(note(&spool, nth)).err();
    assert_eq!((0..1_000).find_map(both), Some(SpoolTrouble::Full));
    // What is left of the last segment may hold a few.
    assert_eq!((0..1_000).find_map(|nth| note(&spool, nth).err()), Some(SpoolTrouble::Full));
    deliver_all(&spool);
    while spool.pump() {}
    assert_eq!(note(&spool, 2), Ok(()));
}

#[test]
fn a_header_that_finds_no_room_is_a_full_disk_and_no_failed_sync() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk, &tiny()).unwrap();
    put(&spool, 0, 4_000).unwrap();
    disk.refuse_headers(true);
    let mut accepted = 1;
    let refused = loop {
        match put(&spool, accepted, 4_000) {
            Ok(()) => accepted += 1,
            Err(trouble) => break trouble,
        }
    };
    assert_eq!((refused, spool.health().poisoned, accepted > 5), (SpoolTrouble::Full, None, true));
    assert_eq!(put(&spool, 900, 4_000), Err(SpoolTrouble::Full));
    // A crash now finds a segment sealed, and the next one begun or not.
    for seed in 0..8 {
        let copy = disk.after_crash(&mut Dice::new(seed));
        copy.refuse_headers(false);
        assert_eq!(open(&copy, &tiny()).unwrap().count().messages, accepted);
    }
    disk.refuse_headers(false);
    put(&spool, 901, 4_000).unwrap();
    drop(spool);
    for seed in 0..8 {
        assert_eq!(open(&disk.after_crash(&mut Dice::new(seed)), &tiny()).unwrap().count().messages, accepted + 1);
    }
}

/// A spool whose memory has forgotten events that the journal does not have yet.
fn behind(disk: &MemoryDisk) -> (Arc<EmbeddedSpool>, u64) {
    let spool = open(disk, &Options { events_in_memory: 4, ..tiny() }).unwrap();
    let all = async {
        let mut staged = Vec::new();
        for _ in 0..40 {
            let mut staging = spool.stage(None).await.unwrap();
            staging.append(b"x");
            staged.push(staging.finish().await.unwrap());
        }
        // All in one batch, so that the keeper has no turn between them.
        let accepts = staged.into_iter().enumerate();
        let mut accepts: Vec<_> =
            accepts.map(|(nth, staged)| spool.accept(Arc::new(message(nth as u64, 1_000, &["a@one.example"])), staged)).collect();
        std::future::poll_fn(|context| {
            accepts.retain_mut(|accept| accept.as_mut().poll(context).is_pending());
            if accepts.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    };
    disk.fail_reads(Some("log/"));
    drive(&spool, all).unwrap();
    (spool, 40)
}

fn sequences(spool: &EmbeddedSpool, mut from: u64) -> Result<Vec<u64>, JournalTrouble> {
    let mut found = Vec::new();
    loop {
        let events = spool.read(from, 7)?;
        let Some(last) = events.last() else { return Ok(found) };
        from = last.sequence + 1;
        found.extend(events.iter().map(|event| event.sequence));
    }
}

#[test]
fn history_that_cannot_be_read_poisons_nothing_and_is_read_later() {
    let disk = MemoryDisk::new(64 << 20);
    let (spool, count) = behind(&disk);
    for _ in 0..50 {
        spool.keep();
    }
    assert_eq!(spool.health().poisoned, None);
    assert!(matches!(spool.read(1, 7), Err(JournalTrouble::Unreadable(_))), "the reader hears that it missed nothing yet");
    put(&spool, 500, 10).unwrap();
    deliver_all(&spool);
    disk.fail_reads(None);
    for _ in 0..5_000 {
        spool.keep();
    }
    assert_eq!(sequences(&spool, 1).unwrap(), (1..=2 * count + 2).collect::<Vec<_>>());
}

#[test]
fn history_that_can_never_be_read_is_given_up_with_a_gap_and_mail_goes_on() {
    let disk = MemoryDisk::new(64 << 20);
    let (spool, _) = behind(&disk);
    for nth in 0..40 {
        put(&spool, 500 + nth, 4_000).unwrap();
        deliver_all(&spool);
        for _ in 0..100 {
            spool.keep();
        }
    }
    assert_eq!((spool.health().poisoned, spool.count().messages), (None, 0));
    assert!(spool.health().segments - spool.health().segments_free <= 2, "{:?}", spool.health());
    let Err(JournalTrouble::Gone(first)) = spool.read(1, 7) else { panic!("a gap") };
    let rest = sequences(&spool, first).unwrap();
    assert!(rest.len() > 10 && rest.is_sorted());
}

#[test]
fn a_journal_begun_again_does_not_ask_the_log_for_what_is_gone() {
    let disk = MemoryDisk::new(64 << 20);
    let without = Options { journal: None, ..tiny() };
    let spool = open(&disk, &without).unwrap();
    let limit = LendLimit { parcels: 1, ..ALL };
    for nth in 0..13 {
        put(&spool, nth, 4_000).unwrap();
    }
    // They stay. What comes now goes at once, so that segments in the midst are freed.
    let stay = spool.lend(&group(), at(2_000), ALL).parcels;
    for nth in 20..80 {
        put(&spool, nth, 4_000).unwrap();
        let parcel = spool.lend(&group(), at(2_000), limit).parcels.remove(0);
        spool.settle(delivered(&parcel, at(2_000))).unwrap();
        while spool.pump() {}
    }
    assert_eq!(stay.len() as u64, spool.count().messages);
    drop(spool);
    let spool = open(&disk, &tiny()).unwrap();
    assert_eq!(spool.count().messages, 13);
    let oldest = match spool.read(1, 500) {
        Err(JournalTrouble::Gone(first)) => spool.read(first, 500),
        other => other,
    };
    assert!(!oldest.unwrap().is_empty());
}

#[test]
fn health_tells_all_octets_of_disk() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk, &tiny()).unwrap();
    let told = |spool: &EmbeddedSpool| {
        let health = spool.health();
        assert_eq!(health.contents_octets, disk.octets_in("contents/"));
        assert_eq!(health.journal_octets, disk.octets_in("journal/"));
        assert_eq!(health.disk_octets, disk.octets_in(""), "{:?}", disk.names());
        health.contents_octets
    };
    assert_eq!(told(&spool), 0);
    put(&spool, 1, 300_000).unwrap();
    put(&spool, 2, 400_000).unwrap();
    while spool.pump() {}
    assert_eq!(told(&spool), 700_000);
    // Who goes away in the midst leaves nothing.
    let gone = async {
        let mut staging = spool.stage(None).await.unwrap();
        staging.append(&vec![b'x'; 900_000]);
        staging.drain().await.unwrap();
        assert!(spool.health().contents_octets > 700_000);
    };
    drive(&spool, gone).unwrap();
    assert_eq!(told(&spool), 700_000);
    let parcel = spool.lend(&group(), at(2_000), LendLimit { parcels: 1, ..ALL }).parcels.remove(0);
    spool.settle(delivered(&parcel, at(2_000))).unwrap();
    drive(&spool, spool.flush()).unwrap().unwrap();
    while spool.pump() {}
    let left = told(&spool);
    assert!(left == 300_000 || left == 400_000);
    drop(spool);
    let spool = open(&disk, &tiny()).unwrap();
    assert_eq!(told(&spool), left);
}
