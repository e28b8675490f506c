//! `backup` and `restore`, while the relay works and while it rests.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Folder, Hop, Relay, Session, config, mode};

/// A next hop that takes some and lets the others wait.
fn hop() -> Hop {
    Hop::open(|rcpt| rcpt.contains("busy").then_some("450 4.2.1 later"))
}

/// The ids of messages in the queue.
fn queued(folder: &Folder) -> BTreeSet<String> {
    let list = folder.said(&["queue", "list", "--json", "--max", "1000000"]);
    let id =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().split('/').next().unwrap().to_owned();
    list.lines().map(id).collect()
}

fn send(session: &mut Session, to: &str, nth: usize) -> String {
    // Every tenth is too large for the log and stands in a file of its own.
    let text = if nth.is_multiple_of(10) { "0123456789abcdef\r\n".repeat(20_000) } else { "hello".to_owned() };
    let reply = session.send("", to, &format!("Subject: {nth}\r\n\r\n{text}"));
    reply.split("queued as ").nth(1).unwrap_or_else(|| panic!("{reply}")).trim().to_owned()
}

#[test]
fn a_copy_under_load_has_every_message_that_was_acknowledged_and_waits() {
    let hop = hop();
    let relay = Relay::start(&config(hop.port));
    let address = relay.address("submission");
    let told = relay.folder.said(&["dkim", "new", "brand.example"]);
    assert!(told.contains("postrider-rsa._domainkey.brand.example. 3600 IN TXT ( \"v=DKIM1; k=rsa; p="), "{told}");
    let mut session = Session::log_in(address);
    let waiting: BTreeSet<String> = (0..60).map(|nth| send(&mut session, "busy@[127.0.0.1]", nth)).collect();
    let stop = AtomicBool::new(false);
    let copy = relay.folder.0.join("copy");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut session = Session::log_in(address);
                let mut nth = 0;
                while !stop.load(Ordering::Relaxed) {
                    nth += 1;
                    send(&mut session, if nth % 2 == 0 { "busy@[127.0.0.1]" } else { "good@[127.0.0.1]" }, nth);
                }
            });
        }
        let said = relay.folder.cli(&["backup", copy.to_str().unwrap()]);
        stop.store(true, Ordering::Relaxed);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        assert!(String::from_utf8_lossy(&said.stdout).contains("every checksum is right"));
    });
    assert_eq!((mode(&copy), mode(&copy.join("tls/key.pem"))), (0o700, 0o600));
    let (again, _) = relay.folder.complained(&["backup", copy.to_str().unwrap()]);
    assert!(again.contains("is not empty"), "{again}");
    let old = relay.kill();

    let restored = Folder::new();
    let said = restored.said(&["restore", copy.to_str().unwrap()]);
    assert_eq!(mode(&restored.data().join("dkim/brand.example/postrider-ed25519.pem")), 0o600, "the keys came, too");
    let (again, _) = restored.complained(&["dkim", "new", "brand.example"]);
    assert!(again.contains("a key is never overwritten"), "{again}");
    assert!(said.contains("will be delivered again"), "{said}");
    assert!(restored.said(&["spool", "verify"]).contains("everything is sound"));
    let (said, _) = restored.complained(&["restore", copy.to_str().unwrap()]);
    assert!(said.contains("nothing is overwritten"), "{said}");
    for file in ["postrider.toml", "tls/certificate.pem", "tls/key.pem"] {
        assert_eq!(fs::read(restored.data().join(file)).unwrap(), fs::read(old.data().join(file)).unwrap(), "{file}");
    }
    let relay = Relay::start_in(restored, &[]);
    let found = queued(&relay.folder);
    let missing: Vec<_> = waiting.difference(&found).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for id in waiting.iter().take(11) {
        relay.folder.said(&["queue", "show", id]);
    }
}

#[test]
fn a_resting_relay_is_copied_too_and_what_is_damaged_is_not_put_back() {
    let relay = Relay::start(&config(1));
    let id = send(&mut Session::log_in(relay.address("submission")), "busy@[127.0.0.1]", 1);
    relay.folder.said(&["queue", "suspend", "--tenant", "default", "--for", "1d"]);
    relay.folder.said(&["suppression", "add", "--tenant", "default", "--stream", "default", "silent@there.example"]);
    // An end in order writes the journal, too.
    relay.signal("TERM");
    let (_, _, folder) = relay.ended();
    let copy = folder.0.join("copy");
    folder.said(&["backup", copy.to_str().unwrap()]);
    let restored = Folder::new();
    restored.said(&["restore", copy.to_str().unwrap()]);
    let relay = Relay::start_in(restored, &[]);
    assert_eq!(queued(&relay.folder), BTreeSet::from([id]));
    assert!(relay.folder.said(&["queue", "suspended"]).contains("default"), "what a person decided is restored, too");
    assert!(relay.folder.said(&["suppression", "list"]).contains("<silent@there.example>"), "and who is not written to");

    let (said, _) = folder.complained(&["restore", folder.0.to_str().unwrap()]);
    assert!(said.contains("is no backup"), "{said}");
    // One octet of the one message's content.
    let segments = fs::read_dir(copy.join("spool/log")).unwrap().map(|entry| entry.unwrap().path());
    let place = |octets: &[u8]| octets.windows(9).position(|part| part == b"\r\n\r\nhello");
    let damaged = segments.filter(|path| place(&fs::read(path).unwrap()).is_some());
    damaged.for_each(|path| {
        let mut octets = fs::read(&path).unwrap();
        let at = place(&octets).unwrap();
        octets[at + 5] ^= 0xff;
        fs::write(&path, octets).unwrap();
    });
    let other = Folder::new();
    let (said, _) = other.complained(&["restore", copy.to_str().unwrap()]);
    assert!(said.contains("damaged"), "{said}");
    assert!(!other.data().join("spool").exists());
}
