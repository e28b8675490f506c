//! How much may be sent, through the real program.

use crate::harness::{Hop, Relay, Session, config};
use crate::registry::key;

/// A relay with a tenant, a key of it, and a session under that key.
fn set_up(hop: &Hop) -> (Relay, String, Session) {
    let relay = Relay::start(&config(hop.port));
    relay.folder.said(&["tenant", "add", "shop", "--sends-as", "anybody"]);
    let (user, proof) = key(&relay.folder, &["--tenant", "shop"]);
    let mut session = Session::open(relay.address("submission"));
    assert!(session.say(&proof).starts_with("235"));
    (relay, user, session)
}

fn send(session: &mut Session) -> String {
    session.send("a@b.example", "c@[127.0.0.1]", "From: a@b.example\r\nSubject: x\r\n\r\nhello").trim_end().to_owned()
}

#[test]
fn what_is_beyond_a_limit_is_refused_or_waits_and_a_restart_forgets_nothing() {
    let hop = Hop::open(|_| None);
    let (relay, _, mut session) = set_up(&hop);
    let limit = |relay: &Relay, words: &[&str]| relay.folder.said(&[&["limit", "set", "--tenant", "shop"], words].concat());
    limit(&relay, &["--messages-per-hour", "2", "--recipients-per-message", "2", "--message-size", "5000", "--beyond", "refuse"]);
    assert!(send(&mut session).starts_with("250"));
    hop.take();
    assert!(session.say("MAIL FROM:<a@b.example> SIZE=5001").starts_with("552 5.3.4"));
    assert!(session.say("MAIL FROM:<a@b.example>").starts_with("250"));
    for (name, reply) in [("x", "250"), ("y", "250"), ("z", "452 4.5.3 too many recipients: 2 a message are allowed")] {
        let said = session.say(&format!("RCPT TO:<{name}@[127.0.0.1]>"));
        assert!(said.starts_with(reply), "{said}");
    }
    session.say("RSET");
    let long = format!("From: a@b.example\r\n\r\n{}", "0123456789abcdef\r\n".repeat(400));
    assert!(session.send("a@b.example", "c@[127.0.0.1]", &long).starts_with("552 5.3.4"));
    assert!(send(&mut session).starts_with("250"), "what was refused does not count");
    hop.take();
    let said = send(&mut session);
    assert!(said.starts_with("450 4.7.1 the limit of 2 messages an hour is reached; there is room at 20"), "{said}");
    // The counts are kept when the relay stops.
    relay.signal("TERM");
    let (status, _, folder) = relay.ended();
    assert!(status.success());
    let mut relay = Relay::start_in(folder, &[]);
    let (_, proof) = key(&relay.folder, &["--tenant", "shop"]);
    let mut session = Session::open(relay.address("submission"));
    assert!(session.say(&proof).starts_with("235"));
    assert!(send(&mut session).starts_with("450 4.7.1"), "another key of the tenant has the same limit");
    limit(&relay, &["--beyond", "queue"]);
    let said = send(&mut session);
    assert!(said.starts_with("250"), "{said}");
    relay.mail.wait("the limit of 2 messages an hour is reached");
    let id = said.rsplit(' ').next().unwrap();
    assert!(relay.folder.said(&["explain", id]).contains("an allowance was used up"), "{}", relay.folder.said(&["explain", id]));
    relay.folder.said(&["limit", "clear", "--tenant", "shop"]);
    assert!(send(&mut session).starts_with("250"));
    assert!(hop.take().contains("hello"), "nothing holds it any more");
}

#[test]
fn a_key_that_is_braked_goes_slowly_until_it_is_released() {
    let hop = Hop::open(|_| None);
    let (mut relay, user, mut session) = set_up(&hop);
    relay.folder.said(&["key", "brake", &user, "--reason", "somebody shouted"]);
    for _ in 0..3 {
        assert!(send(&mut session).starts_with("250"), "nothing is lost");
    }
    relay.mail.wait("its key is braked: somebody shouted");
    assert!(relay.folder.said(&["key", "list"]).contains("braked, (somebody shouted)"));
    relay.folder.said(&["key", "release", &user]);
    for _ in 0..4 {
        assert!(send(&mut session).starts_with("250"));
    }
    for _ in 0..7 {
        assert!(hop.take().contains("hello"));
    }
}

#[test]
fn a_credential_of_the_file_is_braked_and_released_too() {
    let hop = Hop::open(|_| None);
    let mut relay = Relay::start(&config(hop.port));
    let mut session = Session::log_in(relay.address("submission"));
    let user = relay.folder.said(&["key", "list"]);
    assert!(user.contains("of the configuration file"), "{user}");
    let user = user.split_whitespace().next().unwrap().to_owned();
    relay.folder.said(&["key", "brake", &user, "--reason", "somebody shouted"]);
    assert!(relay.folder.said(&["key", "list"]).contains("braked, (somebody shouted)"));
    for _ in 0..3 {
        assert!(send(&mut session).starts_with("250"), "nothing is lost");
    }
    relay.mail.wait("its key is braked: somebody shouted");
    let (refused, _) = relay.folder.complained(&["key", "revoke", &user]);
    assert!(refused.contains("stands in the configuration"), "{refused}");
    relay.folder.said(&["key", "release", &user]);
    for _ in 0..4 {
        assert!(send(&mut session).starts_with("250"));
    }
    for _ in 0..7 {
        assert!(hop.take().contains("hello"));
    }
    let (refused, _) = relay.folder.complained(&["key", "release", &user]);
    assert!(refused.contains("is not braked"), "{refused}");
}

#[test]
fn what_is_handed_over_here_counts_for_its_tenant_too() {
    let hop = Hop::open(|_| None);
    let (relay, ..) = set_up(&hop);
    let file = relay.folder.0.join("mail.eml");
    std::fs::write(&file, "From: a@b.example\nSubject: x\n\nhello\n").unwrap();
    let send = ["send", "--tenant", "shop", "--from", "a@b.example", "--to", "c@[127.0.0.1]", "--file", file.to_str().unwrap()];
    relay.folder.said(&["limit", "set", "--tenant", "shop", "--messages-per-hour", "1", "--beyond", "refuse"]);
    relay.folder.said(&send);
    assert!(hop.take().contains("hello"));
    let (refused, _) = relay.folder.complained(&send);
    assert!(refused.contains("the limit of 1 messages an hour is reached"), "{refused}");
    relay.folder.said(&["limit", "clear", "--tenant", "shop"]);
    relay.folder.said(&["tenant", "suspend", "shop"]);
    let (refused, _) = relay.folder.complained(&send);
    assert!(refused.contains("the tenant shop is suspended: postrider tenant activate shop"), "{refused}");
    relay.folder.said(&["tenant", "activate", "shop"]);
    relay.folder.said(&send);
    assert!(hop.take().contains("hello"));
}
