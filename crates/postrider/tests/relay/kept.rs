//! Messages that stay when they are done: looked at, sent again, removed; and trouble with them, which mail does not feel.

use std::mem::ManuallyDrop;

use serde_json::Value;

use crate::harness::{Folder, Hop, Relay, Session, config, mode};
use crate::registry::key;

const KEEPS: &str = "[[tenant]]\nname = \"default\"\n[[tenant.stream]]\nname = \"default\"\nretention = \"72h\"\n";

fn id_of(reply: &str) -> String {
    assert!(reply.starts_with("250"), "{reply}");
    reply.trim_end().rsplit(' ').next().unwrap().to_owned()
}

fn kept(folder: &Folder, words: &[&str]) -> Vec<Value> {
    let said = folder.said(&[&["kept", "list", "--json"], words].concat());
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_message_stays_when_it_is_done_and_is_sent_again() {
    let hop = Hop::open(|to| to.contains("nobody").then_some("550 5.1.1 nobody of that name"));
    let mut relay = Relay::start(&format!("{}{KEEPS}", config(hop.port)));
    let folder = ManuallyDrop::new(Folder(relay.folder.0.clone()));
    let mut session = Session::log_in(relay.address("submission"));
    let content = "From: a@b.example\r\nSubject: receipt\r\n\r\n..first\r\nlast";
    let id = id_of(&session.send("a@b.example", "c@[127.0.0.1]", content));
    hop.take();
    relay.mail.wait("delivered");
    let bounced = id_of(&session.send("", "nobody@[127.0.0.1]", "Subject: x\r\n\r\nx"));
    relay.mail.wait("bounced");
    let listed = kept(&folder, &[]);
    assert_eq!(listed.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), [&id, &bounced], "whatever became of it");
    assert_eq!(kept(&folder, &["--to", "c@[127.0.0.1]", "--tenant", "default", "--stream", "default", "--since", "1h"]).len(), 1);
    assert_eq!((kept(&folder, &["--to", "elsewhere.example"]).len(), kept(&folder, &["--stream", "other"]).len()), (0, 0));
    let file = std::fs::read_dir(folder.data().join("kept")).unwrap().next().unwrap().unwrap().path();
    let modes: Vec<u32> = std::fs::read_dir(&file).unwrap().map(|entry| mode(&entry.unwrap().path())).collect();
    assert_eq!((modes, mode(&file)), (vec![0o600, 0o600], 0o700));
    let shown = folder.said(&["kept", "show", &id]);
    assert!(shown.contains("from      <a@b.example>\nto        <c@[127.0.0.1]>") && shown.contains("as app (submission)"), "{shown}");
    assert_eq!(folder.said(&["kept", "show", &id, "--content"]), "From: a@b.example\r\nSubject: receipt\r\n\r\n.first\r\nlast\r\n");
    // As a new message, to whom it went, or to somebody else.
    let again = folder.said(&["kept", "resend", &id]).trim().to_owned();
    assert_ne!(again, id);
    assert!(hop.take().contains("Subject: receipt"));
    relay.said.wait(&format!("message {again} is {id} sent again, which was kept"));
    hop.heard_so_far();
    folder.said(&["kept", "resend", &id, "--to", "d@[127.0.0.1]"]);
    assert_eq!(hop.hear("RCPT"), "RCPT TO:<d@[127.0.0.1]>");
    assert!(hop.take().contains("Subject: receipt"));
    // It outlives the relay, and goes by hand.
    let relay_folder = relay.kill();
    assert_eq!(kept(&folder, &["--to", "c@[127.0.0.1]"]).len(), 2);
    assert!(folder.said(&["kept", "remove", &id]).contains("removed"));
    let (said, _) = folder.complained(&["kept", "show", &id]);
    assert!(said.contains("is not kept"), "{said}");
    assert!(folder.complained(&["kept", "remove", &id]).0.contains("nothing was removed"));
    drop(relay_folder);
}

#[test]
fn what_waits_is_in_the_queue_and_kept_when_a_person_ends_it() {
    let hop = Hop::open(|_| Some("450 4.2.0 come later"));
    let mut relay = Relay::start(&format!("{}{KEEPS}", config(hop.port)));
    let folder = ManuallyDrop::new(Folder(relay.folder.0.clone()));
    let mut session = Session::log_in(relay.address("submission"));
    let id = id_of(&session.send("a@b.example", "c@[127.0.0.1]", "From: a@b.example\r\n\r\nwaits"));
    relay.mail.wait("deferred");
    assert!(kept(&folder, &[]).is_empty() && folder.complained(&["kept", "show", &id]).0.contains("it has not ended yet"));
    // The power of a kill changes nothing about that.
    let folder = relay.kill();
    let mut relay = Relay::start_in(folder, &[]);
    let folder = ManuallyDrop::new(Folder(relay.folder.0.clone()));
    folder.said(&["queue", "cancel", "--all", "--yes", "--reason", "the customer asked"]);
    relay.mail.wait("bounced");
    let listed = kept(&folder, &[]);
    assert!(listed.len() == 1 && listed[0]["id"] == id.as_str(), "{listed:?}");
}

#[test]
fn a_stream_of_the_registry_keeps_its_mail_from_the_moment_it_is_told() {
    let hop = Hop::open(|_| None);
    let mut relay = Relay::start(&config(hop.port));
    let folder = ManuallyDrop::new(Folder(relay.folder.0.clone()));
    folder.said(&["tenant", "add", "shop", "--sends-as", "anybody"]);
    let (_, proof) = key(&folder, &["--tenant", "shop"]);
    let mut session = Session::open(relay.address("submission"));
    assert!(session.say(&proof).starts_with("235"));
    let mut send = |text: &str| {
        let id = id_of(&session.send("a@b.example", "c@[127.0.0.1]", &format!("From: a@b.example\r\n\r\n{text}")));
        assert!(hop.take().contains(text));
        relay.mail.wait("delivered");
        id
    };
    send("before");
    assert!(folder.said(&["stream", "set", "shop", "transactional", "--retention", "72h"]).contains("kept for 72 h"));
    let id = send("after");
    let listed = kept(&folder, &[]);
    assert!(listed.len() == 1 && listed[0]["id"] == id.as_str(), "{listed:?}");
    let again = folder.said(&["kept", "resend", &id]);
    assert!(hop.take().contains("after"), "{again}");
    for (time, told) in [("1s", "from 1m to 400d"), ("500d", "from 1m to 400d")] {
        assert!(folder.complained(&["stream", "set", "shop", "transactional", "--retention", time]).0.contains(told));
    }
    assert!(!folder.said(&["stream", "set", "shop", "transactional", "--retention", ""]).contains("kept for"));
    let file = folder.0.join("tenants.toml");
    std::fs::write(&file, "[[tenant]]\nname = \"shop\"\n[[tenant.stream]]\nname = \"bulk\"\nretention = \"30d\"\n").unwrap();
    let said = folder.said(&["apply", &file.display().to_string(), "--yes"]);
    assert!(said.contains("~ stream shop/bulk") && said.contains("kept for 720 h"), "{said}");
    std::fs::write(&file, "[[tenant]]\nname = \"shop\"\n[[tenant.stream]]\nname = \"bulk\"\npool = \"none\"\n").unwrap();
    assert!(folder.complained(&["apply", &file.display().to_string()]).0.contains("no [[pool]] of the name \"none\"; it has none"));
}

#[test]
fn trouble_with_what_is_kept_is_told_once_and_mail_goes_on() {
    let hop = Hop::open(|_| None);
    let folder = Folder::new();
    folder.configure(&format!("{}{KEEPS}[metrics]\nlisten = \"127.0.0.1:0\"\n", config(hop.port)));
    std::fs::write(folder.data().join("kept"), "a file where the folder should be").unwrap();
    let mut relay = Relay::start_in(folder, &[]);
    relay.mail.wait("cannot look at the kept messages in");
    let mut session = Session::log_in(relay.address("submission"));
    for nth in 0..3 {
        id_of(&session.send("a@b.example", "c@[127.0.0.1]", &format!("From: a@b.example\r\n\r\nmail {nth}")));
        assert!(hop.take().contains(&format!("mail {nth}")));
        let line = relay.mail.wait("c@[127.0.0.1]");
        assert!(line.contains("delivered") || line.contains("accepted"), "{line}");
    }
}
