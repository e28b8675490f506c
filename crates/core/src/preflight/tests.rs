use super::*;

const GOOD: &str = "From: Ann <ann@brand.example>\r\nTo: b@there.example\r\nSubject: News\r\nDate: Mon, 23 Nov 2026 20:37:00 +0000\r\n\
    Message-ID: <1@brand.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\
    List-Unsubscribe: <mailto:out@brand.example>, <https://brand.example/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\
    Feedback-ID: a:b:c:sender\r\n";

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn facts(header: &str) -> Facts<'_> {
    Facts {
        class: StreamClass::Bulk,
        header: Some(header.as_bytes()),
        content_octets: 10_000,
        mended: Mended::default(),
        from: Some(domain("brand.example")),
        signers: vec![domain("brand.example")],
        return_path: Some(domain("bounce.brand.example")),
        reused: false,
        served: Served::default(),
    }
}

fn wrong(said: &str) -> Option<Wrong> {
    Some(Wrong { said: said.to_owned(), remedy: "publish it".to_owned() })
}

/// The header of [`GOOD`] with one line replaced; an empty one takes it away.
fn with(line: &str, other: &str) -> String {
    assert!(GOOD.contains(line), "{line}");
    let other = if other.is_empty() { String::new() } else { format!("{other}\r\n") };
    GOOD.replace(&format!("{line}\r\n"), &other)
}

/// One mutation of mail that keeps every rule, and the one breach that it makes.
#[test]
fn one_mutation_breaks_one_rule() {
    type Change = Box<dyn Fn(&mut Facts<'_>)>;
    let nothing = || -> Change { Box::new(|_| {}) };
    let change = |change: fn(&mut Facts<'_>)| -> Change { Box::new(change) };
    let (from, id) = ("From: Ann <ann@brand.example>", "Message-ID: <1@brand.example>");
    #[rustfmt::skip]
    let rows: Vec<(Rule, String, Change, &str, &str)> = vec![
        (Rule::HeaderSize, GOOD.into(), change(|facts| facts.header = None), "too long", "554 5.6.0"),
        (Rule::LineLength, with("Subject: News", &format!("Subject: {}", "x".repeat(1_000))), nothing(), "1010 octets", "554 5.6.0"),
        (Rule::Size, GOOD.into(), change(|facts| facts.content_octets = 45_000_001), "45000001 octets", "552 5.3.4"),
        (Rule::From, with(from, ""), nothing(), "no From", "554 5.6.0"),
        (Rule::From, with(from, "From: ann@brand.example, bob@brand.example"), nothing(), "names 2 addresses", "554 5.6.0"),
        (Rule::From, with(from, "From: nobody"), nothing(), "names", "554 5.6.0"),
        (Rule::From, with(from, "From: ann@brand.example\r\nFrom: bob@brand.example"), nothing(), "2 From fields", "554 5.6.0"),
        (Rule::MailboxProvider, GOOD.into(), change(|facts| {
            (facts.from, facts.signers) = (Some(domain("gmail.com")), vec![domain("gmail.com")]);
        }), "its own servers only", "550 5.7.1"),
        (Rule::SingleInstance, with("Subject: News", "Subject: News\r\nsubject: Other"), nothing(), "Subject is there 2 times", "554 5.6.0"),
        (Rule::SingleInstance, with("To: b@there.example", "To: b@there.example\r\nTo: c@there.example"), nothing(), "To is there 2 times", "554 5.6.0"),
        (Rule::Date, with("Date: Mon, 23 Nov 2026 20:37:00 +0000", ""), nothing(), "no Date", "554 5.6.0"),
        (Rule::MessageId, with(id, ""), nothing(), "no Message-ID", "554 5.6.0"),
        (Rule::MessageId, with(id, "Message-ID: 1@brand.example"), nothing(), "Message-ID is", "554 5.6.0"),
        (Rule::MessageId, with(id, "Message-ID: <1>"), nothing(), "Message-ID is", "554 5.6.0"),
        (Rule::MessageIdReuse, GOOD.into(), change(|facts| facts.reused = true), "another message's", "554 5.6.0"),
        (Rule::MimeVersion, with("MIME-Version: 1.0", ""), nothing(), "no MIME-Version", "554 5.6.0"),
        (Rule::EncodedWord, with("MIME-Version: 1.0", "MIME-Version: =?utf-8?q?1?="), nothing(), "MIME-Version holds an encoded word", "554 5.6.0"),
        (Rule::Signed, GOOD.into(), change(|facts| facts.signers.clear()), "no key signs for brand.example", "550 5.7.20"),
        (Rule::KeyServed, GOOD.into(), change(|facts| facts.served.keys = wrong("the key is not there")), "the key is not there", "550 5.7.20"),
        (Rule::Alignment, GOOD.into(), change(|facts| {
            (facts.signers, facts.return_path) = (vec![domain("relay.example")], Some(domain("bounce.relay.example")));
        }), "the signature of relay.example, and the return path of bounce.relay.example", "550 5.7.22"),
        (Rule::Alignment, with(from, "From: ann@a.co.uk"), change(|facts| {
            (facts.from, facts.signers, facts.return_path) = (Some(domain("a.co.uk")), vec![domain("b.co.uk")], Some(domain("co.uk")));
        }), "From is of a.co.uk, the signature of b.co.uk, and the return path of co.uk", "550 5.7.22"),
        (Rule::Spf, GOOD.into(), change(|facts| facts.served.spf = wrong("fail")), "fail", "550 5.7.23"),
        (Rule::Dmarc, GOOD.into(), change(|facts| facts.served.dmarc = wrong("no policy")), "no policy", "550 5.7.1"),
        (Rule::Ptr, GOOD.into(), change(|facts| facts.served.sources = wrong("no name")), "no name", "550 5.7.25"),
        (Rule::OneClick, with("List-Unsubscribe-Post: List-Unsubscribe=One-Click", ""), nothing(), "is not one click", "550 5.7.1"),
        (Rule::OneClick, with("List-Unsubscribe-Post: List-Unsubscribe=One-Click", "List-Unsubscribe-Post: yes"), nothing(), "does not say", "550 5.7.1"),
        (Rule::OneClick, GOOD.replace("https:", "http:"), nothing(), "no https link", "550 5.7.1"),
        (Rule::FeedbackId, with("Feedback-ID: a:b:c:sender", ""), nothing(), "no Feedback-ID", "550 5.7.1"),
    ];
    assert!(judge(&facts(GOOD), Strictness::Refuse).is_empty(), "the control");
    let mut tested: Vec<Rule> = Vec::new();
    for (rule, header, change, said, status) in rows {
        tested.push(rule);
        let mut changed = facts(&header);
        change(&mut changed);
        assert!(judge(&changed, Strictness::Off).is_empty(), "nobody looks");
        for strictness in [Strictness::Warn, Strictness::Mend, Strictness::Refuse] {
            let breaches = judge(&changed, strictness);
            let refuses = strictness == Strictness::Refuse && rule.is_demanded(StreamClass::Bulk);
            let expected = if refuses { Verdict::Refused } else { Verdict::Warned };
            let found: Vec<_> = breaches.iter().map(|breach| (breach.rule, breach.verdict)).collect();
            assert_eq!(found, [(rule, expected)], "{rule:?} {strictness:?}: {breaches:?}");
            assert!(breaches[0].said.contains(said) && !breaches[0].remedy.is_empty(), "{:?}", breaches[0]);
            let reply = breaches[0].reply().to_string();
            assert!(reply.starts_with(status) && reply.contains(rule.word()) && reply.contains(rule.providers()), "{reply}");
        }
    }
    for rule in Rule::ALL {
        assert!(tested.contains(&rule), "{rule:?} has no test");
    }
}

#[test]
fn what_is_mended_when_it_is_sent_is_no_reason_to_refuse() {
    let bare = format!("Subject: x\r\nSubject: x\r\nContent-Type: text/html\r\nX-Long: {}\r\n", "word ".repeat(300));
    let all = Mended {
        date: true,
        from: true,
        message_id: true,
        mime_version: true,
        one_click: true,
        feedback_id: true,
        doubles: true,
        folds: true,
    };
    let breaches = judge(&Facts { mended: all, ..facts(&bare) }, Strictness::Refuse);
    let rules: Vec<_> = breaches.iter().map(|breach| breach.rule).collect();
    let expected = [
        Rule::LineLength,
        Rule::From,
        Rule::SingleInstance,
        Rule::Date,
        Rule::MessageId,
        Rule::MimeVersion,
        Rule::OneClick,
        Rule::FeedbackId,
    ];
    assert_eq!(rules, expected);
    assert!(breaches.iter().all(|breach| breach.verdict == Verdict::Mended), "{breaches:?}");
    // Two that differ are nobody's to choose among.
    let differ = bare.replacen("Subject: x", "Subject: y", 1);
    let breaches = judge(&Facts { mended: all, ..facts(&differ) }, Strictness::Refuse);
    assert!(breaches.iter().any(|breach| (breach.rule, breach.verdict) == (Rule::SingleInstance, Verdict::Refused)), "{breaches:?}");
    // A word that is too long is nobody's to break.
    let word = format!("X-Long: {}\r\n", "x".repeat(1_000));
    let breaches = judge(&Facts { mended: all, ..facts(&word) }, Strictness::Refuse);
    assert!(breaches.iter().any(|breach| (breach.rule, breach.verdict) == (Rule::LineLength, Verdict::Refused)), "{breaches:?}");
}

#[test]
fn transactional_mail_is_asked_less() {
    let served = Served { dmarc: wrong("x"), spf: wrong("x"), ..Served::default() };
    let receipt = with("List-Unsubscribe-Post: List-Unsubscribe=One-Click", "").replace("Feedback-ID: a:b:c:sender\r\n", "");
    let breaches = judge(&Facts { class: StreamClass::Transactional, served, ..facts(&receipt) }, Strictness::Refuse);
    let found: Vec<_> = breaches.iter().map(|breach| (breach.rule, breach.verdict)).collect();
    assert_eq!(found, [(Rule::Spf, Verdict::Warned), (Rule::Dmarc, Verdict::Warned)]);
}

#[test]
fn either_the_signature_or_the_return_path_is_the_authors() {
    for (from, signer, path, aligned) in [
        ("brand.example", "brand.example", "elsewhere.example", true),
        ("news.brand.example", "brand.example", "elsewhere.example", true),
        ("brand.example", "elsewhere.example", "bounce.brand.example", true),
        ("brand.example", "elsewhere.example", "notbrand.example", false),
    ] {
        let facts = Facts { from: Some(domain(from)), signers: vec![domain(signer)], return_path: Some(domain(path)), ..facts(GOOD) };
        let broken = judge(&facts, Strictness::Warn).iter().any(|breach| breach.rule == Rule::Alignment);
        assert_eq!(!broken, aligned, "{from} {signer} {path}");
    }
}

#[test]
fn hostile_headers_make_one_harmless_line() {
    let evil = "Message-ID: <\u{1b}[31m\u{202e}\u{85}>\r\nFrom: =?x?y\r\nDate: =?\0\r\n";
    for breach in judge(&facts(evil), Strictness::Refuse) {
        let mut octets = Vec::new();
        breach.reply().write_to(&mut octets);
        let text = String::from_utf8(octets).unwrap();
        assert!(text.is_ascii() && text.bytes().all(|octet| octet.is_ascii_graphic() || matches!(octet, b' ' | b'\r' | b'\n')), "{text:?}");
        assert!(text.lines().all(|line| line.len() < 512), "{text}");
    }
}
