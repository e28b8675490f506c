//! The crash test: a small life of a spool, cut at every disk operation, and judged after the restart.
//!
//! The judge knows what was acknowledged: an accepted message must be there until its end was handed over; an end that was flushed must
//! never come back; a bounced message and its report are never there both, and never missing both.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use common::disk::{Dice, MemoryDisk};
use common::{accept, deferred, delivered, diagnosis, drive, message, notice, settled, tiny};
use postrider_model::doors::{Journal, LendLimit, Spool, SpoolDesk, SpoolTrouble};
use postrider_model::{EventKind, Group, MessageId, Outcome, Parcel, Report, Timestamp};
use postrider_spool::EmbeddedSpool;

const CAPACITY: u64 = 64 * 1024 * 1024;
const HOSTS: [&str; 3] = ["one.example", "two.example", "three.example"];

/// What the judge knows of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It waits, with at least so many durable attempts, and at most so many.
    Waits { attempts: u32, perhaps: u32 },
    /// Its end was handed over; a crash may undo it.
    PerhapsEnded,
    /// Its end was flushed.
    Ended,
}

#[derive(Default)]
struct Judge {
    deliveries: BTreeMap<(MessageId, u32), Known>,
    contents: BTreeMap<MessageId, u64>,
    /// A message whose accept was under way at the crash.
    perhaps_accepted: Option<(MessageId, u64, u32)>,
    /// Notices that were answered, by their instants.
    noted: BTreeSet<u64>,
    /// Bounced deliveries, and the report on each, not known to be durable.
    reports: Vec<(MessageId, u32, MessageId)>,
}

struct World {
    disk: MemoryDisk,
    spool: Option<Arc<EmbeddedSpool>>,
    judge: Judge,
    dice: Dice,
    now: u64,
    next: u64,
}

fn content(seed: u64) -> Vec<u8> {
    let length = match seed % 9 {
        0 => 40_000,
        1 => 90_000,
        _ => 200 + (seed * 7919) % 6_000,
    };
    (0..length).map(|nth| (nth.wrapping_mul(seed | 1) >> 3) as u8).collect()
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = MemoryDisk::new(CAPACITY);
        Self { disk, spool: None, judge: Judge::default(), dice: Dice::new(seed), now: 1_000, next: 1 }
    }

    fn open(&mut self) -> Result<(), SpoolTrouble> {
        self.spool = Some(EmbeddedSpool::open_manual(&tiny(), Arc::new(self.disk.clone()))?);
        Ok(())
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    /// Runs steps until they are used up or the disk crashes.
    fn live(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.disk.has_crashed() {
                break;
            }
            self.now += 100;
            match self.dice.below(13) {
                10 | 11 => {
                    // Housekeeping between a settlement and its commit.
                    self.work();
                    let spool = self.spool.as_ref().unwrap();
                    for _ in 0..4 {
                        spool.keep();
                    }
                }
                0..=3 => self.accept_one(),
                4..=7 => self.work(),
                8 => self.flush(),
                12 => self.note_one(),
                _ => {
                    self.spool.as_ref().unwrap().pump();
                }
            }
        }
    }

    fn accept_one(&mut self) {
        let spool = self.spool.clone().unwrap();
        let count = 1 + self.dice.below(3) as usize;
        let recipients: Vec<String> = (0..count).map(|nth| format!("u{nth}@{}", HOSTS[self.dice.below(3) as usize])).collect();
        let texts: Vec<&str> = recipients.iter().map(String::as_str).collect();
        let seed = self.next;
        self.next += 1;
        let new = message(seed, self.now, &texts);
        let id = new.id;
        self.judge.perhaps_accepted = Some((id, seed, count as u32));
        let accepted = drive(&spool, accept(spool.as_ref(), new, &content(seed)));
        if let Some(Ok(receipt)) = accepted {
            assert_eq!(receipt.message, id);
            self.judge.perhaps_accepted = None;
            self.judge.contents.insert(id, seed);
            for nth in 0..count as u32 {
                self.judge.deliveries.insert((id, nth), Known::Waits { attempts: 0, perhaps: 0 });
            }
        } else {
            assert!(self.disk.has_crashed(), "{accepted:?}");
        }
    }

    fn note_one(&mut self) {
        let spool = self.spool.clone().unwrap();
        match drive(&spool, spool.note(notice("a@one.example", self.now))) {
            Some(Ok(())) => drop(self.judge.noted.insert(self.now)),
            other => assert!(self.disk.has_crashed(), "{other:?}"),
        }
    }

    fn work(&mut self) {
        let spool = self.spool.clone().unwrap();
        for group in spool.ready(self.at(), 2) {
            let limit = LendLimit { parcels: 1 + self.dice.below(3) as usize, recipients_per_parcel: 2 };
            let lent = spool.lend(&group, self.at(), limit);
            for parcel in lent.parcels {
                self.attempt(&spool, &parcel);
            }
            spool.release(&group, Timestamp::default());
        }
    }

    fn attempt(&mut self, spool: &EmbeddedSpool, parcel: &Parcel) {
        let report = |(.., report): &(MessageId, u32, MessageId)| *report == parcel.message;
        if self.judge.reports.iter().any(report) {
            // A report that is lent is durable, and so is the bounce it tells of.
            for (bounced, nth, _) in self.judge.reports.iter().filter(|pair| report(pair)) {
                self.judge.deliveries.insert((*bounced, *nth), Known::Ended);
            }
            self.judge.reports.retain(|pair| !report(pair));
            self.judge.deliveries.insert((parcel.message, 0), Known::Waits { attempts: 0, perhaps: 0 });
        }
        match drive(spool, spool.open(parcel.message)) {
            Some(Ok(opened)) => {
                let expected = self.judge.contents.get(&parcel.message).map(|seed| content(*seed));
                let read = drive(spool, read_all(opened.content)).unwrap();
                if let (Some(expected), Ok(read)) = (expected, read) {
                    assert!(read == expected, "the content of {} changed", parcel.message);
                }
            }
            Some(Err(trouble)) => assert!(self.disk.has_crashed(), "{trouble}"),
            None => panic!("open never ends"),
        }
        let at = self.at();
        match self.dice.below(8) {
            0 => spool.hand_back(parcel.message, parcel.loan, None),
            1..=3 => {
                let due = Timestamp::from_millis(self.now + 500);
                if spool.settle(deferred(parcel, at, due)).is_ok() {
                    self.each(parcel, |known| match known {
                        Known::Waits { attempts, perhaps } => Known::Waits { attempts, perhaps: perhaps + 1 },
                        other => panic!("{other:?} was lent"),
                    });
                }
            }
            4 => self.bounce(spool, parcel),
            _ => {
                if spool.settle(delivered(parcel, at)).is_ok() {
                    self.each(parcel, |_| Known::PerhapsEnded);
                }
            }
        }
    }

    fn bounce(&mut self, spool: &EmbeddedSpool, parcel: &Parcel) {
        let seed = self.next;
        self.next += 1;
        let report = message(seed, self.now, &["sender@three.example"]);
        let (id, octets) = (report.id, content(2 + seed * 9));
        let outcome = Outcome::Bounced { diagnosis: diagnosis(self.at()) };
        let mut settlement = settled(parcel, self.at(), &outcome);
        settlement.report = Some(Report { message: Arc::new(report), content: Bytes::from(octets) });
        if spool.settle(settlement).is_ok() {
            self.each(parcel, |_| Known::PerhapsEnded);
            self.judge.contents.insert(id, 2 + seed * 9);
            self.judge.deliveries.insert((id, 0), Known::PerhapsEnded);
            self.judge.reports.extend(parcel.deliveries.iter().map(|delivery| (parcel.message, delivery.index, id)));
        }
    }

    fn each(&mut self, parcel: &Parcel, change: impl Fn(Known) -> Known) {
        for delivery in &parcel.deliveries {
            let known = self.judge.deliveries.get_mut(&(parcel.message, delivery.index)).expect("only what was accepted is lent");
            *known = change(*known);
        }
    }

    fn flush(&mut self) {
        let spool = self.spool.clone().unwrap();
        if matches!(drive(&spool, spool.flush()), Some(Ok(()))) {
            self.flushed();
        }
    }

    /// Everything handed over is durable now.
    fn flushed(&mut self) {
        let reports: Vec<MessageId> = self.judge.reports.iter().map(|(.., report)| *report).collect();
        for ((id, _), known) in &mut self.judge.deliveries {
            *known = match *known {
                Known::Waits { perhaps, .. } => Known::Waits { attempts: perhaps, perhaps },
                Known::PerhapsEnded if reports.contains(id) => Known::Waits { attempts: 0, perhaps: 0 },
                Known::PerhapsEnded | Known::Ended => Known::Ended,
            };
        }
        self.judge.reports.clear();
    }

    /// Compares what the spool has with what the judge knows; afterwards the judge knows what the spool has.
    fn judge(&mut self, what: &str) {
        let spool = self.spool.clone().unwrap();
        let listed = spool.list(&Default::default(), None, usize::MAX);
        let found: BTreeMap<(MessageId, u32), u32> = listed.iter().map(|view| ((view.id.message, view.id.index), view.attempts)).collect();
        assert_eq!(found.len() as u64, spool.count().deliveries, "{what}: count and list differ");
        for ((id, nth), known) in &self.judge.deliveries {
            let attempts = found.get(&(*id, *nth));
            match (known, attempts) {
                (Known::Waits { attempts, perhaps }, Some(found)) => {
                    assert!((*attempts..=*perhaps).contains(found), "{what}: {id}/{nth}: {found} attempts, {known:?}");
                }
                (Known::Waits { .. }, None) => panic!("{what}: {id}/{nth} is lost"),
                (Known::Ended, Some(_)) => panic!("{what}: {id}/{nth} is back from the dead"),
                (Known::PerhapsEnded, _) | (Known::Ended, None) => {}
            }
        }
        for (bounced, nth, report) in &self.judge.reports {
            let (original, reported) = (found.contains_key(&(*bounced, *nth)), found.contains_key(&(*report, 0)));
            assert!(original != reported, "{what}: {bounced}/{nth} waits: {original}, its report {report} waits: {reported}");
        }
        for key in found.keys() {
            let accepted = self.judge.perhaps_accepted.is_some_and(|(id, ..)| id == key.0);
            assert!(accepted || self.judge.deliveries.contains_key(key), "{what}: {}/{} came from nowhere", key.0, key.1);
        }
        if let Some((id, seed, _)) = self.judge.perhaps_accepted.take() {
            self.judge.contents.insert(id, seed);
        }
        for view in &listed {
            let shown = drive(&spool, spool.show(view.id.message)).unwrap().unwrap();
            let (_, diagnosis) = shown.1.iter().find(|(shown, _)| shown.id == view.id).unwrap();
            assert_eq!(diagnosis.is_some(), view.attempts > 0, "{what}: {} has lost its diagnosis", view.id);
        }
        self.judge_journal(what, &found);
        self.judge.deliveries = self.judge.deliveries.keys().map(|key| (*key, Known::Ended)).collect();
        for (key, attempts) in found {
            self.judge.deliveries.insert(key, Known::Waits { attempts, perhaps: attempts });
        }
        self.judge.reports.clear();
    }

    /// The journal tells the same story as the spool: without a gap, custody before outcomes, at most one end, and an end exactly when
    /// nothing waits any more.
    fn judge_journal(&self, what: &str, found: &BTreeMap<(MessageId, u32), u32>) {
        let spool = self.spool.as_ref().unwrap();
        let mut next = 1;
        let mut stories: BTreeMap<(MessageId, u32), u32> = BTreeMap::new();
        let mut accepted: BTreeMap<MessageId, usize> = BTreeMap::new();
        let mut noted: BTreeSet<u64> = BTreeSet::new();
        loop {
            let events = spool.read(next, 7).unwrap_or_else(|trouble| panic!("{what}: {next}: {trouble}"));
            if events.is_empty() {
                break;
            }
            for event in events {
                assert_eq!(event.sequence, next, "{what}: a gap");
                next += 1;
                match event.kind {
                    EventKind::Accepted { message, .. } => {
                        assert_eq!(accepted.insert(message.id, message.recipients.len()), None, "{what}: accepted twice");
                    }
                    EventKind::Settled { delivery, outcome, .. } => {
                        assert!(accepted.contains_key(&delivery.message), "{what}: settled before it was accepted");
                        let ends = stories.entry((delivery.message, delivery.index)).or_default();
                        assert_eq!(*ends, 0, "{what}: {delivery} has an outcome after its end");
                        *ends += u32::from(outcome.is_terminal());
                    }
                    EventKind::Noted(notice) => assert!(noted.insert(notice.at().millis()), "{what}: noted twice"),
                }
            }
        }
        let lost: Vec<_> = self.judge.noted.difference(&noted).collect();
        assert!(lost.is_empty(), "{what}: these notices were answered, and are lost: {lost:?}");
        for (id, count) in accepted {
            for nth in 0..count as u32 {
                let ended = stories.get(&(id, nth)).is_some_and(|ends| *ends > 0);
                assert_eq!(ended, !found.contains_key(&(id, nth)), "{what}: {id}/{nth} ended in the journal: {ended}");
            }
        }
    }

    /// Delivers everything; nothing may be left, and every content must be whole.
    fn drain(&mut self) {
        let spool = self.spool.clone().unwrap();
        for _ in 0..10_000 {
            self.now += 1_000;
            let groups: Vec<Group> = spool.ready(self.at(), 10);
            for group in groups {
                for parcel in spool.lend(&group, self.at(), LendLimit { parcels: 4, recipients_per_parcel: 4 }).parcels {
                    let opened = drive(&spool, spool.open(parcel.message)).unwrap().unwrap();
                    let read = drive(&spool, read_all(opened.content)).unwrap().unwrap();
                    let expected = content(self.judge.contents[&parcel.message]);
                    assert!(read == expected, "the content of {} changed", parcel.message);
                    spool.settle(delivered(&parcel, self.at())).unwrap();
                }
                spool.release(&group, Timestamp::default());
            }
            if spool.count().deliveries == 0 {
                break;
            }
        }
        assert_eq!(spool.count().deliveries, 0);
        drive(&spool, spool.flush()).unwrap().unwrap();
        while spool.pump() {}
        assert!(self.disk.names().iter().all(|name| !name.starts_with("contents/")), "a content was left: {:?}", self.disk.names());
        let health = spool.health();
        assert!(health.segments - health.segments_free <= 1, "dead segments were left: {health:?}");
    }
}

async fn read_all(content: postrider_model::Content) -> Result<Vec<u8>, SpoolTrouble> {
    match content {
        postrider_model::Content::Held(octets) => Ok(octets.to_vec()),
        postrider_model::Content::Streamed(mut source) => {
            let mut all = Vec::new();
            while let Some(chunk) = source.next().await? {
                all.extend_from_slice(&chunk);
            }
            Ok(all)
        }
    }
}

/// One life: steps, a crash at an operation, a restart that may crash, too, judgement, and a clean end.
fn one_life(seed: u64, steps: usize, crash_at: u64, crash_in_recovery: Option<u64>) {
    let what = format!("seed {seed}, crash at {crash_at}, then {crash_in_recovery:?}");
    let mut world = World::new(seed);
    world.disk.crash_at(crash_at);
    if world.open().is_ok() {
        world.live(steps);
    }
    world.spool = None;
    let mut dice = Dice::new(seed ^ crash_at << 20);
    world.disk = world.disk.after_crash(&mut dice);
    if let Some(operation) = crash_in_recovery {
        world.disk.crash_at(operation);
        let _ = world.open();
        world.spool = None;
        world.disk = world.disk.after_crash(&mut dice);
    }
    world.open().unwrap_or_else(|trouble| panic!("{what}: {trouble}"));
    world.judge(&what);
    world.live(12);
    world.flush();
    world.judge(&what);
    // What the recovery wrote must bear another one.
    world.spool = None;
    world.disk = world.disk.after_crash(&mut dice);
    world.open().unwrap_or_else(|trouble| panic!("{what}, again: {trouble}"));
    world.judge(&what);
    world.drain();
}

fn operations_of(seed: u64, steps: usize) -> u64 {
    let mut world = World::new(seed);
    world.open().unwrap();
    world.live(steps);
    world.disk.operations()
}

#[test]
fn a_life_without_a_crash() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.open().unwrap();
        world.live(400);
        world.flush();
        world.judge("no crash");
        world.drain();
    }
}

#[test]
fn a_crash_at_every_operation() {
    for (seed, steps, stride) in [(0, 40, 1), (1, 60, 7), (2, 80, 11)] {
        for crash_at in (1..operations_of(seed, steps)).step_by(stride) {
            one_life(seed, steps, crash_at, None);
        }
    }
}

#[test]
fn a_crash_at_every_operation_of_a_recovery() {
    for seed in 10..14 {
        let operations = operations_of(seed, 50);
        for crash_at in [operations / 2, operations - 3] {
            for recovery in 1..=operations_of_recovery(seed, 50, crash_at) {
                one_life(seed, 50, crash_at, Some(recovery));
            }
        }
    }
}

/// Operations of the opening after a crash, as [`one_life`] plays it.
fn operations_of_recovery(seed: u64, steps: usize, crash_at: u64) -> u64 {
    let mut world = World::new(seed);
    world.disk.crash_at(crash_at);
    if world.open().is_ok() {
        world.live(steps);
    }
    world.spool = None;
    world.disk = world.disk.after_crash(&mut Dice::new(seed ^ crash_at << 20));
    world.open().unwrap();
    world.disk.operations()
}

#[test]
fn long_lives_with_compaction() {
    for seed in 100..106 {
        let operations = operations_of(seed, 500);
        let mut dice = Dice::new(seed);
        for _ in 0..3 {
            let recovery = dice.below(2) == 0;
            let recovery = recovery.then(|| 1 + dice.below(120));
            one_life(seed, 500, operations / 2 + dice.below(operations / 2), recovery);
        }
    }
}
