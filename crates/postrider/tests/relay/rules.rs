//! The rules of mailbox providers, before mail is taken: warned, mended, refused, each with its remedy; and a DNS that is silent.

use std::time::Duration;

use crate::harness::{Folder, Hop, Relay, Session, config};
use crate::names::Names;

const GOOD: &str = "From: <ann@brand.example>\r\nTo: b@there.example\r\nSubject: x\r\nDate: Mon, 23 Nov 2026 20:37:00 +0000\r\n\
    List-Unsubscribe: <https://brand.example/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";

const OWN_NAMES: &str = "relay.test A 192.0.2.25\n192.0.2.25 PTR relay.test\n";

/// A relay whose only stream has bulk mail, judged so strictly; and what its domain has to publish.
fn start(names: &Names, hop: &Hop, rules: &str) -> (Relay, String) {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.data()).unwrap();
    let told = folder.said(&["dkim", "new", "brand.example", "--selector", "s"]);
    let section = told.split("[[domain]]").nth(1).unwrap().split("\n\n").next().unwrap();
    let tenant = format!("[[tenant]]\nname = \"default\"\n[[tenant.stream]]\nname = \"default\"\nclass = \"bulk\"\nrules = \"{rules}\"\n");
    let text = names.section(&config(hop.port));
    folder.configure(&format!("{text}\n{tenant}\n[[domain]]{section}\n"));
    let view: serde_json::Value = serde_json::from_str(&folder.said(&["domain", "records", "brand.example", "--json"])).unwrap();
    let line = |record: &serde_json::Value| {
        format!("{} {} {}\n", record["name"].as_str().unwrap(), record["type"].as_str().unwrap(), record["value"].as_str().unwrap())
    };
    let records = view["records"].as_array().unwrap().iter().map(line).collect();
    (Relay::start_in(folder, &[]), records)
}

fn send(relay: &Relay, header: &str) -> String {
    let mut session = Session::log_in(relay.address("submission"));
    session.send("ann@brand.example", "b@[127.0.0.1]", &format!("{header}\r\nhello"))
}

#[test]
fn mail_that_breaks_a_rule_is_refused_with_the_record_to_paste() {
    let (names, hop) = (Names::serve(""), Hop::open(|_| None));
    let (relay, records) = start(&names, &hop, "refuse");
    let good = format!("{OWN_NAMES}{records}");
    // Nothing is published.
    let reply = send(&relay, &format!("{GOOD}Message-ID: <1@brand.example>\r\n"));
    assert!(reply.starts_with("550 5.7.20 rule key-served (Gmail, "), "{reply}");
    assert!(reply.contains("s-rsa._domainkey.brand.example: ") && reply.contains("publish the wanted record: s-rsa._domainkey"), "{reply}");
    // What was found counts for a minute; a relay that starts again asks again.
    names.change(&good);
    let relay = Relay::start_in(relay.kill(), &[]);
    let reply = send(&relay, &format!("{GOOD}Message-ID: <1@brand.example>\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
    assert!(hop.take().contains("DKIM-Signature:"));
    for (header, said) in [
        (GOOD.replace("Subject: x", "Subject: x\r\nSubject: y") + "Message-ID: <2@brand.example>\r\n", "554 5.6.0 rule single-instance"),
        (format!("{}Message-ID: <1@brand.example>\r\n", GOOD.replace("Subject: x", "Subject: other")), "554 5.6.0 rule message-id-reuse"),
        (format!("{}Message-ID: <3@brand.example>\r\n", GOOD.replace("<https:", "<http:")), "550 5.7.1 rule one-click (Gmail, Yahoo)"),
        (format!("{GOOD}Message-ID: 4\r\n"), "554 5.6.0 rule message-id"),
        (format!("{GOOD}Message-ID: <6@brand.example>\r\nX-Long: {}\r\n", "x\r\n ".repeat(80_000)), "554 5.6.0 rule header-size"),
        (
            format!("{}Message-ID: <5@brand.example>\r\n", GOOD.replace("<ann@brand.example>", "ann@brand.example, bob@brand.example")),
            "554 5.6.0 rule from",
        ),
    ] {
        let reply = send(&relay, &header);
        assert!(reply.starts_with(said), "{said}: {reply}");
    }
    // What the control socket hands over is judged the same.
    std::fs::write(relay.folder.data().join("m.eml"), format!("{}\r\nhello\r\n", GOOD.replace("<https:", "<http:"))).unwrap();
    let file = relay.folder.data().join("m.eml");
    let words = ["send", "--from", "ann@brand.example", "--to", "b@[127.0.0.1]", "--file", file.to_str().unwrap()];
    let (said, _) = relay.folder.complained(&words);
    assert!(said.contains("rule one-click"), "{said}");
    // A relay that starts again remembers whose Message-ID that was.
    relay.signal("TERM");
    let relay = Relay::start_in(relay.ended().2, &[]);
    let other = format!("{}Message-ID: <1@brand.example>\r\n", GOOD.replace("Subject: x", "Subject: third"));
    let reply = send(&relay, &other);
    assert!(reply.starts_with("554 5.6.0 rule message-id-reuse"), "{reply}");
}

#[test]
fn a_warning_is_in_the_log_and_the_mail_goes() {
    let (names, hop) = (Names::serve(OWN_NAMES), Hop::open(|_| None));
    let (mut relay, _) = start(&names, &hop, "warn");
    let reply = send(&relay, "From: ann@brand.example\r\nSubject: x\r\nSubject: y\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    for rule in ["single-instance", "one-click", "key-served", "spf", "dmarc"] {
        let line = relay.mail.wait(&format!("provider-rule:{rule}"));
        assert!(line.contains("warned"), "{line}");
        if rule == "spf" {
            assert!(line.contains("brand.example. 3600 IN TXT \\\"v=spf1 a:relay.test ~all\\\""), "others may send for the domain: {line}");
        }
    }
    hop.take();
}

#[test]
fn what_can_be_mended_is_and_the_rest_goes() {
    let (names, hop) = (Names::serve(OWN_NAMES), Hop::open(|_| None));
    let (relay, _) = start(&names, &hop, "mend");
    let reply = send(&relay, "From: ann@brand.example\r\nSubject: x\r\nSubject: x\r\nContent-Type: text/plain\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    let taken = hop.take();
    assert!(taken.contains("MIME-Version: 1.0") && taken.matches("Subject: x").count() == 1, "{taken}");
}

#[test]
fn a_dns_that_is_silent_refuses_nothing_and_costs_two_seconds_at_most() {
    let names = Names::serve("");
    let hop = Hop::open(|_| None);
    let (relay, records) = start(&names, &hop, "refuse");
    let silent: String = records.lines().map(|line| format!("!? {}\n", line.split(' ').next().unwrap())).collect();
    names.change(&format!("{silent}!? relay.test\n!? 25.2.0.192.in-addr.arpa\n"));
    for nth in 0..3 {
        let mut session = Session::log_in(relay.address("submission"));
        // Each reply has this time: the look-ups have 1.5 s of it, and a resolver's own limit would be a minute.
        session.stream().set_read_timeout(Some(Duration::from_secs(4))).unwrap();
        let content = format!("{GOOD}Message-ID: <{nth}@brand.example>\r\n\r\nhello");
        let reply = session.send("ann@brand.example", "b@[127.0.0.1]", &content);
        assert!(reply.starts_with("250"), "{reply}");
        hop.take();
    }
}
