//! Syncs that fail, disks that are full, octets that changed: what custody.md says of each (R4, R5, R6, R8), and controls that show the guards
//! are what holds.

mod common;

use std::sync::Arc;

use common::disk::MemoryDisk;
use common::{accept, deferred, delivered, drive, message, options, room, tiny};
use postrider_model::doors::{Journal, Left, LendLimit, Spool, SpoolDesk, SpoolTrouble};
use postrider_model::{EventKind, Group, Timestamp};
use postrider_smtp::Host;
use postrider_spool::EmbeddedSpool;

const ALL: LendLimit = LendLimit { parcels: 1000, recipients_per_parcel: 100 };

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn group() -> Group {
    Group::Host(Host::parse("one.example").unwrap())
}

fn open(disk: &MemoryDisk) -> Result<Arc<EmbeddedSpool>, SpoolTrouble> {
    disk.restart_process();
    EmbeddedSpool::open_manual(&tiny(), Arc::new(disk.clone()))
}

fn put(spool: &EmbeddedSpool, nth: u64, octets: usize) -> Result<(), SpoolTrouble> {
    let content = vec![b'x'; octets];
    drive(spool, accept(spool, message(nth, 1_000 + nth, &["a@one.example"]), &content)).expect("an answer").map(drop)
}

#[test]
fn a_failed_sync_poisons_and_a_restart_keeps_what_was_acknowledged() {
    for nth in 0..12 {
        let disk = MemoryDisk::new(64 << 20);
        let spool = open(&disk).unwrap();
        for number in 0..3 {
            put(&spool, number, 500).unwrap();
        }
        disk.fail_sync_at(disk.operations() + nth);
        let mut acknowledged = 3;
        while let Ok(()) = put(&spool, acknowledged, 500) {
            acknowledged += 1;
            assert!(acknowledged < 500, "the sync never failed");
        }
        assert!(spool.health().poisoned.is_some());
        assert!(matches!(put(&spool, 900, 5), Err(SpoolTrouble::Poisoned(_))));
        assert!(matches!(drive(&spool, spool.flush()).unwrap(), Err(SpoolTrouble::Poisoned(_))));
        assert!(matches!(drive(&spool, spool.settle_room()).unwrap(), Err(SpoolTrouble::Poisoned(_))));
        assert_eq!((spool.ready(at(90_000), 9), spool.lend(&group(), at(90_000), ALL).left), (vec![], Left::Empty));
        drop(spool);
        // The kernel still shows what it did not write; after the restart it must have been written again.
        let spool = open(&disk).unwrap();
        let survivors = spool.count().messages;
        assert!(survivors >= acknowledged, "{survivors} of {acknowledged}");
        put(&spool, 901, 5).unwrap();
        drop(spool);
        let disk = disk.after_crash(&mut common::disk::Dice::new(nth));
        assert_eq!(open(&disk).unwrap().count().messages, survivors + 1, "failing sync {nth}");
    }
}

/// A sync fails, the process starts again on what the kernel still shows, and the power goes while it recovers: the journal, which is synced in that
/// recovery, tells of no message that the log has lost with the power (R3).
#[test]
fn history_is_not_told_of_what_a_failed_sync_left_behind() {
    let mut cuts = 0;
    for (failing, operation, fortune) in (0..4).flat_map(|f| (1..64).flat_map(move |o| (0..3).map(move |d| (f, o, d)))) {
        let disk = MemoryDisk::new(64 << 20);
        let spool = open(&disk).unwrap();
        for number in 0..3 {
            put(&spool, number, 500).unwrap();
        }
        disk.fail_sync_at(disk.operations() + failing);
        for number in 3..500 {
            if put(&spool, number, 500).is_err() {
                break;
            }
        }
        assert!(spool.health().poisoned.is_some(), "the sync never failed");
        drop(spool);
        disk.restart_process();
        disk.crash_at(disk.operations() + operation);
        drop(EmbeddedSpool::open_manual(&tiny(), Arc::new(disk.clone())));
        cuts += u32::from(disk.has_crashed());
        let disk = disk.after_crash(&mut common::disk::Dice::new(fortune * 1000 + operation * 10 + failing));
        let spool = open(&disk).unwrap_or_else(|trouble| panic!("failing sync {failing}, operation {operation}: {trouble}"));
        let mut next = 1;
        while let Ok(events) = spool.read(next, 100)
            && let Some(last) = events.last()
        {
            next = last.sequence + 1;
            for event in events {
                let EventKind::Accepted { message, .. } = event.kind else { panic!("nothing was settled") };
                let here = drive(&spool, spool.show(message.id)).expect("an answer").is_ok();
                assert!(
                    here,
                    "failing sync {failing}, power cut at operation {operation}: the journal tells of {} and nobody has it",
                    message.id
                );
            }
        }
    }
    assert!(cuts > 100, "the power went {cuts} times");
}

#[test]
fn a_full_disk_refuses_mail_goes_on_settling_and_takes_mail_again() {
    let disk = MemoryDisk::new(12 * 64 * 1024);
    let options = postrider_spool::Options { reserve_octets: 2 * 64 * 1024, ..tiny() };
    let spool = EmbeddedSpool::open_manual(&options, Arc::new(disk.clone())).unwrap();
    let mut accepted = 0;
    let refused = loop {
        match put(&spool, accepted, 3_000) {
            Ok(()) => accepted += 1,
            Err(trouble) => break trouble,
        }
    };
    assert_eq!((refused, spool.health().full), (SpoolTrouble::Full, true));
    assert!(accepted > 100, "{accepted}");
    assert!(matches!(drive(&spool, spool.stage(None)).unwrap(), Err(SpoolTrouble::Full)), "the client hears it before it sends");
    let lent = spool.lend(&group(), at(90_000), ALL);
    assert_eq!(lent.parcels.len() as u64, accepted);
    let (stays, goes) = lent.parcels.split_at(5);
    for parcel in stays {
        spool.settle(deferred(parcel, at(90_000), at(95_000))).unwrap();
    }
    drive(&spool, spool.flush()).unwrap().unwrap();
    for parcel in goes {
        spool.settle(delivered(parcel, at(90_000))).unwrap();
    }
    drive(&spool, spool.flush()).unwrap().unwrap();
    while spool.pump() {}
    for nth in 0..100 {
        put(&spool, 1_000 + nth, 3_000).unwrap();
    }
    assert!(!spool.health().full);
    drop(spool);
    let spool = open(&disk.after_crash(&mut common::disk::Dice::new(3))).unwrap();
    assert_eq!(spool.count().messages, 105);
    let shown = drive(&spool, spool.show(stays[0].message)).unwrap().unwrap();
    assert!(shown.1[0].1.is_some(), "a deferral keeps its diagnosis through compaction");
}

#[test]
fn disk_use_stays_within_twice_what_lives_and_the_pool() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk).unwrap();
    let mut now = 10_000;
    for round in 0..60 {
        for nth in 0..20 {
            put(&spool, round * 100 + nth, 3_000).unwrap();
        }
        now += 1_000;
        // One in ten stays for good; all others go. What stays is attempted again and again.
        for (nth, parcel) in spool.lend(&group(), at(now), ALL).parcels.iter().enumerate() {
            let stays = parcel.deliveries[0].attempts > 0 || nth % 10 == 0;
            let settlement = if stays { deferred(parcel, at(now), at(now + 500)) } else { delivered(parcel, at(now)) };
            spool.settle(settlement).unwrap();
        }
        drive(&spool, spool.flush()).unwrap().unwrap();
        while spool.pump() {}
        let health = spool.health();
        let bound = health.live_octets * 2 + (4 + 4 + 2) * 64 * 1024;
        assert!(health.disk_octets - health.journal_octets <= bound, "round {round}: {health:?}");
    }
    let live = spool.count().messages;
    assert!(live >= 100);
    drop(spool);
    assert_eq!(open(&disk.after_crash(&mut common::disk::Dice::new(9))).unwrap().count().messages, live);
}

/// A log of several sealed segments and a tail, with deliveries ended in later segments than they began in.
fn several_segments() -> (MemoryDisk, u64) {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk).unwrap();
    for nth in 0..40 {
        put(&spool, nth, 4_000).unwrap();
    }
    let lent = spool.lend(&group(), at(90_000), LendLimit { parcels: 10, recipients_per_parcel: 9 });
    for parcel in &lent.parcels {
        spool.settle(delivered(parcel, at(90_000))).unwrap();
    }
    drive(&spool, spool.flush()).unwrap().unwrap();
    let live = spool.count().messages;
    (disk, live)
}

fn logs(disk: &MemoryDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.starts_with("log/")).collect()
}

#[test]
fn damage_before_the_tail_is_corruption_and_nothing_is_deleted() {
    let (disk, live) = several_segments();
    let mut refused = 0;
    for name in logs(&disk) {
        for offset in [8192 + 40, 8192 + 100, 30_000, 64 * 1024 - 20] {
            let copy = disk.after_crash(&mut common::disk::Dice::new(1));
            let before = copy.names();
            copy.damage(&name, |octets| octets[offset] ^= 0x40);
            match open(&copy) {
                Ok(spool) => assert!(spool.count().messages <= live),
                Err(SpoolTrouble::Corrupt(what)) => {
                    refused += 1;
                    assert!(what.contains(&name) && (what.contains("footer") || what.contains("offset")), "{what}");
                    assert!(before.iter().all(|name| copy.names().contains(name)), "nothing is deleted");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(refused >= 3, "{refused}");
}

#[test]
fn damage_of_synced_records_in_the_tail_is_told_apart_from_a_tear() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk).unwrap();
    for nth in 0..5 {
        put(&spool, nth, 1_000).unwrap();
    }
    drop(spool);
    let tail = logs(&disk).into_iter().find(|name| disk.octets(name)[8192..8200] != [0; 8]).unwrap();
    let torn = disk.after_crash(&mut common::disk::Dice::new(1));
    torn.damage(&tail, |octets| {
        let last = octets.iter().rposition(|octet| *octet == b'x').unwrap();
        octets[last] = 0;
    });
    assert_eq!(open(&torn).unwrap().count().messages, 4, "the last record may be a tear");
    disk.damage(&tail, |octets| octets[8192 + 60] ^= 1);
    assert!(matches!(open(&disk), Err(SpoolTrouble::Corrupt(what)) if what.contains("8192")));
}

#[test]
fn what_is_newer_than_we_are_is_refused() {
    let (disk, _) = several_segments();
    let name = logs(&disk).remove(0);
    for copy in [0, 4096] {
        disk.damage(&name, |octets| {
            if octets[copy..copy + 4] == *b"PRSP" {
                octets[copy + 4] = 9;
                let check = xxhash_rust::xxh3::xxh3_64(&octets[copy..copy + 56]);
                octets[copy + 56..copy + 64].copy_from_slice(&check.to_le_bytes());
            }
        });
    }
    assert!(matches!(open(&disk), Err(SpoolTrouble::Unknown(what)) if what.contains(&name) && what.contains("version 9")));
}

#[test]
fn control_without_the_segment_of_its_end_a_message_is_back() {
    // R2 keeps this from happening; here a hand takes the segment away.
    let (disk, live) = several_segments();
    let names = logs(&disk);
    let tail = names.iter().max_by_key(|name| u32::from_le_bytes(disk.octets(name)[4096 + 24..4096 + 28].try_into().unwrap())).unwrap();
    assert_eq!(open(&disk.after_crash(&mut common::disk::Dice::new(1))).unwrap().count().messages, live);
    disk.damage(tail, |octets| octets.fill(0));
    let spool = open(&disk).unwrap();
    let back = spool.lend(&group(), at(90_000), ALL).parcels.iter().filter(|parcel| parcel.waits_since < at(1_010)).count();
    assert!(back > 0, "ended messages are back, and the crash test would see it");
}

#[test]
fn one_process_at_a_time() {
    let room = room("lock");
    let spool = EmbeddedSpool::open(options(&room)).unwrap();
    let second = EmbeddedSpool::open(options(&room));
    assert!(matches!(second.map(drop), Err(SpoolTrouble::Io(what)) if what.contains("another process")));
    drop(spool);
    assert!(EmbeddedSpool::open(options(&room)).is_ok());
}

#[test]
fn verify_finds_every_damaged_octet_that_counts_and_says_where() {
    let (disk, live) = several_segments();
    let sound = postrider_spool::inspect::look(Arc::new(disk.clone()), true).unwrap();
    assert_eq!(sound.troubles, Vec::<String>::new());
    assert!(sound.lines.iter().any(|line| line.contains(&format!("{live} messages wait"))), "{:?}", sound.lines);
    assert!(sound.lines.iter().any(|line| line.contains("goes only after")), "{:?}", sound.lines);
    let sealed: Vec<&String> = sound.lines.iter().filter(|line| line.contains("sealed")).collect();
    let (name, _) = sealed[0].split_once(':').unwrap();
    let octets = disk.octets(name);
    let end = u32::from_le_bytes(octets[octets.len() - 28..octets.len() - 24].try_into().unwrap()) as usize;
    for offset in (8192..end).step_by(997) {
        let copy = disk.after_crash(&mut common::disk::Dice::new(1));
        copy.damage(name, |octets| octets[offset] ^= 4);
        let found = postrider_spool::inspect::look(Arc::new(copy), true).unwrap();
        assert!(found.troubles.iter().any(|trouble| trouble.contains(name)), "octet {offset}: {:?}", found.troubles);
    }
}

#[test]
fn verify_reads_contents_files_and_the_journal() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk).unwrap();
    put(&spool, 1, 300_000).unwrap();
    spool.close();
    let name = disk.names().into_iter().find(|name| name.starts_with("contents/")).unwrap();
    let journal = disk.names().into_iter().find(|name| name.starts_with("journal/")).unwrap();
    let look = |disk: &MemoryDisk| postrider_spool::inspect::look(Arc::new(disk.clone()), true).unwrap();
    assert_eq!(look(&disk).troubles, Vec::<String>::new());
    let copy = disk.after_crash(&mut common::disk::Dice::new(1));
    copy.damage(&name, |octets| octets[200_000] ^= 1);
    assert!(look(&copy).troubles[0].contains(&name));
    let copy = disk.after_crash(&mut common::disk::Dice::new(1));
    copy.damage(&journal, |octets| octets[60] ^= 1);
    assert!(look(&copy).lines.iter().any(|line| line.contains(&journal) && line.contains("torn")));
}

/// Delivers all that is due but what arrived in the first so many milliseconds.
fn deliver_after(spool: &EmbeddedSpool, millis: u64) {
    for parcel in spool.lend(&group(), at(90_000), ALL).parcels {
        if parcel.waits_since < at(millis) {
            spool.hand_back(parcel.message, parcel.loan, Some(at(91_000)));
        } else {
            spool.settle(delivered(&parcel, at(90_000))).unwrap();
        }
    }
    spool.release(&group(), Timestamp::default());
    drive(spool, spool.flush()).unwrap().unwrap();
    while spool.pump() {}
}

#[test]
fn an_end_that_a_take_over_copied_stays_as_long_as_its_acceptance() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk).unwrap();
    for nth in 0..20 {
        put(&spool, nth, 4_000).unwrap();
    }
    deliver_after(&spool, 1_001);
    drop(spool);
    // The tail with those ends is taken over. Then the segment of the copies fills and dies, while the first message still lives.
    let spool = open(&disk).unwrap();
    for round in 0..4 {
        for nth in 0..20 {
            put(&spool, 100 + round * 20 + nth, 4_000).unwrap();
        }
        deliver_after(&spool, 1_001);
    }
    assert_eq!(spool.count().messages, 1);
    drop(spool);
    assert_eq!(open(&disk.after_crash(&mut common::disk::Dice::new(1))).unwrap().count().messages, 1);
}

#[test]
fn compaction_copies_nothing_whose_end_is_on_its_way() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk).unwrap();
    for nth in 0..200 {
        put(&spool, nth, 4_000).unwrap();
    }
    let parcels = spool.lend(&group(), at(90_000), ALL).parcels;
    let (soon, later): (Vec<_>, Vec<_>) = parcels.iter().enumerate().partition(|(nth, _)| nth % 12 != 0);
    for (_, parcel) in soon {
        spool.settle(delivered(parcel, at(90_000))).unwrap();
    }
    drive(&spool, spool.flush()).unwrap().unwrap();
    for (_, parcel) in later {
        spool.settle(delivered(parcel, at(90_000))).unwrap();
    }
    // Compaction is due now, and sees messages that memory knows to be ended and the disk does not.
    // It waits for that, and does not spin.
    assert!((0..1_000).any(|_| !spool.keep()));
    while spool.pump() {}
    drive(&spool, spool.flush()).unwrap().unwrap();
    drop(spool);
    assert_eq!(open(&disk.after_crash(&mut common::disk::Dice::new(1))).unwrap().count().messages, 0);
}
