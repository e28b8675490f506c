//! What a person holds is not lent, and stays held: through a kill at any operation of the disk, through compaction, take-over and a restart; until it
//! is released, which stays, too (docs/custody.md, Dates).

mod common;

use std::sync::Arc;

use common::disk::{Dice, MemoryDisk};
use common::{accept, deferred, delivered, drive, message, tiny};
use postrider_model::doors::{Alteration, DeliveryState, LendLimit, OnHold, QueueFilter, SenderFilter, ShapeBy, Spool, SpoolDesk};
use postrider_model::{DeliveryId, Group, Message, MessageId, SiteName, StreamName, Timestamp};
use postrider_smtp::Host;
use postrider_spool::EmbeddedSpool;

const ALL: LendLimit = LendLimit { parcels: 1000, recipients_per_parcel: 100 };

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

fn put(spool: &EmbeddedSpool, new: Message, octets: usize) -> Option<()> {
    drive(spool, accept(spool, new, &vec![b'x'; octets])).and_then(|accepted| accepted.ok().map(|_| ()))
}

fn flush(spool: &EmbeddedSpool) -> bool {
    matches!(drive(spool, spool.flush()), Some(Ok(())))
}

fn to(name: &str) -> QueueFilter {
    QueueFilter { host: Some(name.into()), ..QueueFilter::default() }
}

fn on_hold(reason: &str) -> OnHold {
    OnHold { since: at(5_000), reason: reason.into() }
}

fn hold(spool: &EmbeddedSpool, filter: &QueueFilter, reason: &str) -> usize {
    spool.alter(filter, Alteration::Hold(on_hold(reason))).unwrap()
}

fn release(spool: &EmbeddedSpool, filter: &QueueFilter) -> usize {
    spool.alter(filter, Alteration::Release(at(6_000))).unwrap()
}

/// Why each delivery is held, in the order of their ids; `-` for one that is not.
fn held(spool: &EmbeddedSpool) -> Vec<String> {
    let shown = spool.list(&QueueFilter::default(), None, usize::MAX);
    let why = shown.iter().map(|view| match (view.state, &view.held) {
        (DeliveryState::Held, Some(hold)) => {
            assert_eq!(hold.since, at(5_000));
            hold.reason.to_string()
        }
        (DeliveryState::Waiting, None) => "-".to_owned(),
        (state, held) => format!("{state:?} {held:?}"),
    });
    why.collect()
}

fn lend(spool: &EmbeddedSpool, name: &str, now: u64) -> Vec<postrider_model::Parcel> {
    let parcels = spool.lend(&Group::Host(host(name)), at(now), ALL).parcels;
    spool.release(&Group::Host(host(name)), Timestamp::default());
    parcels
}

/// Mail that comes and goes, so that the log goes on to other segments, and compaction has something to do.
fn pass_through(spool: &EmbeddedSpool, numbers: std::ops::Range<u64>) {
    for nth in numbers {
        if put(spool, message(nth, 3_000, &["a@three.example"]), 4_000).is_none() {
            return;
        }
        for parcel in lend(spool, "three.example", 3_000) {
            let _ = spool.settle(delivered(&parcel, at(3_000)));
        }
        spool.pump();
    }
}

fn two_hosts(spool: &EmbeddedSpool, numbers: std::ops::Range<u64>) {
    for nth in numbers {
        let name = if nth % 2 == 0 { "a@one.example" } else { "a@two.example" };
        put(spool, message(nth, 1_000 + nth, &[name]), 4_000).unwrap();
    }
}

#[test]
fn held_mail_is_not_lent_until_it_is_released() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk);
    two_hosts(&spool, 0..6);
    assert_eq!(hold(&spool, &to("one.example"), "spam?"), 3);
    assert_eq!(held(&spool), ["spam?", "-", "spam?", "-", "spam?", "-"]);
    assert_eq!((spool.count().deliveries, spool.count().held), (6, 3));
    assert_eq!(spool.ready(at(9_000), 10), [Group::Host(host("two.example"))]);
    assert!(lend(&spool, "one.example", 9_000).is_empty());
    assert_eq!(hold(&spool, &to("one.example"), "certainly spam"), 3, "a second word replaces the first");
    assert_eq!(held(&spool)[0], "certainly spam");
    // New mail is not held by an old word.
    put(&spool, message(8, 2_000, &["a@one.example"]), 10).unwrap();
    assert_eq!(lend(&spool, "one.example", 9_000).len(), 1);
    assert_eq!(release(&spool, &to("one.example")), 3);
    assert_eq!((lend(&spool, "one.example", 9_000).len(), spool.count().held), (3, 0));
    assert_eq!(release(&spool, &QueueFilter::default()), 0);
}

#[test]
fn what_is_lent_is_held_when_it_comes_back() {
    let mut disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk);
    two_hosts(&spool, 0..8);
    let parcels = lend(&spool, "one.example", 9_000);
    assert_eq!(hold(&spool, &to("one.example"), "x"), 4);
    assert_eq!(spool.count().held, 0);
    spool.hand_back(parcels[0].message, parcels[0].loan, None);
    spool.settle(deferred(&parcels[1], at(9_000), at(9_500))).unwrap();
    spool.settle(delivered(&parcels[2], at(9_000))).unwrap();
    let last = QueueFilter { messages: vec![parcels[3].message], ..QueueFilter::default() };
    assert_eq!(release(&spool, &last), 1);
    spool.settle(deferred(&parcels[3], at(9_000), at(9_500))).unwrap();
    assert!(flush(&spool));
    assert_eq!(held(&spool), ["x", "-", "x", "-", "-", "-", "-"]);
    drop(spool);
    for restart in 0..3 {
        let spool = open(&disk);
        assert_eq!(held(&spool), ["x", "-", "x", "-", "-", "-", "-"], "restart {restart}");
        assert_eq!(spool.count().held, 2);
        drop(spool);
        disk = disk.after_crash(&mut Dice::new(restart));
    }
}

#[test]
fn chosen_deliveries_are_lent_though_they_are_held_and_are_held_again_when_nothing_came_of_it() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk);
    put(&spool, message(1, 1_000, &["a@one.example", "b@two.example", "c@one.example"]), 10).unwrap();
    let id = message(1, 1_000, &["a@one.example"]).id;
    hold(&spool, &to("one.example"), "x");
    let parcel = spool.lend_these(id, &[0, 1, 7]).unwrap();
    assert_eq!(parcel.deliveries.iter().map(|lent| lent.index).collect::<Vec<_>>(), [0, 1]);
    assert!(spool.lend_these(id, &[0, 1]).is_none(), "they are lent");
    spool.hand_back(id, parcel.loan, None);
    assert_eq!(held(&spool), ["x", "-", "x"]);
    let parcel = spool.lend_these(id, &[0, 2]).unwrap();
    spool.settle(delivered(&parcel, at(9_000))).unwrap();
    assert_eq!((held(&spool), spool.count().held), (vec!["-".to_owned()], 0));
    assert!(spool.lend_these(MessageId(9), &[0]).is_none());
}

/// Each filter chooses the same before a restart and after two.
#[test]
fn every_choice_of_a_hold_and_of_a_release_survives() {
    let third = message(2, 1_002, &["a@one.example"]).id;
    let fourth = message(3, 1_003, &["a@one.example"]).id;
    let all = QueueFilter::default();
    let filters = [
        (all.clone(), 12),
        (to("one.example"), 6),
        (QueueFilter { messages: vec![third, fourth], ..all.clone() }, 2),
        (QueueFilter { messages: vec![third, fourth], ..to("one.example") }, 1),
        (QueueFilter { site: Some(SiteName::new("mx.example")), ..all.clone() }, 6),
        (QueueFilter { site: Some(SiteName::new("other.example")), ..all.clone() }, 0),
        (QueueFilter { tenant: Some("shop".into()), ..all.clone() }, 12),
        (QueueFilter { tenant: Some("other".into()), ..all.clone() }, 0),
        (QueueFilter { stream: Some(StreamName::new("news")), ..all.clone() }, 3),
        (QueueFilter { arrived_from: Some(at(1_004)), arrived_to: Some(at(1_007)), ..all.clone() }, 4),
    ];
    for (nth, (filter, expected)) in filters.iter().enumerate() {
        let mut disk = MemoryDisk::new(64 << 20);
        let spool = open(&disk);
        for nth in 0..12 {
            let mut new = message(nth, 1_000 + nth, &[if nth % 2 == 0 { "a@one.example" } else { "a@two.example" }]);
            if nth < 9 {
                new.stream = StreamName::new("receipts");
            }
            put(&spool, new, 4_000).unwrap();
        }
        spool.place(&host("one.example"), &SiteName::new("mx.example"));
        assert_eq!(hold(&spool, filter, "x"), *expected, "{filter:?}");
        let before = held(&spool);
        assert_eq!(before.iter().filter(|why| *why == "x").count(), *expected);
        assert!(flush(&spool));
        drop(spool);
        for restart in 0..4 {
            disk = disk.after_crash(&mut Dice::new(nth as u64 + restart));
            let spool = open(&disk);
            assert_eq!(held(&spool), before, "{filter:?}, restart {restart}");
            if restart == 1 {
                pass_through(&spool, 100..160);
                while spool.pump() {}
                assert_eq!(held(&spool), before, "{filter:?}, moved");
            }
            if restart == 3 {
                // Released by the same words, unless the place of a host is not known yet.
                spool.place(&host("one.example"), &SiteName::new("mx.example"));
                assert_eq!(release(&spool, filter), *expected);
                assert!(flush(&spool));
            }
        }
        let spool = open(&disk.after_crash(&mut Dice::new(1)));
        assert_eq!(held(&spool), vec!["-"; 12], "{filter:?}, released");
    }
}

/// Plays a life with a hold and a release in it until the disk crashes; judges what two restarts find. Gives the operations at the hold and at the end.
fn held_life(crash_at: Option<u64>) -> (u64, u64) {
    let mut disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk);
    // Among much that dies, so that compaction moves what lives.
    for nth in 0..20 {
        two_hosts(&spool, nth * 2..nth * 2 + 2);
        for other in 0..12 {
            put(&spool, message(1_000 + nth * 12 + other, 2_000, &["a@three.example"]), 4_000).unwrap();
        }
    }
    assert!(flush(&spool));
    hold(&spool, &to("one.example"), "x");
    assert!(flush(&spool));
    let held_at = disk.operations();
    if let Some(crash_at) = crash_at {
        disk.crash_at(crash_at);
    }
    pass_through(&spool, 100..160);
    let third = QueueFilter { messages: vec![message(2, 1_002, &["a@one.example"]).id], ..QueueFilter::default() };
    let _ = spool.alter(&third, Alteration::Release(at(6_000)));
    let is_durable = flush(&spool);
    pass_through(&spool, 200..260);
    let operations = disk.operations();
    drop(spool);
    let mut dice = Dice::new(crash_at.unwrap_or(0));
    for restart in 0..2 {
        disk = disk.after_crash(&mut dice);
        let spool = open(&disk);
        for view in spool.list(&QueueFilter::default(), None, usize::MAX) {
            let is_released = view.id.message == third.messages[0];
            let is_right = match &*view.host {
                "one.example" if is_released => view.state == DeliveryState::Waiting || !is_durable,
                "one.example" => view.held == Some(on_hold("x")) && view.state == DeliveryState::Held,
                _ => view.state == DeliveryState::Waiting,
            };
            assert!(is_right, "crash at {crash_at:?}, restart {restart}: {} to {} is {:?}", view.id, view.host, view.state);
        }
    }
    (held_at, operations)
}

#[test]
fn a_hold_survives_a_crash_at_any_operation_after_it() {
    let (from, to) = held_life(None);
    assert!(to - from > 300, "{from} to {to}");
    for crash_at in (from..to).step_by(5) {
        held_life(Some(crash_at));
    }
}

#[test]
fn a_walk_meets_everything_once_and_a_sender_is_read() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk);
    two_hosts(&spool, 0..30);
    let mut report = message(30, 2_000, &["a@one.example"]);
    report.envelope.reverse_path = postrider_smtp::ReversePath::Null;
    put(&spool, report.clone(), 10).unwrap();
    drop(spool);
    // Nothing is in memory but the numbers.
    let spool = open(&disk.after_crash(&mut Dice::new(3)));
    let walk = |filter: &QueueFilter, max: usize| {
        let (mut from, mut found) = (Some(0), Vec::<DeliveryId>::new());
        while let Some(place) = from {
            let walked = drive(&spool, spool.walk(filter, place, max)).unwrap().unwrap();
            found.extend(walked.found.iter().map(|view| view.id));
            from = walked.next;
        }
        found.sort_unstable();
        found
    };
    let everything: Vec<DeliveryId> = spool.list(&QueueFilter::default(), None, usize::MAX).iter().map(|view| view.id).collect();
    for max in [1, 7, 1_000] {
        assert_eq!(walk(&QueueFilter::default(), max), everything);
        let from_nobody = QueueFilter { sender: Some(SenderFilter::Null), ..QueueFilter::default() };
        assert_eq!(walk(&from_nobody, max), [DeliveryId { message: report.id, index: 0 }]);
        let shop = QueueFilter { sender: Some(SenderFilter::Host(host("shop.example"))), ..to("two.example") };
        assert_eq!(walk(&shop, max).len(), 15);
        let named = QueueFilter { messages: everything.iter().map(|id| id.message).collect(), ..to("two.example") };
        assert_eq!(walk(&named, max).len(), 15);
    }
}

#[test]
fn the_shape_counts_by_row_and_age() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk);
    const MINUTE: u64 = 60_000;
    for (nth, minutes) in [0, 4, 5, 9, 39, 1279, 1280, 5000].into_iter().enumerate() {
        let name = if nth == 0 { "a@one.example" } else { "a@two.example" };
        put(&spool, message(nth as u64, 6_000 * MINUTE - minutes * MINUTE, &[name]), 10).unwrap();
    }
    let shape = spool.shape(&QueueFilter::default(), ShapeBy::Host, at(6_000 * MINUTE), 1);
    assert_eq!(shape.total, [2, 2, 0, 1, 0, 0, 0, 0, 1, 2]);
    assert_eq!(shape.rows, [("two.example".into(), [1, 2, 0, 1, 0, 0, 0, 0, 1, 2])]);
    assert_eq!((shape.rows_in_all, shape.oldest), (2, Some(at(1_000 * MINUTE))));
    let young = QueueFilter { arrived_from: Some(at(5_994 * MINUTE)), ..QueueFilter::default() };
    spool.place(&host("two.example"), &SiteName::new("mx.example"));
    let shape = spool.shape(&young, ShapeBy::Site, at(6_000 * MINUTE), 10);
    let names: Vec<&str> = shape.rows.iter().map(|(name, _)| &**name).collect();
    assert_eq!((names, shape.total), (vec!["mx.example", "one.example"], [2, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
}

#[test]
fn a_paused_tenant_is_not_lent_from_and_nobody_is_woken_for_it() {
    let disk = MemoryDisk::new(64 << 20);
    let spool = open(&disk);
    let of = |nth: u64, tenant: &str, name: &str| {
        let mut new = message(nth, 1_000, &[name]);
        new.tenant = tenant.into();
        put(&spool, new, 10).unwrap();
    };
    of(1, "a", "x@one.example");
    of(2, "b", "x@one.example");
    spool.pause(&["a".into()]);
    of(3, "a", "x@two.example");
    of(4, "a", "x@one.example");
    assert_eq!(spool.ready(at(9_000), 10), [Group::Host(host("one.example"))]);
    let parcels = lend(&spool, "one.example", 9_000);
    assert_eq!((parcels.len(), parcels[0].tenant.as_str()), (1, "b"));
    spool.place(&host("one.example"), &SiteName::new("mx.example"));
    assert_eq!((spool.ready(at(9_000), 10), spool.next_due()), (vec![], None));
    assert_eq!(spool.count().deliveries, 4);
    spool.pause(&["b".into()]);
    assert_eq!(spool.ready(at(9_000), 10).len(), 2);
    assert_eq!(spool.lend(&Group::Site(SiteName::new("mx.example")), at(9_000), ALL).parcels.len(), 2);
    spool.hand_back(parcels[0].message, parcels[0].loan, None);
    spool.pause(&[]);
    assert_eq!(spool.lend(&Group::Site(SiteName::new("mx.example")), at(9_000), ALL).parcels.len(), 1);
}
