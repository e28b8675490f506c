//! What holds for any octets. The fuzz targets and the replay of their corpora (`tests/corpus.rs`) both call these.

use postrider_mail::encode::{Recoder, Takes};
use postrider_mail::lookup::{Answer, Known, Question};
use postrider_mail::records::{DmarcRecord, KeyRecord};
use postrider_mail::{
    Action, Fields, HeaderFacts, HeaderWatch, Received, RecipientReport, Report, With, Words, arc, dkim, header, results, spf,
};

/// Every split of a content gives the same facts, and both readers of headers agree.
pub fn header_watch(content: &[u8]) {
    let whole = watch(content, content.len().max(1));
    for slice_octets in [1, 2, 5, 13] {
        assert_eq!(watch(content, slice_octets), whole, "slices of {slice_octets} octets");
    }
    let fields: Vec<_> = Fields::of(content).collect();
    assert_eq!(whole.fields as usize, fields.len());
    assert_eq!(whole.hops as usize, fields.iter().filter(|field| field.is("Received")).count());
    assert_eq!(whole.header_octets as usize, fields.iter().map(|field| field.whole.len()).sum::<usize>());
    assert_eq!(whole.content_octets as usize, content.len());
    let (head, body) = header::split(content);
    assert_eq!([head, body].concat(), content);
    let (head, body) = content.split_at(whole.header_octets as usize);
    assert_eq!((whole.header_8bit, whole.body_8bit), (!head.is_ascii(), !body.is_ascii()));
    for text in [&whole.message_id_text, &whole.subject_text].into_iter().flatten() {
        assert!(text.len() <= 200 && !text.chars().any(char::is_control));
    }
}

fn watch(content: &[u8], slice_octets: usize) -> HeaderFacts {
    let mut watch = HeaderWatch::new();
    content.chunks(slice_octets).for_each(|slice| watch.feed(slice));
    watch.finish()
}

/// Whoever reads a header, whatever is said of its authors is text of one line, and no more of it than there is.
pub fn claims(content: &[u8]) {
    if let Ok(claims) = postrider_mail::claims::of(content) {
        for claim in claims {
            assert!(claim.domains.iter().all(|domain| !domain.is_empty() && !domain.chars().any(|c| c.is_control() || c.is_whitespace())));
            assert!(claim.domains.iter().map(String::len).sum::<usize>() <= 8 * content.len());
        }
    }
}

/// A report and a trace field whose every argument is hostile hold no line break but ours.
pub fn dsn(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let (first, second) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let recipient = RecipientReport {
        final_recipient: first,
        original_recipient: Some(second),
        action: Action::Delayed,
        status: (4, 2, 2),
        remote_mta: Some(second),
        words: Some(Words::Remote(first)),
        last_attempt: None,
        will_retry_until: Some(u64::MAX),
    };
    let report = Report {
        boundary: first,
        message_id: second,
        date: 0,
        from: first,
        to: second,
        reporting_mta: first,
        arrival_date: u64::MAX,
        id: second,
        envelope_id: Some(first),
        original_message_id: Some(second),
        recipients: vec![recipient],
        original: octets,
        returns_content: false,
    };
    let message = report.render();
    lines_are_ours(&message);
    assert!(report.needs_smtputf8() || message.is_ascii());
    assert_eq!(Fields::of(&message).filter(|field| !field.is("References") && !field.is("Content-Transfer-Encoding")).count(), 8);

    let mut field = Vec::new();
    let with = With::Esmtp;
    let received = Received {
        hello: first,
        peer: None,
        by: second,
        with,
        tls: Some(first),
        authenticated: true,
        smtputf8: true,
        id: second,
        recipient: Some(first),
        at: 0,
    };
    received.write(&mut field);
    lines_are_ours(&field);
    assert!(Fields::of(&field).next().is_some_and(|one| one.is("Received") && one.whole == field));
}

/// No mailbox is empty, holds a line end that could become one of ours, or is longer than what was given.
pub fn mailboxes(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let found = postrider_mail::mailboxes(octets);
    assert!(found.iter().all(|mailbox| !mailbox.is_empty() && !mailbox.contains(['\r', '\n'])), "{found:?}");
    assert!(found.iter().map(String::len).sum::<usize>() <= text.len() + 1, "{found:?}");
}

fn lines_are_ours(octets: &[u8]) {
    for line in octets.strip_suffix(b"\r\n").expect("a last line end").split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.len() <= 998 && !line.contains(&b'\r') && !line.contains(&0), "{:?}", String::from_utf8_lossy(line));
    }
    let (cr, lf) = octets.iter().fold((0, 0), |(cr, lf), octet| (cr + usize::from(*octet == b'\r'), lf + usize::from(*octet == b'\n')));
    assert_eq!(cr, lf, "no bare CR or LF");
}

/// Every split gives the same, no line of the header is lost but the one that is replaced, and what comes out is no longer than it may be.
pub fn seven_bit(octets: &[u8]) {
    for takes in [Takes::SevenBit, Takes::EightBit, Takes::ShortLines] {
        recoded(takes, octets);
    }
}

fn recoded(takes: Takes, octets: &[u8]) {
    let convert = |slice_octets: usize| {
        let (mut recoder, mut out) = (Recoder::to(takes), Vec::new());
        octets.chunks(slice_octets).for_each(|slice| recoder.feed(slice, &mut out));
        recoder.finish(&mut out);
        out
    };
    let out = convert(octets.len().max(1));
    for slice_octets in [1, 2, 5, 61] {
        assert_eq!(convert(slice_octets), out);
    }
    // Three octets for one, soft breaks, and fields for each part; a part takes two octets of boundary at least.
    assert!(out.len() <= 4 * octets.len() + 60 * (octets.iter().filter(|octet| **octet == b'\n').count() + 4));
    let kept = Fields::of(octets).filter(|field| !field.is("Content-Transfer-Encoding")).count();
    assert!(Fields::of(&out).count() >= kept);
}

/// Addresses stand where they are said to, in order, one behind the other; a replacement by the same text changes no address; and what replaces one is found again.
pub fn addresses(octets: &[u8]) {
    use postrider_mail::addresses::{addresses, replace};
    use postrider_mail::words;
    let Some(found) = addresses(octets) else { return assert_eq!(replace(octets, |_| Some("a@b.example".into())), None) };
    let mut from = 0;
    for address in &found {
        assert!(address.at.start >= from && address.at.end <= octets.len() && address.text.contains('@'), "{address:?}");
        from = address.at.end;
    }
    if let Some(new) = replace(octets, |_| Some("a@b.example".into())) {
        let again = addresses(&new).expect("a list stays a list");
        assert!(again.len() == found.len() && again.iter().all(|address| address.text == "a@b.example"), "{again:?}");
    }
    for text in [words::unfolded(octets), words::decoded(octets)] {
        assert!(!text.contains(char::is_control) && text.len() <= 3 * octets.len() + 8, "{text:?}");
    }
}

/// Whatever a TXT record holds: what is read of it is bounded and plain, and what is said against it holds no control character.
pub fn records(octets: &[u8]) {
    let harmless = |said: String| assert!(said.len() <= 512 && !said.chars().any(char::is_control), "{said:?}");
    match KeyRecord::parse(octets) {
        Ok(key) => assert!(key.key.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/'))),
        Err(trouble) => harmless(trouble.to_string()),
    }
    match DmarcRecord::parse(octets) {
        Ok(policy) => assert!(policy.percent <= 100 && policy.reports.iter().all(|uri| !uri.contains([',', ';']))),
        Err(trouble) => harmless(trouble.to_string()),
    }
    match spf::read(octets) {
        Err(trouble) => harmless(trouble),
        Ok(record) => {
            let terms = record.senders().chain(record.rest());
            terms.for_each(|term| assert!(term.bytes().all(|octet| octet.is_ascii_graphic())));
        }
    }
}

/// A header whose signatures and chains are hostile, by keys that are hostile: each gets a verdict, from no more questions than were announced.
pub fn verdicts(octets: &[u8]) {
    let facts = watch(octets, octets.len().max(1));
    let (header, body) = octets.split_at(facts.header_octets as usize);
    let (claims, count) = dkim::claims(header);
    assert!(claims.len() <= count && claims.len() <= dkim::SIGNATURES_MAX);
    let chain = arc::Chain::of(header);
    let newest = chain.claim();
    let mut hashes = dkim::BodyHashes::needed(claims.iter().map(|(claim, _)| claim).chain(&newest));
    hashes.feed(body);
    let (hashed, rows) = (hashes.finish(), dkim::Rows::of(header));
    let questions: Vec<Question> = claims.iter().filter_map(|(claim, _)| claim.question()).chain(chain.questions()).collect();
    assert!(questions.len() <= 61);
    for answer in [Answer::Nothing, Answer::Failed, Answer::Texts(vec![header.to_vec(), ED25519_KEY.to_vec()])] {
        let known: Known = questions.iter().map(|question| (question.clone(), answer.clone())).collect();
        for (claim, field) in &claims {
            let verdict = claim.judge(field, &rows, &hashed, &known, 0).expect("all questions were announced");
            for text in [verdict.domain, verdict.selector, verdict.beginning].into_iter().flatten() {
                assert!(
                    !text.chars().any(|letter| letter.is_control() || letter.is_whitespace() || "();\"\\".contains(letter)),
                    "{text:?}"
                );
            }
        }
        let verdict = chain.judge(&rows, &hashed, &known, 0).expect("all questions were announced");
        assert!(verdict.outcome != arc::Outcome::Pass || verdict.sets > 0);
    }
}

/// The key of RFC 8463.
const ED25519_KEY: &[u8] = b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// A record of SPF, whatever it includes: it leads to a verdict after a bounded number of questions. The first line is the sender, the rest what every TXT says.
pub fn spf(octets: &[u8]) {
    let (sender, record) = octets.split_at(octets.iter().position(|octet| *octet == b'\n').unwrap_or(0));
    let sender = String::from_utf8_lossy(sender);
    for (client, answers) in [("192.0.2.1", true), ("2001:db8::1", true), ("192.0.2.1", false)] {
        let client = client.parse().expect("an address");
        let identity = spf::Identity { client, hello: &sender, mail_from: &sender, receiver: "mx.example", now: 1, explain: true };
        let mut known = Known::new();
        let verdict = loop {
            assert!(known.len() < 150, "so many questions");
            match spf::check(&identity, &known) {
                Ok(verdict) => break verdict,
                Err(questions) => {
                    assert!(!questions.is_empty());
                    for question in questions {
                        let answer = match &question {
                            Question::Texts(_) => Answer::Texts(vec![record.trim_ascii().to_vec()]),
                            _ if !answers => Answer::Nothing,
                            Question::Addresses { .. } => Answer::Addresses(vec!["198.51.100.1".parse().expect("an address")]),
                            Question::Exchangers(name) => Answer::Names((0..11).map(|nth| format!("{nth}.{name}")).collect()),
                            Question::Pointers(_) => Answer::Names((0..99).map(|nth| format!("{nth}.example")).collect()),
                        };
                        assert!(known.insert(question, answer).is_none(), "a question is asked twice");
                    }
                }
            }
        };
        for text in [verdict.reason, verdict.explanation].into_iter().flatten() {
            assert!(text.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{text:?}");
        }
    }
    let mut known = Known::new();
    let cost = loop {
        assert!(known.len() < 300, "so many questions");
        let (cost, wanting) = spf::cost(&sender, &known);
        if wanting.is_empty() {
            break cost;
        }
        for question in wanting {
            let answer = match &question {
                Question::Texts(_) => Answer::Texts(vec![record.trim_ascii().to_vec()]),
                Question::Addresses { .. } | Question::Exchangers(_) | Question::Pointers(_) => Answer::Nothing,
            };
            known.insert(question, answer);
        }
    };
    for text in cost.tree.iter().chain(&cost.broken) {
        assert!(text.len() < 600 && text.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{text:?}");
    }
}

/// Authentication-Results: what is written is one field that reads as ours, whatever the values; what is read never panics.
pub fn results(octets: &[u8]) {
    for field in Fields::of(octets) {
        results::claims_to_be_from(&field, "mx.example");
    }
    let text = String::from_utf8_lossy(octets);
    let (first, second) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let properties = vec![("smtp.mailfrom", first.to_owned()), ("header.b", second.to_owned())];
    let finding = results::Finding { method: "spf", result: "fail", reason: Some(second.to_owned()), properties };
    let mut out = Vec::new();
    results::write("mx.example", &[finding.clone(), finding], &mut out);
    let field = Fields::of(&out).next().expect("a field");
    assert_eq!(field.whole, &out[..]);
    assert!(results::claims_to_be_from(&field, "mx.example"));
    assert!(out.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\r' | b'\n')));
    // Outside quotes stand our own words only.
    let bare = unquoted(&String::from_utf8_lossy(&out));
    assert_eq!((bare.matches(';').count(), bare.matches("spf=fail").count(), bare.matches('(').count()), (2, 2, 0), "{bare:?}");
}

fn unquoted(text: &str) -> String {
    let (mut out, mut quoted, mut letters) = (String::new(), false, text.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            '\\' if quoted => drop(letters.next()),
            letter if !quoted => out.push(letter),
            _ => {}
        }
    }
    assert!(!quoted, "a quote that does not end");
    out
}

/// Nobody makes a token by chance, whatever he sends; what we make of the same octets is known again, in either case of letters.
pub fn token(octets: &[u8]) {
    use postrider_mail::token::{Delivery, Keys, RETURN_OCTETS, Subscription, UNSUBSCRIBE_OCTETS_MAX};
    let ring = Keys::new(&[(2, [2; 32]), (1, [1; 32])]).expect("a ring of two");
    let text = String::from_utf8_lossy(octets);
    assert_eq!(ring.returned(&text, "b.example"), None);
    assert_eq!(ring.unsubscribes(&text), None);
    let delivery = Delivery { message: octets.iter().fold(0, |sum, octet| sum << 1 ^ u128::from(*octet)), index: octets.len() as u32 };
    let token = ring.return_token(delivery, &text);
    assert!(token.len() == RETURN_OCTETS && token.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-'), "{token}");
    assert_eq!(ring.returned(&token.to_ascii_uppercase(), &text), Some(delivery));
    // Names have at most 64 octets.
    let names = || text[..text.floor_char_boundary(64)].to_owned();
    let subscription = Subscription {
        delivery,
        tenant: names(),
        stream: names(),
        sender: names(),
        mailbox: text[..text.floor_char_boundary(320)].to_owned(),
    };
    let token = ring.unsubscribe_token(&subscription).expect("names of this length have a token");
    assert!(
        token.len() <= UNSUBSCRIBE_OCTETS_MAX && !token.contains(|letter: char| !letter.is_ascii_alphanumeric() && !"-_".contains(letter))
    );
    assert_eq!(ring.unsubscribes(&token), Some(subscription));
}

/// What is encoded is ASCII, one field, and shows a reader no other addresses; what is not is left. What is folded is what it was, unfolded.
pub fn encoded(octets: &[u8]) {
    use postrider_mail::encoded::encoded;
    let long = octets.repeat(1_000 / octets.len().max(1) + 1);
    if let Some(new) = postrider_mail::fold::folded(b"Subject", &long) {
        let unfolded = |text: &[u8]| String::from_utf8_lossy(text).replace("\r\n", "");
        assert_eq!(unfolded(&new), unfolded(&long));
        assert_eq!(postrider_mail::fold::folded(b"Subject", &new), None, "once is enough");
    }
    use postrider_mail::mailboxes;
    for name in ["Subject", "To"] {
        let Some(new) = encoded(name.as_bytes(), octets) else { continue };
        assert!(new.is_ascii() && !octets.is_ascii());
        let field = [name.as_bytes(), b":", &new, b"\r\n"].concat();
        let fields: Vec<_> = Fields::of(&field).collect();
        assert!(fields.len() == 1 && fields[0].whole == field, "{:?}", String::from_utf8_lossy(&field));
        if name == "To" && !octets.contains(&b'\r') && !octets.contains(&b'\n') {
            assert_eq!(mailboxes(&new), mailboxes(octets), "{:?}", String::from_utf8_lossy(octets));
        }
    }
}
