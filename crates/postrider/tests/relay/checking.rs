//! Header rules, other addresses and archives, with the real program.

use crate::harness::{Hop, Relay, Session, config};

#[test]
fn header_rules_refuse_hold_remove_and_add() {
    let hop = Hop::open(|_| None);
    let rules = "[[header_rule]]\nname = \"exe\"\nfield = \"Subject\"\npattern = '\\.exe\\b'\naction = \"reject\"\ntext = \"554 5.7.9 no programs\"\n\
        [[header_rule]]\nname = \"won\"\nfield = \"Subject\"\npattern = \"you won\"\naction = \"hold\"\ntext = \"a lottery\"\n\
        [[header_rule]]\nname = \"mailer\"\nfield = \"X-Mailer\"\npattern = \"\"\naction = \"remove\"\n\
        [[header_rule]]\nname = \"list\"\nfield = \"List-Id\"\npattern = \"news\"\naction = \"add\"\ntext = \"Precedence: bulk\"\n\
        [[header_rule]]\nname = \"drop\"\nfield = \"Subject\"\npattern = \"^drop\"\naction = \"discard\"\n\
        [[header_rule]]\nname = \"look\"\nfield = \"Subject\"\npattern = \"^look\"\naction = \"warn\"\n\
        [[header_rule]]\nname = \"elsewhere\"\npattern = \"\"\naction = \"reject\"\nlistener = [\"relay\"]\n";
    let mut relay = Relay::start(&format!("{}{rules}", config(hop.port)));
    let mut session = Session::log_in(relay.address("submission"));
    let mut send = |header: &str| session.send("a@x.example", "b@[127.0.0.1]", &format!("{header}\r\n\r\nbody"));
    assert_eq!(send("Subject: =?utf-8?q?setup=2Eexe?=").trim_end(), "554 5.7.9 no programs");
    relay.mail.wait("rejected id=");
    assert!(send("Subject: you\r\n won").starts_with("250"));
    assert!(relay.mail.wait("held id=").contains("by=rule:won"));
    assert!(relay.folder.said(&["queue", "list", "--state", "held", "--json"]).contains("header rule won: a lottery"));
    assert!(send("Subject: drop this").starts_with("250"));
    relay.mail.wait("discarded id=");
    assert!(send("Subject: look at this").starts_with("250"));
    assert!(relay.mail.wait("warned id=").contains("look at this"));
    assert!(hop.take().contains("Subject: look at this\r\n"));
    assert!(send("X-Mailer: old\r\nList-Id: <news.x.example>\r\nFrom: a@x.example\r\nDate: x\r\nMessage-ID: <1@x>").starts_with("250"));
    let taken = hop.take();
    assert!(
        taken.ends_with(
            "List-Id: <news.x.example>\r\nFrom: a@x.example\r\nDate: x\r\nMessage-ID: <1@x>\r\nPrecedence: bulk\r\n\r\nbody\r\n.\r\n"
        ),
        "{taken}"
    );
    assert!(!taken.contains("X-Mailer"));
}

#[test]
fn addresses_are_rewritten_in_envelope_and_header_and_recipients_before_they_are_judged() {
    let hop = Hop::open(|_| None);
    let maps = "[rewriting]\norigin = \"here.example\"\ndelimiter = \"+\"\ncanonical = [\"@host.here.example @here.example\"]\n\
        sender_canonical = [\"ann@here.example Ann.Smith@here.example\"]\nrecipient_canonical = [\"old@here.example b@[127.0.0.1]\"]\n\
        [[local_domain]]\nname = \"here.example\"\nmailboxes = [\"ann\", \"postmaster\"]\nto = \"maildir:mail/{user}\"\n";
    let relay = Relay::start(&format!("{}{maps}", config(hop.port)));
    let mut session = Session::log_in(relay.address("submission"));
    let content = "From: \"A, S\" <ann+x@here.example>\r\nTo: old@here.example, c@host.here.example\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\nann@here.example";
    assert!(
        session.send("ann+x@here.example", "old@here.example", content).starts_with("250"),
        "its new address is asked for, not the unknown old one"
    );
    let taken = hop.take();
    assert!(
        taken.ends_with(
            "From: \"A, S\" <Ann.Smith+x@here.example>\r\nTo: b@[127.0.0.1], c@here.example\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\nann@here.example\r\n.\r\n"
        ),
        "{taken}"
    );
    assert_eq!((hop.hear("MAIL"), hop.hear("RCPT")), ("MAIL FROM:<Ann.Smith+x@here.example>".into(), "RCPT TO:<b@[127.0.0.1]>".into()));
    // What servers of others hand over keeps its header: only the envelope is ours to change.
    let mut stranger = Session::open(relay.address("relay"));
    assert!(stranger.send("s@host.here.example", "ann@here.example", "From: s@host.here.example\r\n\r\nx").starts_with("250"));
    let folder = relay.folder.data().join("mail/ann/new");
    let mail = loop {
        let file = std::fs::read_dir(&folder).ok().and_then(|mut files| files.next());
        if let Some(file) = file {
            break std::fs::read_to_string(file.unwrap().path()).unwrap();
        }
        std::thread::yield_now();
    };
    assert!(mail.starts_with("Return-Path: <s@here.example>\n") && mail.contains("From: s@host.here.example\n"), "{mail}");
}

#[test]
fn an_archive_gets_a_copy_that_nobody_hears_of() {
    let hop = Hop::open(|rcpt| rcpt.contains("archive@").then_some("550 5.1.1 full"));
    let archives = "[[archive]]\nto = \"archive@[127.0.0.1]\"\nsender = [\"s@[127.0.0.1]\"]\nstream = [\"default\"]\n";
    let mut relay = Relay::start(&format!("{}{archives}", config(hop.port)));
    let mut session = Session::log_in(relay.address("submission"));
    assert!(session.send("s@[127.0.0.1]", "b@[127.0.0.1]", "Subject: one\r\n\r\nx").starts_with("250"));
    let taken = hop.take();
    assert!(!taken.contains("archive"), "nothing of it shows: {taken}");
    assert!(relay.mail.wait("bounced id=").contains("to=<archive@[127.0.0.1]>"));
    assert!(session.send("a@y.example", "b@[127.0.0.1]", "Subject: two\r\n\r\nx").starts_with("250"));
    hop.take();
    assert_eq!(hop.taken.try_iter().count(), 0, "no report of it comes");
    assert!(session.send("s@[127.0.0.1]", "archive@[127.0.0.1]", "Subject: three\r\n\r\nx").starts_with("250"));
    relay.mail.wait("nrcpt=1");
    assert!(relay.mail.wait("bounced id=").contains("/0"), "one recipient, one copy");
    let asked: Vec<String> = hop.heard.try_iter().filter(|line| line.starts_with("RCPT") && line.contains("archive@")).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[test]
fn what_leaves_by_smtp_has_the_addresses_of_the_generic_map_and_what_stays_has_not() {
    let hop = Hop::open(|_| None);
    let maps = "[rewriting]\ngeneric = [\"@in.example box@isp.example\", \"far@far.example b@[127.0.0.1]\"]\n\
        [[local_domain]]\nname = \"here.example\"\nmailboxes = [\"postmaster\"]\nto = \"maildir:mail/{user}\"\n";
    let relay = Relay::start(&format!("{}{maps}", config(hop.port)));
    let mut session = Session::log_in(relay.address("submission"));
    for body in ["small".to_owned(), "0123456789abcdef\r\n".repeat(30_000)] {
        let content =
            format!("From: \"A, B\" <a@in.example>\r\nTo : c@[127.0.0.1],\r\n\ta@in.example\r\nSubject: a@in.example\r\n\r\n{body}");
        assert!(session.send("a@in.example", "c@[127.0.0.1]", &content).starts_with("250"));
        let taken = hop.take();
        let header = "From: \"A, B\" <box@isp.example>\r\nTo : c@[127.0.0.1],\r\n\tbox@isp.example\r\nSubject: a@in.example\r\n\r\n";
        assert!(taken.contains(header) && taken.ends_with(&format!("{body}\r\n.\r\n")), "{}", &taken[..taken.len().min(800)]);
        assert_eq!(hop.hear("MAIL"), "MAIL FROM:<box@isp.example>");
    }
    assert!(session.send("a@in.example", "postmaster@here.example", "From: a@in.example\r\n\r\nx").starts_with("250"));
    let folder = relay.folder.data().join("mail/postmaster/new");
    let mail = loop {
        if let Some(file) = std::fs::read_dir(&folder).ok().and_then(|mut files| files.next()) {
            break std::fs::read_to_string(file.unwrap().path()).unwrap();
        }
        std::thread::yield_now();
    };
    assert!(mail.contains("From: a@in.example\n"), "{mail}");
}
