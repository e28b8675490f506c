use std::collections::BTreeMap;

use postrider_model::doors::{Left, LendLimit};
use postrider_model::{
    Arrival, BodyType, Diagnosis, Envelope, Message, Outcome, Parcel, Phase, Priority, Protocol, Reason, Recipient, Role, SiteName, Trouble,
};
use postrider_smtp::{Mailbox, Reply, ReversePath};
use proptest::prelude::*;

use super::groups::NO_GROUP;
use super::lane::{LaterKey, NowKey};
use super::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn message(number: u64, millis: u64, hosts: &[u8], lane: u8, priority: u8) -> Message {
    let recipients = hosts.iter().enumerate();
    Message {
        id: MessageId(u128::from(number) << 64 | 0x7000_0000),
        tenant: TenantName::new(&format!("t{}", lane / 2)),
        stream: StreamName::new(&format!("s{}", lane % 2)),
        envelope: Envelope::new(ReversePath::Null, BodyType::SevenBit, false),
        arrival: Arrival {
            at: at(millis),
            role: Role::Local,
            peer: None,
            hello: "".into(),
            protocol: Protocol::Local,
            tls: None,
            credential: None,
        },
        priority: [Priority::Low, Priority::Normal, Priority::High][usize::from(priority) % 3],
        deadline: None,
        release_at: None,
        mend: Default::default(),
        body_hash: None,
        held: None,
        recipients: recipients
            .map(|(nth, host)| Recipient::new(Mailbox::parse(&format!("u{nth}@h{}.example", host % 5)).unwrap()))
            .collect(),
        content_octets: 9,
    }
}

impl Index {
    /// Every promise of this module, looked up the slow way.
    fn check(&self) {
        let (mut live, mut lent, mut queued, mut records) = (0, 0, 0, BTreeMap::<u32, u64>::new());
        for (slot, entry) in self.messages.iter() {
            assert_eq!(self.find(entry.id), Some(slot));
            *records.entry(entry.place.life).or_default() += 1;
            assert!(!entry.deliveries.is_empty());
            for delivery in &entry.deliveries {
                *records.entry(delivery.told_life).or_default() += u64::from(delivery.told_life != 0);
                live += u64::from(delivery.state != Standing::Settling);
                lent += u64::from(delivery.state == Standing::Lent);
                let queue = self.hosts[delivery.host].queues.iter().find(|(lane, _)| *lane == entry.lane).map(|(_, queue)| queue);
                let (due, index) = (delivery.due.millis(), delivery.index);
                let in_now = queue.is_some_and(|queue| queue.now.contains(&NowKey { rank: entry.rank(), due, slot, index }));
                let in_later = queue.is_some_and(|queue| queue.later.contains(&LaterKey { due, slot, index }));
                assert_eq!(u8::from(in_now) + u8::from(in_later), u8::from(delivery.state == Standing::Waiting));
                queued += u64::from(in_now || in_later);
            }
        }
        assert_eq!((live, lent), (self.live, self.lent));
        let messages = self.messages.iter().filter(|(_, entry)| entry.is_live()).count() as u64;
        assert_eq!(messages, self.live_messages);
        self.check_groups(queued);
        for (life, book) in self.segments.iter() {
            assert_eq!(book.live_records, records.get(&life).copied().unwrap_or_default(), "segment {life}");
        }
    }

    fn check_groups(&self, queued: u64) {
        let mut members: BTreeMap<u32, u32> = BTreeMap::new();
        let mut waiting: BTreeMap<u32, u64> = BTreeMap::new();
        for (number, host) in self.hosts.iter() {
            if host.diverted {
                let recalled = self.recalled.get(&host.host).is_some_and(|numbers| numbers.contains(&number));
                let kept = self.diverted.iter().filter(|((of, _), known)| *of == host.host && **known == number).count();
                assert_eq!(kept + usize::from(recalled), 1, "{}", host.text);
                assert!(!recalled || !host.placed);
            } else {
                assert_eq!(self.host_numbers.get(&host.host), Some(&number));
            }
            assert!(host.refs > 0 || host.placed || host.group != NO_GROUP, "{} is remembered for nothing", host.text);
            if host.group != NO_GROUP {
                *members.entry(host.group).or_default() += 1;
            }
            for (lane, queue) in &host.queues {
                assert!(!queue.is_empty() && host.group != NO_GROUP);
                *waiting.entry(host.group).or_default() += queue.len() as u64;
                let group = &self.groups[host.group];
                let firsts = queue.firsts();
                let known: Vec<_> =
                    group.lanes.get(lane).into_iter().flatten().filter(|(_, of)| *of == number).map(|(key, _)| *key).collect();
                assert_eq!(known, Vec::from_iter(firsts.now));
                let later: Vec<_> =
                    group.later.iter().filter(|(_, of, in_lane)| (of, in_lane) == (&number, lane)).map(|(due, ..)| *due).collect();
                assert_eq!(later, Vec::from_iter(firsts.later));
            }
        }
        assert_eq!(waiting.values().sum::<u64>(), queued);
        let mut heads = 0;
        for (number, group) in self.groups.iter() {
            assert_eq!(self.group_numbers.get(&group.name), Some(&number));
            assert_eq!(members.get(&number).copied().unwrap_or_default(), group.hosts);
            assert_eq!(waiting.get(&number).copied().unwrap_or_default(), group.waiting);
            let entries = group.lanes.values().map(BTreeSet::len).sum::<usize>() + group.later.len();
            assert!((entries > 0) == (group.waiting > 0));
            assert_eq!(group.head.is_some(), !group.claimed && group.waiting > 0, "{:?}", group.name);
            if let Some(head) = group.head {
                assert!(self.heads.contains(&(head, number)));
                heads += 1;
            }
        }
        assert_eq!(self.heads.len(), heads);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Accept { hosts: Vec<u8>, lane: u8, priority: u8 },
    Lend { group: u8, parcels: usize, recipients: usize },
    Ready { max: usize },
    End { nth: usize },
    Defer { nth: usize, wait: u64 },
    HandBack { nth: usize, wait: Option<u64> },
    Divert { nth: usize, site: u8 },
    Place { host: u8, site: u8 },
    Displace { host: u8 },
    Release { group: u8 },
    Sync,
    RetryNow,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (proptest::collection::vec(any::<u8>(), 1..4), 0..4u8, any::<u8>())
            .prop_map(|(hosts, lane, priority)| Step::Accept { hosts, lane, priority }),
        4 => (0..8u8, 0..4usize, 1..3usize).prop_map(|(group, parcels, recipients)| Step::Lend { group, parcels, recipients }),
        2 => (0..4usize).prop_map(|max| Step::Ready { max }),
        3 => any::<usize>().prop_map(|nth| Step::End { nth }),
        2 => (any::<usize>(), 0..400u64).prop_map(|(nth, wait)| Step::Defer { nth, wait }),
        1 => (any::<usize>(), proptest::option::of(0..400u64)).prop_map(|(nth, wait)| Step::HandBack { nth, wait }),
        2 => (any::<usize>(), 0..3u8).prop_map(|(nth, site)| Step::Divert { nth, site }),
        2 => (0..5u8, 0..3u8).prop_map(|(host, site)| Step::Place { host, site }),
        1 => (0..5u8).prop_map(|host| Step::Displace { host }),
        1 => (0..8u8).prop_map(|group| Step::Release { group }),
        2 => Just(Step::Sync),
        1 => Just(Step::RetryNow),
    ]
}

#[derive(Default)]
struct Play {
    index: Index,
    now: u64,
    number: u64,
    lent: Vec<Parcel>,
    /// Settlements in memory that are not durable.
    unsynced: Vec<(MessageId, Vec<(u32, Fate)>)>,
}

fn host(number: u8) -> Host {
    Host::parse(&format!("h{number}.example")).unwrap()
}

fn group(number: u8) -> Group {
    if number < 5 { Group::Host(host(number)) } else { Group::Site(SiteName::new(&format!("site{}", number - 5))) }
}

impl Play {
    fn place(&mut self) -> Place {
        self.number += 1;
        Place { life: 1 + (self.number / 8) as u32, offset: (self.number * 64) as u32, octets: 64 }
    }

    fn step(&mut self, step: Step) {
        self.now += 50;
        match step {
            Step::Accept { hosts, lane, priority } => {
                let place = self.place();
                let message = message(self.number, self.now, &hosts, lane, priority);
                self.index.accepted(NewMessage {
                    message: &message,
                    place,
                    extra: Extra { deadline: message.deadline, release_at: message.release_at, ..Extra::default() },
                });
            }
            Step::Lend { group: of, parcels, recipients } => {
                let limit = LendLimit { parcels, recipients_per_parcel: recipients };
                let lent = self.index.lend(&group(of), at(self.now), limit);
                assert!(lent.parcels.len() <= parcels);
                assert!(lent.parcels.iter().all(|parcel| (1..=recipients).contains(&parcel.deliveries.len())));
                assert!(lent.parcels.len() == parcels || lent.left != Left::Due, "what is due is lent");
                self.lent.extend(lent.parcels);
            }
            Step::Ready { max } => assert!(self.index.ready(at(self.now), max).len() <= max),
            Step::End { nth } => self.settle(nth, |_| Outcome::Delivered { reply: Reply::new(250, None, "ok") }),
            Step::Defer { nth, wait } => self.settle(nth, |now| Outcome::Deferred {
                due: at(now + wait),
                diagnosis: Diagnosis {
                    at: at(now),
                    phase: Phase::Local,
                    reason: Reason::Trouble(Trouble::Expired),
                    remote: None,
                    address: None,
                },
                delay_told: wait % 2 == 0,
            }),
            Step::HandBack { nth, wait } => {
                if !self.lent.is_empty() {
                    let parcel = self.lent.swap_remove(nth % self.lent.len());
                    self.index.hand_back(parcel.message, parcel.loan, wait.map(|wait| at(self.now + wait)));
                }
            }
            Step::Divert { nth, site } => {
                if !self.lent.is_empty() {
                    let parcel = self.lent.swap_remove(nth % self.lent.len());
                    self.index.divert(parcel.message, parcel.loan, &SiteName::new(&format!("site{site}")));
                }
            }
            Step::Place { host: of, site } => self.index.place(&host(of), &SiteName::new(&format!("site{site}"))),
            Step::Displace { host: of } => self.index.displace(&host(of)),
            Step::Release { group: of } => self.index.release(&group(of), at(self.now + 100)),
            Step::Sync => self.sync(),
            Step::RetryNow => {
                self.index.make_due(0, &Default::default(), at(self.now));
            }
        }
    }

    fn settle(&mut self, nth: usize, outcome: impl Fn(u64) -> Outcome) {
        if self.lent.is_empty() {
            return;
        }
        let parcel = self.lent.swap_remove(nth % self.lent.len());
        let outcomes: Vec<(u32, Outcome)> = parcel.deliveries.iter().map(|delivery| (delivery.index, outcome(self.now))).collect();
        let attempts = self.index.attempts_after(parcel.message, parcel.loan, &outcomes).unwrap();
        let fates = outcomes.iter().zip(attempts).map(|((index, outcome), attempts)| (*index, Fate::of(outcome, attempts))).collect();
        self.index.settle(parcel.message, parcel.loan, &outcomes).unwrap();
        assert!(self.index.settle(parcel.message, parcel.loan, &outcomes).is_err(), "a loan settles once");
        self.unsynced.push((parcel.message, fates));
    }

    fn sync(&mut self) {
        for (id, fates) in std::mem::take(&mut self.unsynced) {
            let place = self.place();
            self.index.settled_durably(id, place, &fates);
        }
    }

    /// Ends everything: then nothing may be remembered.
    fn end(mut self) {
        for number in 0..5 {
            self.index.displace(&host(number));
        }
        for _ in 0..3 {
            self.now += 10_000;
            while !self.lent.is_empty() {
                self.settle(0, |_| Outcome::Delivered { reply: Reply::new(250, None, "ok") });
            }
            for number in 0..8 {
                self.index.release(&group(number), at(0));
            }
            for of in self.index.ready(at(self.now), 100) {
                let lent = self.index.lend(&of, at(self.now), LendLimit { parcels: 10_000, recipients_per_parcel: 3 });
                self.lent.extend(lent.parcels);
            }
        }
        self.sync();
        self.index.check();
        let index = &self.index;
        let left = (index.live, index.messages.iter().count(), index.hosts.iter().count(), index.groups.iter().count());
        assert_eq!(left, (0, 0, 0, 0));
        assert_eq!((index.lanes.iter().count(), index.heads.len(), index.by_id.len()), (0, 0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_promise_holds_after_every_step(steps in proptest::collection::vec(step(), 1..80)) {
        let mut play = Play::default();
        for step in steps {
            play.step(step);
            play.index.check();
        }
        play.end();
    }
}

#[test]
fn a_segment_goes_only_after_what_it_depends_on_and_what_it_told() {
    let mut segments = segments::Segments::default();
    for life in 1..=3 {
        let book = segments.begin(life);
        (book.sealed, book.next_sequence) = (true, u64::from(life) * 10);
    }
    segments.depend(2, 1);
    segments.depend(3, 2);
    let place = Place { life: 1, offset: 0, octets: 8 };
    segments.pin(place);
    assert_eq!(segments.freeable(u64::MAX), None, "control: without R2 segment 3 would go");
    segments.unpin(place);
    assert_eq!(segments.freeable(9), None, "its events are not archived");
    assert_eq!(segments.freeable(10), Some((1, 10)));
    segments.freed(1);
    assert_eq!(segments.freeable(u64::MAX), Some((2, 20)));
    segments.depend(3, 1);
    segments.freed(2);
    assert_eq!(segments.freeable(u64::MAX), Some((3, 30)));
}
