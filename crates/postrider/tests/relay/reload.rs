//! SIGHUP, `postrider reload`, and log files that are rotated.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::harness::{Relay, SECRET_SHA256, Session, config};

#[test]
fn a_wrong_configuration_changes_nothing_and_a_right_one_everything() {
    let mut relay = Relay::start(&config(1));
    let address = relay.address("submission");
    let text = config(1);
    relay.folder.configure(&format!("{text}\n[limits]\nrecipient_max = 1\n"));
    let line = text.lines().count() + 3;
    let wrong = format!("postrider.toml:{line}: unknown key `limits.recipient_max`; did you mean `recipients_max`?");
    relay.signal("HUP");
    relay.said.wait(&wrong);
    relay.said.wait("the old configuration stays in force");
    let (said, status) = relay.folder.complained(&["reload"]);
    assert!(status == 1 && said.contains(&wrong), "{said}");
    Session::log_in(address);

    relay.folder.configure(&text.replace("user = \"app\"", "user = \"other\""));
    let said = relay.folder.said(&["reload"]);
    assert!(said.trim_end().ends_with("postrider.toml is in force"), "{said}");
    relay.said.wait("is in force");
    let reply = Session::open(address).say("AUTH PLAIN AGFwcABzZWNyZXQ=");
    assert!(reply.starts_with("535"), "the old credential is gone: {reply}");

    let more = format!("{text}[[credential]]\nuser = \"another\"\nsecret_sha256 = \"{SECRET_SHA256}\"\n");
    relay.folder.configure(&more);
    relay.signal("HUP");
    relay.said.wait("is in force");
    Session::log_in(address);
}

#[test]
fn what_a_reload_does_not_reach_is_said_until_the_file_says_the_old_again() {
    let mut relay = Relay::start(&config(1));
    let text = config(1);
    let changed = text.replace("[relay]\n", "[relay]\nworkers = 3\n").replace("127.0.0.1:1\"", "127.0.0.1:2\"");
    let changed = changed.replace("1 MiB", "2 MiB").replace("\"human\"", "\"json\"");
    relay.folder.configure(&changed);
    let later = "; takes effect at the next start: relay.workers, [dns], [spool], [log]";
    for _ in 0..2 {
        let said = relay.folder.said(&["reload"]);
        assert!(said.trim_end().ends_with(later), "{said}");
        relay.said.wait(later);
    }
    relay.folder.configure(&text.replace("\"5s\"", "\"7s\""));
    let said = relay.folder.said(&["reload"]);
    assert!(said.trim_end().ends_with("is in force"), "{said}");
    relay.signal("TERM");
    relay.said.wait("stopping: transactions under way have 7 s");
}

/// Nobody can connect there any more. The answer to a reload may be faster than the socket's end.
fn is_closed(address: SocketAddr) -> bool {
    (0..10_000).any(|_| TcpStream::connect(address).is_err())
}

#[test]
fn listeners_are_opened_changed_and_closed_by_a_reload() {
    let relay = Relay::start(&config(1));
    let (text, submission, other) = (config(1), relay.address("submission"), relay.address("relay"));
    let mut under_way = Session::log_in(submission);

    let second = "[[listener]]\nname = \"second\"\naddress = \"127.0.0.1:0\"\nrole = \"relay\"\ntls = \"none\"\n";
    relay.folder.configure(&format!("{text}{second}"));
    let said = relay.folder.said(&["reload"]);
    let opened = relay.address("second");
    assert!(said.contains(&format!("is in force; now listening on {opened} (second)")), "{said}");
    Session::open(opened);
    assert_eq!((relay.address("submission"), relay.address("relay")), (submission, other), "who stays keeps his socket");

    let (before, rest) = text.split_once("[[listener]]\nname = \"submission\"").unwrap();
    let (_, behind) = rest.split_once("[[listener]]").unwrap();
    let changed = format!("{before}[[listener]]{behind}").replace("role = \"relay\"\n", "role = \"relay\"\ntls = \"none\"\n");
    relay.folder.configure(&changed);
    let said = relay.folder.said(&["reload"]);
    for part in [
        format!("listener relay on {other} changed"),
        format!("no longer listening on {submission} (submission)"),
        format!("no longer listening on {opened} (second)"),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    assert!(is_closed(submission) && is_closed(opened));
    assert!(under_way.say("MAIL FROM:<a@shop.example>").starts_with("250"), "a session under way goes on");
    let unsecured = (0..1_000).any(|_| Session::open(other).say("STARTTLS").starts_with("502"));
    assert!(unsecured, "the listener that stayed has its new manners");
}

#[test]
fn a_listener_that_cannot_be_opened_leaves_all_as_it_was() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = Relay::start(&config(1));
    let text = config(1).replace("user = \"app\"", "user = \"other\"");
    let port = taken.local_addr().unwrap().port();
    relay.folder.configure(&format!("{text}[[listener]]\nname = \"x\"\naddress = \"127.0.0.1:{port}\"\nrole = \"relay\"\n"));
    let (said, _) = relay.folder.complained(&["reload"]);
    assert!(said.contains("another program listens there") && said.contains("the old configuration stays in force"), "{said}");
    Session::log_in(relay.address("submission"));
}

#[test]
fn a_rotated_mail_log_is_let_go() {
    let relay = Relay::start(&config(1).replace("format = \"human\"", "format = \"human\"\nmail_log = \"mail.log\""));
    let log = relay.folder.data().join("mail.log");
    let rotated = relay.folder.data().join("mail.log.1");
    relay.folder.said(&["send", "--to", "one@[127.0.0.1]"]);
    fs::rename(&log, &rotated).unwrap();
    relay.folder.said(&["reload"]);
    relay.folder.said(&["send", "--to", "two@[127.0.0.1]"]);
    relay.signal("TERM");
    let (_, _, folder) = relay.ended();
    let (old, new) = (fs::read_to_string(rotated).unwrap(), fs::read_to_string(log).unwrap());
    assert!(old.contains("accepted") && old.contains("to=<one@[127.0.0.1]>"), "{old}");
    assert!(new.contains("to=<two@[127.0.0.1]>") && !new.contains("accepted id=one"), "{new}");
    drop(folder);
}
