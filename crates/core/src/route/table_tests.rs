use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postrider_model::Timestamp;
use postrider_model::policy::{DomainMatch, LocalDomain, SenderMatch, TlsLevel};
use postrider_smtp::{Domain, Mailbox};

use super::*;

fn set(text: &str) -> DomainMatch {
    match text {
        "*" => DomainMatch::Every,
        suffix if suffix.starts_with('.') => DomainMatch::Suffix(suffix.to_owned()),
        name => DomainMatch::Exact(name.to_owned()),
    }
}

fn senders(text: &str) -> SenderMatch {
    match text {
        "<>" => SenderMatch::Null,
        mailbox if mailbox.contains('@') => SenderMatch::Mailbox(Mailbox::parse(mailbox).unwrap()),
        domain => SenderMatch::Domain(set(domain)),
    }
}

/// `to=a.example,.b.example from=<> tenant=shop stream=news => NAME`: it goes to a maildir of that name.
fn rule(text: &str) -> Rule {
    let (conditions, target) = text.rsplit_once("=> ").unwrap();
    let mut rule = Rule {
        name: target.to_owned(),
        recipients: Vec::new(),
        senders: Vec::new(),
        tenants: Vec::new(),
        streams: Vec::new(),
        target: if target == "mx" { Target::Mx } else { Target::Maildir(target.to_owned()) },
        tls: TlsLevel::Opportunistic,
        tls13_only: false,
        pool: None,
    };
    for condition in conditions.split_whitespace() {
        let (key, values) = condition.split_once('=').unwrap();
        for value in values.split(',') {
            match key {
                "to" => rule.recipients.push(set(value)),
                "from" => rule.senders.push(senders(value)),
                "tenant" => rule.tenants.push(value.into()),
                "stream" => rule.streams.push(value.into()),
                _ => panic!("{key}"),
            }
        }
    }
    rule
}

fn routing(rules: &[&str]) -> Routing {
    Routing { rules: rules.iter().map(|text| rule(text)).collect(), ..Routing::default() }
}

fn said(target: &Target) -> String {
    match target {
        Target::Maildir(name) => name.clone(),
        Target::Mx => "mx".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// What the host decides; what the mail decides without its sender, and with it.
fn check(routing: &Routing, to: &str, from: &str, (tenant, stream): (&str, &str), expected: [&str; 3]) {
    let host = Host::parse(to).unwrap();
    let by_host = match by_host(routing, &host) {
        ByHost::All(way) => said(way.target),
        ByHost::Depends => "depends".to_owned(),
    };
    let sender = ReversePath::parse(from).unwrap();
    let (tenant, stream) = (tenant.into(), stream.into());
    let mail = |sender| {
        by_mail(routing, &host, &Mail { message: None, tenant: &tenant, stream: &stream, sender })
            .map_or("sender?".to_owned(), |way| said(way.target))
    };
    assert_eq!([by_host, mail(None), mail(Some(&sender))], expected, "{to} {from} {tenant} {stream}");
}

#[test]
fn the_first_rule_that_matches_counts() {
    let rules = routing(&[
        "to=a.example => a",
        "to=.b.example => b",
        "to=xn--bcher-kva.example => books",
        "to=a.example => never",
        "to=.org,c.example => c",
    ]);
    for (to, goes) in [
        ("a.example", "a"),
        ("A.Example", "a"),
        ("x.a.example", "mx"),
        ("b.example", "mx"),
        ("x.b.example", "b"),
        ("y.x.b.example", "b"),
        ("notb.example", "mx"),
        ("bücher.example", "books"),
        ("xn--bcher-kva.example", "books"),
        ("c.example", "c"),
        ("x.org", "c"),
        ("[192.0.2.1]", "mx"),
    ] {
        check(&rules, to, "<s@s.example>", ("t", "s"), [goes, goes, goes]);
    }
}

#[test]
fn a_star_takes_all_and_a_rule_without_recipients_too() {
    for all in ["to=* => all", "=> all"] {
        for to in ["a.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"] {
            check(&routing(&[all]), to, "<>", ("t", "s"), ["all", "all", "all"]);
        }
    }
}

#[test]
fn whose_mail_it_is_decides_where_a_rule_asks() {
    let rules =
        routing(&["to=a.example tenant=shop stream=news => one", "to=a.example,b.example tenant=shop => two", "tenant=bank => three"]);
    for (to, whose, goes) in [
        ("a.example", ("shop", "news"), "one"),
        ("a.example", ("shop", "mail"), "two"),
        ("b.example", ("shop", "news"), "two"),
        ("b.example", ("bank", "news"), "three"),
        ("c.example", ("shop", "news"), "mx"),
    ] {
        check(&rules, to, "<>", whose, ["depends", goes, goes]);
    }
}

#[test]
fn the_sender_is_looked_at_only_where_it_matters() {
    let rules = routing(&["tenant=shop from=a@s.example,.t.example,<> => one", "to=b.example => two", "from=* => three"]);
    for (from, goes) in
        [("<A@S.example>", "one"), ("<b@s.example>", "three"), ("<x@u.t.example>", "one"), ("<x@t.example>", "three"), ("<>", "one")]
    {
        check(&rules, "a.example", from, ("shop", "s"), ["depends", "sender?", goes]);
    }
    check(&rules, "b.example", "<x@x.example>", ("bank", "s"), ["depends", "two", "two"]);
    // A report has no sender, so "every sender" is not it: `<>` says that it is.
    check(&rules, "a.example", "<>", ("bank", "s"), ["depends", "sender?", "mx"]);
}

#[test]
fn a_rule_that_asks_more_splits_no_domain_it_is_not_for() {
    let rules = routing(&["to=a.example tenant=shop => one", "to=* => rest"]);
    check(&rules, "b.example", "<>", ("shop", "s"), ["rest", "rest", "rest"]);
    check(&rules, "a.example", "<>", ("bank", "s"), ["depends", "rest", "rest"]);
}

#[test]
fn local_domains_come_first() {
    let domain = LocalDomain {
        name: Domain::parse("here.example").unwrap(),
        mailboxes: BTreeSet::new(),
        aliases: BTreeMap::new(),
        catch_all: None,
        delimiter: None,
        target: Target::Maildir("here".to_owned()),
    };
    let rules = Routing { local: BTreeMap::from([("here.example".into(), Arc::new(domain))]), ..routing(&["tenant=shop => away"]) };
    check(&rules, "Here.example", "<>", ("shop", "s"), ["here", "here", "here"]);
    check(&rules, "x.here.example", "<>", ("shop", "s"), ["depends", "away", "away"]);
}

#[test]
fn what_a_person_sends_another_way_goes_before_the_rules() {
    let id = |ms| MessageId::new(Timestamp::from_millis(ms), [ms as u8; 10]);
    let detour = |text: &str, messages: &[MessageId], to: Option<u64>| Detour {
        rule: rule(text),
        messages: Arc::new(messages.iter().copied().collect()),
        accepted_to: to.map(Timestamp::from_millis),
    };
    let goes = |detours: Vec<Detour>, to: &str, message: Option<MessageId>| {
        let rules = Routing { detours, ..routing(&["to=a.example,b.example => usual"]) };
        let (host, sender) = (Host::parse(to).unwrap(), ReversePath::parse("<s@s.example>").unwrap());
        let mail = Mail { message, tenant: &"t".into(), stream: &"s".into(), sender: Some(&sender) };
        let way = by_mail(&rules, &host, &mail).map(|way| said(way.target));
        if let ByHost::All(all) = by_host(&rules, &host) {
            assert_eq!(Some(said(all.target)), way, "{to}");
        }
        way.unwrap()
    };
    let (old, new) = (Some(id(1_000)), Some(id(2_000)));
    let only_old = || vec![detour("to=a.example => by-hand", &[], Some(1_500))];
    for (to, message, expected) in
        [("a.example", old, "by-hand"), ("a.example", new, "usual"), ("a.example", None, "usual"), ("b.example", old, "usual")]
    {
        assert_eq!(goes(only_old(), to, message), expected, "{to} {message:?}");
    }
    let named = || vec![detour("to=a.example,b.example => by-hand", &[id(2_000)], None)];
    for (message, expected) in [(old, "usual"), (new, "by-hand"), (None, "usual")] {
        assert_eq!(goes(named(), "b.example", message), expected);
    }
    let all = || vec![detour("from=s.example => newest", &[], None), detour("=> older", &[], None)];
    for message in [old, None] {
        assert_eq!(goes(all(), "c.example", message), "newest");
    }
}

#[test]
fn a_rule_with_a_pool_goes_before_a_streams_pool_and_that_before_all_sources() {
    let pool = |name: &str| Arc::new(Pool { name: name.to_owned(), sources: vec![("a".into(), 1)] });
    let (vip, bank) = (pool("vip"), pool("bank"));
    let routing = Routing { pools: BTreeMap::from([("vip".to_owned(), vip.clone())]), ..Routing::default() };
    let named = |text: &str, pool: Option<&Arc<Pool>>| Rule { pool: pool.cloned(), ..rule(text) };
    let smart = Rule { target: Target::SmartHosts(Vec::new()), ..named("=> smart", None) };
    let (plain, pooled, here) = (named("=> mx", None), named("=> mx", Some(&bank)), named("=> here", None));
    for (rule, stream_pool, expected) in [
        (None, None, Sending::Any),
        (Some(&plain), None, Sending::Any),
        (Some(&pooled), None, Sending::ByRule(&bank)),
        (None, Some("vip"), Sending::ByStream(&vip)),
        (Some(&plain), Some("vip"), Sending::ByStream(&vip)),
        (Some(&smart), Some("vip"), Sending::ByStream(&vip)),
        (Some(&pooled), Some("vip"), Sending::ByRule(&bank)),
        (Some(&pooled), Some("gone"), Sending::ByRule(&bank)),
        (None, Some("gone"), Sending::Missing("gone")),
        // Nothing leaves the house.
        (Some(&here), Some("vip"), Sending::Any),
        (Some(&here), Some("gone"), Sending::Any),
    ] {
        let way = rule.map_or(TO_MX, way);
        assert_eq!(sending(&routing, &way, stream_pool), expected, "{rule:?} {stream_pool:?}");
        let asks = !matches!(expected, Sending::ByRule(_)) && rule.is_none_or(|rule| !matches!(rule.target, Target::Maildir(_)));
        assert_eq!(way.is_open_to_pools(), asks, "{rule:?}");
    }
}
