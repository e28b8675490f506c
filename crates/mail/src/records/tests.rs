use super::*;

#[test]
fn tags_are_read_whatever_their_white_space() {
    let tags = Tags::parse(b" v = DKIM1 ;\r\n\tp=AB CD==; x=; ").unwrap();
    assert_eq!((tags.first(), tags.get("p"), tags.get("x"), tags.get("V")), (Some(("v", "DKIM1")), Some("AB CD=="), Some(""), None));
    let long = "a".repeat(1_000);
    for (text, said) in [
        (&b"v=DKIM1; v=DKIM1"[..], "the tag v= is there twice"),
        (b"v=DKIM1;; p=x", "\"\" is no tag"),
        (b"", "\"\" is no tag"),
        (b"1v=x", "\"1v=x\" is no tag"),
        (b"a\r\nb", "\"a??b\" is no tag"),
        (long.as_bytes(), "aaa...\" is no tag"),
        (b"v=\xff", "no text"),
        ("a=1;".repeat(65).as_bytes(), "twice"),
        ((0..65).map(|nth| format!("a{nth}=1;")).collect::<String>().as_bytes(), "more than 64 tags"),
    ] {
        let trouble = Tags::parse(text).unwrap_err().to_string();
        assert!(trouble.contains(said), "{trouble}");
    }
}

#[test]
fn keys_are_compared_by_what_they_mean() {
    let one = KeyRecord::parse(b"v=DKIM1; k=rsa; p=MIIBIjANBg+/Q==").unwrap();
    for same in [&b"p=MIIBIjANBg+/Q=="[..], b"v=DKIM1;p= MIIBIj ANBg+/Q", b"v=DKIM1; p=MIIBIjANBg+/Q==; k=RSA ;n=a note;"] {
        assert_eq!(KeyRecord::parse(same).unwrap(), one, "{}", String::from_utf8_lossy(same));
    }
    let parse = |text: &str| KeyRecord::parse(text.as_bytes()).unwrap();
    assert!(parse("v=DKIM1; p=").is_revoked() && !one.is_revoked());
    assert!(parse("h=sha1 : sha256; p=A").takes_sha256() && one.takes_sha256() && !parse("h=sha1; p=A").takes_sha256());
    assert!(parse("s=*; p=A").is_for_mail() && parse("s=tel:email; p=A").is_for_mail() && !parse("s=tel; p=A").is_for_mail());
    assert!(parse("t=s:y; p=A").is_a_test() && parse("t=y:s; p=A").is_strict() && !one.is_a_test() && !one.is_strict());
    assert_eq!(&*parse("k=ed25519; p=A").kind, "ed25519");
    for (text, said) in [
        ("k=rsa; v=DKIM1; p=A", "v=DKIM1 has to be the first"),
        ("v=DKIM2; p=A", "v=DKIM1 has to be the first"),
        ("v=DKIM1; k=rsa", "p=, which holds the key, is missing"),
        ("v=DKIM1\\; k=rsa\\; p=A", "v=DKIM1 has to be the first"),
        ("v=DKIM1; p=A\"B", "not Base64"),
        ("v=spf1 -all", "v=DKIM1 has to be the first"),
        ("", "is no tag"),
    ] {
        let trouble = KeyRecord::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(trouble.contains(said), "{text}: {trouble}");
    }
}

#[test]
fn policies_of_dmarc() {
    for (text, is) in [
        ("v=DMARC1; p=none", true),
        ("v = DMARC1;p=none", true),
        ("v=DMARC1", true),
        ("v=DMARC12; p=none", false),
        ("v=dmarc1; p=none", false),
        ("p=none; v=DMARC1", false),
        ("", false),
    ] {
        assert_eq!(is_dmarc(text.as_bytes()), is, "{text}");
    }
    let parse = |text: &str| DmarcRecord::parse(text.as_bytes());
    let full =
        parse("v=DMARC1; p=Reject; sp=none; adkim=s; aspf=r; pct=20; rua=mailto:a@b.example!10m, MAILTO:c@d.example, https://e.example/;")
            .unwrap();
    assert_eq!(
        (full.policy, full.below, full.strict_dkim, full.strict_spf, full.percent),
        (DmarcPolicy::Reject, DmarcPolicy::None, true, false, 20)
    );
    assert_eq!(full.reports, ["a@b.example".into(), "c@d.example".into(), Box::from("https://e.example/")]);
    let least = parse("v=DMARC1; p=quarantine").unwrap();
    assert_eq!((least.below, least.percent, least.reports.len()), (DmarcPolicy::Quarantine, 100, 0));
    for (text, said) in [
        ("v=DMARC1", "p= is missing"),
        ("v=DMARC1; rua=mailto:a@b.example", "p= is missing"),
        ("v=DMARC1; p=non", "p=\"non\" says nothing that receivers know; it may be none, quarantine or reject"),
        ("v=DMARC1; p=none; sp=x", "sp="),
        ("v=DMARC1; p=none; adkim=strict", "adkim="),
        ("v=DMARC1; p=none; pct=101", "pct="),
        ("v=DMARC1; p=none; rua=a@b.example", "rua=\"a@b.example\""),
        ("v=DMARC1, p=none", "p= is missing"),
    ] {
        let trouble = parse(text).unwrap_err().to_string();
        assert!(trouble.contains(said), "{text}: {trouble}");
    }
}

#[test]
fn terms_of_spf() {
    use Mechanism::{Addresses, All, Exists, Include, Mx, Network, Ptr};
    let mechanisms =
        |text: &str| SpfRecord::parse(text.as_bytes()).unwrap().terms.into_iter().map(|term| term.mechanism).collect::<Vec<_>>();
    assert_eq!(
        mechanisms(
            "v=spf1  A mx:b.example/24//64 a:%{d2}.c.example a//48 include:_spf.d.example ptr ip4:192.0.2.0/24 IP6:2001:db8::/32 exists:%{ir}.x.example -ALL"
        ),
        [
            Addresses(None, 32, 128),
            Mx(Some("b.example".into()), 24, 64),
            Addresses(Some("%{d2}.c.example".into()), 32, 128),
            Addresses(None, 32, 48),
            Include("_spf.d.example".into()),
            Ptr(None),
            Network("192.0.2.0".parse().unwrap(), 24),
            Network("2001:db8::".parse().unwrap(), 32),
            Exists("%{ir}.x.example".into()),
            All,
        ]
    );
    let record = SpfRecord::parse(b"V=SPF1 ?all redirect=_spf.e.example exp=x.example unknown=%{d}").unwrap();
    assert_eq!((record.terms[0].qualifier, record.redirect.as_deref()), (Qualifier::Neutral, Some("_spf.e.example")));
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
        "v=spf1 redirect=a redirect=b",
        "v=spf1 redirect=",
        "v=spf1 x=%{",
        "v=spf1 \u{fc}",
    ] {
        assert!(SpfRecord::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(SpfRecord::parse(format!("v=spf1{}", " a".repeat(TERMS_MAX)).as_bytes()).is_ok());
    assert_eq!(SpfRecord::parse(format!("v=spf1{}", " a".repeat(TERMS_MAX + 1)).as_bytes()), Err(SpfTrouble::TooMany));
    for (text, is) in
        [("v=spf1", true), ("V=SPF1 -all", true), ("v=spf10 -all", false), (" v=spf1", false), ("v=spf1\t-all", false), ("v=spf", false)]
    {
        assert_eq!(is_spf(text.as_bytes()), is, "{text}");
    }
}

/// RFC 7208 §7.4.
#[test]
fn macros_of_the_rfc() {
    let v4 = MacroFacts {
        address: "192.0.2.3".parse().unwrap(),
        local_part: "strong-bad",
        sender_domain: "email.example.com",
        domain: "email.example.com",
        hello: "mail.example.com",
    };
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
        assert_eq!(expand(text, &v4).as_deref(), Some(expanded), "{text}");
    }
    let v6 = MacroFacts { address: "2001:db8::cb01".parse().unwrap(), ..v4 };
    let reversed = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com";
    assert_eq!(expand("%{ir}.%{v}._spf.%{d2}", &v6).as_deref(), Some(reversed));
    let long = expand(&"a.".repeat(300), &v4).unwrap();
    assert!(long.len() <= 253 && long.starts_with("a."), "{long}");
}
