//! Signatures through the real program: whose mail is signed, by which keys, and by keys that came later; over the body that is really sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postrider_mail::dkim::BodyHash;

use crate::harness::{Folder, Hop, Relay, Session, config};

/// Whether the body that was taken is the one its signatures speak of.
pub fn is_the_signed_body(taken: &str) -> bool {
    let (header, body) = taken.split_once("\r\n\r\n").unwrap();
    let body = body.strip_suffix(".\r\n").unwrap().replace("\r\n..", "\r\n.");
    let mut hash = BodyHash::new();
    hash.feed(body.as_bytes());
    let expected = STANDARD.encode(hash.finish());
    let named: Vec<&str> = header.split(" bh=").skip(1).map(|rest| rest.split(';').next().unwrap()).collect();
    assert!(!named.is_empty(), "nobody signed: {header}");
    named.iter().all(|hash| *hash == expected)
}

/// Makes keys of a domain, and the section that names them.
pub fn keys(folder: &Folder, domain: &str, selector: &str, more: &str) -> String {
    let told = folder.said(&["dkim", "new", domain, "--selector", selector]);
    let section = told.split("[[domain]]").nth(1).unwrap().split("\n\n").next().unwrap();
    format!("\n[[domain]]{section}\n{more}\n")
}

/// The `d=` and `s=` of each signature, from the top.
fn signatures(taken: &str) -> Vec<String> {
    let header = taken.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
    let fields = header.lines().filter(|line| line.starts_with("DKIM-Signature:"));
    let tag = |field: &str, name: &str| field.split("; ").find_map(|tag| tag.trim().strip_prefix(name).map(str::to_owned)).unwrap();
    fields.map(|field| format!("{} {}", tag(field, "d="), tag(field, "s="))).collect()
}

/// Everything goes to this port.
fn to(port: u16) -> String {
    format!(
        "\n[[smart_host]]\nname = \"hop\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n[[route]]\nname = \"all\"\nto = \"hop\"\n"
    )
}

fn send(relay: &Relay, listener: &str, from: &str, to: &str) -> String {
    let mut session = match listener {
        "submission" => Session::log_in(relay.address(listener)),
        _ => Session::open(relay.address(listener)),
    };
    session.send(from, to, &format!("From: <{from}>\r\nSubject: x\r\n\r\nhello"))
}

#[test]
fn mail_is_signed_for_its_domain_and_for_the_operator_and_relayed_mail_is_not() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port));
    let brand = keys(&relay.folder, "brand.example", "one", "");
    let all = keys(&relay.folder, "relay.example", "all", "signs_all = true");
    let taking = config(hop.port).replace("[relay]\n", "[relay]\nrelay_domains = [\"there.example\"]\n");
    relay.folder.configure(&format!("{taking}{brand}{all}{}", to(hop.port)));
    relay.folder.said(&["reload"]);
    let both = ["relay.example all-rsa", "relay.example all-ed25519"];
    for (from, expected) in [
        ("ann@brand.example", vec!["brand.example one-rsa", "brand.example one-ed25519", both[0], both[1]]),
        ("ann@news.brand.example", vec!["brand.example one-rsa", "brand.example one-ed25519", both[0], both[1]]),
        ("ann@other.example", both.to_vec()),
    ] {
        assert!(send(&relay, "submission", from, "b@there.example").starts_with("250"));
        let taken = hop.take();
        assert!(taken.starts_with("DKIM-Signature:"), "signatures stand in front: {taken}");
        assert_eq!(signatures(&taken), expected, "{from}");
    }
    assert!(send(&relay, "relay", "ann@brand.example", "b@there.example").starts_with("250"));
    assert_eq!(signatures(&hop.take()), Vec::<String>::new(), "it came from another server, and is its word");
}

#[test]
fn a_retry_is_signed_by_the_keys_of_its_time() {
    let hop = Hop::open(|rcpt| rcpt.contains("busy").then_some("450 4.2.1 later"));
    let relay = Relay::start(&config(hop.port));
    let old = keys(&relay.folder, "brand.example", "old", "");
    relay.folder.configure(&format!("{}{old}", config(hop.port)));
    relay.folder.said(&["reload"]);
    let reply = send(&relay, "submission", "ann@brand.example", "busy@[127.0.0.1]");
    let id = reply.trim_end().rsplit(' ').next().unwrap().to_owned();
    crate::hops::explained(&relay.folder, &id, "450 4.2.1");
    let later = Hop::open(|_| None);
    let new = keys(&relay.folder, "brand.example", "new", "");
    relay.folder.configure(&format!("{}{new}{}", config(hop.port), to(later.port)));
    relay.folder.said(&["reload"]);
    relay.folder.said(&["queue", "retry", "--all"]);
    assert_eq!(signatures(&later.take()), ["brand.example new-rsa", "brand.example new-ed25519"]);
}

#[test]
fn a_signature_speaks_of_the_body_that_is_sent() {
    let seven = Hop::open(|_| None);
    let eight = Hop::offering("250-8BITMIME\r\n", |_| None);
    let relay = Relay::start(&config(seven.port));
    let brand = keys(&relay.folder, "brand.example", "one", "");
    let large = format!("{}..\r\nend  of\tit \r\n\r\n", "A line of  a body that is too large to be held.\r\n".repeat(20_000));
    for (hop, body, as_it_came) in [
        (&seven, "plain\r\n..\r\n \t\r\n\r\n", true),
        (&eight, "Gr\u{fc}\u{df}e  \r\n", true),
        (&seven, "Gr\u{fc}\u{df}e  \r\n", false),
        (&eight, &large, true),
        (&seven, &format!("\u{fc}\r\n{large}"), false),
    ] {
        relay.folder.configure(&format!("{}{brand}{}", config(hop.port), to(hop.port)));
        relay.folder.said(&["reload"]);
        let mut session = Session::log_in(relay.address("submission"));
        let content = format!("From: ann@brand.example\r\nSubject: x\r\n\r\n{body}end");
        assert!(session.send("ann@brand.example", "b@there.example", &content).starts_with("250"));
        let taken = hop.take();
        assert!(is_the_signed_body(&taken), "{} octets: {}", taken.len(), &taken[..2_000.min(taken.len())]);
        assert_eq!(
            taken.contains(&format!("\r\n\r\n{}\r\n", body.split("\r\n").next().unwrap())),
            as_it_came,
            "{}",
            &taken[..2_000.min(taken.len())]
        );
    }
}

#[test]
fn what_cannot_be_signed_is_refused_and_never_leaves_unsigned() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port));
    let brand = keys(&relay.folder, "brand.example", "one", "");
    let header = format!("From: ann@brand.example\r\n{}", format!("X-Long: {}\r\n", "y".repeat(900)).repeat(1_200));
    let content = format!("{header}\r\nhello");
    let mut session = Session::log_in(relay.address("submission"));
    assert!(session.send("ann@brand.example", "busy@[127.0.0.1]", &content).starts_with("250"), "nobody signs yet");
    drop(hop.take());
    relay.folder.configure(&format!("{}{brand}", config(hop.port)));
    relay.folder.said(&["reload"]);
    let mut session = Session::log_in(relay.address("submission"));
    let reply = session.send("ann@brand.example", "b@[127.0.0.1]", &content);
    assert!(reply.starts_with("552 5.3.4 the header is too long to be signed"), "{reply}");
}

#[test]
fn keys_are_told_when_they_are_wrong_and_never_overwritten() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port));
    let section = keys(&relay.folder, "brand.example", "one", "");
    let file = relay.folder.data().join("dkim/brand.example/one-rsa.pem");
    assert_eq!(crate::harness::mode(&file), 0o600);
    std::fs::write(&file, "no key").unwrap();
    relay.folder.configure(&format!("{}{section}", config(hop.port)));
    let (refused, _) = relay.folder.complained(&["reload"]);
    assert!(refused.contains("one-rsa.pem holds no private key in PEM") && refused.contains("stays in force"), "{refused}");
    for (words, said) in [
        (&["dkim", "new", "brand.example", "--selector", "one"][..], "never overwritten"),
        (&["dkim", "new", "not a domain"], "is not a domain"),
        (&["dkim", "new", "brand.example", "--selector", "a_b"], "is not a selector"),
    ] {
        let (refused, _) = relay.folder.complained(words);
        assert!(refused.contains(said), "{refused}");
    }
}
