use super::asking::Zone;
use super::check::{Finding, State};
use super::*;

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn face(address: Result<&str, Hidden>, hello: &str) -> Face {
    Face { source: "first".into(), address: address.map(|text| text.parse().unwrap()), hello: hello.into() }
}

fn facts() -> Facts {
    Facts {
        domain: domain("brand.example"),
        keys: vec![PublicKey { selector: "s1".into(), record: "v=DKIM1; k=rsa; p=QUJDREVGRw==".into() }],
        return_path: Some(domain("bounce.brand.example")),
        relay: domain("mail.example"),
        faces: vec![face(Ok("192.0.2.25"), "mail.example"), face(Ok("2001:db8::25"), "mail.example")],
        proof: Some("postrider-verify=abc".into()),
    }
}

/// Everything as it should be.
const GOOD: &[&str] = &[
    "_postrider.brand.example TXT postrider-verify=abc",
    "s1._domainkey.brand.example TXT v=DKIM1; k=rsa; p=QUJDREVGRw==",
    "bounce.brand.example MX 10 mail.example",
    "bounce.brand.example TXT v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 -all",
    "brand.example TXT v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ~all",
    "_dmarc.brand.example TXT v=DMARC1; p=none; rua=mailto:postmaster@brand.example",
    "mail.example A 192.0.2.25",
];

fn look(facts: &Facts, zone: &mut Zone) -> Vec<Finding> {
    zone.run(|asking| check::domain(facts, asking))
}

#[test]
fn the_records_that_are_wanted_are_well_when_they_are_there() {
    let facts = facts();
    let wanted = wanted(&facts);
    let lines: Vec<String> = wanted.iter().map(print::zone_line).collect();
    assert_eq!(
        lines,
        [
            "_postrider.brand.example. 3600 IN TXT \"postrider-verify=abc\"",
            "s1._domainkey.brand.example. 3600 IN TXT \"v=DKIM1; k=rsa; p=QUJDREVGRw==\"",
            "bounce.brand.example. 3600 IN MX 10 mail.example.",
            "bounce.brand.example. 3600 IN TXT \"v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 -all\"",
            "brand.example. 3600 IN TXT \"v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ~all\"",
            "_dmarc.brand.example. 3600 IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@brand.example\"",
        ]
    );
    let mut zone = Zone::new(&GOOD.join("\n"));
    for finding in look(&facts, &mut zone) {
        assert_eq!(finding.state, State::Fine, "{finding:?}");
    }
    let table = print::table(&facts.domain, &wanted);
    for part in [
        "type      MX\n   name      bounce\n   in full   bounce.brand.example\n   priority  10\n   value     mail.example\n",
        "name      @\n",
    ] {
        assert!(table.contains(part), "{table}");
    }
}

/// One record of the good zone is replaced by others: (which, the others, the state, what is said, what is to be done).
#[test]
fn each_difference_is_told_with_its_remedy() {
    use State::{Conflict, Differs, Fine, Missing, Unknown};
    let key = |value: &str| format!("s1._domainkey.brand.example TXT {value}");
    let dmarc = |value: &str| format!("_dmarc.brand.example TXT {value}");
    let spf = |value: &str| format!("bounce.brand.example TXT {value}");
    let of_key = What::Key("s1".into());
    let (first, second) = ("ip4:192.0.2.25 ip6:2001:db8::25", "198.51.100.9");
    #[rustfmt::skip]
    let rows: Vec<(&What, Vec<String>, State, &str, &str)> = vec![
        (&What::Proof, vec![], Missing, "nobody may send", "publish the wanted record"),
        (&What::Proof, vec!["_postrider.brand.example TXT postrider-verify=xyz".into()], Differs, "none of its TXT records", "letter by letter"),
        (&What::Proof, vec!["_postrider.brand.example.brand.example TXT postrider-verify=abc".into()], Missing, "added the domain to a name that had it", "move it"),
        (&of_key, vec![], Missing, "count for nothing", "publish the wanted record"),
        (&of_key, vec![key("p=QUJDREVGRw;h=sha256:sha1; s=email; t=s ; k=rsa;")], Fine, "", ""),
        (&of_key, vec![key("v=DKIM1; p= QUJD REVGRw== ")], Fine, "", ""),
        (&of_key, vec![key("v=DKIM1; t=y; p=QUJDREVGRw==")], Fine, "only trying", ""),
        (&of_key, vec![key("v=DKIM1; p=")], Conflict, "revoked", "make a new one"),
        (&of_key, vec![key("v=DKIM1; p=WFla")], Differs, "another key", "replace it"),
        (&of_key, vec![key("v=DKIM1; p=QUJDRE")], Differs, "breaks off", "replace it"),
        (&of_key, vec![key("v=DKIM1; k=ed25519; p=QUJDREVGRw==")], Differs, "k=ed25519", "replace it"),
        (&of_key, vec![key("v=DKIM1; h=sha1; p=QUJDREVGRw==")], Differs, "leaves out sha256", "replace it"),
        (&of_key, vec![key("v=DKIM1; s=tel; p=QUJDREVGRw==")], Differs, "leaves out email", "replace it"),
        (&of_key, vec![key("v=DKIM1\\; k=rsa\\; p=QUJDREVGRw==")], Differs, "backslashes", "replace it"),
        (&of_key, vec![key("\"v=DKIM1; p=QUJDREVGRw==\"")], Differs, "quotation marks", "replace it"),
        (&of_key, vec![key("v=DKIM1; p=QUJDREVGRw=="), key("v=spf1 -all")], Conflict, "which one verifiers take is chance", "remove the others"),
        (&of_key, vec!["s1._domainkey.brand.example CNAME s1.keys.example".into()], Conflict, "is an alias (CNAME) of s1.keys.example", "remove the CNAME"),
        (&of_key, vec!["s1._domainkey.brand.example CNAME s1.keys.example".into(), "s1.keys.example TXT p=QUJDREVGRw".into()], Fine, "", ""),
        (&What::ReturnMx, vec![], Missing, "do not come back", "publish"),
        (&What::ReturnMx, vec!["bounce.brand.example MX 10 mx.other.example".into()], Differs, "goes to other servers", "replace it"),
        (&What::ReturnMx, vec!["bounce.brand.example MX 10 mx.other.example".into(), "bounce.brand.example MX 20 mail.example".into()], Differs, "to another server first", "remove the others"),
        (&What::ReturnMx, vec!["bounce.brand.example MX 5 Mail.Example".into(), "bounce.brand.example MX 20 mx.other.example".into()], Fine, "", ""),
        (&What::ReturnMx, vec!["bounce.brand.example MX 0 .".into()], Conflict, "null MX", "replace it"),
        (&What::ReturnSpf, vec![], Missing, "cannot know", "publish"),
        (&What::ReturnSpf, vec![spf("v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all")], Fine, "0 of 10 look-ups", ""),
        (&What::ReturnSpf, vec![spf("v=spf1 ip4:192.0.2.25 mx -all")], Differs, "2001:db8::25): the record says that it must not", "v=spf1 ip6:2001:db8::25 ip4:192.0.2.25 mx -all"),
        (&What::ReturnSpf, vec![spf(&format!("v=spf1 {first} -all")), spf("v=spf1 include:x.example ?all")], Conflict, "2 SPF records", "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 include:x.example -all"),
        (&What::ReturnSpf, vec![spf("v=spf1 include:none.example -all")], Differs, "none.example has no SPF record", "change the record"),
        (&What::ReturnSpf, vec![spf(&format!("v=spf1 ipv4:{second} -all"))], Differs, "permerror", "change the record"),
        (&What::ReturnSpf, vec![spf(&format!("v=spf1 {first} a a a a a a a a a a a -all")), "bounce.brand.example A 198.51.100.1".into()], Differs, "it costs 11 look-ups", "replace includes"),
        (&What::Dmarc, vec![], Missing, "refuse bulk mail", "publish"),
        (&What::Dmarc, vec![dmarc("v=DMARC1; p=reject; rua=mailto:a@brand.example; adkim=s; aspf=s")], Fine, "adkim=s", ""),
        (&What::Dmarc, vec![dmarc("v=DMARC1; p=none")], Fine, "rua= is not there", ""),
        (&What::Dmarc, vec![dmarc("v=DMARC1; p=none; rua=mailto:x@reports.example")], Fine, "reports.example has not agreed", ""),
        (&What::Dmarc, vec![dmarc("v=DMARC1; p=none; rua=mailto:x@reports.example"), "brand.example._report._dmarc.reports.example TXT v=DMARC1".into()], Fine, "policy is none", ""),
        (&What::Dmarc, vec![dmarc("v=DMARC1; p=none"), dmarc("v=DMARC1; p=reject")], Conflict, "2 DMARC records", "leave one"),
        (&What::Dmarc, vec![dmarc("v=DMARC1; rua=mailto:a@brand.example")], Differs, "p= is missing", "the least that counts"),
        (&What::Dmarc, vec![dmarc("v=spf1 -all")], Missing, "refuse bulk mail", "publish"),
        (&What::Dmarc, vec!["! _dmarc.brand.example".into()], Unknown, "the DNS does not say: SERVFAIL", "ask again"),
        (&of_key, vec!["! s1._domainkey.brand.example".into()], Unknown, "does not say", "ask again"),
        (&What::ReturnMx, vec!["! bounce.brand.example".into()], Unknown, "does not say", "ask again"),
    ];
    for (what, others, state, said, remedy) in rows {
        let facts = facts();
        let gone = wanted(&facts).into_iter().find(|record| record.what == *what).unwrap();
        let kind = if *what == What::ReturnMx { " MX " } else { " TXT " };
        let mut lines: Vec<String> =
            GOOD.iter().filter(|line| !(line.starts_with(&format!("{}{kind}", gone.name)))).map(ToString::to_string).collect();
        let dark = others.iter().filter_map(|line| line.strip_prefix("! ").map(str::to_owned)).collect();
        lines.extend(others.iter().filter(|line| !line.starts_with('!')).cloned());
        let mut zone = Zone { dark, ..Zone::new(&lines.join("\n")) };
        let findings = look(&facts, &mut zone);
        let found = findings.iter().find(|finding| finding.what == *what).unwrap();
        assert_eq!(found.state, state, "{others:?}: {found:?}");
        let whole = found.said.join(" | ");
        assert!(whole.contains(said), "{others:?}: {whole}");
        assert!(found.remedy.clone().unwrap_or_default().contains(remedy), "{others:?}: {:?}", found.remedy);
        assert_eq!(found.remedy.is_some(), state != Fine, "what is wrong has a remedy: {others:?} {found:?}");
    }
}

#[test]
fn a_policy_is_inherited_from_the_organisation() {
    let facts = Facts { domain: domain("news.shop.brand.example"), ..facts() };
    let mut zone = Zone::new("_dmarc.brand.example TXT v=DMARC1; p=reject; sp=quarantine; rua=mailto:a@brand.example");
    let find = |zone: &mut Zone| look(&facts, zone).into_iter().find(|finding| finding.what == What::Dmarc).unwrap();
    let found = find(&mut zone);
    assert_eq!((found.state, found.said.join(" ").contains("quarantine, as brand.example says")), (State::Fine, true), "{found:?}");
    for nobody in ["_dmarc.example TXT v=DMARC1; p=reject", "_dmarc.shop.brand.example TXT v=DMARC1; p=reject"] {
        zone = Zone::new(nobody);
        assert_eq!(find(&mut zone).state, State::Missing, "neither a suffix nor a domain between speaks for it: {nobody}");
    }
    let facts = Facts { domain: domain("brand.co.uk"), ..facts };
    zone = Zone::new("_dmarc.co.uk TXT v=DMARC1; p=reject");
    let found = look(&facts, &mut zone).into_iter().find(|finding| finding.what == What::Dmarc).unwrap();
    assert_eq!(found.state, State::Missing, "a public suffix is nobody's organisation");
}

#[test]
fn nobody_proves_a_public_suffix() {
    for (name, state) in [("co.uk", State::Conflict), ("github.io", State::Conflict), ("brand.co.uk", State::Fine)] {
        let facts = Facts { domain: domain(name), ..facts() };
        let mut zone = Zone::new(&format!("_postrider.{name} TXT postrider-verify=abc"));
        let found = look(&facts, &mut zone).into_iter().find(|finding| finding.what == What::Proof).unwrap();
        assert_eq!(found.state, state, "{name}: {found:?}");
        assert_eq!(found.remedy.is_some(), state != State::Fine);
    }
}

#[test]
fn spf_of_the_domain_is_wrong_only_where_its_mail_needs_it() {
    let mut zone =
        Zone::new("brand.example TXT v=spf1 include:_spf.other.example ~all\n_spf.other.example TXT v=spf1 ip4:198.51.100.0/24 -all");
    let find = |facts: &Facts, zone: &mut Zone| look(facts, zone).into_iter().find(|finding| finding.what == What::Spf).unwrap();
    let found = find(&facts(), &mut zone);
    assert_eq!(found.state, State::Fine, "{found:?}");
    assert!(found.said.iter().any(|said| said.contains("should not send (softfail)")), "it is told all the same: {found:?}");
    let found = find(&Facts { return_path: None, ..facts() }, &mut zone);
    assert_eq!(found.state, State::Differs);
    assert!(found.remedy.unwrap().ends_with("v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 include:_spf.other.example ~all"));
    assert_eq!(found.tree, [" 1 include:_spf.other.example"]);
}

#[test]
fn a_source_whose_address_is_not_known_sends_by_its_name() {
    let facts = Facts { faces: vec![face(Err(Hidden::Unnamed), "mail.example"), face(Err(Hidden::Proxied), "[192.0.2.1]")], ..facts() };
    assert_eq!(spf_record(&facts.faces, "-all"), "v=spf1 a:mail.example -all");
    let mut zone =
        Zone::new("bounce.brand.example TXT v=spf1 ip4:192.0.2.0/24 -all\nmail.example A 192.0.2.25\nmail.example A 198.51.100.1");
    let findings = look(&facts, &mut zone);
    let found = findings.iter().find(|finding| finding.what == What::ReturnSpf).unwrap();
    assert!(
        found.said.iter().any(|said| said.contains("198.51.100.1")) && !found.said.iter().any(|said| said.contains("192.0.2.25")),
        "{found:?}"
    );
}

#[test]
fn names_of_sources() {
    use State::{Differs, Fine, Missing, Unknown};
    let zone = "
        mail.example A 192.0.2.25
        192.0.2.25 PTR mail.example
        192.0.2.26 PTR other.example
        192.0.2.27 PTR host27.example
        host27.example A 192.0.2.27
        192.0.2.28 PTR two.example
        two.example A 192.0.2.28
        mail28.example A 192.0.2.28
        192.0.2.29 PTR dark.example
        half.example A 192.0.2.40
        inside.example A 10.0.0.9";
    for (address, hello, state, said) in [
        (Ok("192.0.2.25"), "mail.example", Fine, "leads to it"),
        (Ok("192.0.2.24"), "mail.example", Missing, "192.0.2.24 has no name (PTR)"),
        (Ok("2001:db8::1"), "mail.example", Missing, "2001:db8::1 has no name (PTR)"),
        (Ok("192.0.2.26"), "mail.example", Differs, "called other.example, and that name does not lead back"),
        (Ok("192.0.2.27"), "mail.example", Differs, "EHLO, and that name does not lead to 192.0.2.27"),
        (Ok("192.0.2.28"), "mail28.example", Differs, "strict receivers want one name"),
        (Ok("192.0.2.29"), "mail.example", Unknown, "the DNS does not say"),
        (Ok("192.0.2.25"), "[192.0.2.25]", Differs, "no domain name"),
        (Err(Hidden::Unnamed), "mail.example", Fine, "the system chooses its address"),
        (Err(Hidden::Unnamed), "half.example", Missing, "192.0.2.40 has no name"),
        (Err(Hidden::Unnamed), "gone.example", Missing, "that name has no address"),
        (Err(Hidden::Proxied), "mail.example", Fine, "a proxy chooses"),
        (Err(Hidden::Private("10.0.0.5".parse().unwrap())), "gone.example", Fine, "10.0.0.5 is not an address of the open Internet"),
        (Err(Hidden::Private("10.0.0.5".parse().unwrap())), "inside.example", Fine, "nobody on the Internet sees"),
        (Err(Hidden::Private("127.0.0.1".parse().unwrap())), "mail.example", Fine, "leads to it"),
    ] {
        let mut zone = Zone { dark: vec!["dark.example".into()], ..Zone::new(zone) };
        let found = zone.run(|asking| sources::source(&face(address, hello), asking));
        assert_eq!(found.state, state, "{address:?} {hello}: {found:?}");
        assert!(found.said.iter().any(|sentence| sentence.contains(said)), "{address:?} {hello}: {found:?}");
        assert_eq!(found.remedy.is_some(), state != Fine, "{found:?}");
    }
}

#[test]
fn hostile_zones_are_shown_harmless_and_cost_bounded_work() {
    let long = "x".repeat(16_000);
    let evil = "v=spf1 a:\u{1b}[31m\u{202e} -all";
    let lines = [
        format!("s1._domainkey.brand.example TXT v=DKIM1; p={long}\u{1b}[2J"),
        format!("brand.example TXT {evil}"),
        format!("bounce.brand.example TXT {evil}"),
        "_dmarc.brand.example TXT v=DMARC1; p=\u{7}\u{9b}".to_owned(),
    ];
    let mut zone = Zone::new(&lines.join("\n"));
    for finding in look(&facts(), &mut zone) {
        for text in finding.said.iter().chain(&finding.served).chain(&finding.remedy).chain(&finding.tree) {
            assert!(text.len() < 4_000 && !text.chars().any(|letter| letter.is_control() || letter == '\u{202e}'), "{text:?}");
        }
    }
    assert!(zone.asked < 60, "{}", zone.asked);
}

#[test]
fn addresses_that_strangers_see() {
    for (address, seen) in [
        ("192.0.2.1", true),
        ("8.8.8.8", true),
        ("2001:db8::1", true),
        ("10.1.2.3", false),
        ("::ffff:10.1.2.3", false),
        ("172.16.0.1", false),
        ("192.168.1.1", false),
        ("100.64.0.1", false),
        ("100.128.0.1", true),
        ("169.254.1.1", false),
        ("127.0.0.1", false),
        ("::1", false),
        ("fe80::1", false),
        ("fd00::1", false),
        ("0.0.0.0", false),
    ] {
        assert_eq!(is_of_the_internet(address.parse().unwrap()), seen, "{address}");
    }
}
