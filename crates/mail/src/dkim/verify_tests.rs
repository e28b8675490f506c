use super::*;
use crate::lookup::{Answer, Known, Question};

pub(crate) const MESSAGE: &str = "From: Joe SixPack <joe@football.example.com>\r\n\
    To: Suzie Q <suzie@shopping.example.net>\r\n\
    Subject: Is dinner ready?\r\n\
    Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
    Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\
    \r\n\
    Hi.\r\n\
    \r\n\
    We lost the game.  Are you hungry yet?\r\n\
    \r\n\
    Joe.\r\n";

const NOW: u64 = 1_800_000_000;

fn zone(name: &str, record: &str) -> Known {
    Known::from([(Question::Texts(name.to_owned()), Answer::Texts(vec![record.as_bytes().to_vec()]))])
}

/// The verdicts over a message, and what was asked.
fn verdicts(message: &str, known: &Known) -> Vec<Verdict> {
    let (header, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    let header = format!("{header}\r\n");
    let (claims, _) = claims(header.as_bytes());
    let mut hashes = BodyHashes::needed(claims.iter().map(|(claim, _)| claim));
    body.as_bytes().chunks(7).for_each(|chunk| hashes.feed(chunk));
    let (rows, hashed) = (Rows::of(header.as_bytes()), hashes.finish());
    let mut known = known.clone();
    let judge = |(claim, field): &(Claim, _), known: &mut Known| loop {
        match claim.judge(field, &rows, &hashed, known, NOW) {
            Ok(verdict) => break verdict,
            Err(question) => {
                assert_eq!(Some(&question), claim.question().as_ref(), "only what was announced is asked");
                known.insert(question, Answer::Nothing);
            }
        }
    };
    claims.iter().map(|claim| judge(claim, &mut known)).collect()
}

fn outcome(message: &str, known: &Known) -> (Outcome, Option<&'static str>) {
    let all = verdicts(message, known);
    assert_eq!(all.len(), 1, "{message}");
    (all[0].outcome, all[0].reason)
}

fn signed(key: &SigningKey) -> String {
    let mut signable = Signable::new();
    signable.feed(MESSAGE.as_bytes());
    let (header, hash) = signable.finish().unwrap();
    let mut field = Vec::new();
    let signature = Signature { domain: "football.example.com", selector: "brisbane", key, at: NOW - 100 };
    signature.write(&header, &fields(&header), &hash, &mut field).unwrap();
    format!("{}{MESSAGE}", String::from_utf8(field).unwrap())
}

fn key(kind: Algorithm) -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate(kind).unwrap()).unwrap()
}

/// RFC 8463 A.3.
const ED25519_FIELD: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n \
    q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : date;\r\n \
    bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq\r\n +eXdp1Q1Dw==\r\n";
const ED25519_RECORD: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const BRISBANE: &str = "brisbane._domainkey.football.example.com";

#[test]
fn the_example_of_rfc_8463_verifies() {
    let known = zone(BRISBANE, ED25519_RECORD);
    let message = format!("{ED25519_FIELD}{MESSAGE}");
    let verdict = verdicts(&message, &known).remove(0);
    let expected = Verdict {
        outcome: Outcome::Pass,
        reason: None,
        domain: Some("football.example.com".into()),
        selector: Some("brisbane".into()),
        beginning: Some("/gCrinpc".into()),
    };
    assert_eq!(verdict, expected);
    assert_eq!(outcome(&message.replace("hungry", "angry"), &known).0, Outcome::Fail);
    assert_eq!(outcome(&message.replace("dinner", "supper"), &known).0, Outcome::Fail);
}

#[test]
fn what_we_sign_verifies_and_each_change_shows() {
    for key in [key(Algorithm::RsaSha256), key(Algorithm::Ed25519Sha256)] {
        let (message, known) = (signed(&key), zone(BRISBANE, &key.record()));
        assert_eq!(outcome(&message, &known), (Outcome::Pass, None));
        assert_eq!(outcome(&message.replace("Joe.\r\n", "Joe. \r\n \r\n\t\r\n"), &known), (Outcome::Pass, None), "blanks and empty lines");
        assert_eq!(outcome(&format!("Received: from x\r\n{message}"), &known), (Outcome::Pass, None));
        for (changed, why) in [
            (message.replace("hungry", "angry"), "the body is another one"),
            (format!("{message}P.S.\r\n"), "the body is another one"),
            (message.replace("dinner", "supper"), "the signature is not over this header"),
            (format!("From: evil@example.net\r\n{message}"), "the signature is not over this header"),
            (message.replacen("b=", "b=AAAA", 1), "the signature is not over this header"),
        ] {
            assert_eq!(outcome(&changed, &known), (Outcome::Fail, Some(why)), "{changed}");
        }
    }
}

/// A message that is signed in whatever form is asked for, with further tags.
fn signed_in(form: &str, tags: &str, names: &str, body: &str, hashed: &str, key: &SigningKey) -> String {
    let canonical = |word| if word == "simple" { Canonical::Simple } else { Canonical::Relaxed };
    let (of_header, of_body) = form.split_once('/').unwrap();
    let mut hash = BodyHash::of(canonical(of_body), None);
    hash.feed(hashed.as_bytes());
    let header = "From: a@b.example\r\nSubject:  two  blanks \r\n";
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash.finish());
    let word = key.algorithm().word();
    let field = format!("DKIM-Signature:  v=1; a={word}; c={form}; d=b.example;\r\n\ts=s; {tags} h={names}; bh={hash}; b=");
    let list: Vec<String> = names.split(':').map(str::to_lowercase).collect();
    let mut octets = Rows::of(header.as_bytes()).canonical(&list, canonical(of_header));
    match canonical(of_header) {
        Canonical::Simple => octets.extend_from_slice(field.as_bytes()),
        Canonical::Relaxed => {
            let own = crate::Fields::of(field.as_bytes()).next().unwrap();
            relaxed(own.name, own.value, &mut octets);
        }
    }
    let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key.sign(&octets).unwrap());
    format!("{field}{signature}\r\n{header}\r\n{body}")
}

#[test]
fn forms_lengths_dates_and_agents() {
    use Outcome::{Fail, Neutral, Pass, PermError, Policy};
    let key = key(Algorithm::Ed25519Sha256);
    let known = zone("s._domainkey.b.example", &key.record());
    let body = "a  b \r\n\r\nc\r\n\r\n\r\n";
    for (form, tags, names, hashed, expected) in [
        ("simple/simple", "", "from:subject", body, Pass),
        ("simple/simple", "", "from:subject", "a  b \r\n\r\nc\r\n", Pass),
        ("simple/simple", "", "from:subject", "a b\r\n\r\nc\r\n", Fail),
        ("simple/relaxed", "", "From:Subject", "a b\r\n\r\nc\r\n", Pass),
        ("relaxed/simple", "", "from:from:to:subject", body, Pass),
        ("relaxed/simple", "", "from:subject", "", Fail),
        ("relaxed/simple", "i=@sub.b.example;", "from", body, Pass),
        ("relaxed/simple", "i=x@b.example;", "from", body, Pass),
        ("relaxed/simple", "i=@notb.example;", "from", body, PermError),
        ("relaxed/simple", "i=@example;", "from", body, PermError),
        ("relaxed/simple", "i=nobody;", "from", body, PermError),
        ("relaxed/simple", "x=1800000001;", "from", body, Pass),
        ("relaxed/simple", "x=1799999999;", "from", body, Policy),
        ("relaxed/simple", "t=9; x=8;", "from", body, Neutral),
        ("relaxed/simple", "x=later;", "from", body, Neutral),
        ("relaxed/simple", "q=dns/other;", "from", body, Neutral),
        ("relaxed/simple", "q=dns/other : dns/txt;", "from", body, Pass),
        ("relaxed/simple", "l=6;", "from", "a  b \r\n", Fail),
        ("relaxed/simple", "l=7;", "from", "a  b \r\n", Policy),
        ("relaxed/simple", "l=12;", "from", body, Pass),
        ("relaxed/simple", "l=13;", "from", body, Fail),
        ("relaxed/simple", "l=99999999999999999999;", "from", body, Neutral),
        ("relaxed/simple", "", "subject", body, PermError),
        ("relaxed/simple", "s=again;", "from", body, Neutral),
    ] {
        let message = signed_in(form, tags, names, body, hashed, &key);
        assert_eq!(outcome(&message, &known).0, expected, "{form} {tags} {names} {hashed:?}: {:?}", outcome(&message, &known));
    }
}

#[test]
fn records_of_keys() {
    use Outcome::{Fail, Neutral, Pass, PermError, Policy, TempError};
    let good = ED25519_RECORD.strip_prefix("v=DKIM1; ").unwrap();
    let message = format!("{ED25519_FIELD}{MESSAGE}");
    let changed = message.replace("hungry", "angry");
    for (message, record, expected) in [
        (&message, good.to_owned(), Pass),
        (&message, format!("v=DKIM1; {good}; t=y:s; s=tlsrpt:email; h=sha1:sha256; n=note"), Pass),
        (&message, format!("v=DKIM1; s=*; {good};"), Pass),
        (&message, format!("v=DKIM2; {good}"), PermError),
        (&message, format!("{good}; v=DKIM1"), PermError),
        (&message, format!("v=DKIM1; s=tlsrpt; {good}"), PermError),
        (&message, format!("v=DKIM1; h=sha1; {good}"), PermError),
        (&message, "v=DKIM1; k=ed25519; p=".to_owned(), PermError),
        (&message, "v=DKIM1; k=ed25519; p=11qY".to_owned(), PermError),
        (&message, "v=DKIM1; k=ed25519; p=*".to_owned(), PermError),
        (&message, "v=DKIM1; k=rot13; p=11qY".to_owned(), PermError),
        (&message, "v=spf1 -all".to_owned(), PermError),
        (&message, key(Algorithm::RsaSha256).record(), PermError),
        (&message, key(Algorithm::Ed25519Sha256).record(), Fail),
        (&message, format!("{}; t=y", key(Algorithm::Ed25519Sha256).record()), Neutral),
        (&changed, format!("{good}; t=y"), Neutral),
        // Keys of 512 and 16,384 bits.
        (&message, format!("k=rsa; p={}", rsa_of_bits(512)), Policy),
        (&message, format!("k=rsa; p={}", rsa_of_bits(16_384)), Policy),
    ] {
        assert_eq!(outcome(message, &zone(BRISBANE, &record)).0, expected, "{record}");
    }
    let failed = Known::from([(Question::Texts(BRISBANE.into()), Answer::Failed)]);
    assert_eq!(outcome(&message, &failed), (TempError, Some("the key could not be looked up")));
    assert_eq!(outcome(&message, &Known::new()), (PermError, Some("there is no such key")));
    let several = vec![b"v=spf1".to_vec(), ED25519_RECORD.as_bytes().to_vec()];
    assert_eq!(outcome(&message, &Known::from([(Question::Texts(BRISBANE.into()), Answer::Texts(several))])).0, Pass);
}

/// An RSA key whose modulus has so many bits, all ones: as PKCS #1.
fn rsa_of_bits(bits: usize) -> String {
    let wrapped = |tag: u8, content: &[u8]| {
        let mut out = vec![tag];
        match content.len() {
            small @ 0..=127 => out.push(small as u8),
            large => out.extend([0x82, (large >> 8) as u8, large as u8]),
        }
        out.extend_from_slice(content);
        out
    };
    let modulus = wrapped(2, &[&[0][..], &vec![0xff; bits / 8]].concat());
    let key = wrapped(0x30, &[modulus, wrapped(2, &[1, 0, 1])].concat());
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key)
}

#[test]
fn a_storm_of_signatures_is_bounded() {
    let storm = ED25519_FIELD.repeat(500);
    let message = format!("{storm}{MESSAGE}");
    let (claims, count) = claims(message.as_bytes());
    assert_eq!((claims.len(), count), (SIGNATURES_MAX, 500));
    // Names in h= and fields of that name are met in one pass.
    let names = vec!["x"; 5_000].join(":");
    let header = "X: y\r\n".repeat(20_000);
    let message = format!("DKIM-Signature: v=1; a=ed25519-sha256; d=b.example; s=s; h=from:{names}; bh=AAAA; b=AAAA\r\n{header}{MESSAGE}");
    assert_eq!(verdicts(&message, &zone("s._domainkey.b.example", ED25519_RECORD))[0].outcome, Outcome::Fail);
}

#[test]
fn malformed_signatures_are_neutral() {
    let good = "v=1; a=rsa-sha256; d=b.example; s=s; h=from; bh=AAAA; b=AAAA";
    let known = zone("s._domainkey.b.example", "v=DKIM1; p=");
    for (from, to, expected) in [
        ("v=1", "v=1", Outcome::PermError),
        ("v=1", "v=2", Outcome::Neutral),
        ("v=1; ", "", Outcome::Neutral),
        ("a=rsa-sha256", "a=rsa-sha1", Outcome::Policy),
        ("a=rsa-sha256", "a=dsa", Outcome::Neutral),
        ("d=b.example", "d=", Outcome::Neutral),
        ("d=b.example", "d=b .example", Outcome::Neutral),
        ("d=b.example", "d=b.example\r\n\t;x\r\n", Outcome::Neutral),
        ("d=b.example", "d=\"b\"", Outcome::Neutral),
        ("s=s", "s=s;s=t", Outcome::Neutral),
        ("h=from", "h=", Outcome::Neutral),
        ("b=AAAA", "b=A*A", Outcome::Neutral),
        ("b=AAAA", "b=", Outcome::Neutral),
        ("b=AAAA", "b=AAAA; c=odd", Outcome::Neutral),
    ] {
        let message = format!("DKIM-Signature: {}\r\nFrom: a\r\n\r\n", good.replace(from, to));
        assert_eq!(outcome(&message, &known).0, expected, "{message}");
    }
}
