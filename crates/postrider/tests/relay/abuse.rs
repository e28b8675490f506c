//! Clients that want more than they may have: a way through, our descriptors, our memory, our place in a loop.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::harness::{Hop, Relay, Session, config};

#[test]
fn address_tricks_open_no_way_through() {
    let relay = Relay::start(&config(1).replace("[relay]\n", "[relay]\nrelay_domains = [\"ours.test\"]\n"));
    let address = relay.address("relay");
    for path in [
        "<user@elsewhere.test>",
        "<user%elsewhere.test@ours.test>",
        "<elsewhere.test!user@ours.test>",
        "<\"user@elsewhere.test\"@ours.test>",
        "<\"user%elsewhere.test\"@ours.test>",
        "<@ours.test:user@elsewhere.test>",
        "<@ours.test,@ours.test:user@elsewhere.test>",
        "<user@elsewhere.test@ours.test>",
        "<user@ours.test@elsewhere.test>",
        "<user@ours.test.elsewhere.test>",
        "<user@elsewhere.test.ours.test>",
        "<user@notours.test>",
        "<user@[127.0.0.1]>",
        "<user@[IPv6:::1]>",
        "<user@127.0.0.1>",
        "<user@localhost>",
        "<user@relay.test>",
        "<user>",
        "<user@>",
        "<@ours.test>",
        "<@ours.test:>",
        "<>",
        "<|/bin/sh@ours.test",
        "user@ours.test",
        "<user@ours.test> <user@elsewhere.test>",
        "<user@ours.test,user@elsewhere.test>",
        "<user@elsewhere.test>,<user@ours.test>",
        "<\"x\" <user@elsewhere.test>@ours.test>",
        "<user@elsewhere.test\\@ours.test>",
    ] {
        let mut session = Session::open(address);
        assert!(session.say("MAIL FROM:<a@b.example>").starts_with("250"));
        let reply = session.say(&format!("RCPT TO:{path}"));
        assert!(reply.starts_with('5'), "{path}: {reply}");
        assert!(!session.say("DATA").starts_with("354"), "{path}");
    }
    for path in ["<user@ours.test>", "<user@OURS.test>", "<@elsewhere.test:user@ours.test>", "<Postmaster>", "<\"a b\"@ours.test>"] {
        let mut session = Session::open(address);
        session.say("MAIL FROM:<a@b.example>");
        let reply = session.say(&format!("RCPT TO:{path}"));
        assert!(reply.starts_with("250"), "the control: {path}: {reply}");
    }
    assert_eq!(relay.waiting(), 0);
}

#[test]
fn postmaster_and_abuse_reach_who_is_named_and_are_refused_where_nobody_is() {
    let named = Relay::start(&config(1));
    let nobody = Relay::start(&config(1).replace("postmaster = \"desk@desk.test\"\n", "relay_domains = [\"there.example\"]\n"));
    let note = nobody.said.seen("nobody is the postmaster");
    assert!(note.contains("relay.test") && note.contains("name somebody's address under [relay] postmaster"), "{note}");
    assert!(nobody.folder.said(&["check", "--offline"]).contains("note           nobody is the postmaster"));
    let ask = |relay: &Relay, path: &str| {
        let mut session = Session::open(relay.address("relay"));
        session.say("MAIL FROM:<a@b.example>");
        session.say(&format!("RCPT TO:{path}"))
    };
    for path in ["<Postmaster>", "<POSTmaster@relay.test>", "<abuse@RELAY.test>", "<postmaster@[127.0.0.1]>"] {
        let (taken, refused) = (ask(&named, path), ask(&nobody, path));
        assert!(taken.starts_with("250") && refused.starts_with("550 5.1.1 No postmaster is named here"), "{path}: {taken} {refused}");
    }
    for path in ["<webmaster@relay.test>", "<postmaster@elsewhere.test>", "<postmaster@[127.0.0.2]>"] {
        assert!(ask(&named, path).starts_with("554 5.7.1"), "{path}");
    }
}

#[test]
fn a_verb_of_another_protocol_ends_the_session() {
    let relay = Relay::start(&config(1));
    for request in ["GET / HTTP/1.1", "POST /x HTTP/1.1", "CONNECT a:25 HTTP/1.1", "PRI * HTTP/2.0", "INVITE sip:a@b SIP/2.0"] {
        let mut session = Session::over(TcpStream::connect(relay.address("relay")).unwrap());
        session.write(format!("{request}\r\nHost: a\r\n\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<Postmaster>\r\n").as_bytes());
        assert_eq!(session.rest(), "521 5.5.1 This is an SMTP server; closing\r\n", "{request}");
    }
}

#[test]
fn a_message_that_loops_is_refused() {
    let hop = Hop::open(|_| None);
    let mut relay = Relay::start(&config(hop.port));
    let mut session = Session::log_in(relay.address("submission"));
    let passed = |times: usize| format!("{}Subject: x\r\n\r\nx", "Received: from a by b; now\r\n".repeat(times));
    assert!(session.send("a@shop.example", "b@[127.0.0.1]", &passed(100)).starts_with("250"));
    assert!(session.send("a@shop.example", "b@[127.0.0.1]", &passed(101)).starts_with("554 5.4.6"));
    relay.mail.wait("refused client=127.0.0.1 what=\"end of data\" reply=\"554 5.4.6");
    assert_eq!(hop.take().matches("Received: from").count(), 101, "ours is one of them");
    let file = relay.folder.0.join("loop.eml");
    std::fs::write(&file, passed(101)).unwrap();
    let (said, _) = relay.folder.complained(&["send", "--to", "b@[127.0.0.1]", "--file", file.to_str().unwrap()]);
    assert!(said.contains("loops"), "{said}");
}

/// A null reverse-path hears nothing, and what we say ourselves says that a machine said it.
#[test]
fn a_report_is_never_answered_and_says_what_it_is() {
    let hop = Hop::open(|rcpt| rcpt.contains("nobody").then_some("550 5.1.1 no such user"));
    let mut relay = Relay::start(&config(hop.port));
    let mut session = Session::log_in(relay.address("submission"));
    session.send("", "nobody@[127.0.0.1]", "Subject: from nobody\r\n\r\nx");
    relay.mail.wait("bounced");
    assert_eq!(relay.waiting(), 0, "no report waits");
    // The report cannot be delivered either, and nothing comes of that.
    session.send("nobody.else@[127.0.0.1]", "nobody@[127.0.0.1]", "Subject: from somebody\r\n\r\nx");
    relay.mail.wait("bounced");
    assert!(relay.mail.wait("accepted").contains("from=<> to=<nobody.else@[127.0.0.1]>"));
    relay.mail.wait("bounced");
    assert_eq!(relay.waiting(), 0);
    // The control: one that can be delivered.
    session.send("sender@[127.0.0.1]", "nobody@[127.0.0.1]", "Subject: from a sender\r\n\r\nx");
    let report = hop.take();
    assert!(report.contains("\r\nAuto-Submitted: auto-replied\r\n") && report.contains("from a sender"), "{report}");
}

/// What a client says before it goes, step by step through a session.
const STEPS: [&str; 16] = [
    "",
    "EHL",
    "EHLO client.test\r\n",
    "EHLO client.test\r\nAUTH",
    "EHLO client.test\r\n|AUTH PLAIN\r\n",
    "EHLO client.test\r\n|AUTH PLAIN\r\n|AGFw",
    "EHLO client.test\r\n|STARTTLS\r\n",
    "EHLO client.test\r\n|STARTTLS\r\n|\x16\x03\x01\x02\x00\x01\x00",
    "*",
    "*MAIL FROM:<a@shop.example>\r\n",
    "*MAIL FROM:<a@shop.example>\r\n|RCPT TO:<b@hang.test>\r\n",
    "*MAIL FROM:<a@shop.example>\r\n|RCPT TO:<b@hang.test>\r\n|DATA\r\n",
    "*MAIL FROM:<a@shop.example>\r\n|RCPT TO:<b@hang.test>\r\n|DATA\r\n|Subject: x\r\n\r\nhalf",
    "*MAIL FROM:<a@shop.example>\r\n|RCPT TO:<b@hang.test>\r\n|DATA\r\n|Subject: x\r\n\r\nhalf\r\n.\r",
    "*MAIL FROM:<a@shop.example>\r\n|RCPT TO:<b@hang.test>\r\n|BDAT 100\r\nhalf",
    "*MAIL FROM:<a@shop.example>\r\n|RCPT TO:<b@hang.test>\r\n|BDAT 4\r\nhalf",
];

/// How it goes.
#[derive(Clone, Copy)]
enum Goes {
    /// It closes.
    Closes,
    /// It breaks the connection (RST).
    Breaks,
    /// It sends no more, and reads to the end.
    EndsInput,
}

fn leave(address: SocketAddr, step: &str, goes: Goes) {
    let mut session = match step.strip_prefix('*') {
        Some(_) => Session::log_in(address),
        None => Session::over(TcpStream::connect(address).unwrap()),
    };
    let parts: Vec<&str> = step.trim_start_matches('*').split('|').collect();
    for (nth, part) in parts.iter().enumerate() {
        session.write(part.as_bytes());
        if nth + 1 < parts.len() {
            session.reply();
        }
    }
    match goes {
        Goes::Closes => {}
        Goes::Breaks => socket2::SockRef::from(session.stream()).set_linger(Some(Duration::ZERO)).unwrap(),
        Goes::EndsInput => {
            session.stream().shutdown(std::net::Shutdown::Write).unwrap();
            session.rest();
        }
    }
}

/// The class of OpenSMTPD's sessions that outlived their socket, while look-ups hang.
#[test]
fn a_client_that_leaves_at_any_step_leaves_nothing_behind() {
    // A DNS server that never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let text = config(1).replace("127.0.0.1:1\"", &format!("{}\"", silent.local_addr().unwrap()));
    let mut relay = Relay::start(&text);
    let address = relay.address("submission");
    leave(address, STEPS[12], Goes::Closes);
    let before = relay.holds();
    relay.folder.said(&["send", "--from", "", "--to", "b@hang.test"]);
    for goes in [Goes::Closes, Goes::Breaks, Goes::EndsInput] {
        for step in STEPS.iter().cycle().take(4 * STEPS.len()) {
            leave(address, step, goes);
        }
    }
    relay.mail.wait("deferred");
    // The resolver keeps one task of its own from its first question on.
    relay.await_holding((before.0, before.1 + 1));
    assert_eq!(relay.status()["health"]["accepted"], 1, "what was broken off was not taken");
    Session::log_in(address);
}
