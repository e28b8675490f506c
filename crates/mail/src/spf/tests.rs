use std::net::IpAddr;

use super::macros::Values;
use super::*;

#[test]
fn terms_of_a_record() {
    let record = read(b"v=spf1  A mx:b.example/24//64 a:%{d2}.c.example ?all redirect=_spf.e.example exp=x.example unknown=%{d}").unwrap();
    assert_eq!(record.senders().collect::<Vec<_>>(), ["A", "mx:b.example/24//64", "a:%{d2}.c.example"]);
    assert_eq!(record.rest(), Some("?all"), "a redirect behind it is never followed");
    assert_eq!(record.directives[0].mechanism, Mechanism::A(None, Lengths { v4: 32, v6: 128 }));
    assert_eq!(read(b"V=SPF1 a//48").unwrap().directives[0].mechanism, Mechanism::A(None, Lengths { v4: 32, v6: 48 }));
    assert_eq!(read(b"v=spf1 Redirect=_spf.e.example").unwrap().rest(), Some("Redirect=_spf.e.example"));
    for text in [
        "v=spf1 ip4:192.0.2.0/33",
        "v=spf1 ip4:192.0.2",
        "v=spf1 ip4:192.0.2.1/024",
        "v=spf1 ip6:192.0.2.1",
        "v=spf1 include",
        "v=spf1 include:",
        "v=spf1 all:x",
        "v=spf1 a:",
        "v=spf1 a:b/",
        "v=spf1 mx/24/64",
        "v=spf1 ipv4:192.0.2.1",
        "v=spf1 -",
        "v=spf1 \tall",
        "v=spf1 a:%{x}",
        "v=spf1 a:%{d",
        "v=spf1 a:%",
        "v=spf1 exists:%{d0}",
        "v=spf1 redirect=a.example redirect=b.example",
        "v=spf1 redirect=",
        "v=spf1 x=%{",
        "v=spf1 \u{fc}",
    ] {
        assert!(read(text.as_bytes()).is_err(), "{text}");
    }
    let long = read(format!("v=spf1 {}=%", "x".repeat(60_000)).as_bytes()).unwrap_err();
    assert!(long.len() < 100, "what is said of a record is short: {long}");
    for (text, is) in
        [("v=spf1", true), ("V=SPF1 -all", true), ("v=spf10 -all", false), (" v=spf1", false), ("v=spf1\t-all", false), ("v=spf", false)]
    {
        assert_eq!(is_record(text.as_bytes()), is, "{text}");
    }
}

#[test]
fn hosts_whose_addresses_are_needed_are_asked_about_together() {
    use crate::lookup::{Answer, Known, Question};
    let of = |host: &str| Question::Addresses { name: host.to_owned(), ipv6: false };
    let hosts: Vec<String> =
        ["m1.example", "m2.example", "m2.example", "m3.example", "m4.example", "m5.example"].map(str::to_owned).to_vec();
    let client = "192.0.2.1".parse().unwrap();
    let identity = Identity { client, hello: "x", mail_from: "a@b.example", receiver: "mx.example", now: 0, explain: false };
    let mut known = Known::from([
        (Question::Texts("b.example".to_owned()), Answer::Texts(vec![b"v=spf1 mx -all".to_vec()])),
        (Question::Exchangers("b.example".to_owned()), Answer::Names(hosts)),
    ]);
    assert_eq!(check(&identity, &known), Err(vec![of("m1.example"), of("m2.example"), of("m3.example"), of("m4.example")]));
    for host in ["m1.example", "m2.example", "m3.example", "m4.example"] {
        known.insert(of(host), Answer::Nothing);
    }
    assert_eq!(check(&identity, &known), Err(vec![of("m5.example")]));
    // What comes first decides, whichever answer was there first.
    known.insert(of("m1.example"), Answer::Addresses(vec![client]));
    assert_eq!(check(&identity, &known).map(|verdict| verdict.outcome), Ok(Outcome::Pass));
    known.insert(of("m1.example"), Answer::Failed);
    known.insert(of("m5.example"), Answer::Addresses(vec![client]));
    assert_eq!(check(&identity, &known).map(|verdict| verdict.outcome), Ok(Outcome::TempError));
}

/// RFC 7208 §7.4.
#[test]
fn macros_of_the_rfc() {
    let values = |client: &str| Values {
        local: "strong-bad",
        sender_domain: "email.example.com",
        domain: "email.example.com",
        client: client.parse::<IpAddr>().unwrap(),
        hello: "mail.example.com",
        validated: "unknown",
        receiver: "mx.example.com",
        now: 0,
    };
    let expand = |text: &str, client: &str| macros::read(text, false).unwrap().expand(&values(client));
    for (text, expanded) in [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l-}", "strong.bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ("a%%b%_c%-d.%{h}", "a%b c%20d.mail.example.com"),
    ] {
        assert_eq!(expand(text, "192.0.2.3"), expanded, "{text}");
    }
    let reversed = "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6._spf.example.com";
    assert_eq!(expand("%{ir}.%{v}._spf.%{d2}", "2001:db8::cb01"), reversed);
    let long = macros::read(&"a.".repeat(300), false).unwrap().name(&values("192.0.2.3"));
    assert!(long.len() <= 253 && long.starts_with("a."), "{long}");
}
