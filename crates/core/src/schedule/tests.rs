use super::*;

use std::collections::{BTreeMap, BTreeSet};

use postrider_model::{LentDelivery, Priority, Timestamp};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
struct Mail {
    id: u128,
    tenant: u8,
    stream: u8,
    recipients: u32,
    priority: Priority,
    deadline: Option<u64>,
}

const PLAIN: Mail = Mail { id: 0, tenant: 0, stream: 0, recipients: 1, priority: Priority::Normal, deadline: None };

fn parcel(mail: Mail) -> Parcel {
    Parcel {
        loan: Loan(1),
        message: MessageId(mail.id),
        tenant: TenantName::new(&format!("t{}", mail.tenant)),
        stream: StreamName::new(&format!("s{}", mail.stream)),
        priority: mail.priority,
        waits_since: Timestamp::default(),
        null_reverse_path: false,
        deadline: mail.deadline.map(Timestamp::from_millis),
        content_octets: 0,
        deliveries: (0..mail.recipients).map(|index| LentDelivery { index, attempts: 0, delay_told: false }).collect(),
    }
}

fn site() -> SiteName {
    SiteName::new("mx.example")
}

fn filled(mails: impl IntoIterator<Item = Mail>) -> Schedule {
    let mut schedule = Schedule::new(Limits::default());
    for mail in mails {
        schedule.push(&site(), parcel(mail));
    }
    schedule
}

/// The ids in the order of the turns.
fn check(mails: &[Mail], expected: &[u128]) {
    let turns: Vec<u128> = filled(mails.iter().copied()).drain(&site()).iter().map(|parcel| parcel.message.0).collect();
    assert_eq!(turns, expected);
}

#[test]
fn inside_a_stream_priority_then_deadline_then_arrival() {
    check(
        &[
            Mail { id: 1, priority: Priority::Low, deadline: Some(1), ..PLAIN },
            Mail { id: 2, ..PLAIN },
            Mail { id: 3, ..PLAIN },
            Mail { id: 4, deadline: Some(9), ..PLAIN },
            Mail { id: 5, deadline: Some(8), ..PLAIN },
            Mail { id: 6, priority: Priority::High, ..PLAIN },
        ],
        &[6, 5, 4, 2, 3, 1],
    );
}

#[test]
fn tenants_take_turns_whatever_their_priority_or_number() {
    let of = |tenant, id| Mail { id, tenant, ..PLAIN };
    let urgent = |id| Mail { priority: Priority::High, ..of(1, id) };
    check(&[urgent(1), urgent(2), urgent(3), urgent(4), of(2, 11), of(2, 12), of(3, 21)], &[1, 11, 21, 2, 12, 3, 4]);
}

#[test]
fn streams_take_turns_inside_their_tenant_only() {
    let of = |tenant, stream, id| Mail { id, tenant, stream, ..PLAIN };
    // The second tenant's single stream has as much of the Site as the three streams of the first together.
    check(
        &[of(1, 1, 11), of(1, 1, 12), of(1, 2, 21), of(1, 3, 31), of(2, 1, 1), of(2, 1, 2), of(2, 1, 3), of(2, 1, 4)],
        &[11, 1, 21, 2, 31, 3, 12, 4],
    );
}

#[test]
fn a_parcel_costs_its_recipients() {
    let many = (1..=6).map(|id| Mail { id, tenant: 1, ..PLAIN });
    let large = Mail { id: 99, tenant: 2, recipients: 4, ..PLAIN };
    let turns: Vec<u128> = filled(many.chain([large])).drain(&site()).iter().map(|parcel| parcel.message.0).collect();
    assert_eq!(turns, [1, 2, 3, 4, 99, 5, 6]);
}

#[test]
fn the_window_is_filled_from_low_water_to_high() {
    let mut schedule = Schedule::new(Limits { high_water: 10, low_water: 4, ..Limits::default() });
    assert_eq!(schedule.room(&site()), 10);
    for id in 0..10 {
        schedule.push(&site(), parcel(Mail { id, ..PLAIN }));
    }
    let rooms: Vec<usize> = (0..10)
        .map(|_| {
            let room = schedule.room(&site());
            schedule.next(&site());
            room
        })
        .collect();
    assert_eq!(rooms, [0, 0, 0, 0, 0, 0, 6, 7, 8, 9]);
    assert!(schedule.is_empty() && schedule.sites().next().is_none());
}

#[test]
fn where_there_is_plenty_in_all_a_site_asks_for_little_but_never_for_nothing() {
    let mut schedule = Schedule::new(Limits { high_water: 10, low_water: 4, plenty: 25, narrow: 2 });
    let mut longest = 0;
    for number in 0..100 {
        let site = SiteName::new(&format!("s{number}"));
        assert!(schedule.room(&site) > 0, "{number}");
        for id in 0..schedule.room(&site) {
            schedule.push(&site, parcel(Mail { id: number * 100 + id as u128, ..PLAIN }));
        }
        longest = longest.max(schedule.len());
    }
    assert_eq!(longest, 30 + 97 * 2);
    assert_eq!(schedule.room(&SiteName::new("s0")), 0, "its window is wide, and full");
    assert_eq!(schedule.room(&SiteName::new("s99")), 0);
    schedule.next(&SiteName::new("s99"));
    assert_eq!(schedule.room(&SiteName::new("s99")), 1);
}

#[test]
fn sites_do_not_touch_each_other() {
    let mut schedule = Schedule::new(Limits::default());
    for id in 0..10_000u32 {
        schedule.push(&SiteName::new(&format!("mx{id}.example")), parcel(Mail { id: id.into(), ..PLAIN }));
    }
    assert_eq!((schedule.len(), schedule.sites().count()), (10_000, 10_000));
    let last = SiteName::new("mx9999.example");
    assert_eq!(schedule.position(MessageId(9_999)), Some(0));
    assert_eq!(schedule.drain(&last).len(), 1);
    assert_eq!((schedule.next(&last).map(|parcel| parcel.message), schedule.position(MessageId(9_999))), (None, None));
    assert_eq!(schedule.len(), 9_999);
}

#[test]
fn a_message_in_several_parcels_has_several_positions() {
    let mut schedule = filled([Mail { id: 1, ..PLAIN }, Mail { id: 2, recipients: 3, ..PLAIN }]);
    let mut second = parcel(Mail { id: 2, ..PLAIN });
    second.loan = Loan(2);
    second.deliveries[0].index = 7;
    schedule.push(&SiteName::new("other.example"), second);
    let positions: Vec<_> = schedule.positions(MessageId(2)).into_iter().map(|p| (p.recipients, p.ahead, p.waiting)).collect();
    assert_eq!(positions, [(vec![0, 1, 2], 1, 2), (vec![7], 0, 1)]);
    assert_eq!(schedule.position(MessageId(2)), Some(0));
    assert_eq!(schedule.position(MessageId(3)), None);
}

#[test]
fn large_parcels_of_many_tenants_come_in_turn() {
    let mut schedule = filled((0..400).map(|id| Mail { id, tenant: (id % 200) as u8, recipients: 100, ..PLAIN }));
    for expected in 0..400 {
        assert_eq!(schedule.next(&site()).map(|parcel| parcel.message.0), Some(expected));
    }
}

fn mails(max: usize) -> impl Strategy<Value = Vec<Mail>> {
    let mail = (0u8..4, 0u8..3, prop_oneof![3 => Just(1u32), 1 => 1u32..=100], 0u8..3, proptest::option::of(0u64..50));
    proptest::collection::vec(mail, 1..max).prop_map(|mails| {
        let mail = |(id, (tenant, stream, recipients, priority, deadline)): (usize, (u8, u8, u32, u8, Option<u64>))| Mail {
            id: id as u128,
            tenant,
            stream,
            recipients,
            priority: [Priority::Low, Priority::Normal, Priority::High][usize::from(priority)],
            deadline,
        };
        mails.into_iter().enumerate().map(mail).collect()
    })
}

/// Recipients served for each key since all of `keys` had mail; checked while they all still have.
fn check_shares<K: Ord + Copy + std::fmt::Debug>(order: &[Mail], key: impl Fn(&Mail) -> K) -> Result<(), TestCaseError> {
    let mut left: BTreeMap<K, u32> = BTreeMap::new();
    for mail in order {
        *left.entry(key(mail)).or_default() += 1;
    }
    let mut served: BTreeMap<K, i64> = left.keys().map(|key| (*key, 0)).collect();
    for mail in order {
        let key = key(mail);
        *served.entry(key).or_default() += i64::from(mail.recipients);
        let (least, most) = (served.values().min().copied().unwrap_or(0), served.values().max().copied().unwrap_or(0));
        prop_assert!(most - least < 2 * 100 + 1, "{served:?}");
        let left = left.entry(key).or_default();
        *left -= 1;
        if *left == 0 {
            return Ok(());
        }
    }
    Ok(())
}

proptest! {
    /// The bound of deficit round robin, for tenants, and for the streams of one tenant.
    #[test]
    fn shares_differ_by_less_than_two_parcels(mails in mails(300)) {
        let by_id: BTreeMap<u128, Mail> = mails.iter().map(|mail| (mail.id, *mail)).collect();
        let order: Vec<Mail> = filled(mails).drain(&site()).iter().map(|parcel| by_id[&parcel.message.0]).collect();
        check_shares(&order, |mail| mail.tenant)?;
        for tenant in 0..4 {
            let of_tenant: Vec<Mail> = order.iter().filter(|mail| mail.tenant == tenant).copied().collect();
            check_shares(&of_tenant, |mail| mail.stream)?;
        }
    }

    /// A tenant with one mail among tenants that push without end.
    #[test]
    fn nobody_starves(others in 1u8..6, recipients in 1u32..=100, flood in 1u32..=100) {
        let small = Mail { id: u128::MAX, tenant: 200, recipients, ..PLAIN };
        let flood = |id: u128| Mail { id, tenant: (id % u128::from(others)) as u8, recipients: flood, priority: Priority::High, ..PLAIN };
        let mut schedule = filled((0..50).map(flood).chain([small]));
        let mut served = 0;
        let mut id = 50;
        loop {
            let parcel = schedule.next(&site()).expect("there is always more");
            if parcel.message.0 == u128::MAX {
                break;
            }
            served += parcel.deliveries.len() as u64;
            prop_assert!(served <= (u64::from(recipients) + 100) * u64::from(others), "{served} recipients of others went before");
            schedule.push(&site(), super::tests::parcel(flood(id)));
            id += 1;
        }
    }

    /// A random driver against a model that only knows what is inside.
    #[test]
    fn what_goes_in_comes_out_once(mails in mails(120), steps in proptest::collection::vec((0u8..10, 0u8..3), 1..400)) {
        let mut schedule = Schedule::new(Limits { high_water: 20, low_water: 10, ..Limits::default() });
        let mut inside: BTreeMap<u8, BTreeSet<u128>> = BTreeMap::new();
        let mut coming = mails.into_iter();
        for (step, at) in steps {
            let site = SiteName::new(&format!("mx{at}.example"));
            let there = inside.entry(at).or_default();
            match step {
                0..=4 => {
                    let Some(mail) = coming.next() else { continue };
                    there.insert(mail.id);
                    schedule.push(&site, parcel(mail));
                }
                5..=8 => {
                    let promised = there.iter().find(|id| schedule.position(MessageId(**id)) == Some(0)).copied();
                    let got = schedule.next(&site).map(|parcel| parcel.message.0);
                    prop_assert_eq!(got, promised, "who is told to be next is next");
                    if let Some(id) = got {
                        there.remove(&id);
                    }
                }
                _ => {
                    let order: Vec<u128> = {
                        let mut order: Vec<_> = there.iter().map(|id| (schedule.position(MessageId(*id)), *id)).collect();
                        order.sort();
                        order.into_iter().map(|(_, id)| id).collect()
                    };
                    let drained: Vec<u128> = schedule.drain(&site).iter().map(|parcel| parcel.message.0).collect();
                    prop_assert_eq!(drained, order, "positions are the order of the turns");
                    there.clear();
                }
            }
            prop_assert_eq!(schedule.waiting(&site), there.len());
            let room = if there.len() > 10 { 0 } else { 20 - there.len() };
            prop_assert_eq!(schedule.room(&site), room);
        }
        prop_assert_eq!(schedule.len(), inside.values().map(BTreeSet::len).sum::<usize>());
    }
}
