//! Mail of strangers through the real program: what was found out stands in front of it, what they forged is gone, and what a domain asks for is done where it is
//! enforced.

use std::time::{Duration, Instant};

use postrider_mail::dkim::{Algorithm, Signable, Signature, SigningKey, fields};

use crate::harness::{Hop, Relay, Session, config};
use crate::names::Names;
use crate::preparing;

const CONTENT: &str =
    "From: Ann <ann@b.example>\r\nTo: bob@there.example\r\nSubject: hello\r\nDate: x\r\nMessage-ID: <1@b.example>\r\n\r\nHello\r\n";

fn key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate(Algorithm::Ed25519Sha256).unwrap()).unwrap()
}

/// The content with a signature of b.example in front.
fn signed(content: &str, key: &SigningKey) -> String {
    let mut signable = Signable::new();
    signable.feed(content.as_bytes());
    let (header, hash) = signable.finish().unwrap();
    let mut out = Vec::new();
    let signature = Signature { domain: "b.example", selector: "s", key, at: 1 };
    signature.write(&header, &fields(&header), &hash, &mut out).unwrap();
    format!("{}{content}", String::from_utf8(out).unwrap())
}

/// What a name has.
#[derive(Clone)]
enum Has {
    Text(String),
    Silence,
    Failure,
}

fn text(text: &str) -> Has {
    Has::Text(text.to_owned())
}

/// A relay that takes mail for there.example and hands it to the hop, and asks these names.
fn relay(hop: &Hop, names: &[(&str, Has)], more: &str) -> Relay {
    let lines = names.iter().map(|(name, has)| match has {
        Has::Text(text) => format!("{name} TXT {text}"),
        Has::Silence => format!("!? {name}"),
        Has::Failure => format!("! {name}"),
    });
    let dns = Names::serve(&lines.collect::<Vec<_>>().join("\n")).address.port();
    let config = config(hop.port)
        .replace("[relay]\n", "[relay]\nrelay_domains = [\"there.example\"]\n")
        .replace("servers = [\"127.0.0.1:1\"]", &format!("servers = [\"127.0.0.1:{dns}\"]"));
    let port = hop.port;
    Relay::start(&format!(
        "{config}[[smart_host]]\nname = \"hop\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n[[route]]\nname = \"all\"\nto = \"hop\"\n{more}"
    ))
}

fn send(relay: &Relay, content: &str) -> String {
    Session::open(relay.address("relay")).send("ann@b.example", "bob@there.example", content.trim_end()).trim_end().to_owned()
}

/// Behind our trace field, unfolded.
fn told(taken: &str) -> String {
    let (_, behind) = taken.split_once("\r\nAuthentication-Results: ").unwrap_or(("", ""));
    behind.replace("\r\n ", " ").lines().next().unwrap_or_default().to_owned()
}

#[test]
fn what_was_found_out_is_told_and_what_was_forged_is_gone() {
    let (hop, key) = (Hop::open(|_| None), key());
    let names = [
        ("b.example", text("v=spf1 ip4:127.0.0.1 -all")),
        ("s._domainkey.b.example", text(&key.record())),
        ("_dmarc.b.example", text("v=DMARC1; p=reject")),
    ];
    let mut relay = relay(&hop, &names, "");
    let forged = "Authentication-Results: relay.test; dkim=pass header.d=bank.example\r\n\
        authentication-results: (x) RELAY.TEST. 1; dmarc=pass\r\nAuthentication-Results: \"relay.test\r\n\
        Authentication-Results: other.example; spf=pass\r\n";
    assert!(send(&relay, &format!("{forged}{}", signed(CONTENT, &key))).starts_with("250"));
    let taken = hop.take();
    assert!(
        told(&taken).starts_with("relay.test; spf=pass smtp.mailfrom=ann@b.example; dkim=pass header.d=b.example header.s=s header.b=")
            && told(&taken).ends_with("; dmarc=pass header.from=b.example policy.dmarc=reject"),
        "{taken}"
    );
    assert_eq!(taken.to_lowercase().matches("authentication-results").count(), 2, "{taken}");
    assert!(taken.contains("\r\nAuthentication-Results: other.example; spf=pass\r\n") && !taken.contains("bank.example"), "{taken}");
    let line = relay.mail.wait("verified id=");
    assert!(line.contains("by=verify") && line.contains("spf=pass dkim=pass:b.example dmarc=pass:b.example policy=reject"), "{line}");

    // Who has proven who he is is not verified, and his header is his own.
    let mut session = Session::log_in(relay.address("submission"));
    assert!(session.send("ann@b.example", "bob@there.example", &format!("{forged}{}", CONTENT.trim_end())).starts_with("250"));
    let taken = hop.take();
    assert_eq!(taken.to_lowercase().matches("authentication-results").count(), 4, "{taken}");
}

#[test]
fn a_domain_that_asks_for_it_is_followed_where_it_is_enforced_and_only_there() {
    let hop = Hop::open(|_| None);
    let with = |policy: Has| [("_dmarc.b.example", policy), ("b.example", text("v=spf1 -all"))];
    let reject = with(text("v=DMARC1; p=reject"));
    let enforce = "[verify]\ndmarc = \"enforce\"\ntimeout = \"2s\"\n";
    let mut strict = relay(&hop, &reject, enforce);
    let reply = send(&strict, CONTENT);
    assert_eq!(reply, "550 5.7.1 rejected by the DMARC policy of b.example: neither SPF nor DKIM vouch for it");
    let line = strict.mail.wait("rejected id=");
    assert!(line.contains("spf=fail dkim=none dmarc=fail:b.example policy=reject"), "{line}");
    let twice = send(&strict, &format!("From: ann@b.example\r\n{CONTENT}"));
    assert_eq!(twice, "550 5.7.1 From must name one domain, once: nobody can say whose mail this is");
    assert!(send(&strict, &CONTENT.replace("ann@b.example", "ann@silent.example")).starts_with("250"), "who asks for nothing is taken");
    assert!(told(&hop.take()).ends_with("dmarc=none header.from=silent.example"));
    assert_eq!(strict.waiting(), 0);

    let wary = relay(&hop, &with(text("v=DMARC1; p=quarantine")), enforce);
    assert!(send(&wary, CONTENT).starts_with("250"), "to be wary is not to refuse");
    assert!(
        told(&hop.take()).contains("dmarc=fail reason=\"nobody aligned vouches for it\" header.from=b.example policy.dmarc=quarantine")
    );

    let mut mild = relay(&hop, &reject, "");
    assert!(send(&mild, CONTENT).starts_with("250"), "told, not refused");
    assert!(told(&hop.take()).ends_with("header.from=b.example policy.dmarc=reject"));
    mild.mail.wait("warned id=");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a real program is watched; no simulation runs it")]
fn a_dns_that_fails_or_is_silent_refuses_for_now_at_most_and_in_bounded_time() {
    let (hop, key) = (Hop::open(|_| None), key());
    for trouble in [Has::Failure, Has::Silence] {
        let names = [("b.example", trouble.clone()), ("s._domainkey.b.example", trouble.clone()), ("_dmarc.b.example", trouble.clone())];
        let strict = relay(&hop, &names, "[verify]\ndmarc = \"enforce\"\ntimeout = \"1s\"\n");
        let began = Instant::now();
        let reply = send(&strict, &signed(CONTENT, &key));
        assert_eq!(reply, "451 4.7.1 the DNS of b.example did not answer, so DMARC could not be checked; try again later");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let mild = relay(&hop, &names, "[verify]\ntimeout = \"1s\"\n");
        assert!(send(&mild, &signed(CONTENT, &key)).starts_with("250"));
        let told = told(&hop.take());
        assert!(
            told.contains("spf=temperror")
                && told.contains("dkim=temperror reason=\"the key could not be looked up\"")
                && told.contains("dmarc=temperror"),
            "{told}"
        );
    }
}

#[test]
fn servers_of_ours_are_passed_over_and_long_headers_are_not_taken_unread() {
    let hop = Hop::open(|_| None);
    let config = config(hop.port).replace("[relay]\n", "[relay]\nrelay_domains = [\"there.example\"]\n");
    let port = hop.port;
    let way = format!(
        "[[smart_host]]\nname = \"hop\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n[[route]]\nname = \"all\"\nto = \"hop\"\n"
    );
    let ours = config.replace("role = \"relay\"\n", "role = \"relay\"\nnot_verified = [\"127.0.0.0/8\"]\n");
    let relay = Relay::start(&format!("{ours}{way}"));
    let forged = format!("Authentication-Results: relay.test; spf=pass\r\n{CONTENT}");
    assert!(send(&relay, &forged).starts_with("250"));
    assert!(hop.take().contains("\r\nAuthentication-Results: relay.test; spf=pass\r\nFrom: "), "the second MX has written it");

    let off = Relay::start(&format!("{config}{way}[verify]\nstrangers = false\n"));
    assert!(send(&off, CONTENT).starts_with("250"));
    assert!(!hop.take().contains("Authentication-Results"));

    let relay = Relay::start(&format!("{config}{way}"));
    let long = format!("X: {}\r\n", "y".repeat(60_000)).repeat(20);
    assert_eq!(send(&relay, &format!("{long}{forged}")), "552 5.3.4 the header is too long to be checked");
}

#[test]
fn a_large_body_is_verified_too() {
    let (hop, key) = (Hop::open(|_| None), key());
    let relay = relay(&hop, &[("s._domainkey.b.example", text(&key.record()))], "");
    let large = signed(&format!("{CONTENT}{}", format!("{}\r\n", "x y".repeat(100)).repeat(100_000)), &key);
    assert!(send(&relay, &large).starts_with("250"));
    let taken = hop.take();
    assert!(told(&taken).contains("dkim=pass header.d=b.example"));
    assert!(taken.len() > large.len(), "thirty million octets");
    assert!(send(&relay, &large.replacen("x y", "x z", 1)).starts_with("250"));
    assert!(told(&hop.take()).contains("dkim=fail reason=\"the body is another one\" header.d=b.example"));
}

#[test]
fn what_comes_back_is_verified_and_refused_by_nobodys_policy() {
    let hop = Hop::open(|rcpt| rcpt.contains("busy@").then_some("450 4.2.1 later"));
    let names = Names::serve("b.example TXT v=spf1 -all\n_dmarc.b.example TXT v=DMARC1; p=reject");
    let mut relay = preparing::start(hop.port, "own_return_path = true", &preparing::to(hop.port));
    let path = relay.folder.data().join("postrider.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("127.0.0.1:1\"", &format!("{}\"", names.address));
    let text = text.replace("strangers = false", "dmarc = \"enforce\"");
    relay = Relay::start_in(
        {
            let folder = relay.kill();
            folder.configure(&text);
            folder
        },
        &[],
    );
    preparing::send(&relay, "bounces@shop.example", &["a@there.example", "busy@there.example"], preparing::CONTENT);
    hop.take();
    let token = hop.hear("MAIL FROM:").split('<').nth(1).unwrap().split('>').next().unwrap().to_owned();
    // The control: other mail of this sender is refused.
    let mut session = Session::open(relay.address("relay"));
    let reply = session.send("ann@b.example", "postmaster@back.shop.example", CONTENT.trim_end());
    assert!(reply.starts_with("550 5.7.1 rejected by the DMARC policy of b.example"), "{reply}");
    let mut session = Session::open(relay.address("relay"));
    let forged = format!("Authentication-Results: relay.test; dmarc=pass\r\n{}", CONTENT.trim_end());
    assert!(session.send("ann@b.example", &token, &forged).starts_with("250"));
    // It goes on from nobody, and SPF was about who sent it.
    while !hop.hear("MAIL FROM:").starts_with("MAIL FROM:<>") {}
    let taken = hop.take();
    assert!(told(&taken).starts_with("relay.test; spf=fail smtp.mailfrom=ann@b.example; dkim=none; dmarc=fail"), "{taken}");
    assert_eq!(taken.matches("Authentication-Results").count(), 1, "{taken}");
    relay.mail.wait("warned id=");
}
