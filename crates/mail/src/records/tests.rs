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
