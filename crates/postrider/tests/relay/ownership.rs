//! Whose mail it is: a tenant that is bound to its own domains speaks for nobody else, however it says so.

use crate::harness::{Folder, Hop, Relay, Session, config};

/// A tenant that owns shop.example; the file's word is proof.
fn bound(folder: &Folder, port: u16) -> String {
    let told = folder.said(&["dkim", "new", "shop.example"]);
    let section = told.split("[[domain]]").nth(1).unwrap().split("\n\n").next().unwrap();
    format!("{}[[tenant]]\nname = \"shop\"\nsends_as = \"own_domains\"\n[[domain]]{section}\ntenant = \"shop\"\n", config(port))
}

/// What is heard at the end of a transaction.
fn send(relay: &Relay, reverse_path: &str, header: &str) -> String {
    let mut session = Session::log_in(relay.address("submission"));
    let reply = session.send(reverse_path, "b@[127.0.0.1]", &format!("{header}\r\n\r\nhello"));
    reply.trim_end().to_owned()
}

#[test]
fn no_tenant_speaks_for_another() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port));
    relay.folder.configure(&bound(&relay.folder, hop.port));
    relay.folder.said(&["reload"]);
    let shop = "a@shop.example";
    for (reverse_path, header, reply) in [
        (shop, "From: a@shop.example", "250"),
        ("", "From: Shop <a@News.Shop.example>", "250"),
        (shop, "Subject: nobody said from whom", "250"),
        (shop, "From: a@bank.example", "550 5.7.1 From: bank.example is no domain of shop"),
        (shop, "From: a@shop.example\r\nSender: a@bank.example", "550 5.7.1 Sender: bank.example is no domain of shop"),
        (shop, "From: a@shop.example\r\nResent-From: a@bank.example", "550 5.7.1 Resent-From: bank.example"),
        (shop, "Return-Path: <a@bank.example>\r\nFrom: a@shop.example", "550 5.7.1 Return-Path: bank.example"),
        (shop, "From: =?utf-8?q?pay=40bank.example?= <a@shop.example>", "550 5.7.1 From: bank.example"),
        (shop, "From: a@shop.example\r\nFrom: a@bank.example", "550 5.7.1 there are several From fields"),
        (shop, &format!("X-Long: {}\r\nFrom: a@bank.example", "x".repeat(300_000)), "5"),
        (shop, &format!("{}From: a@bank.example", "X-Many: x\r\n".repeat(30_000)), "550 5.7.1 the header is too long"),
    ] {
        let said = send(&relay, reverse_path, header);
        assert!(said.starts_with(reply), "{:.100}: {said}", header);
    }
    let mut session = Session::log_in(relay.address("submission"));
    let said = session.say("MAIL FROM:<a@bank.example>");
    let expected = "550 5.7.1 MAIL FROM: bank.example is no domain of shop; add it with: postrider domain add bank.example --tenant shop";
    assert_eq!(said.trim_end(), expected);
    // What was taken, and nothing else, goes out.
    for _ in 0..3 {
        assert!(hop.take().contains("shop.example"));
    }
    let message = relay.folder.0.join("message");
    std::fs::write(&message, "From: a@bank.example\n\nhello\n").unwrap();
    let file = message.display().to_string();
    let (said, _) = relay.folder.complained(&["send", "--to", "b@[127.0.0.1]", "--from", shop, "--file", &file]);
    assert!(said.contains("From: bank.example is no domain of shop"), "{said}");
    let (said, _) = relay.folder.complained(&["send", "--to", "b@[127.0.0.1]", "--from", "a@bank.example"]);
    assert!(said.contains("MAIL FROM: bank.example is no domain of shop"), "{said}");
}
