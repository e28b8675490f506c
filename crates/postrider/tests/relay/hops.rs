//! Next hops by rule: smart hosts, their limits, and what is never dialled.

use std::net::TcpListener;

use crate::harness::{Folder, Hop, Relay, Session, config};

/// A smart host on loopback, as its section.
fn smart_host(name: &str, port: u16, more: &str) -> String {
    format!("[[smart_host]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n{more}\n")
}

fn route(name: &str, keys: &str) -> String {
    format!("[[route]]\nname = \"{name}\"\n{keys}\n")
}

fn takes_all() -> Hop {
    Hop::open(|_| None)
}

/// A port where nobody listens.
pub fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends one mail; its id.
fn send(relay: &Relay, from: &str, to: &str, text: &str) -> String {
    let reply = Session::log_in(relay.address("submission")).send(from, to, &format!("Subject: {text}\r\n\r\n{text}"));
    reply.trim_end().rsplit(' ').next().unwrap().to_owned()
}

/// Asks until the answer holds `part`.
pub fn explained(folder: &Folder, id: &str, part: &str) -> String {
    let mut said = String::new();
    for _ in 0..2_000 {
        said = folder.said(&["explain", id]);
        if said.contains(part) {
            return said;
        }
    }
    panic!("{part:?} is not said, but: {said}");
}

#[test]
fn mail_of_one_domain_goes_by_its_sender_its_stream_and_its_recipient() {
    let (one, two, rest) = (takes_all(), takes_all(), takes_all());
    let hosts = [("one", one.port), ("two", two.port), ("rest", rest.port)].map(|(name, port)| smart_host(name, port, "")).concat();
    let routes = [
        route("boss", "recipient_domain = [\"shop.example\"]\nsender = [\"boss@a.example\", \".sub.example\"]\nto = \"one\""),
        route("news", "recipient_domain = [\"shop.example\"]\nstream = [\"default\"]\nsender = [\"news@a.example\"]\nto = [\"two\"]"),
        route("rest", "recipient_domain = [\"*\"]\nto = \"rest\""),
    ]
    .concat();
    let mut relay = Relay::start(&format!("{}{hosts}{routes}", config(1)));
    for (from, to, hop) in [
        ("boss@a.example", "x@shop.example", &one),
        ("news@a.example", "x@shop.example", &two),
        ("else@a.example", "x@shop.example", &rest),
        ("boss@x.sub.example", "x@shop.example", &one),
        ("boss@a.example", "x@other.example", &rest),
        ("", "x@[192.0.2.1]", &rest),
        ("Boss@A.example", "y@SHOP.example", &one),
    ] {
        send(&relay, from, to, "by rule");
        assert!(hop.take().contains("by rule"), "{from} {to}");
    }
    relay.mail.wait("delivered");
}

#[test]
fn the_next_smart_host_is_tried_when_one_is_down_and_a_reload_reaches_what_waits() {
    let (up, later) = (takes_all(), takes_all());
    let dead = smart_host("dead", closed_port(), "");
    let with = |more: &str| format!("{}{dead}{}{}{more}", config(1), smart_host("up", up.port, ""), smart_host("later", later.port, ""));
    let relay = Relay::start(&with(
        &[route("a", "recipient_domain = [\"a.example\"]\nto = [\"dead\", \"up\"]"), route("b", "to = \"dead\"")].concat(),
    ));
    send(&relay, "s@a.example", "x@a.example", "falls over");
    assert!(up.take().contains("falls over"));
    let id = send(&relay, "s@a.example", "x@b.example", "waits");
    explained(&relay.folder, &id, "connection refused");
    relay.folder.configure(&with(&route("b", "sender = [\"s@a.example\"]\nto = \"later\"")));
    relay.folder.said(&["reload"]);
    relay.folder.said(&["queue", "retry", &id]);
    assert!(later.take().contains("waits"));
}

#[test]
fn a_person_sends_what_waits_another_way_and_a_restart_keeps_it() {
    let (usual, away) = (takes_all(), takes_all());
    let hosts = [smart_host("dead", closed_port(), ""), smart_host("usual", usual.port, ""), smart_host("away", away.port, "")].concat();
    let routes = [
        route("stuck", "recipient_domain = [\"stuck.example\"]\nto = \"dead\""),
        route("closed", "recipient_domain = [\"closed.example\"]\nto = \"reject\""),
        route("rest", "to = \"usual\""),
    ]
    .concat();
    let relay = Relay::start(&format!("{}{hosts}{routes}", config(1)));
    let one = send(&relay, "s@a.example", "x@stuck.example", "the one");
    let others = send(&relay, "s@b.example", "x@stuck.example", "the other");
    for id in [&one, &others] {
        explained(&relay.folder, id, "connection refused");
    }
    // One message by its id; the other stays where it is, and so does later mail.
    let said = relay.folder.said(&["queue", "reroute", &one, "--to", "away", "--reason", "their port is closed"]);
    assert!(said.contains("1  to away: message") && said.contains("host stuck.example") && said.contains("their port is closed"), "{said}");
    relay.folder.said(&["queue", "retry", "--all"]);
    assert!(away.take().contains("the one"));
    explained(&relay.folder, &others, "smarthost:dead");
    // The outcome of the first is on the disk before the kill, or it would go once more.
    while relay.folder.said(&["queue", "list"]).contains(&one) {}
    relay.folder.said(&["queue", "release", "--all"]);

    // Whatever waits for a next hop, through a kill.
    relay.folder.said(&["queue", "reroute", "--site", "smarthost:dead", "--to", "away", "--for", "2h"]);
    let relay = Relay::start_in(relay.kill(), &[]);
    relay.folder.said(&["queue", "retry", "--all"]);
    assert!(away.take().contains("the other"));
    send(&relay, "s@a.example", "x@stuck.example", "later mail");
    let waits = relay.folder.said(&["queue", "list"]);
    let later = away.taken.try_iter().any(|came| came.contains("later mail"));
    assert!(waits.contains("stuck.example") && !later, "{waits}");

    // New mail, too, until it is ended.
    let said = relay.folder.said(&["queue", "reroute", "--sender", "news@a.example", "--to", "away", "--new-too"]);
    assert!(said.contains("3  to away: sender news@a.example; since"), "{said}");
    send(&relay, "news@a.example", "x@open.example", "news");
    assert!(away.take().contains("news"));
    send(&relay, "else@a.example", "x@open.example", "else");
    assert!(usual.take().contains("else"));
    relay.folder.said(&["queue", "reroute", "--end", "3"]);
    send(&relay, "news@a.example", "x@open.example", "news again");
    assert!(usual.take().contains("news again"));

    for (to, why) in [("gone", "no route or smart host of the name \"gone\"; it has away, closed, dead, mx,"), ("closed", "queue bounce")] {
        let refused = relay.folder.complained(&["queue", "reroute", "--all", "--to", to]).0;
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn a_limit_overflows_then_waits_survives_kill_and_never_bounces() {
    let (first, second) = (takes_all(), takes_all());
    let with = |limit: u32| {
        let hosts = [smart_host("first", first.port, "per_day = 3"), smart_host("second", second.port, &format!("per_hour = {limit}"))];
        format!("{}{}{}", config(1), hosts.concat(), route("all", "to = [\"first\", \"second\"]"))
    };
    let relay = Relay::start(&with(2));
    for number in 0..5 {
        send(&relay, "s@a.example", "x@b.example", &format!("mail {number}"));
        let hop = if number < 3 { &first } else { &second };
        assert!(hop.take().contains(&format!("mail {number}")));
    }
    let held = send(&relay, "s@a.example", "x@b.example", "one too many");
    let said = explained(&relay.folder, &held, "has been given its");
    assert!(said.contains("smarthost:first and 1 more: smart host second has been given its 2 recipients of this hour"), "{said}");
    assert!(said.contains("until"), "{said}");

    let folder = relay.kill();
    let relay = Relay::start_in(folder, &[]);
    let also = send(&relay, "s@a.example", "x@c.example", "after the kill");
    explained(&relay.folder, &held, "has been given its");
    explained(&relay.folder, &also, "has been given its");
    assert!(first.taken.try_recv().is_err() && second.taken.try_recv().is_err(), "the limits were forgotten");

    // A stop in good order forgets nothing either, and a larger limit is there at once.
    relay.signal("TERM");
    let (status, _, folder) = relay.ended();
    assert!(status.success());
    let relay = Relay::start_in(folder, &[]);
    explained(&relay.folder, &held, "has been given its");
    relay.folder.configure(&with(20));
    relay.folder.said(&["reload"]);
    relay.folder.said(&["queue", "retry", "--all"]);
    let came = [second.take(), second.take()].concat();
    assert!(came.contains("after the kill") && came.contains("one too many"), "{came}");
}

#[test]
fn a_limit_of_a_second_slows_down() {
    let hop = takes_all();
    let host = smart_host("slow", hop.port, "per_second = 20");
    let relay = Relay::start(&format!("{}{host}{}", config(1), route("all", "to = \"slow\"")));
    for number in 0..10 {
        send(&relay, "s@a.example", "x@b.example", &format!("mail {number}"));
    }
    for _ in 0..10 {
        hop.take();
    }
}

#[test]
fn counts_that_cannot_be_read_stop_the_start() {
    let folder = Folder::new();
    folder.configure(&config(1));
    for (text, why) in
        [("postrider quotas 2\n", "does not begin with"), ("postrider quotas 1\nx day y\n", "is not a count of a smart host")]
    {
        std::fs::write(folder.data().join("quotas"), text).unwrap();
        let (said, status) = folder.complained(&["serve"]);
        assert!(status == 1 && said.contains(why) && said.contains("remove the file"), "{said}");
    }
}

#[test]
fn a_rule_that_refuses_says_so_at_rcpt() {
    let hop = takes_all();
    let routes = [
        route("closed", "recipient_domain = [\"closed.example\"]\nto = \"reject\"\ntext = \"this domain is closed\""),
        route("spoofed", "sender = [\"ceo@a.example\"]\nto = \"reject\""),
        route("all", "to = \"hop\""),
    ];
    let relay = Relay::start(&format!("{}{}{}", config(1), smart_host("hop", hop.port, ""), routes.concat()));
    let mut session = Session::log_in(relay.address("submission"));
    session.say("MAIL FROM:<s@a.example>");
    assert_eq!(session.say("RCPT TO:<x@closed.example>").trim_end(), "550 5.7.1 this domain is closed");
    assert!(session.say("RCPT TO:<x@open.example>").starts_with("250"));
    session.say("RSET");
    session.say("MAIL FROM:<CEO@a.example>");
    assert!(session.say("RCPT TO:<x@open.example>").starts_with("550 5.7.1 "));
}

#[test]
fn a_way_back_to_us_is_not_taken() {
    let port = closed_port();
    let listener = format!("[[listener]]\nname = \"loop\"\naddress = \"0.0.0.0:{port}\"\nrole = \"relay\"\n");
    let routes = route("all", "recipient_domain = [\"b.example\"]\nto = \"self\"");
    let mut relay = Relay::start(&format!("{}{listener}{}{routes}", config(port), smart_host("self", port, "")));
    let id = send(&relay, "s@a.example", "x@b.example", "loops");
    explained(&relay.folder, &id, &format!("127.0.0.1:{port} is this relay itself; correct it in the configuration"));
    send(&relay, "", "x@[127.0.0.1]", "loops");
    relay.mail.wait("mail for [127.0.0.1] loops back to this host");
}

#[test]
fn a_route_to_mail_exchangers_may_demand_tls_and_choose_its_sources() {
    let hop = takes_all();
    let sources = "[[source]]\nname = \"one\"\naddress = \"127.0.0.1\"\n[[source]]\nname = \"two\"\naddress = \"127.0.0.2\"\n";
    let pool = "[[pool]]\nname = \"second\"\nsources = [\"two\"]\n";
    let routes = [
        route("safe", "sender = [\"safe@a.example\"]\nto = \"mx\"\ntls = \"require\""),
        route("pooled", "sender = [\"pooled@a.example\"]\nto = \"mx\"\npool = \"second\""),
    ]
    .concat();
    let mut relay = Relay::start(&format!("{}{sources}{pool}{routes}", config(hop.port)));
    let id = send(&relay, "safe@a.example", "x@[127.0.0.1]", "needs TLS");
    let said = explained(&relay.folder, &id, "TLS is required");
    assert!(said.contains("the server does not offer STARTTLS"), "{said}");
    for _ in 0..3 {
        send(&relay, "pooled@a.example", "x@[127.0.0.1]", "from the pool");
        assert!(hop.take().contains("from the pool"));
        let line = relay.mail.wait("delivered");
        assert!(line.contains("two"), "{line}");
    }
    assert!(relay.folder.said(&["queue", "count"]).contains("safe@[127.0.0.1]"));
}
