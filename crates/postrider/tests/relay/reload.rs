//! SIGHUP, `postrider reload`, and log files that are rotated.

use std::fs;

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

    relay.folder.configure(&text.replace("user = \"app\"", "user = \"other\"").replacen("127.0.0.1:0", "127.0.0.1:1", 1));
    let said = relay.folder.said(&["reload"]);
    assert!(said.contains("is in force; a change of listener needs a restart"), "{said}");
    let reply = Session::open(address).say("AUTH PLAIN AGFwcABzZWNyZXQ=");
    assert!(reply.starts_with("535"), "the old credential is gone: {reply}");

    let more = format!("{text}[[credential]]\nuser = \"another\"\nsecret_sha256 = \"{SECRET_SHA256}\"\n");
    relay.folder.configure(&more);
    relay.signal("HUP");
    relay.said.wait("is in force");
    Session::log_in(address);
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
