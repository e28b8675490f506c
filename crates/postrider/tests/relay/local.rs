//! Domains whose mail ends here.

use std::fs;
use std::path::Path;

use crate::harness::{Hop, Relay, Session, config, mode};

const DOMAIN: &str = "[[local_domain]]\nname = \"here.example\"\nmailboxes = [\"ann\", \"bob\"]\n\
    aliases = [\"postmaster: ann\", \"all: ann, bob, far@far.example\", \"both: all, bob+x\"]\nto = \"maildir:mail/{domain}/{user}\"\n";

/// The mails of a user, when there are so many.
fn mails(data: &Path, user: &str, count: usize) -> Vec<String> {
    let folder = data.join("mail/here.example").join(user).join("new");
    for _ in 0..1_000_000 {
        let files: Vec<_> = fs::read_dir(&folder).map(|files| files.map(|file| file.unwrap().path()).collect()).unwrap_or_default();
        if files.len() >= count {
            assert_eq!(files.len(), count, "{user}");
            assert!(files.iter().all(|file| mode(file) == 0o600));
            let mut mails: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
            mails.sort();
            return mails;
        }
        std::thread::yield_now();
    }
    panic!("{count} mails for {user} did not come");
}

#[test]
fn mail_is_put_into_maildirs_and_aliases_are_followed() {
    let far = Hop::open(|_| None);
    let hop = format!(
        "[[smart_host]]\nname = \"far\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n[[route]]\nname = \"far\"\nto = \"far\"\n",
        far.port
    );
    let relay = Relay::start(&format!("{}{hop}{DOMAIN}", config(1)));
    let data = relay.folder.data();
    let mut stranger = Session::open(relay.address("relay"));
    assert!(stranger.send("s@a.example", "Ann@Here.example", "Subject: one\r\n\r\n..dot\r\nlast").starts_with("250"));
    let mail = mails(&data, "ann", 1).remove(0);
    assert!(mail.starts_with("Return-Path: <s@a.example>\nDelivered-To: Ann@here.example\nReceived: from client.test"), "{mail}");
    assert!(mail.ends_with("Subject: one\n\n.dot\nlast\n") && !mail.contains('\r'), "{mail}");

    assert!(stranger.send("", "bob+shop@here.example", "Subject: two\r\n\r\nx").starts_with("250"));
    let mail = mails(&data, "bob", 1).remove(0);
    assert!(mail.starts_with("Return-Path: <>\nDelivered-To: bob+shop@here.example\n"), "{mail}");

    assert!(stranger.send("s@a.example", "both@here.example", "Subject: three\r\n\r\nx").starts_with("250"));
    assert!(far.take().contains("Subject: three"));
    // Bob is reached as himself and with a detail: these are two addresses, and his mailbox may sort them.
    assert_eq!((mails(&data, "ann", 2).len(), mails(&data, "bob", 3).len()), (2, 3));

    relay.folder.said(&["send", "--from", "s@a.example", "--to", "postmaster@here.example", "--subject", "four"]);
    mails(&data, "ann", 3);
}

#[test]
fn unknown_users_are_refused_at_rcpt_on_every_listener() {
    let relay = Relay::start(&format!("{}{DOMAIN}", config(1)));
    for mut session in [Session::open(relay.address("relay")), Session::log_in(relay.address("submission"))] {
        session.say("MAIL FROM:<s@a.example>");
        for unknown in ["carl@here.example", "carl+ann@here.example", "\"../ann\"@here.example", "\"ann/../bob\"@here.example"] {
            let reply = session.say(&format!("RCPT TO:<{unknown}>"));
            assert_eq!(reply.trim_end(), "550 5.1.1 no such user here", "{unknown}");
        }
        assert!(session.say("RCPT TO:<POSTMASTER@here.example>").starts_with("250"));
    }
    let mut stranger = Session::open(relay.address("relay"));
    stranger.say("MAIL FROM:<s@a.example>");
    assert!(stranger.say("RCPT TO:<ann@far.example>").starts_with("554 5.7.1"), "a local domain opens no relay");
    let (said, _) = relay.folder.complained(&["send", "--from", "s@a.example", "--to", "carl@here.example"]);
    assert!(said.contains("carl@here.example: no such user here"), "{said}");
}

#[test]
fn circles_of_aliases_stop_the_start() {
    let folder = crate::harness::Folder::new();
    folder.configure(&format!(
        "{}{}",
        config(1),
        DOMAIN.replace("postmaster: ann", "postmaster: both").replace("all: ann", "all: postmaster")
    ));
    let (said, status) = folder.complained(&["serve"]);
    assert!(
        status == 1
            && said
                .contains("goes round in a circle: all@here.example -> postmaster@here.example -> both@here.example -> all@here.example"),
        "{said}"
    );
}

#[test]
fn a_mailbox_that_cannot_be_written_defers_and_is_tried_again() {
    let mut relay = Relay::start(&format!("{}{DOMAIN}", config(1)));
    let data = relay.folder.data();
    fs::create_dir_all(data.join("mail")).unwrap();
    fs::write(data.join("mail/here.example"), "in the way").unwrap();
    let reply = Session::open(relay.address("relay")).send("s@a.example", "ann@here.example", "Subject: x\r\n\r\nx");
    relay.mail.wait("mailbox cannot be written");
    fs::remove_file(data.join("mail/here.example")).unwrap();
    relay.folder.said(&["queue", "retry", reply.trim_end().rsplit(' ').next().unwrap()]);
    mails(&data, "ann", 1);
}

#[test]
fn a_report_to_an_alias_reaches_its_mailboxes() {
    let hop = Hop::open(|_| Some("550 5.1.1 nobody"));
    let far = format!(
        "[[smart_host]]\nname = \"far\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n[[route]]\nname = \"far\"\nto = \"far\"\n",
        hop.port
    );
    let relay = Relay::start(&format!("{}{far}{}", config(1), DOMAIN.replace(", far@far.example", "")));
    Session::log_in(relay.address("submission")).send("all@here.example", "x@b.example", "Subject: lost\r\n\r\nx");
    let mail = mails(&relay.folder.data(), "bob", 1).remove(0);
    assert!(mail.starts_with("Return-Path: <>\n") && mail.contains("Status: 5.1.1"), "{mail}");
    mails(&relay.folder.data(), "ann", 1);
}
