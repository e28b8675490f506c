//! A stream's pool: from which Sources its mail is sent, while it changes, and when it is gone.

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;

use crate::harness::{Folder, Hop, Relay, Session, config};
use crate::registry::key;

/// Three Sources, told apart by their EHLO names, and a pool for each but the first.
fn pools() -> String {
    let source =
        |name: &str, last: u8| format!("[[source]]\nname = \"{name}\"\naddress = \"127.0.0.{last}\"\nehlo_name = \"{name}.test\"\n");
    let pool = |name: &str, source: &str| format!("[[pool]]\nname = \"{name}\"\nsources = [\"{source}\"]\n");
    [source("one", 1), source("two", 2), source("three", 3), pool("second", "two"), pool("third", "three")].concat()
}

/// A connection for each mail, so that each asks for a Source.
const SINGLE: &str = "[[provider]]\nname = \"default\"\nmessages_per_connection = 1\n";

fn text(hop: &Hop, more: &str) -> String {
    format!("{}{}{SINGLE}{more}", config(hop.port), pools())
}

/// A tenant with a stream that names a pool, and a session of its key.
fn shop(folder: &Folder, relay: &Relay, pool: &str) -> Session {
    folder.said(&["tenant", "add", "shop", "--sends-as", "anybody"]);
    folder.said(&["stream", "set", "shop", "transactional", "--pool", pool]);
    let (_, proof) = key(folder, &["--tenant", "shop"]);
    let mut session = Session::open(relay.address("submission"));
    assert!(session.say(&proof).starts_with("235"));
    session
}

/// The relay's folder, beside the relay that owns it.
fn folder_of(relay: &Relay) -> ManuallyDrop<Folder> {
    ManuallyDrop::new(Folder(relay.folder.0.clone()))
}

fn id_of(reply: &str) -> String {
    assert!(reply.starts_with("250"), "{reply}");
    reply.trim_end().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn a_streams_mail_leaves_by_its_pool_and_a_routes_pool_goes_before() {
    let hop = Hop::open(|_| None);
    let route = "[[route]]\nname = \"named\"\nsender = [\"routed@b.example\"]\nto = \"mx\"\npool = \"third\"\n";
    let mut relay = Relay::start(&text(&hop, route));
    let folder = folder_of(&relay);
    let mut session = shop(&folder, &relay, "second");
    for nth in 0..4 {
        id_of(&session.send("a@b.example", "c@[127.0.0.1]", &format!("From: a@b.example\r\n\r\nmail {nth}")));
        assert!(hop.take().contains(&format!("mail {nth}")));
        assert!(relay.mail.wait("delivered").contains("source=two"), "a dedicated address is the stream's alone");
        assert_eq!(hop.hear("EHLO"), "EHLO two.test");
    }
    id_of(&session.send("routed@b.example", "c@[127.0.0.1]", "From: a@b.example\r\n\r\nrouted"));
    assert!(hop.take().contains("routed"));
    assert!(relay.mail.wait("delivered").contains("source=three"), "the operator's route names a pool of its own");
    // Another pool from the next mail on, and then none.
    folder.said(&["stream", "set", "shop", "transactional", "--pool", "third"]);
    id_of(&session.send("a@b.example", "c@[127.0.0.1]", "From: a@b.example\r\n\r\nafter"));
    assert!(hop.take().contains("after") && relay.mail.wait("delivered").contains("source=three"));
    folder.said(&["stream", "set", "shop", "transactional", "--pool", ""]);
    let mut sources = BTreeSet::new();
    for _ in 0..6 {
        id_of(&session.send("a@b.example", "c@[127.0.0.1]", "From: a@b.example\r\n\r\nany"));
        hop.take();
        let line = relay.mail.wait("delivered");
        sources.extend(line.split_whitespace().find_map(|word| word.strip_prefix("source=")).map(str::to_owned));
    }
    assert!(sources.len() > 1, "without a pool all Sources take turns: {sources:?}");
}

#[test]
fn a_pool_is_changed_under_mail_that_waits_and_told_by_the_commands() {
    let hop = Hop::open(|command| command.contains("later@").then_some("450 4.2.0 come later"));
    let mut relay = Relay::start(&text(&hop, ""));
    let folder = folder_of(&relay);
    let mut session = shop(&folder, &relay, "second");
    let id = id_of(&session.send("a@b.example", "later@[127.0.0.1]", "From: a@b.example\r\n\r\nx"));
    assert!(relay.mail.wait("deferred").contains("source=two"));
    for command in [&["explain"][..], &["queue", "show"]] {
        let said = folder.said(&[command, &[&id]].concat());
        assert!(said.contains("next hop  pool:second@[127.0.0.1]"), "{said}");
        assert!(said.contains("sources   two: pool second of the stream transactional"), "{said}");
    }
    let status = folder.said(&["status"]);
    assert!(status.contains("pool       second: two (weight 1)\n           sends shop/transactional"), "{status}");
    folder.said(&["stream", "set", "shop", "transactional", "--pool", "third"]);
    folder.said(&["queue", "retry", &id]);
    assert!(relay.mail.wait("deferred").contains("source=three"), "mail that waits follows");
    assert!(folder.said(&["explain", &id]).contains("sources   three: pool third"));
    let listed = folder.said(&["stream", "list", "shop", "--json"]);
    assert!(listed.lines().next().unwrap().contains("\"pool\":\"third\""), "{listed}");
    assert!(folder.said(&["tenant", "show", "shop"]).contains("sent by the pool third"));
}

#[test]
fn a_pool_that_is_gone_makes_mail_wait_with_an_alarm_and_a_remedy() {
    let hop = Hop::open(|_| None);
    let mut relay = Relay::start(&text(&hop, ""));
    let folder = folder_of(&relay);
    let mut session = shop(&folder, &relay, "second");
    let (said, _) = folder.complained(&["stream", "set", "shop", "transactional", "--pool", "fourth"]);
    assert!(said.contains("no [[pool]] of the name \"fourth\"; it has second, third"), "{said}");
    let whole = text(&hop, "");
    let gone = whole.replace("name = \"second\"", "name = \"renamed\"");
    folder.configure(&gone);
    let (said, _) = folder.complained(&["check", "--offline"]);
    assert!(said.contains("WRONG") && said.contains("postrider stream set shop transactional --pool NAME"), "{said}");
    folder.said(&["reload"]);
    let id = id_of(&session.send("a@b.example", "c@[127.0.0.1]", "From: a@b.example\r\n\r\nwaits"));
    let alarm = relay.mail.wait("is sent by the pool second, which is not in the configuration; its mail waits");
    assert!(alarm.contains("Add a [[pool]] of this name and reload"), "{alarm}");
    assert!(relay.mail.wait("deferred").contains("which is not in the configuration"));
    assert!(hop.taken.try_recv().is_err(), "it is sent from nowhere else");
    assert!(folder.said(&["explain", &id]).contains("sources   none: the stream transactional names the pool second"));
    assert!(folder.said(&["status"]).contains("ALARM      the pool second is not in the configuration"));
    folder.configure(&whole);
    folder.said(&["reload"]);
    folder.said(&["queue", "retry", &id]);
    assert!(hop.take().contains("waits"));
    assert!(relay.mail.wait("delivered").contains("source=two"));
    // The file's own streams are checked with the file.
    folder.configure(&format!("{whole}[[tenant]]\nname = \"default\"\n[[tenant.stream]]\nname = \"default\"\npool = \"fourth\"\n"));
    let (said, _) = folder.complained(&["check", "--offline"]);
    assert!(said.contains("there is no [[pool]] of the name \"fourth\""), "{said}");
}
