use super::*;

use std::time::Duration;

use postrider_model::ProviderName;
use postrider_model::policy::{ProviderMatch, Rate};

mod driver;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 + 1000 * seconds)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn route(site: &str) -> Route {
    Route { source: SourceName::new("a"), site: SiteName::new(site) }
}

fn plain() -> Provider {
    Provider::fallback()
}

fn shared(connections_max: u32) -> Provider {
    Provider { name: ProviderName::new("google"), matches: ProviderMatch::All, shared: true, connections_max, ..plain() }
}

fn per_minute(count: u32) -> Rate {
    Rate { count, per: secs(60), burst: 1 }
}

/// Opens what it can.
fn open(shape: &mut Shape, site: &str, provider: &Provider, now: Timestamp, most: usize) -> (Vec<Permit>, Option<Hold>) {
    let mut permits = Vec::new();
    while permits.len() < most {
        match shape.connection(&route(site), provider, now) {
            Ok(permit) => permits.push(permit),
            Err(hold) => return (permits, Some(hold)),
        }
    }
    (permits, None)
}

fn check(hold: Option<Hold>, sentence: &str, until: Option<Timestamp>) {
    let hold = hold.expect("something holds");
    assert_eq!((hold.to_string().as_str(), hold.until), (sentence, until));
}

#[test]
fn connections_are_counted_in_and_out() {
    let provider = Provider { connections_max: 3, ..plain() };
    let mut shape = Shape::new(100);
    let (mut permits, hold) = open(&mut shape, "mx", &provider, at(0), 9);
    assert_eq!((permits.len(), shape.connections()), (3, 3));
    assert_eq!(hold.as_ref().map(|hold| hold.since), Some(at(0)));
    check(hold, "3 of 3 connections in use", None);
    assert_eq!((shape.awake(at(1)), shape.next_change(at(1))), (None, None));
    shape.closed(permits.remove(0), at(2));
    assert_eq!(shape.next_change(at(2)), Some(at(2)));
    assert_eq!((shape.awake(at(2)), shape.awake(at(2))), (Some(route("mx")), None), "told once");
    assert_eq!(open(&mut shape, "mx", &provider, at(2), 1).0.len(), 1);
}

#[test]
fn the_window_limits_before_the_policy_does_and_growth_wakes() {
    let mut shape = Shape::new(100);
    let (mut permits, hold) = open(&mut shape, "mx", &plain(), at(0), 99);
    assert_eq!(permits.len(), 5);
    check(hold, "5 of 5 connections of the concurrency window in use", None);
    for _ in 0..5 {
        assert_eq!(shape.awake(at(0)), None);
        shape.succeeded(&permits[0], &plain());
    }
    assert_eq!(shape.awake(at(0)), Some(route("mx")));
    permits.extend(open(&mut shape, "mx", &plain(), at(0), 99).0);
    assert_eq!((permits.len(), shape.view(&SiteName::new("mx"), &plain(), at(0)).window), (6, 6));
}

#[test]
fn a_failed_cohort_rests_and_time_wakes_it() {
    let mut shape = Shape::new(100);
    let (permits, _) = open(&mut shape, "mx", &plain(), at(0), 5);
    for permit in permits {
        shape.failed(&permit, &plain(), at(1));
        shape.closed(permit, at(1));
    }
    let (none, hold) = open(&mut shape, "mx", &plain(), at(2), 5);
    assert_eq!((none.len(), hold.as_ref().map(|hold| hold.since)), (0, Some(at(1))));
    check(hold.clone(), "resting after a failed cohort of connections", Some(at(61)));
    assert_eq!(shape.view(&SiteName::new("mx"), &plain(), at(2)), View { connections: 0, window: 1, held: hold });
    // A close may have told it early; asking again is answered as before.
    while let Some(route) = shape.awake(at(2)) {
        assert!(shape.connection(&route, &plain(), at(2)).is_err());
    }
    assert_eq!((shape.next_change(at(2)), shape.awake(at(60))), (Some(at(61)), None));
    assert_eq!(shape.awake(at(61)), Some(route("mx")));
    let (mut permits, hold) = open(&mut shape, "mx", &plain(), at(61), 5);
    assert_eq!(permits.len(), 1);
    check(hold, "1 of 1 connections of the concurrency window in use", None);
    let probe = permits.remove(0);
    shape.failed(&probe, &plain(), at(70));
    shape.closed(probe, at(70));
    check(open(&mut shape, "mx", &plain(), at(71), 1).1, "resting after 2 failed cohorts of connections in a row", Some(at(190)));
}

#[test]
fn a_success_on_an_old_connection_ends_the_rest() {
    let mut shape = Shape::new(100);
    let (mut permits, _) = open(&mut shape, "mx", &plain(), at(0), 5);
    let good = permits.remove(0);
    for _ in 0..2 {
        for permit in &permits {
            shape.failed(permit, &plain(), at(1));
        }
    }
    assert!(shape.connection(&route("mx"), &plain(), at(2)).is_err());
    shape.succeeded(&good, &plain());
    assert_eq!(shape.awake(at(2)), Some(route("mx")));
}

#[test]
fn messages_in_one_connection_and_in_a_time() {
    let provider = Provider { messages_per_connection_max: 2, message_rate: Some(per_minute(10)), ..plain() };
    let mut shape = Shape::new(100);
    let mut permit = shape.connection(&route("mx"), &provider, at(0)).unwrap();
    assert_eq!(shape.message(&mut permit, &provider, at(0)), Ok(()));
    let hold = shape.message(&mut permit, &provider, at(1)).unwrap_err();
    assert_eq!(hold.since, at(0));
    check(Some(hold), "message rate 10/min of provider default reached", Some(at(6)));
    check(shape.connection(&route("mx"), &provider, at(1)).err(), "message rate 10/min of provider default reached", Some(at(6)));
    assert_eq!(shape.message(&mut permit, &provider, at(6)), Ok(()));
    check(shape.message(&mut permit, &provider, at(12)).err(), "this connection has carried its 2 messages", Some(at(12)));
    assert_eq!(permit.messages(), 2);
    shape.closed(permit, at(12));
}

#[test]
fn connections_in_a_time() {
    let provider = Provider { connection_rate: Some(per_minute(2)), ..plain() };
    let mut shape = Shape::new(100);
    let (permits, hold) = open(&mut shape, "mx", &provider, at(0), 5);
    assert_eq!(permits.len(), 1);
    check(hold, "connection rate 2/min of provider default reached", Some(at(30)));
    assert_eq!(open(&mut shape, "mx", &provider, at(30), 5).0.len(), 1);
}

#[test]
fn what_replies_advise() {
    let provider = Provider { name: ProviderName::new("yahoo"), ..plain() };
    let check_advice = |action, sentence: &str, until| {
        let mut shape = Shape::new(100);
        let mut permit = shape.connection(&route("mx"), &provider, at(0)).unwrap();
        shape.advise(&permit, action, at(10));
        let hold = shape.message(&mut permit, &provider, at(11)).err();
        let hold = hold.or_else(|| shape.connection(&route("mx"), &provider, at(11)).err());
        assert_eq!(hold.as_ref().map(|hold| hold.since), Some(at(10)));
        check(hold, sentence, Some(until));
        shape.closed(permit, at(11));
        let other = shape.connection(&route("other"), &provider, at(11));
        assert!(other.is_ok(), "other Sites are not meant");
        let again = shape.connection(&route("mx"), &provider, until);
        assert!(again.is_ok(), "{sentence} ends");
    };
    check_advice(RuleAction::Rest(secs(100)), "resting because of a reply of provider yahoo", at(110));
    check_advice(RuleAction::OneConnection(secs(100)), "one connection only for now, because of a reply of provider yahoo", at(110));
    check_advice(RuleAction::Slow(per_minute(1), secs(600)), "slowed to 1/min because of a reply of provider yahoo", at(70));
    check_advice(RuleAction::Slow(per_minute(1), secs(20)), "slowed to 1/min because of a reply of provider yahoo", at(30));
}

#[test]
fn the_longer_rest_and_the_slower_rate_rule() {
    let mut shape = Shape::new(100);
    let permit = shape.connection(&route("mx"), &plain(), at(0)).unwrap();
    shape.advise(&permit, RuleAction::Rest(secs(100)), at(0));
    shape.advise(&permit, RuleAction::Rest(secs(5)), at(1));
    check(shape.connection(&route("mx"), &plain(), at(2)).err(), "resting because of a reply of provider default", Some(at(100)));
    shape.advise(&permit, RuleAction::Slow(per_minute(1), secs(1000)), at(0));
    shape.advise(&permit, RuleAction::Slow(per_minute(30), secs(1000)), at(100));
    let mut permit = permit;
    assert_eq!(shape.message(&mut permit, &plain(), at(100)), Ok(()));
    check(shape.message(&mut permit, &plain(), at(101)).err(), "slowed to 1/min because of a reply of provider default", Some(at(160)));
    shape.advise(&permit, RuleAction::Bounce, at(101));
    shape.advise(&permit, RuleAction::Defer, at(101));
    assert_eq!(shape.message(&mut permit, &plain(), at(1100)), Ok(()), "all advice ends");
    assert_eq!(shape.message(&mut permit, &plain(), at(1100)), Ok(()));
}

#[test]
fn sites_of_a_shared_provider_share_and_take_turns() {
    let google = shared(2);
    let mut shape = Shape::new(100);
    let (mut busy, hold) = open(&mut shape, "busy", &google, at(0), 9);
    check(hold, "2 of 2 connections of provider google in use", None);
    for site in ["b", "c"] {
        assert!(shape.connection(&route(site), &google, at(1)).is_err());
    }
    shape.closed(busy.remove(0), at(2));
    // `busy` asked first, and waits first; then it stands last.
    assert_eq!(shape.awake(at(2)), Some(route("busy")));
    assert_eq!(shape.awake(at(2)), None, "one connection is free, and one was called");
    let again = shape.connection(&route("busy"), &google, at(2)).unwrap();
    check(shape.connection(&route("busy"), &google, at(2)).err(), "2 of 2 connections of provider google in use", None);
    shape.closed(again, at(3));
    check(shape.connection(&route("busy"), &google, at(3)).err(), "others have waited longer for a connection of provider google", None);
    assert_eq!(shape.awake(at(3)), Some(route("b")));
    check(shape.connection(&route("busy"), &google, at(3)).err(), "others have waited longer for a connection of provider google", None);
    let b = shape.connection(&route("b"), &google, at(3)).unwrap();
    shape.closed(busy.remove(0), at(4));
    assert_eq!(shape.awake(at(4)), Some(route("c")));
    let c = shape.connection(&route("c"), &google, at(4)).unwrap();
    assert_eq!(shape.awake(at(4)), None);
    shape.closed(b, at(5));
    assert_eq!(shape.awake(at(5)), Some(route("busy")));
    shape.closed(c, at(5));
}

#[test]
fn who_is_called_and_does_not_come_keeps_nobody_waiting_for_long() {
    let google = shared(1);
    let mut shape = Shape::new(100);
    let (mut permits, _) = open(&mut shape, "a", &google, at(0), 1);
    for site in ["gone", "polite", "c"] {
        assert!(shape.connection(&route(site), &google, at(0)).is_err());
    }
    shape.closed(permits.remove(0), at(1));
    assert_eq!((shape.awake(at(1)), shape.awake(at(1))), (Some(route("gone")), None));
    assert_eq!(shape.next_change(at(1)), Some(at(2)));
    assert_eq!(shape.awake(at(2)), Some(route("polite")));
    shape.decline(&route("polite"), at(2));
    assert_eq!((shape.next_change(at(2)), shape.awake(at(2))), (Some(at(2)), Some(route("c"))));
    assert!(shape.connection(&route("c"), &google, at(2)).is_ok());
}

#[test]
fn the_relay_as_a_whole_has_a_limit_and_a_line() {
    let mut shape = Shape::new(2);
    let first = shape.connection(&route("a"), &plain(), at(0)).unwrap();
    let second = shape.connection(&route("b"), &plain(), at(0)).unwrap();
    check(shape.connection(&route("c"), &plain(), at(1)).err(), "all 2 connections out are in use", None);
    assert_eq!(shape.view(&SiteName::new("new"), &plain(), at(1)).held.map(|hold| hold.since), Some(at(0)));
    shape.closed(first, at(2));
    check(shape.connection(&route("a"), &plain(), at(2)).err(), "others have waited longer for a connection out", None);
    assert_eq!(shape.awake(at(2)), Some(route("c")));
    assert!(shape.connection(&route("c"), &plain(), at(2)).is_ok());
    shape.closed(second, at(3));
    assert_eq!(shape.awake(at(3)), Some(route("a")));
    shape.set_connections_max(1);
    check(shape.connection(&route("a"), &plain(), at(3)).err(), "all 1 connections out are in use", None);
}

#[test]
fn while_somebody_has_none_nobody_keeps_more_than_its_part() {
    let mut shape = Shape::new(4);
    let greedy = Provider { connections_max: 10, window_initial: 10, ..plain() };
    let (mut slow, hold) = open(&mut shape, "slow", &greedy, at(0), 10);
    assert_eq!(
        (slow.len(), hold.map(|hold| hold.reason)),
        (2, Some(HoldReason::Unproven)),
        "half of four is in use, and nothing was delivered"
    );
    shape.succeeded(&slow[0], &greedy);
    let (more, hold) = open(&mut shape, "slow", &greedy, at(0), 10);
    slow.extend(more);
    assert_eq!((slow.len(), hold.map(|hold| hold.reason)), (4, Some(HoldReason::Total { max: 4 })));
    shape.decline(&route("slow"), at(0));
    assert!(!shape.should_yield(&slow[0], at(3)), "nobody else wants any");
    assert!(shape.connection(&route("b"), &plain(), at(1)).is_err());
    assert!(shape.should_yield(&slow[0], at(3)), "half of four is its part");
    shape.closed(slow.remove(0), at(2));
    assert_eq!(shape.awake(at(2)), Some(route("b")));
    check(
        shape.connection(&route("slow"), &greedy, at(2)).err(),
        "3 connections are open, its part of the relay's is 2, and others have none yet",
        None,
    );
    let b = shape.connection(&route("b"), &plain(), at(2)).unwrap();
    assert!(!shape.should_yield(&slow[0], at(3)), "all have some");
    for site in ["c", "d", "e", "f", "g"] {
        assert!(shape.connection(&route(site), &plain(), at(3)).is_err());
    }
    assert!(shape.should_yield(&slow[0], at(3)) && !shape.should_yield(&b, at(3)), "one each is the least");
    for permit in slow {
        shape.closed(permit, at(4));
    }
    let told: Vec<Route> = std::iter::from_fn(|| shape.awake(at(4))).take(3).collect();
    assert_eq!(told, ["slow", "c", "d"].map(route), "who lost its own is told at its own door, and the others in their order");
    shape.closed(b, at(4));
}

#[test]
fn who_answers_late_gets_no_second_connection_while_they_are_scarce() {
    let mut shape = Shape::new(8);
    let (first, hold) = open(&mut shape, "quick", &plain(), at(0), 9);
    assert_eq!((first.len(), hold.map(|hold| hold.reason)), (4, Some(HoldReason::Unproven)));
    let tarpit = shape.connection(&route("tarpit"), &plain(), at(0)).unwrap();
    check(
        shape.connection(&route("tarpit"), &plain(), at(1)).err(),
        "its first connection has not delivered anything yet, and half of the relay's connections are in use",
        None,
    );
    shape.succeeded(&first[0], &plain());
    assert!(shape.connection(&route("quick"), &plain(), at(1)).is_ok());
    // A failed cohort takes the proof away.
    let careful = Provider { window_initial: 1, ..plain() };
    shape.succeeded(&tarpit, &careful);
    shape.failed(&tarpit, &careful, at(2));
    assert!(shape.connection(&route("tarpit"), &plain(), at(1_000_000)).is_err());
}

#[test]
fn one_connection_for_a_shared_provider_is_handed_on_in_order() {
    let google = shared(5);
    let mut shape = Shape::new(100);
    let a = shape.connection(&route("a"), &google, at(0)).unwrap();
    shape.advise(&a, RuleAction::OneConnection(secs(100)), at(0));
    for site in ["b", "c"] {
        assert!(shape.connection(&route(site), &google, at(0)).is_err());
    }
    assert_eq!((shape.awake(at(0)), shape.next_change(at(0))), (None, Some(at(100))));
    shape.closed(a, at(1));
    assert_eq!((shape.awake(at(1)), shape.awake(at(1))), (Some(route("b")), None));
    let b = shape.connection(&route("b"), &google, at(1)).unwrap();
    assert_eq!((shape.awake(at(99)), shape.awake(at(100))), (None, Some(route("c"))));
    shape.closed(b, at(100));
}

#[test]
fn a_route_without_memory_is_forgotten_and_one_with_memory_later() {
    let mut shape = Shape::new(1_000_000);
    for nth in 0..1_000 {
        let permit = shape.connection(&route(&format!("mx{nth}")), &plain(), at(0)).unwrap();
        shape.succeeded(&permit, &plain());
        shape.closed(permit, at(0));
    }
    assert_eq!(shape.remembered(), 0);
    let permit = shape.connection(&route("learned"), &plain(), at(0)).unwrap();
    shape.failed(&permit, &plain(), at(0));
    shape.closed(permit, at(0));
    let limited = Provider { connection_rate: Some(per_minute(1)), ..plain() };
    let permit = shape.connection(&route("limited"), &limited, at(0)).unwrap();
    shape.closed(permit, at(0));
    for (now, remembered) in [(59, 2), (60, 1), (599, 1), (600, 0)] {
        assert_eq!((shape.awake(at(now)), shape.remembered()), (None, remembered), "{now}");
    }
}

#[test]
fn memory_is_bounded() {
    let mut shape = Shape::new(1_000_000);
    let brittle = Provider { window_initial: 1, ..plain() };
    for nth in 0..IDLE_ROUTES_MAX + 100 {
        let permit = shape.connection(&route(&format!("mx{nth}")), &brittle, at(nth as u64 / 1000)).unwrap();
        shape.failed(&permit, &brittle, at(nth as u64 / 1000));
        shape.closed(permit, at(nth as u64 / 1000));
    }
    assert_eq!(shape.remembered(), IDLE_ROUTES_MAX);
    assert!(shape.connection(&route("mx0"), &brittle, at(30)).is_ok(), "the oldest rest was forgotten");
    let newest = route(&format!("mx{IDLE_ROUTES_MAX}"));
    assert!(shape.connection(&newest, &brittle, at(IDLE_ROUTES_MAX as u64 / 1000)).is_err());
}

#[test]
fn a_reload_that_ends_sharing_counts_open_connections_out_where_they_were_counted_in() {
    let mut shape = Shape::new(100);
    let (permits, _) = open(&mut shape, "mx", &shared(3), at(0), 3);
    let alone = Provider { shared: false, ..shared(3) };
    let (others, _) = open(&mut shape, "mx", &alone, at(0), 3);
    for permit in permits.into_iter().chain(others) {
        shape.closed(permit, at(1));
    }
    assert_eq!((open(&mut shape, "mx", &shared(3), at(2), 9).0.len(), shape.connections()), (3, 3));
}

#[test]
fn sources_are_counted_apart() {
    let provider = Provider { connections_max: 1, ..shared(1) };
    let mut shape = Shape::new(100);
    let site = SiteName::new("mx");
    let from = |source: &str| Route { source: SourceName::new(source), site: site.clone() };
    let first = shape.connection(&from("a"), &provider, at(0)).unwrap();
    let second = shape.connection(&from("b"), &provider, at(0)).unwrap();
    let view = shape.view(&site, &provider, at(0));
    assert_eq!((view.connections, view.window, view.held.is_some()), (2, 2, true));
    shape.closed(first, at(0));
    assert_eq!(shape.view(&site, &provider, at(0)).connections, 1);
    shape.closed(second, at(0));
}

#[test]
fn sites_of_the_same_hosts_count_together_for_each_source() {
    let provider = Provider { connections_max: 3, ..plain() };
    let mut shape = Shape::new(100);
    // The Site that is the hosts alone was first, and counted for itself.
    let (mut whole, _) = open(&mut shape, "mx.a,mx.b", &provider, at(0), 2);
    let (mut pooled, hold) = open(&mut shape, "pool:vip@mx.a,mx.b", &provider, at(0), 9);
    assert_eq!((whole.len(), pooled.len()), (2, 1), "the provider sees three from this Source");
    check(hold, "3 of 3 connections in use", None);
    assert!(shape.connection(&route("bank+pool:vip@mx.a,mx.b"), &provider, at(0)).is_err());
    let elsewhere = Route { source: SourceName::new("b"), ..route("pool:vip@mx.a,mx.b") };
    let other = shape.connection(&elsewhere, &provider, at(0)).expect("another Source is another address");
    assert_eq!(open(&mut shape, "pool:vip@mx.c", &provider, at(0), 9).0.len(), 3, "and so are other hosts");
    // Who waited first gets what the Site of the hosts lets go, and that one stands behind in the line.
    shape.closed(whole.remove(0), at(1));
    assert!(shape.connection(&route("mx.a,mx.b"), &provider, at(1)).is_err());
    assert_eq!(shape.awake(at(1)), Some(route("pool:vip@mx.a,mx.b")));
    pooled.extend(open(&mut shape, "pool:vip@mx.a,mx.b", &provider, at(1), 1).0);
    assert_eq!(pooled.len(), 2);
    shape.closed(pooled.remove(0), at(2));
    assert_eq!(shape.awake(at(2)), Some(route("bank+pool:vip@mx.a,mx.b")));
    shape.decline(&route("bank+pool:vip@mx.a,mx.b"), at(2));
    assert_eq!(shape.awake(at(2)), Some(route("mx.a,mx.b")));
    whole.extend(open(&mut shape, "mx.a,mx.b", &provider, at(2), 1).0);
    assert_eq!((whole.len(), shape.connection(&route("mx.a,mx.b"), &provider, at(2)).is_err()), (2, true));
    for permit in whole.into_iter().chain(pooled).chain([other]) {
        shape.closed(permit, at(3));
    }
    shape.decline(&route("mx.a,mx.b"), at(3));
    assert_eq!(open(&mut shape, "mx.a,mx.b", &provider, at(4), 9).0.len(), 3, "all came back");
}

#[test]
fn what_a_reply_advised_holds_for_all_sites_of_the_hosts() {
    let mut shape = Shape::new(100);
    let permit = shape.connection(&route("mx"), &plain(), at(0)).unwrap();
    assert_eq!(open(&mut shape, "bank@mx", &plain(), at(0), 1).0.len(), 1);
    shape.advise(&permit, RuleAction::Rest(secs(60)), at(1));
    for site in ["mx", "bank@mx", "pool:vip@mx"] {
        check(open(&mut shape, site, &plain(), at(2), 1).1, "resting because of a reply of provider default", Some(at(61)));
    }
}

#[test]
fn what_sites_of_the_same_hosts_share_is_forgotten_when_nobody_needs_it() {
    let rate = per_minute(10);
    let provider = Provider { connection_rate: Some(rate), ..plain() };
    let mut shape = Shape::new(100);
    let whole = shape.connection(&route("mx0"), &provider, at(0)).unwrap();
    for nth in 0..5_000 {
        let now = at(nth * 60);
        if let Ok(permit) = shape.connection(&route(&format!("pool:vip@mx{nth}")), &provider, now) {
            shape.closed(permit, now);
        }
    }
    assert!(shape.shared.len() <= 2_048, "{}", shape.shared.len());
    // One that was in use the whole time is counted as before.
    let one = Provider { connections_max: 1, ..plain() };
    assert!(shape.connection(&route("pool:vip@mx0"), &one, at(400_000)).is_err());
    shape.closed(whole, at(400_000));
    shape.decline(&route("pool:vip@mx0"), at(400_000));
    assert!(shape.connection(&route("mx0"), &one, at(400_010)).is_ok());
}
