//! The laws of the `Spool` door.

use std::sync::Arc;

use super::tools::{ALL, accept, at, bounced, content_of, deferred, delivered, group, host, message, notice, octets_of, settled};
use super::{SpoolLaw, Workshop};
use crate::doors::{Left, LendLimit, OnHold, Spool, SpoolTrouble};
use crate::{Group, Message, MessageId, Parcel, Priority, Report, SiteName, StreamName, TenantName};

macro_rules! laws {
    ($($(#[$doc:meta])* $name:ident: $text:literal),* $(,)?) => {
        /// All laws; each wants a workshop of its own.
        pub const SPOOL_LAWS: &[SpoolLaw] = &[$(($text, |workshop| Box::pin($name(workshop)))),*];
    };
}

laws! {
    accepted_mail: "accepted mail is lent and opened as it was, and after a restart, too",
    large_content: "a large content comes back whole",
    read_before: "a staged content can be read before it is accepted, as often as one likes",
    born_held: "mail that comes with a hold is held from the first moment on, and after a restart, too",
    claims: "a group is handed out once, and comes again when its mail is due",
    released: "a released group comes again not before the given instant",
    order: "inside a lane: priority, then deadline, then due time",
    lanes: "lanes take turns",
    company: "recipients of one message in one group ride together, up to the limit",
    singly: "a stream that is lent singly has one recipient in each parcel, and the other streams ride together as before",
    in_part: "a loan may be settled in part: the rest is lent still, and waits again when it is handed back",
    fences: "only the newest loan settles, and only once",
    handed_back: "a loan handed back leaves no attempt, and waits until the given date",
    deferrals: "a deferral waits until its date, with its attempts, and after a restart, too",
    ends: "what ended and was flushed never comes back; the other recipients do",
    reports: "a report comes with the settlement that causes it",
    places: "a placed host's mail waits in its Site's group, new mail, too, until the host is displaced",
    diverted: "diverted mail waits in its Site's group, other mail of its host where it did, until the host is displaced",
    site_of_hosts: "the hosts of one Site share its lanes, and one message to two of them is one parcel",
    chosen: "chosen deliveries are lent whatever their date and their group's claim, those that are lent already are not, and the loan is a loan",
    paused: "a paused tenant's mail is in no group that is ready, and comes again when it is paused no more; a restart forgets the pause",
    noted: "a fact that is about no message is taken, and leaves mail as it is, after a restart, too",
    bell: "wait returns when mail arrives",
}

type Work = Arc<dyn Workshop>;

fn lend_all(spool: &dyn Spool, of: &Group, millis: u64) -> Vec<Parcel> {
    spool.lend(of, at(millis), ALL).parcels
}

fn ids(parcels: &[Parcel]) -> Vec<MessageId> {
    parcels.iter().map(|parcel| parcel.message).collect()
}

async fn accepted_mail(work: Work) {
    let spool = work.open().await;
    let facts = accept(&*spool, message(1, 100, &["a@one.example"]), b"content").await;
    for spool in [spool, work.open().await, work.open().await] {
        assert_eq!(spool.next_due(), Some(at(100)));
        assert_eq!(spool.ready(at(99), 10), []);
        assert_eq!(spool.ready(at(100), 10), [group("one.example")]);
        let lent = spool.lend(&group("one.example"), at(100), ALL);
        assert_eq!((lent.parcels.len(), lent.left), (1, Left::Empty));
        let parcel = &lent.parcels[0];
        assert_eq!((parcel.message, &parcel.tenant, &parcel.stream), (facts.id, &facts.tenant, &facts.stream));
        assert_eq!((parcel.waits_since, parcel.content_octets, parcel.deadline), (at(100), 7, None));
        assert_eq!(content_of(&*spool, facts.id).await, Ok((facts.clone(), b"content".to_vec())));
    }
    let unknown = MessageId(7);
    let spool = work.open().await;
    assert_eq!(content_of(&*spool, unknown).await, Err(SpoolTrouble::NoSuchMessage));
}

async fn large_content(work: Work) {
    let spool = work.open().await;
    let content: Vec<u8> = (0..700_000u32).map(|nth| (nth ^ nth >> 9) as u8).collect();
    let facts = accept(&*spool, message(1, 100, &["a@one.example"]), &content).await;
    for spool in [spool, work.open().await] {
        assert!(content_of(&*spool, facts.id).await == Ok((facts.clone(), content.clone())));
    }
}

async fn read_before(work: Work) {
    let spool = work.open().await;
    for octets in [0, 5, 3_000_000] {
        let content: Vec<u8> = (0..octets).map(|nth| (nth % 251) as u8).collect();
        let mut staging = spool.stage(None).await.expect("room for a content");
        for chunk in content.chunks(10_000) {
            if staging.append(chunk) {
                staging.drain().await.expect("room for a content");
            }
        }
        let staged = staging.finish().await.expect("a staged content");
        for _ in 0..2 {
            assert_eq!(octets_of(spool.read_staged(&staged).await.expect("readable")).await.expect("readable"), content);
        }
    }
}

async fn born_held(work: Work) {
    let spool = work.open().await;
    let hold = OnHold { since: at(100), reason: "odd".into() };
    let held = Message { held: Some(hold), ..message(1, 100, &["a@one.example", "b@two.example"]) };
    let facts = accept(&*spool, held, b"content").await;
    for spool in [spool, work.open().await, work.open().await] {
        assert_eq!((spool.ready(at(1_000), 10), spool.next_due()), (Vec::new(), None));
        assert_eq!(content_of(&*spool, facts.id).await, Ok((facts.clone(), b"content".to_vec())));
        let parcel = spool.lend_these(facts.id, &[1]).expect("a person may take it");
        spool.hand_back(facts.id, parcel.loan, None);
        assert_eq!(spool.ready(at(1_000), 10), [], "and it is held again");
    }
}

async fn claims(work: Work) {
    let spool = work.open().await;
    accept(&*spool, message(1, 100, &["a@one.example"]), b"x").await;
    accept(&*spool, message(2, 100, &["a@one.example"]), b"x").await;
    accept(&*spool, message(3, 100, &["a@two.example"]), b"x").await;
    let claimed = spool.ready(at(200), 1);
    assert_eq!(claimed.len(), 1);
    let others = spool.ready(at(200), 10);
    assert_eq!((others.len(), spool.ready(at(200), 10).len()), (1, 0));
    let one = LendLimit { parcels: 1, recipients_per_parcel: 10 };
    let of = group("one.example");
    let first = spool.lend(&of, at(200), one);
    assert_eq!((first.left, spool.ready(at(200), 10).len()), (Left::Due, 0));
    let second = spool.lend(&of, at(200), one);
    assert_eq!((second.parcels.len(), second.left), (1, Left::Empty));
    spool.settle(settled(&first.parcels[0], 200, &deferred(200, 900))).expect("a live loan");
    assert_eq!(spool.ready(at(899), 10), []);
    assert_eq!(spool.ready(at(900), 10), std::slice::from_ref(&of));
    spool.settle(settled(&second.parcels[0], 200, &deferred(200, 950))).expect("a live loan");
    let third = spool.lend(&of, at(900), one);
    assert_eq!((third.parcels.len(), third.left), (1, Left::Until(at(950))));
    assert_eq!(spool.next_due(), Some(at(950)));
}

async fn released(work: Work) {
    let spool = work.open().await;
    accept(&*spool, message(1, 100, &["a@one.example"]), b"x").await;
    let of = spool.ready(at(100), 1).remove(0);
    spool.release(&of, at(500));
    accept(&*spool, message(2, 200, &["a@one.example"]), b"x").await;
    assert_eq!((spool.ready(at(499), 1).len(), spool.next_due()), (0, Some(at(500))));
    assert_eq!(spool.ready(at(500), 1), std::slice::from_ref(&of));
    assert_eq!(lend_all(&*spool, &of, 500).len(), 2);
}

async fn order(work: Work) {
    let spool = work.open().await;
    let rows = [
        (1, 100, Priority::Low, None),
        (2, 130, Priority::Normal, None),
        (3, 120, Priority::Normal, None),
        (4, 140, Priority::Normal, Some(9_000)),
        (5, 150, Priority::Normal, Some(8_000)),
        (6, 160, Priority::High, None),
    ];
    let mut by_number = Vec::new();
    for (number, millis, priority, deadline) in rows {
        let mut new = message(number, millis, &["a@one.example"]);
        (new.priority, new.deadline) = (priority, deadline.map(at));
        by_number.push(accept(&*spool, new, b"x").await.id);
    }
    let expected: Vec<MessageId> = [6, 5, 4, 3, 2, 1].map(|number: usize| by_number[number - 1]).to_vec();
    assert_eq!(ids(&lend_all(&*spool, &group("one.example"), 500)), expected);
}

async fn lanes(work: Work) {
    let spool = work.open().await;
    for number in 0..9 {
        let mut new = message(number, 100 + u64::from(number), &["a@one.example"]);
        let lane = if number < 5 { "bulk" } else { "receipts" };
        (new.tenant, new.stream) = (TenantName::new(if number == 8 { "other" } else { "tenant" }), StreamName::new(lane));
        new.priority = if number < 5 { Priority::High } else { Priority::Low };
        accept(&*spool, new, b"x").await;
    }
    let limit = LendLimit { parcels: 6, recipients_per_parcel: 1 };
    let parcels = spool.lend(&group("one.example"), at(500), limit).parcels;
    let count = |tenant: &str, stream: &str| {
        parcels.iter().filter(|parcel| parcel.tenant.as_str() == tenant && parcel.stream.as_str() == stream).count()
    };
    assert_eq!(parcels.len(), 6);
    assert_eq!((count("other", "receipts"), count("tenant", "receipts").abs_diff(count("tenant", "bulk"))), (1, 1));
}

async fn company(work: Work) {
    let spool = work.open().await;
    let recipients = ["a@one.example", "b@two.example", "c@one.example", "d@one.example"];
    accept(&*spool, message(1, 100, &recipients), b"x").await;
    let limit = LendLimit { parcels: 9, recipients_per_parcel: 2 };
    let lent = spool.lend(&group("one.example"), at(100), limit);
    let sizes: Vec<usize> = lent.parcels.iter().map(|parcel| parcel.deliveries.len()).collect();
    let mut indices: Vec<u32> = lent.parcels.iter().flat_map(|parcel| parcel.deliveries.iter().map(|delivery| delivery.index)).collect();
    indices.sort_unstable();
    assert_eq!((sizes, indices), (vec![2, 1], vec![0, 2, 3]));
    assert_eq!(lend_all(&*spool, &group("two.example"), 100)[0].deliveries[0].index, 1);
}

async fn singly(work: Work) {
    let spool = work.open().await;
    let recipients = ["a@one.example", "b@one.example", "c@one.example"];
    let mut other = message(2, 100, &recipients);
    other.stream = StreamName::new("other");
    accept(&*spool, message(1, 100, &recipients), b"x").await;
    accept(&*spool, other, b"x").await;
    spool.lend_singly(&TenantName::new("tenant"), &StreamName::new("stream"));
    let lent = lend_all(&*spool, &group("one.example"), 100);
    let mut sizes: Vec<(&str, usize)> = lent.iter().map(|parcel| (parcel.stream.as_str(), parcel.deliveries.len())).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [("other", 3), ("stream", 1), ("stream", 1), ("stream", 1)]);
}

async fn in_part(work: Work) {
    let spool = work.open().await;
    accept(&*spool, message(1, 100, &["a@one.example", "b@one.example", "c@one.example"]), b"x").await;
    let of = group("one.example");
    let parcel = lend_all(&*spool, &of, 100).remove(0);
    let mut first = settled(&parcel, 100, &delivered());
    first.outcomes.truncate(1);
    spool.settle(first).expect("a part of the loan");
    assert_eq!(lend_all(&*spool, &of, 100).len(), 0, "the rest is lent still");
    spool.hand_back(parcel.message, parcel.loan, None);
    let rest = lend_all(&*spool, &of, 100).remove(0);
    assert_eq!(rest.deliveries.iter().map(|delivery| (delivery.index, delivery.attempts)).collect::<Vec<_>>(), [(1, 0), (2, 0)]);
    spool.settle(settled(&rest, 200, &delivered())).expect("the rest");
    spool.flush().await.expect("a sound log");
}

async fn fences(work: Work) {
    let spool = work.open().await;
    accept(&*spool, message(1, 100, &["a@one.example"]), b"x").await;
    let of = group("one.example");
    let old = lend_all(&*spool, &of, 100).remove(0);
    spool.hand_back(old.message, old.loan, None);
    assert_eq!(spool.settle(settled(&old, 100, &delivered())), Err(SpoolTrouble::LoanEnded));
    let new = lend_all(&*spool, &of, 100).remove(0);
    assert_ne!(old.loan, new.loan);
    assert_eq!(spool.settle(settled(&old, 100, &delivered())), Err(SpoolTrouble::LoanEnded));
    spool.hand_back(old.message, old.loan, None);
    assert_eq!(lend_all(&*spool, &of, 100).len(), 0, "a stale loan hands nothing back");
    spool.settle(settled(&new, 100, &delivered())).expect("the newest loan");
    assert!(spool.settle(settled(&new, 100, &delivered())).is_err());
    assert_eq!(lend_all(&*spool, &of, 9_000).len(), 0);
    spool.flush().await.expect("a sound log");
    assert_eq!(spool.settle(settled(&new, 100, &delivered())), Err(SpoolTrouble::NoSuchMessage));
}

async fn handed_back(work: Work) {
    let spool = work.open().await;
    accept(&*spool, message(1, 100, &["a@one.example"]), b"x").await;
    let of = group("one.example");
    let parcel = lend_all(&*spool, &of, 100).remove(0);
    spool.hand_back(parcel.message, parcel.loan, Some(at(700)));
    assert_eq!((spool.ready(at(699), 9).len(), spool.next_due()), (0, Some(at(700))));
    let again = lend_all(&*spool, &of, 700).remove(0);
    assert_eq!(again.deliveries[0].attempts, 0);
}

async fn deferrals(work: Work) {
    let spool = work.open().await;
    accept(&*spool, message(1, 100, &["a@one.example", "b@one.example"]), b"x").await;
    let of = group("one.example");
    let parcel = lend_all(&*spool, &of, 100).remove(0);
    let mut settlement = settled(&parcel, 100, &deferred(100, 5_000));
    settlement.outcomes[1].1 = deferred(100, 6_000);
    spool.settle(settlement).expect("a live loan");
    spool.flush().await.expect("a sound log");
    for spool in [spool, work.open().await] {
        assert_eq!((spool.next_due(), lend_all(&*spool, &of, 4_999).len()), (Some(at(5_000)), 0));
        let lent = spool.lend(&of, at(5_000), ALL);
        assert_eq!((lent.parcels[0].deliveries.len(), lent.left), (1, Left::Until(at(6_000))));
        assert_eq!((lent.parcels[0].deliveries[0].index, lent.parcels[0].deliveries[0].attempts), (0, 1));
    }
}

async fn ends(work: Work) {
    let spool = work.open().await;
    accept(&*spool, message(1, 100, &["a@one.example", "b@two.example"]), b"x").await;
    let parcel = lend_all(&*spool, &group("one.example"), 100).remove(0);
    spool.settle(settled(&parcel, 100, &delivered())).expect("a live loan");
    spool.flush().await.expect("a sound log");
    let spool = work.open().await;
    assert_eq!(spool.ready(at(9_000), 9), [group("two.example")]);
    let parcel = lend_all(&*spool, &group("two.example"), 9_000).remove(0);
    assert_eq!(content_of(&*spool, parcel.message).await.expect("a live message").1, b"x");
    spool.settle(settled(&parcel, 9_000, &delivered())).expect("a live loan");
    spool.flush().await.expect("a sound log");
    let spool = work.open().await;
    assert_eq!((spool.next_due(), spool.ready(at(99_000), 9).len()), (None, 0));
}

async fn reports(work: Work) {
    let spool = work.open().await;
    accept(&*spool, message(1, 100, &["a@one.example"]), b"x").await;
    let parcel = lend_all(&*spool, &group("one.example"), 100).remove(0);
    let mut report = message(2, 100, &["sender@home.example"]);
    report.content_octets = 6;
    let id = report.id;
    let mut settlement = settled(&parcel, 100, &bounced(100));
    settlement.report = Some(Report { message: Arc::new(report), content: bytes::Bytes::from_static(b"report") });
    spool.settle(settlement).expect("a live loan");
    spool.flush().await.expect("a sound log");
    for spool in [spool, work.open().await] {
        assert_eq!(spool.ready(at(100), 9), [group("home.example")]);
        assert_eq!(lend_all(&*spool, &group("home.example"), 100)[0].message, id);
        assert_eq!(content_of(&*spool, id).await.expect("a live report").1, b"report");
    }
}

async fn places(work: Work) {
    let spool = work.open().await;
    let (of, site) = (host("one.example"), SiteName::new("mx.example"));
    let there = Group::Site(site.clone());
    accept(&*spool, message(1, 100, &["a@one.example"]), b"x").await;
    assert_eq!(spool.ready(at(100), 9), [group("one.example")]);
    spool.place(&of, &site);
    assert_eq!(spool.ready(at(100), 9), std::slice::from_ref(&there));
    accept(&*spool, message(2, 100, &["a@one.example"]), b"x").await;
    let parcels = lend_all(&*spool, &there, 100);
    assert_eq!((parcels.len(), lend_all(&*spool, &group("one.example"), 100).len()), (2, 0));
    spool.settle(settled(&parcels[0], 100, &deferred(100, 500))).expect("a live loan");
    spool.displace(&of);
    spool.settle(settled(&parcels[1], 100, &deferred(100, 500))).expect("a live loan");
    assert_eq!(spool.ready(at(500), 9), [group("one.example")]);
    let elsewhere = SiteName::new("other.example");
    spool.place(&of, &site);
    spool.place(&of, &elsewhere);
    assert_eq!(spool.ready(at(500), 9), [Group::Site(elsewhere.clone())]);
    assert_eq!(lend_all(&*spool, &Group::Site(elsewhere), 500).len(), 2);
}

async fn diverted(work: Work) {
    let spool = work.open().await;
    let (own, site) = (group("one.example"), SiteName::new("smarthost:far"));
    let there = Group::Site(site.clone());
    for number in 0..3 {
        accept(&*spool, message(number, 100, &["a@one.example", "b@one.example", "c@two.example"]), b"x").await;
    }
    let parcels = lend_all(&*spool, &own, 100);
    for parcel in &parcels[..2] {
        spool.divert(parcel.message, parcel.loan, &site);
        // A loan that has ended diverts nothing.
        spool.divert(parcel.message, parcel.loan, &SiteName::new("never.example"));
    }
    spool.hand_back(parcels[2].message, parcels[2].loan, None);
    let mut ready = spool.ready(at(100), 9);
    ready.sort();
    assert_eq!(ready, [own.clone(), group("two.example"), there.clone()]);
    let lent = lend_all(&*spool, &there, 100);
    assert_eq!(lent.iter().map(|parcel| (parcel.deliveries.len(), parcel.deliveries[0].attempts)).collect::<Vec<_>>(), [(2, 0), (2, 0)]);
    assert_eq!(lend_all(&*spool, &own, 100).len(), 1);
    spool.hand_back(lent[0].message, lent[0].loan, None);
    spool.displace(&host("one.example"));
    spool.hand_back(lent[1].message, lent[1].loan, None);
    assert_eq!((lend_all(&*spool, &there, 100).len(), lend_all(&*spool, &own, 100).len()), (0, 2));
}

async fn site_of_hosts(work: Work) {
    let spool = work.open().await;
    let site = SiteName::new("mx.example");
    for name in ["one.example", "two.example"] {
        spool.place(&host(name), &site);
    }
    accept(&*spool, message(1, 100, &["a@one.example", "b@two.example", "c@three.example"]), b"x").await;
    let mut urgent = message(2, 200, &["a@two.example"]);
    urgent.priority = Priority::High;
    let urgent = accept(&*spool, urgent, b"x").await;
    let lent = spool.lend(&Group::Site(site), at(300), ALL);
    assert_eq!((lent.parcels[0].message, lent.parcels[1].deliveries.len(), lent.left), (urgent.id, 2, Left::Empty));
    assert_eq!(spool.ready(at(300), 9), [group("three.example")]);
}

async fn chosen(work: Work) {
    let spool = work.open().await;
    let facts = accept(&*spool, message(1, 100, &["a@one.example", "b@two.example", "c@one.example"]), b"x").await;
    let first = lend_all(&*spool, &group("one.example"), 100).remove(0);
    spool.settle(settled(&first, 100, &deferred(100, 9_000))).expect("a live loan");
    assert_eq!(spool.ready(at(100), 10), [group("two.example")]);
    let parcel = spool.lend_these(facts.id, &[0, 1, 9]).expect("two of them wait");
    assert_eq!(parcel.deliveries.iter().map(|lent| (lent.index, lent.attempts)).collect::<Vec<_>>(), [(0, 1), (1, 0)]);
    assert!(spool.lend_these(facts.id, &[0, 1]).is_none(), "they are lent");
    assert!(spool.lend_these(MessageId(7), &[0]).is_none());
    assert_eq!(spool.lend(&group("two.example"), at(200), ALL).parcels.len(), 0);
    spool.hand_back(facts.id, parcel.loan, None);
    assert_eq!(spool.settle(settled(&parcel, 200, &bounced(200))), Err(SpoolTrouble::LoanEnded));
    let parcel = spool.lend_these(facts.id, &[0, 1]).expect("they wait again");
    spool.settle(settled(&parcel, 300, &bounced(300))).expect("a live loan");
    spool.flush().await.expect("a sound spool");
    drop(spool);
    let spool = work.open().await;
    let left = lend_all(&*spool, &group("one.example"), 9_000);
    assert_eq!(left.iter().flat_map(|parcel| parcel.deliveries.iter().map(|lent| lent.index)).collect::<Vec<_>>(), [2]);
    assert_eq!(spool.ready(at(9_000), 10), []);
}

async fn paused(work: Work) {
    let spool = work.open().await;
    for (number, tenant) in [(1, "a"), (2, "b")] {
        let mut new = message(number, 100, &["x@one.example"]);
        new.tenant = TenantName::new(tenant);
        accept(&*spool, new, b"x").await;
    }
    let tenants = |parcels: &[Parcel]| parcels.iter().map(|parcel| parcel.tenant.to_string()).collect::<Vec<_>>();
    spool.pause(&[TenantName::new("a"), TenantName::new("nobody")]);
    let parcels = lend_all(&*spool, &group("one.example"), 100);
    assert_eq!(tenants(&parcels), ["b"]);
    assert_eq!((spool.ready(at(100), 10), spool.next_due()), (vec![], None));
    spool.hand_back(parcels[0].message, parcels[0].loan, None);
    spool.pause(&[TenantName::new("b")]);
    assert_eq!(spool.ready(at(100), 10), [group("one.example")]);
    assert_eq!(tenants(&lend_all(&*spool, &group("one.example"), 100)), ["a"]);
    drop(spool);
    let spool = work.open().await;
    assert_eq!(lend_all(&*spool, &group("one.example"), 100).len(), 2);
}

async fn noted(work: Work) {
    let spool = work.open().await;
    let facts = accept(&*spool, message(1, 100, &["a@one.example"]), b"content").await;
    spool.note(notice(200)).await.expect("a sound spool");
    let parcels = lend_all(&*spool, &group("one.example"), 100);
    spool.settle(settled(&parcels[0], 300, &deferred(300, 400))).expect("a live loan");
    for millis in 0..100 {
        spool.note(notice(millis)).await.expect("a sound spool");
    }
    drop(spool);
    for _ in 0..2 {
        let spool = work.open().await;
        assert_eq!(spool.next_due(), Some(at(400)));
        assert_eq!(content_of(&*spool, facts.id).await, Ok((facts.clone(), b"content".to_vec())));
        spool.note(notice(7)).await.expect("a sound spool");
    }
}

async fn bell(work: Work) {
    let spool = work.open().await;
    for number in 0..3 {
        accept(&*spool, message(number, 100, &["a@one.example"]), b"x").await;
        spool.wait().await;
        let parcels = lend_all(&*spool, &spool.ready(at(100), 9).remove(0), 100);
        spool.hand_back(parcels[0].message, parcels[0].loan, Some(at(9_000_000)));
    }
    let parcels = lend_all(&*spool, &group("one.example"), 9_000_000);
    spool.hand_back(parcels[0].message, parcels[0].loan, None);
    spool.wait().await;
    assert_eq!(spool.ready(at(9_000_000), 9).len(), 1);
}
