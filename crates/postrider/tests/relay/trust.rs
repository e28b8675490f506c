//! Clients that are known otherwise than by AUTH, and those that come by a proxy.

use std::io::Write;
use std::net::TcpStream;

use crate::harness::{Hop, Relay, Session, config};

const MAIL: &str = "From: a@shop.example\r\n\r\nHello.";

fn with(hop: &Hop, credential: &str, listener: &str) -> String {
    config(hop.port).replacen("auth_in_clear = true\n", &format!("auth_in_clear = true\n{listener}"), 1) + credential
}

#[test]
fn a_network_is_known_without_auth_and_only_for_submission() {
    let hop = Hop::open(|_| None);
    let mut relay = Relay::start(&with(&hop, "[[credential]]\nuser = \"office\"\nnetworks = [\"127.0.0.0/8\"]\n", ""));
    let mut session = Session::open(relay.address("submission"));
    assert!(session.send("a@shop.example", "b@[127.0.0.1]", MAIL).starts_with("250"));
    assert!(hop.take().contains("Hello."));
    let accepted = relay.mail.wait("accepted");
    assert!(accepted.contains("user=office"), "{accepted}");
    // Who wants to be somebody else says so.
    let mut session = Session::log_in(relay.address("submission"));
    session.send("a@shop.example", "b@[127.0.0.1]", MAIL);
    assert!(relay.mail.wait("accepted").contains("user=app"));
    let mut stranger = Session::open(relay.address("relay"));
    stranger.say("MAIL FROM:<a@b.example>");
    let reply = stranger.say("RCPT TO:<b@[127.0.0.1]>");
    assert!(reply.starts_with('5'), "a relay listener knows nobody: {reply}");
}

#[test]
fn a_secret_is_good_only_from_its_networks() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port).replace("user = \"app\"\n", "user = \"app\"\nnetworks = [\"192.0.2.0/24\"]\n"));
    let mut session = Session::open(relay.address("submission"));
    assert!(session.say("AUTH PLAIN AGFwcABzZWNyZXQ=").starts_with("535"));
    assert!(session.say("MAIL FROM:<a@b.example>").starts_with("530"));
}

#[test]
fn nobody_opens_the_relay_to_everybody() {
    let folder = crate::harness::Folder::new();
    folder.configure("[[credential]]\nuser = \"all\"\nnetworks = [\"0.0.0.0/0\"]\n");
    let (said, status) = folder.complained(&["serve"]);
    assert!(status != 0 && said.contains("postrider.toml:3: credential.networks") && said.contains("open relay"), "{said}");
}

#[test]
fn a_proxy_says_who_the_client_is_or_is_not_heard() {
    let hop = Hop::open(|_| None);
    let network = "[[credential]]\nuser = \"office\"\nnetworks = [\"203.0.113.0/24\"]\n";
    let mut relay = Relay::start(&with(&hop, network, "proxies = [\"127.0.0.1\"]\n"));
    let address = relay.address("submission");
    let by_proxy = |client: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(format!("PROXY TCP4 {client} 198.51.100.1 40000 587\r\n").as_bytes()).unwrap();
        let mut session = Session::over(stream);
        session.say("EHLO client.test");
        session
    };
    let mut session = by_proxy("203.0.113.9");
    assert!(session.send("a@shop.example", "b@[127.0.0.1]", MAIL).starts_with("250"));
    assert!(hop.take().contains("([203.0.113.9])"), "the trace names the client");
    assert!(relay.mail.wait("accepted").contains("203.0.113.9"));
    assert!(by_proxy("203.0.114.9").say("MAIL FROM:<a@b.example>").starts_with("530"), "the proxy's own address is nobody's");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"EHLO client.test\r\nMAIL FROM:<a@b.example>\r\n").unwrap();
    relay.mail.wait("no PROXY header");
}

#[test]
fn a_proxy_that_may_says_by_xclient_who_the_client_is() {
    let hop = Hop::open(|_| None);
    let network = "[[credential]]\nuser = \"office\"\nnetworks = [\"203.0.113.0/24\"]\n";
    let mut relay = Relay::start(&with(&hop, network, "xclient = [\"127.0.0.1\"]\n"));
    let mut session = Session::open(relay.address("submission"));
    assert!(session.say("XCLIENT ADDR=203.0.113.9 PORT=4711 NAME=[UNAVAILABLE]").starts_with("220"));
    assert!(session.say("MAIL FROM:<a@shop.example>").starts_with("503"), "the session begins anew");
    session.say("EHLO client.test");
    assert!(session.send("a@shop.example", "b@[127.0.0.1]", MAIL).starts_with("250"));
    assert!(hop.take().contains("([203.0.113.9])"));
    assert!(relay.mail.wait("accepted").contains("203.0.113.9"));
    assert!(session.say("XCLIENT ADDR=192.0.2.1").starts_with("220"));
    session.say("EHLO client.test");
    assert!(session.say("MAIL FROM:<a@b.example>").starts_with("530"), "what held for the one does not hold for the next");
    let mut stranger = Session::open(relay.address("relay"));
    assert!(stranger.say("XCLIENT ADDR=203.0.113.9").starts_with("550 5.7.0"));
}

#[test]
fn a_client_that_a_proxy_cannot_name_is_not_taken_for_the_proxy() {
    let hop = Hop::open(|_| None);
    let network = "[[credential]]\nuser = \"office\"\nnetworks = [\"127.0.0.0/8\"]\n";
    let relay = Relay::start(&with(&hop, network, "proxies = [\"127.0.0.1\"]\n"));
    let mut stream = TcpStream::connect(relay.address("submission")).unwrap();
    stream.write_all(b"PROXY UNKNOWN\r\n").unwrap();
    let mut session = Session::over(stream);
    session.say("EHLO client.test");
    assert!(session.say("MAIL FROM:<a@b.example>").starts_with("530"));

    let relay = Relay::start(&with(&hop, network, "xclient = [\"127.0.0.1\"]\n"));
    let mut session = Session::open(relay.address("submission"));
    assert!(session.say("XCLIENT ADDR=[UNAVAILABLE] NAME=[UNAVAILABLE]").starts_with("220"));
    session.say("EHLO client.test");
    assert!(session.say("MAIL FROM:<a@b.example>").starts_with("530"));
    // The control: the proxy itself is known.
    assert!(Session::open(relay.address("submission")).say("MAIL FROM:<a@b.example>").starts_with("250"));
}
