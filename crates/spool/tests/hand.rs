//! Dates that a person gave survive a restart, wherever the words they change stand; dates of a hand-back do not (docs/custody.md). And one id is
//! one message.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::disk::{Dice, MemoryDisk};
use common::{accept, deferred, delivered, diagnosis, drive, message, settled, tiny};
use postrider_model::doors::{Alteration, LendLimit, QueueFilter, Spool, SpoolDesk, SpoolTrouble};
use postrider_model::{Group, Message, MessageId, Outcome, Report, SiteName, Timestamp};
use postrider_smtp::Host;
use postrider_spool::EmbeddedSpool;

const ALL: LendLimit = LendLimit { parcels: 1000, recipients_per_parcel: 100 };
const FAR: u64 = 10_000_000;
const BY_HAND: u64 = 50_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

fn open(disk: &MemoryDisk) -> Arc<EmbeddedSpool> {
    disk.restart_process();
    EmbeddedSpool::open_manual(&tiny(), Arc::new(disk.clone())).unwrap()
}

fn put(spool: &EmbeddedSpool, new: Message, octets: usize) -> Option<Result<(), SpoolTrouble>> {
    drive(spool, accept(spool, new, &vec![b'x'; octets])).map(|accepted| accepted.map(drop))
}

fn defer_all(spool: &EmbeddedSpool, name: &str, now: u64, due: u64, max: usize) -> Vec<MessageId> {
    let limit = LendLimit { parcels: max, ..ALL };
    let parcels = spool.lend(&Group::Host(host(name)), at(now), limit).parcels;
    spool.release(&Group::Host(host(name)), Timestamp::default());
    parcels.iter().filter(|parcel| spool.settle(deferred(parcel, at(now), at(due))).is_ok()).map(|parcel| parcel.message).collect()
}

fn retry(spool: &EmbeddedSpool, filter: &QueueFilter) -> usize {
    spool.alter(filter, Alteration::RetryNow(at(BY_HAND))).unwrap()
}

fn flush(spool: &EmbeddedSpool) -> bool {
    matches!(drive(spool, spool.flush()), Some(Ok(())))
}

/// When each delivery is due, in the order of their ids.
fn dues(spool: &EmbeddedSpool) -> Vec<u64> {
    spool.list(&QueueFilter::default(), None, usize::MAX).iter().map(|view| view.due.millis()).collect()
}

/// Mail to two hosts over some segments, all deferred until far away.
fn deferred_mail(spool: &EmbeddedSpool) {
    for nth in 0..40 {
        let to = if nth % 2 == 0 { "a@one.example" } else { "a@two.example" };
        put(spool, message(nth, 1_000 + nth, &[to]), 4_000).unwrap().unwrap();
    }
    defer_all(spool, "one.example", 2_000, FAR, 1000);
    defer_all(spool, "two.example", 2_000, FAR, 1000);
    assert!(flush(spool));
    pass_through(spool, 500..520);
}

/// Mail that comes and goes, one after the other, so that the log goes on to other segments, which depend on nothing for it.
fn pass_through(spool: &EmbeddedSpool, numbers: std::ops::Range<u64>) {
    for nth in numbers {
        put(spool, message(nth, 3_000, &["a@three.example"]), 4_000).unwrap().unwrap();
        for parcel in spool.lend(&Group::Host(host("three.example")), at(3_000), ALL).parcels {
            spool.settle(delivered(&parcel, at(3_000))).unwrap();
        }
        assert!(flush(spool));
    }
}

#[test]
fn every_choice_survives_a_restart_and_the_next() {
    let one = |filter: &mut QueueFilter| filter.host = Some("one.example".into());
    let third = message(2, 1_002, &["a@one.example"]).id;
    type Choice = Box<dyn Fn(&mut QueueFilter)>;
    let choices: [(Choice, usize); 6] = [
        (Box::new(|_| {}), 40),
        (Box::new(one), 20),
        (Box::new(move |filter| filter.messages = vec![third]), 1),
        (Box::new(|filter| filter.site = Some(SiteName::new("mx.example"))), 20),
        (Box::new(|filter| filter.tenant = Some("shop".into())), 40),
        (Box::new(|filter| filter.tenant = Some("other".into())), 0),
    ];
    for (nth, (choose, expected)) in choices.iter().enumerate() {
        let disk = MemoryDisk::new(64 << 20);
        let spool = open(&disk);
        deferred_mail(&spool);
        spool.place(&host("one.example"), &SiteName::new("mx.example"));
        let mut filter = QueueFilter::default();
        choose(&mut filter);
        assert_eq!(retry(&spool, &filter), *expected, "choice {nth}");
        assert_eq!(retry(&spool, &filter), 0, "choice {nth}");
        let before = dues(&spool);
        assert_eq!(before.iter().filter(|due| **due == BY_HAND).count(), *expected);
        assert!(flush(&spool));
        drop(spool);
        let mut disk = disk.after_crash(&mut Dice::new(nth as u64));
        for restart in 0..3 {
            let spool = open(&disk);
            assert_eq!(dues(&spool), before, "choice {nth}, restart {restart}");
            if restart == 1 {
                // The alteration is behind a footer from now on, and not in the newest segment.
                pass_through(&spool, 100..130);
                while spool.pump() {}
            }
            drop(spool);
            disk = disk.after_crash(&mut Dice::new(7 + restart));
        }
    }
}

/// Plays a life with an alteration in it until the disk crashes; judges what two restarts find. Gives the operations at the alteration and at the end.
fn altered_life(crash_at: Option<u64>) -> (u64, u64) {
    let mut disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk);
    deferred_mail(&spool);
    retry(&spool, &QueueFilter { host: Some("one.example".into()), ..QueueFilter::default() });
    assert!(flush(&spool));
    let altered_at = disk.operations();
    if let Some(crash_at) = crash_at {
        disk.crash_at(crash_at);
    }
    // Five of them are attempted and deferred again; other mail comes and goes, and the log goes on for some segments.
    let again = defer_all(&spool, "one.example", 60_000, 2 * FAR, 5);
    let is_durable = flush(&spool);
    for nth in 100..200 {
        if disk.has_crashed() || put(&spool, message(nth, 60_000, &["a@three.example"]), 4_000).is_none() {
            break;
        }
        for parcel in spool.lend(&Group::Host(host("three.example")), at(60_000), ALL).parcels {
            let _ = spool.settle(delivered(&parcel, at(60_000)));
        }
        for _ in 0..5 {
            spool.pump();
        }
    }
    let operations = disk.operations();
    drop(spool);
    let mut dice = Dice::new(crash_at.unwrap_or(0));
    for restart in 0..2 {
        disk = disk.after_crash(&mut dice);
        let spool = open(&disk);
        for view in spool.list(&QueueFilter::default(), None, usize::MAX) {
            let due = view.due.millis();
            let is_right = match &*view.host {
                "one.example" if again.contains(&view.id.message) => due == 2 * FAR || due == BY_HAND && !is_durable,
                "one.example" => due == BY_HAND,
                "two.example" => due == FAR,
                _ => due == 60_000,
            };
            assert!(is_right, "crash at {crash_at:?}, restart {restart}: {} to {} is due at {due}", view.id, view.host);
        }
    }
    (altered_at, operations)
}

#[test]
fn a_date_given_by_hand_survives_a_crash_at_any_operation_after_it() {
    let (from, to) = altered_life(None);
    assert!(to - from > 300, "{from} to {to}");
    for crash_at in (from..to).step_by(5) {
        altered_life(Some(crash_at));
    }
}

#[test]
fn a_copy_that_compaction_made_before_the_change_does_not_undo_it() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk);
    deferred_mail(&spool);
    // Much that dies, so that what lives is moved.
    for nth in 0..300 {
        put(&spool, message(1_000 + nth, 3_000, &["a@three.example"]), 4_000).unwrap().unwrap();
        for parcel in spool.lend(&Group::Host(host("three.example")), at(3_000), ALL).parcels {
            spool.settle(delivered(&parcel, at(3_000))).unwrap();
        }
        if nth % 50 == 20 {
            // Between compaction's reading and its writing.
            for _ in 0..30 {
                spool.keep();
            }
            let text = if nth % 100 == 20 { "one.example" } else { "two.example" };
            retry(&spool, &QueueFilter { host: Some(text.into()), ..QueueFilter::default() });
        }
        spool.pump();
    }
    while spool.pump() {}
    assert!(flush(&spool));
    assert_eq!(dues(&spool), [BY_HAND; 40]);
    drop(spool);
    assert_eq!(dues(&open(&disk.after_crash(&mut Dice::new(1)))), [BY_HAND; 40]);
}

#[test]
fn the_date_of_a_hand_back_is_not_kept() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk);
    put(&spool, message(1, 1_000, &["a@one.example"]), 10).unwrap().unwrap();
    let parcel = spool.lend(&Group::Host(host("one.example")), at(1_000), ALL).parcels.remove(0);
    spool.hand_back(parcel.message, parcel.loan, Some(at(FAR)));
    assert!(flush(&spool));
    assert_eq!(dues(&spool), [FAR]);
    drop(spool);
    assert_eq!(dues(&open(&disk)), [1_000], "what held it is asked again");
}

#[test]
fn an_id_that_is_here_is_refused() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk);
    let first = message(1, 1_000, &["a@one.example"]);
    put(&spool, first.clone(), 300_000).unwrap().unwrap();
    assert_eq!(put(&spool, first.clone(), 300_000), Some(Err(SpoolTrouble::IdTaken)));
    while spool.pump() {}
    assert_eq!(disk.octets_in("contents/"), 300_000, "the second content went");
    // Two in one batch.
    let twin = message(2, 1_000, &["a@two.example"]);
    let both = async {
        let stage = async |octets: &[u8]| {
            let mut staging = spool.stage(None).await.unwrap();
            staging.append(octets);
            staging.finish().await.unwrap()
        };
        let (one, other) = (stage(b"one").await, stage(b"other").await);
        let accept = |staged| Box::pin(spool.accept(Arc::new(twin.clone()), staged));
        let (mut one, mut other) = (accept(one), accept(other));
        let mut answers = (None, None);
        std::future::poll_fn(|context| {
            if answers.0.is_none()
                && let std::task::Poll::Ready(answer) = one.as_mut().poll(context)
            {
                answers.0 = Some(answer);
            }
            if answers.1.is_none()
                && let std::task::Poll::Ready(answer) = other.as_mut().poll(context)
            {
                answers.1 = Some(answer);
            }
            if answers.0.is_some() && answers.1.is_some() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        answers
    };
    let (one, other) = drive(&spool, both).unwrap();
    assert!(one.unwrap().is_ok());
    assert_eq!(other.unwrap(), Err(SpoolTrouble::IdTaken));
    // A report is a message, too.
    let parcel = spool.lend(&Group::Host(host("two.example")), at(1_000), ALL).parcels.remove(0);
    let bounce = |report: &Message| {
        let mut settlement = settled(&parcel, at(2_000), &Outcome::Bounced { diagnosis: diagnosis(at(2_000)) });
        settlement.report = Some(Report { message: Arc::new(report.clone()), content: Bytes::from_static(b"report") });
        spool.settle(settlement)
    };
    assert_eq!(bounce(&first), Err(SpoolTrouble::IdTaken));
    bounce(&message(3, 2_000, &["sender@shop.example"])).unwrap();
    assert_eq!(put(&spool, message(3, 2_000, &["a@one.example"]), 5), Some(Err(SpoolTrouble::IdTaken)), "the report was first");
    assert!(flush(&spool));
    drop(spool);
    assert_eq!(open(&disk).count().messages, 2);
}

/// Ids do not come again, because they are made of the time and 74 random bits; should one, after its end, the log still tells the two apart.
#[test]
fn an_id_that_came_again_after_its_end_is_the_second_message() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk);
    let twice = message(1, 1_000, &["a@one.example"]);
    put(&spool, twice.clone(), 100).unwrap().unwrap();
    // Its acceptance stays in an old segment, because of others that stay there.
    for nth in 10..40 {
        put(&spool, message(nth, 1_000, &["a@two.example"]), 4_000).unwrap().unwrap();
    }
    let parcel = spool.lend(&Group::Host(host("one.example")), at(1_000), ALL).parcels.remove(0);
    spool.settle(delivered(&parcel, at(1_000))).unwrap();
    assert!(flush(&spool));
    put(&spool, twice.clone(), 200).unwrap().unwrap();
    drop(spool);
    let mut disk = disk;
    for restart in 0..3 {
        disk = disk.after_crash(&mut Dice::new(restart));
        let spool = open(&disk);
        let shown = drive(&spool, spool.show(twice.id)).unwrap().unwrap_or_else(|trouble| panic!("restart {restart}: {trouble}"));
        assert_eq!((shown.0.content_octets, spool.count().messages), (200, 31), "restart {restart}");
    }
}
