//! What senders ask for beyond delivery: reports (RFC 3461), times (RFC 2852, RFC 4865), urgency (RFC 6710).

use std::io::{BufRead, BufReader};
use std::net::TcpStream;

use crate::harness::{Hop, Relay, Session, config};

const DSN: &str = "250-DSN\r\n250-DELIVERBY\r\n250-MT-PRIORITY\r\n";

/// One transaction with parameters of MAIL and RCPT; the mail's subject is its recipient.
fn submit(session: &mut Session, mail: &str, rcpt: &str) {
    for command in [format!("MAIL FROM:<sender@[127.0.0.1]>{mail}"), format!("RCPT TO:{rcpt}")] {
        let reply = session.say(&command);
        assert!(reply.starts_with("250"), "{command}: {reply}");
    }
    assert!(session.say("DATA").starts_with("354"));
    let header = format!("From: a@shop.example\r\nTo: b@c.example\r\nSubject: {rcpt}\r\nMessage-ID: <1@shop.example>");
    let reply = session.say(&format!("{header}\r\n\r\nThe text itself.\r\n."));
    assert!(reply.starts_with("250"), "{reply}");
}

fn nobody_refused(rcpt: &str) -> Option<&'static str> {
    rcpt.contains("nobody").then_some("550 5.1.1 no such user")
}

fn later(rcpt: &str) -> Option<&'static str> {
    rcpt.contains("later").then_some("451 4.2.1 not now")
}

#[test]
fn submission_offers_what_is_for_clients_of_ours_and_a_relay_listener_only_dsn() {
    let relay = Relay::start(&config(1));
    let words = |name: &str| {
        let mut session = Session::over(TcpStream::connect(relay.address(name)).unwrap());
        session.write(b"EHLO client.test\r\n");
        let mut lines = Vec::new();
        let mut reader = BufReader::new(session.stream().try_clone().unwrap());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            lines.push(line.get(4..).unwrap_or_default().trim_end().to_owned());
            if line.starts_with("250 ") || line.is_empty() {
                return lines;
            }
        }
    };
    let (ours, strangers) = (words("submission"), words("relay"));
    for keyword in ["DSN", "DELIVERBY", "MT-PRIORITY", "FUTURERELEASE 2592000 "] {
        let in_ours = ours.iter().any(|line| line.starts_with(keyword));
        let in_strangers = strangers.iter().any(|line| line.starts_with(keyword));
        assert_eq!((in_ours, in_strangers), (true, keyword == "DSN"), "{keyword}: {ours:?} {strangers:?}");
    }
}

#[test]
fn success_is_told_where_the_next_hop_will_not_and_passed_on_where_it_will() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port));
    let mut session = Session::log_in(relay.address("submission"));
    submit(&mut session, " RET=HDRS ENVID=QQ+2B314", "<b@[127.0.0.1]> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+2Bx@c.example");
    assert!(hop.take().contains("The text itself."));
    let report = hop.take();
    for part in [
        "Original-Envelope-Id: QQ+314\r\n",
        "Original-Recipient: rfc822; Bob+x@c.example\r\n",
        "Final-Recipient: rfc822; b@[127.0.0.1]\r\n",
        "Action: relayed\r\nStatus: 2.0.0\r\n",
        "Auto-Submitted: auto-replied\r\n",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    assert!(!report.contains("The text itself."), "a success returns the header alone: {report}");

    let knows = Hop::offering(DSN, |_| None);
    let relay = Relay::start(&config(knows.port));
    let mut session = Session::log_in(relay.address("submission"));
    submit(
        &mut session,
        " RET=FULL ENVID=QQ+2B314 BY=600;N MT-PRIORITY=3",
        "<b@[127.0.0.1]> NOTIFY=SUCCESS ORCPT=rfc822;Bob+2Bx@c.example",
    );
    let mail = knows.hear("MAIL");
    assert!(mail.contains(" RET=FULL ENVID=QQ+2B314 BY=") && mail.contains(";N MT-PRIORITY=3"), "{mail}");
    assert_eq!(knows.hear("RCPT"), "RCPT TO:<b@[127.0.0.1]> NOTIFY=SUCCESS ORCPT=rfc822;Bob+2Bx@c.example");
    assert!(knows.take().contains("The text itself."));
    // Nothing is reported by us: what comes next is the next mail.
    submit(&mut session, "", "<c@[127.0.0.1]>");
    assert!(knows.take().contains("Subject: <c@[127.0.0.1]>"));
}

#[test]
fn failures_are_told_as_notify_and_ret_ask() {
    let hop = Hop::open(nobody_refused);
    let mut relay = Relay::start(&config(hop.port));
    let mut session = Session::log_in(relay.address("submission"));
    for notify in [" NOTIFY=NEVER", " NOTIFY=SUCCESS,DELAY"] {
        submit(&mut session, "", &format!("<nobody@[127.0.0.1]>{notify}"));
        relay.mail.wait("bounced");
    }
    submit(&mut session, " RET=FULL", "<nobody@[127.0.0.1]> NOTIFY=FAILURE");
    let report = hop.take();
    assert!(
        report.contains("Content-Type: message/rfc822\r\n") && report.contains("The text itself."),
        "the first report is of the third: {report}"
    );
    submit(&mut session, " RET=HDRS", "<nobody@[127.0.0.1]>");
    let report = hop.take();
    assert!(report.contains("text/rfc822-headers") && !report.contains("The text itself."), "{report}");
}

#[test]
fn a_delay_is_told_once_to_who_asks() {
    let hop = Hop::open(later);
    let text = format!("{}[retry]\nintervals = [\"1s\"]\ndelay_notice = \"1s\"\njitter_percent = 0\n", config(hop.port));
    let mut relay = Relay::start(&text);
    let mut session = Session::log_in(relay.address("submission"));
    submit(&mut session, " ENVID=E1", "<later@[127.0.0.1]> NOTIFY=DELAY");
    submit(&mut session, "", "<later-too@[127.0.0.1]>");
    let report = hop.take();
    for part in
        ["Action: delayed\r\n", "Status: 4.2.1\r\n", "Will-Retry-Until: ", "Original-Envelope-Id: E1\r\n", "Your message is delayed"]
    {
        assert!(report.contains(part), "{part} in {report}");
    }
    // Several attempts later, over a restart, nothing more was said.
    for _ in 0..8 {
        relay.mail.wait("deferred");
    }
    let mut relay = Relay::start_in(relay.kill(), &[]);
    for _ in 0..4 {
        relay.mail.wait("deferred");
    }
    let mut session = Session::log_in(relay.address("submission"));
    submit(&mut session, "", "<now@[127.0.0.1]>");
    let taken = hop.take();
    assert!(taken.contains("Subject: <now@[127.0.0.1]>"), "what comes next is the next mail: {taken}");
}

#[test]
fn held_mail_waits_over_a_restart_and_a_person_may_let_it_go() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port));
    let mut session = Session::log_in(relay.address("submission"));
    submit(&mut session, " HOLDFOR=86400", "<b@[127.0.0.1]>");
    submit(&mut session, " HOLDUNTIL=2020-01-01T00:00:00Z", "<c@[127.0.0.1]>");
    let taken = hop.take();
    assert!(taken.contains("Subject: <c@[127.0.0.1]>"), "an instant that has passed holds nothing: {taken}");
    let reply = session.say("MAIL FROM:<a@b.example> HOLDFOR=99999999");
    assert!(reply.starts_with("5"), "longer than offered: {reply}");
    relay.signal("TERM");
    let relay = Relay::start_in(relay.ended().2, &[]);
    assert_eq!(relay.waiting(), 1);
    relay.folder.said(&["queue", "retry", "--all"]);
    assert!(hop.take().contains("Subject: <b@[127.0.0.1]>"));
}

#[test]
fn mail_that_must_be_there_by_a_time_is_returned_then() {
    let hop = Hop::open(later);
    let mut relay = Relay::start(&config(hop.port));
    let mut session = Session::log_in(relay.address("submission"));
    submit(&mut session, " BY=2;R", "<later@[127.0.0.1]>");
    let bounced = relay.mail.wait("bounced");
    assert!(bounced.contains("later@"), "{bounced}");
    let report = hop.take();
    assert!(report.contains("Action: failed\r\n"), "{report}");
}

#[test]
fn what_a_client_of_ours_leaves_out_is_added() {
    let hop = Hop::open(|_| None);
    let mut relay = Relay::start(&config(hop.port));
    let mut session = Session::log_in(relay.address("submission"));
    assert!(session.send("a@shop.example", "b@[127.0.0.1]", "just text, and\r\nno header: at all").starts_with("250"));
    let taken = hop.take();
    let id = relay.mail.wait("accepted").split("id=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    let (head, text) = taken.split_once("\r\n\r\n").unwrap();
    for field in ["\r\nDate: ", "\r\nFrom: <a@shop.example>", &format!("\r\nMessage-ID: <{id}@relay.test>")] {
        assert!(head.contains(field), "{field} in {taken}");
    }
    assert_eq!(text, "just text, and\r\nno header: at all\r\n.\r\n");
    session.send("a@shop.example", "b@[127.0.0.1]", "From: c@d.example\r\nDate: never\r\nMessage-ID: <1@d.example>\r\n\r\nx");
    let taken = hop.take();
    assert!(!taken.contains("@relay.test>") && taken.matches("Date:").count() == 1, "{taken}");
}

#[test]
fn what_the_next_hop_cannot_take_as_it_is_goes_in_another_encoding_or_comes_back() {
    let narrow = Hop::offering("250-SIZE 2000\r\n", |_| None);
    let mut relay = Relay::start(&config(narrow.port));
    let mut session = Session::log_in(relay.address("submission"));
    let header = "From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit";
    assert!(session.send("a@shop.example", "b@[127.0.0.1]", &format!("{header}\r\n\r\nGrüße")).starts_with("250"));
    let taken = narrow.take();
    assert!(taken.is_ascii() && taken.contains("Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe\r\n"), "{taken}");
    let mail = narrow.hear("MAIL");
    assert!(!mail.contains("BODY="), "{mail}");
    session.send("sender@[127.0.0.1]", "b@[127.0.0.1]", &format!("From: a@b.example\r\n\r\n{}", "too much\r\n".repeat(400)));
    let bounced = relay.mail.wait("bounced");
    assert!(bounced.contains("status=5.3.4") && bounced.contains("takes 2000"), "{bounced}");

    let wide = Hop::offering("250-8BITMIME\r\n", |_| None);
    let relay = Relay::start(&config(wide.port));
    let mut session = Session::log_in(relay.address("submission"));
    session.send("a@shop.example", "b@[127.0.0.1]", &format!("{header}\r\n\r\nGrüße"));
    let taken = wide.take();
    assert!(taken.contains("Grüße") && wide.hear("MAIL").contains(" BODY=8BITMIME"), "{taken}");
}
