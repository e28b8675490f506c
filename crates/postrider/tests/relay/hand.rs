//! The queue in a person's hands: hold and release, cancel and bounce, suspend and resume, filters and counts; through a kill.

use crate::harness::{Folder, Hop, Relay, config};

/// Hands a message over, and waits until its first attempt has failed; its id.
fn deferred(relay: &mut Relay, from: &str, subject: &str) -> String {
    let id = send(&relay.folder, from, subject);
    relay.mail.wait(&format!("deferred id={id}/0"));
    id
}

fn send(folder: &Folder, from: &str, subject: &str) -> String {
    folder.said(&["send", "--from", from, "--to", "b@[127.0.0.1]", "--subject", subject]).trim().to_owned()
}

fn asked(folder: &Folder, words: &[&str]) -> serde_json::Value {
    serde_json::from_str(&folder.said(words)).unwrap()
}

/// The ids of the messages in a list, in the order of the list.
fn listed(folder: &Folder, words: &[&str]) -> Vec<String> {
    let said = folder.said(&[&["queue", "list", "--json"], words].concat());
    let id =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().split('/').next().unwrap().to_owned();
    said.lines().map(id).collect()
}

/// Another relay on the same data, after a kill, with a next hop that listens.
fn killed_and_started(relay: Relay, smtp_port: u16) -> Relay {
    let folder = relay.kill();
    folder.configure(&config(smtp_port));
    Relay::start_in(folder, &[])
}

#[test]
fn held_mail_stays_through_a_kill_until_it_is_released() {
    let mut relay = Relay::start(&config(1));
    let held = deferred(&mut relay, "a@shop.example", "held");
    assert!(relay.folder.said(&["queue", "hold", &held, "--reason", "to be looked at"]).contains("1 deliveries are held"));
    let hop = Hop::open(|_| None);
    let relay = killed_and_started(relay, hop.port);
    let view = asked(&relay.folder, &["queue", "list", "--state", "held", "--json"]);
    assert_eq!((view["state"].as_str(), view["held"]["reason"].as_str()), (Some("held"), Some("to be looked at")));
    assert!(relay.folder.said(&["explain", &held]).contains("held: to be looked at, since 2"));
    assert!(relay.folder.said(&["queue", "show", &held]).contains("held      held, since 2"));
    assert!(relay.folder.said(&["queue", "retry", "--all"]).contains("0 deliveries are due now"));
    send(&relay.folder, "a@shop.example", "free");
    assert!(hop.take().contains("Subject: free"), "mail that is not held passes by");
    assert!(relay.folder.said(&["queue", "release", "--sender", "shop.example"]).contains("1 deliveries are released"));
    relay.folder.said(&["queue", "retry", &held]);
    assert!(hop.take().contains("Subject: held"));
    let (said, _) = relay.folder.complained(&["queue", "hold", &format!("{held}/0")]);
    assert!(said.contains("of a whole message"), "{said}");
}

#[test]
fn what_is_cancelled_is_told_to_nobody_and_what_is_bounced_to_its_sender() {
    let mut relay = Relay::start(&config(1));
    // Nobody listens there: the first is deferred, and the others wait for their turn while the next hop rests.
    let mut ids = vec![deferred(&mut relay, "sender@[127.0.0.1]", "one")];
    ids.extend(["two", "three", "four"].iter().map(|subject| send(&relay.folder, "sender@[127.0.0.1]", subject)));
    let (said, _) = relay.folder.complained(&["queue", "cancel", "--sender", "sender@[127.0.0.1]", "--reason", "a mistake"]);
    assert!(said.contains("this would cancel 4 deliveries, for good: say --yes"), "{said}");
    assert!(relay.folder.said(&["queue", "bounce", "--all", "--dry-run"]).contains("4 deliveries match; nothing was changed"));
    assert_eq!(listed(&relay.folder, &[]), ids);
    assert!(relay.folder.said(&["queue", "cancel", &ids[0], "--reason", "a mistake"]).contains("1 deliveries are cancelled"));
    let line = relay.mail.wait("bounced");
    assert!(line.contains(&format!("id={}/0", ids[0])) && line.contains("a mistake") && line.contains("status=5.7.0"), "{line}");
    assert_eq!(listed(&relay.folder, &[]), ids[1..], "nobody is told");
    // What is held can be ended, too.
    relay.folder.said(&["queue", "hold", &ids[1]]);
    let done = asked(&relay.folder, &["queue", "bounce", &format!("{}/0", ids[1]), "--reason", "a spam run", "--json"]);
    assert_eq!((done["deliveries"].as_u64(), done["left"].as_u64()), (Some(1), Some(0)));
    let reports = listed(&relay.folder, &["--sender", "<>"]);
    assert_eq!(reports.len(), 1);
    let report = relay.folder.said(&["queue", "show", &reports[0], "--content"]);
    assert!(report.contains("multipart/report") && report.contains("Action: failed") && report.contains("a spam run"), "{report}");
    assert!(report.contains("To: <sender@[127.0.0.1]>"), "{report}");
    // Nothing of it comes back.
    let relay = killed_and_started(relay, 1);
    let left = listed(&relay.folder, &["--all"]);
    assert!(left.len() == 3 && left.iter().all(|id| *id != ids[0] && *id != ids[1]), "{left:?}");
    let shown = relay.folder.said(&["queue", "show", &ids[0]]);
    assert!(shown.contains("nothing of this message waits any more") && shown.contains("cancelled by the operator: a mistake"), "{shown}");
    assert!(relay.folder.said(&["queue", "cancel", "--all", "--yes", "--reason", "x"]).contains("3 deliveries are cancelled"));
    assert!(relay.folder.said(&["queue"]).contains("nothing waits"));
}

#[test]
fn one_recipient_of_several_is_ended_alone() {
    let mut relay = Relay::start(&config(1));
    let id = relay.folder.said(&["send", "--to", "a@[127.0.0.1]", "--to", "b@[127.0.0.1]"]).trim().to_owned();
    relay.mail.wait(&format!("deferred id={id}/0"));
    relay.mail.wait(&format!("deferred id={id}/1"));
    relay.folder.said(&["queue", "cancel", &format!("{id}/1"), "--reason", "x"]);
    let shown = asked(&relay.folder, &["queue", "show", &id, "--json"]);
    assert_eq!((shown["deliveries"].as_array().unwrap().len(), shown["deliveries"][0]["to"].as_str()), (1, Some("a@[127.0.0.1]")));
    assert!(shown["attempts"].as_array().unwrap().iter().any(|attempt| attempt["outcome"] == "bounced"), "{shown}");
}

#[test]
fn a_suspension_survives_a_kill_and_says_why_until_it_ends() {
    let hop = Hop::open(|_| None);
    let mut relay = Relay::start(&config(hop.port));
    for (word, name) in [("tenant", "default"), ("site", "[127.0.0.1]"), ("source", "default")] {
        let flag = format!("--{word}");
        let flag = flag.as_str();
        let said = relay.folder.said(&["queue", "suspend", flag, name, "--for", "1d", "--reason", "their maintenance"]);
        assert!(said.contains(&format!("{word} {name}")) && said.contains("their maintenance"), "{said}");
        let id = send(&relay.folder, "a@shop.example", word);
        relay = killed_and_started(relay, hop.port);
        let suspended = asked(&relay.folder, &["queue", "suspended", "--json"]);
        assert_eq!(suspended["suspended"][0]["name"], name);
        assert!(suspended["suspended"][0]["until"].is_string());
        let reason = format!("{word} {name} is suspended by hand: their maintenance");
        // A Site is known when its host was looked up, and a Source when its turn has come.
        let explained = (0..500).map(|_| relay.folder.said(&["explain", &id])).find(|said| said.contains(&reason));
        assert!(explained.is_some(), "{word}: {}", relay.folder.said(&["explain", &id]));
        assert_eq!(asked(&relay.folder, &["queue", "count", "--json"])["deliveries"], 1, "{word}");
        assert!(relay.folder.said(&["queue", "resume", flag, name]).contains("nothing is suspended"));
        assert!(hop.take().contains(&format!("Subject: {word}")));
        relay.mail.wait("delivered");
    }
    // By itself, too.
    relay.folder.said(&["queue", "suspend", "--tenant", "default", "--for", "1s"]);
    send(&relay.folder, "a@shop.example", "later");
    assert!(hop.take().contains("Subject: later"));
    assert!(relay.folder.said(&["queue", "suspended"]).contains("nothing is suspended"));
    for (words, part) in [
        (&["queue", "suspend", "--tenant", "nobody"][..], "there is no tenant nobody"),
        (&["queue", "suspend", "--source", "nowhere"], "there is no source nowhere"),
        (&["queue", "resume", "--site", "mx.example"], "site mx.example is not suspended"),
        (&["queue", "suspend", "--site", "a", "--tenant", "b"], "cannot be used with"),
        (&["queue", "suspend", "--for", "2h"], "required"),
    ] {
        let (said, _) = relay.folder.complained(words);
        assert!(said.contains(part), "{words:?}: {said}");
    }
    let folder = relay.kill();
    std::fs::write(folder.data().join("suspended.json"), "{\"version\":9}").unwrap();
    let (said, _) = folder.complained(&["serve"]);
    assert!(said.contains("was written by another release"), "{said}");
}

#[test]
fn the_queue_is_filtered_counted_and_watched() {
    let mut relay = Relay::start(&config(1));
    let one = deferred(&mut relay, "a@shop.example", "one");
    let two = send(&relay.folder, "b@other.example", "two");
    let folder = &relay.folder;
    for (words, expected) in [
        (&["--sender", "a@shop.example"][..], vec![&one]),
        (&["--sender", "other.example"], vec![&two]),
        (&["--domain", "[127.0.0.1]", "--tenant", "default"], vec![&one, &two]),
        (&["--older-than", "1h"], vec![]),
        (&["--younger-than", "1h", "--sender", "shop.example"], vec![&one]),
        (&["--state", "held"], vec![]),
        (&["--stream", "nothing"], vec![]),
        (&["--host", "c.example"], vec![]),
    ] {
        assert_eq!(listed(folder, words).iter().collect::<Vec<_>>(), expected, "{words:?}");
    }
    let count = folder.said(&["queue", "count", "--by", "tenant"]);
    assert!(count.starts_with("2 messages, 2 deliveries, ") && count.contains(" of them under way, 0 held"), "{count}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = count.lines().skip(3).map(words).collect();
    assert_eq!(rows[0], ["TENANT", "T", "5", "10", "20", "40", "80", "160", "320", "640", "1280", "1280+"]);
    assert_eq!((&rows[1][..3], &rows[2][..3]), (&words("TOTAL 2 2")[..], &words("default 2 2")[..]));
    let shape = asked(folder, &["queue", "count", "--json", "--older-than", "1h"]);
    assert_eq!((shape["deliveries"].as_u64(), shape["shape"]["total"]["deliveries"].as_u64()), (Some(2), Some(0)));
    let shown = folder.said(&["queue", "show", &one]);
    assert!(shown.contains("attempts  1") && shown.contains("deferred  <b@[127.0.0.1]>") && shown.contains("connection failed"), "{shown}");
    assert!(folder.said(&["queue", "show", &one, "--content"]).contains("Subject: one\r\n"));
    let watched = folder.said(&["queue", "watch", "--times", "2", "--every", "200ms"]);
    assert_eq!(
        watched.lines().filter(|line| line.contains("deliveries=2 lent=") && line.contains(" held=0 oldest=2")).count(),
        2,
        "{watched}"
    );
    let looks = folder.said(&["queue", "watch", "--times", "1", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&looks).unwrap()["messages"], 2);
    for (words, part) in [
        (&["queue", "list", "--sender", "a b"][..], "is not a host"),
        (&["queue", "list", "--older-than", "soon"], "is not a duration"),
        (&["queue", "count", "--sender", "a@b.example"], "cannot be counted by sender"),
        (&["queue", "hold"], "required"),
        (&["queue", "bounce", "--all", "--yes"], "--reason"),
    ] {
        let (said, _) = folder.complained(words);
        assert!(said.contains(part), "{words:?}: {said}");
    }
}
