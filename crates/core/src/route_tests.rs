use super::*;

use postrider_model::doors::MxRecord;
use proptest::prelude::*;

const TTL: Duration = Duration::from_secs(300);

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

/// `10 mx.example` for each record; `0 .` is the null MX.
fn answer(records: &[&str]) -> MxAnswer {
    let record = |text: &&str| {
        let (preference, host) = text.split_once(' ').unwrap();
        MxRecord { preference: preference.parse().unwrap(), host: (host != ".").then(|| domain(host)) }
    };
    MxAnswer { records: records.iter().map(record).collect(), ttl: TTL }
}

fn tiers(plan: &MxPlan) -> Vec<Vec<&str>> {
    plan.tiers.iter().map(|tier| tier.iter().map(Domain::as_str).collect()).collect()
}

fn check(records: &[&str], site: &str, expected: &[&[&str]]) {
    let plan = hosts(&domain("a.example"), Ok(&answer(records)), &[domain("us.example")]).unwrap();
    assert_eq!(
        (plan.site.as_str(), tiers(&plan), plan.implicit, plan.ttl),
        (site, expected.iter().map(|t| t.to_vec()).collect(), false, TTL)
    );
}

fn refused(mx: Result<&MxAnswer, &DnsTrouble>) -> RouteTrouble {
    hosts(&domain("a.example"), mx, &[domain("us.example")]).unwrap_err()
}

#[test]
fn hosts_come_by_preference_and_each_once() {
    check(
        &["20 b.example", "10 a.example", "10 c.example"],
        "a.example,b.example,c.example",
        &[&["a.example", "c.example"], &["b.example"]],
    );
    check(&["10 MX.Example", "20 mx.example", "5 mx.EXAMPLE."], "mx.example", &[&["mx.example"]]);
    check(&["0 mx.example"], "mx.example", &[&["mx.example"]]);
    check(&["65535 z.example", "0 y.example"], "y.example,z.example", &[&["y.example"], &["z.example"]]);
}

#[test]
fn the_order_of_an_answer_makes_no_other_site() {
    let forward = answer(&["10 a.example", "10 b.example", "20 c.example"]);
    let backward = answer(&["20 c.example", "10 b.example", "10 a.example"]);
    assert_eq!(hosts(&domain("x.example"), Ok(&forward), &[]), hosts(&domain("y.example"), Ok(&backward), &[]));
}

#[test]
fn null_mx() {
    assert_eq!(refused(Ok(&answer(&["0 ."]))), RouteTrouble::NullMx);
    assert_eq!(refused(Ok(&answer(&["10 .", "0 ."]))), RouteTrouble::NullMx);
    // RFC 7505 §3: a null MX beside others is a mistake of theirs; it is passed over.
    check(&["0 .", "10 mx.example"], "mx.example", &[&["mx.example"]]);
}

#[test]
fn a_domain_without_mx_stands_for_itself() {
    let no_data = DnsTrouble::NoData { ttl: TTL };
    for mx in [Err(&no_data), Ok(&answer(&[]))] {
        let plan = hosts(&domain("a.example"), mx, &[]).unwrap();
        assert_eq!((plan.site.as_str(), tiers(&plan), plan.implicit, plan.ttl), ("a.example", vec![vec!["a.example"]], true, TTL));
    }
    let plan = hosts(&domain("bücher.example"), Err(&no_data), &[]).unwrap();
    assert_eq!((plan.site.as_str(), tiers(&plan)), ("xn--bcher-kva.example", vec![vec!["xn--bcher-kva.example"]]));
}

#[test]
fn absence_and_failure_are_kept_apart() {
    assert_eq!(refused(Err(&DnsTrouble::NoName { ttl: TTL })), RouteTrouble::NoSuchDomain);
    assert_eq!(refused(Err(&DnsTrouble::Failed("SERVFAIL".into()))), RouteTrouble::DnsFailed("SERVFAIL".into()));
    let (failed, no_data, no_name) =
        (DnsTrouble::Failed("timed out".into()), DnsTrouble::NoData { ttl: TTL }, DnsTrouble::NoName { ttl: TTL });
    for (implicit, troubles, expected) in [
        (false, vec![&no_data, &no_name], RouteTrouble::NoMailHost),
        (false, vec![&no_name, &failed, &no_data], RouteTrouble::DnsFailed("timed out".into())),
        (false, vec![], RouteTrouble::NoMailHost),
        (true, vec![&no_data], RouteTrouble::NoMailHost),
        (true, vec![&no_name], RouteTrouble::NoSuchDomain),
        (true, vec![&failed], RouteTrouble::DnsFailed("timed out".into())),
    ] {
        assert_eq!(no_address(implicit, troubles), expected);
    }
}

#[test]
fn we_do_not_send_to_ourselves() {
    check(&["10 best.example", "20 us.example", "20 peer.example", "30 worse.example"], "best.example", &[&["best.example"]]);
    assert_eq!(refused(Ok(&answer(&["10 us.example", "20 b.example"]))), RouteTrouble::Loop);
    assert_eq!(refused(Ok(&answer(&["10 US.example", "10 b.example"]))), RouteTrouble::Loop);
    let no_data = DnsTrouble::NoData { ttl: TTL };
    assert_eq!(hosts(&domain("us.example"), Err(&no_data), &[domain("us.example")]), Err(RouteTrouble::Loop));
    // Our name in U-labels, theirs in A-labels.
    let answer = answer(&["10 xn--bcher-kva.example"]);
    assert_eq!(hosts(&domain("a.example"), Ok(&answer), &[domain("bücher.example")]), Err(RouteTrouble::Loop));
}

#[test]
fn a_flood_of_records_is_cut_at_the_worst() {
    let records: Vec<String> = (0..1000).rev().map(|n| format!("{n} mx{n}.example")).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let plan = hosts(&domain("a.example"), Ok(&answer(&records)), &[]).unwrap();
    assert_eq!((plan.tiers.len(), plan.tiers[0][0].as_str(), plan.tiers[31][0].as_str()), (MX_RECORDS_MAX, "mx0.example", "mx31.example"));
    // The same host a thousand times does not use the places up.
    let doubles: Vec<&str> = vec!["5 a.example"; 1000].into_iter().chain(["9 b.example"]).collect();
    check(&doubles, "a.example,b.example", &[&["a.example"], &["b.example"]]);
}

#[test]
fn trouble_is_said_with_the_domain() {
    for (trouble, text) in [
        (RouteTrouble::NoSuchDomain, "the domain a.example does not exist"),
        (RouteTrouble::NullMx, "the domain a.example takes no mail (null MX)"),
        (RouteTrouble::NoMailHost, "the domain a.example has no mail host"),
        (RouteTrouble::Loop, "mail for a.example loops back to this host"),
        (RouteTrouble::DnsFailed("refused".into()), "DNS look-up of a.example failed: refused"),
    ] {
        assert_eq!(trouble.trouble(&domain("a.example")).to_string(), text);
    }
}

#[test]
fn equals_share_the_load_and_tiers_stay_apart() {
    let answer = answer(&["10 a.example", "10 b.example", "10 c.example", "20 z.example"]);
    let plan = hosts(&domain("x.example"), Ok(&answer), &[]).unwrap();
    let mut firsts: BTreeMap<String, u32> = BTreeMap::new();
    for random in 0..3000u64 {
        let order = order(&plan, random);
        assert_eq!((order.len(), order[3].as_str()), (4, "z.example"));
        *firsts.entry(order[0].to_string()).or_default() += 1;
    }
    assert_eq!(firsts.len(), 3);
    assert!(firsts.values().all(|count| (900..1100).contains(count)), "{firsts:?}");
    assert_eq!(order(&plan, 7), order(&plan, 7));
}

#[test]
fn literals_are_sites_of_their_own() {
    assert_eq!(literal_site("192.0.2.1".parse().unwrap()).as_str(), "[192.0.2.1]");
    assert_eq!(literal_site("2001:db8::1".parse().unwrap()).as_str(), "[IPv6:2001:db8::1]");
}

fn check_addresses(v6_first: bool, found: &str, expected: &str) {
    let found = found.split_whitespace().map(|address| address.parse().unwrap()).collect();
    let ordered: Vec<String> = addresses(v6_first, found).iter().map(IpAddr::to_string).collect();
    assert_eq!(ordered.join(" "), expected);
}

#[test]
fn families_take_turns() {
    check_addresses(true, "192.0.2.1 192.0.2.2 2001:db8::1 192.0.2.3", "2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3");
    check_addresses(false, "192.0.2.1 2001:db8::1 2001:db8::2", "192.0.2.1 2001:db8::1 2001:db8::2");
    check_addresses(false, "2001:db8::1", "2001:db8::1");
    check_addresses(true, "", "");
}

#[test]
fn what_nobody_answers_at_is_dropped() {
    check_addresses(true, "0.0.0.0 0.1.2.3 :: 224.0.0.1 239.1.1.1 ff02::1 255.255.255.255 240.0.0.1 ::ffff:0.0.0.0", "");
    check_addresses(true, "127.0.0.1 10.0.0.1 ::1", "::1 127.0.0.1 10.0.0.1");
    check_addresses(true, "::ffff:192.0.2.1 192.0.2.1", "192.0.2.1");
}

proptest! {
    #[test]
    fn addresses_are_bounded_unique_and_taken_from_what_was_found(v6_first in any::<bool>(), found in proptest::collection::vec(any::<IpAddr>(), 0..60)) {
        let ordered = addresses(v6_first, found.clone());
        prop_assert!(ordered.len() <= ADDRESSES_PER_ATTEMPT_MAX);
        prop_assert_eq!(ordered.iter().collect::<BTreeSet<_>>().len(), ordered.len());
        prop_assert!(ordered.iter().all(|address| found.iter().any(|f| f.to_canonical() == *address)));
    }

    #[test]
    fn a_plan_holds_each_host_once_and_names_all(records in proptest::collection::vec((0u16..5, 0u8..60), 1..80), random in any::<u64>()) {
        let records = records.into_iter().map(|(preference, host)| MxRecord { preference, host: Some(domain(&format!("mx{host}.example"))) });
        let answer = MxAnswer { records: records.collect(), ttl: TTL };
        let plan = hosts(&domain("a.example"), Ok(&answer), &[]).unwrap();
        let mut order: Vec<String> = order(&plan, random).iter().map(Domain::to_string).collect();
        prop_assert!(!order.is_empty() && order.len() <= MX_RECORDS_MAX && plan.tiers.iter().all(|tier| !tier.is_empty()));
        order.sort();
        prop_assert_eq!(order.join(","), plan.site.as_str());
        let length = order.len();
        order.dedup();
        prop_assert_eq!(order.len(), length);
    }
}
