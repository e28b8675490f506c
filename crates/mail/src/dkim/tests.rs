use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::sign::signed_octets;
use super::*;
use crate::Fields;

fn hash(body: &str) -> String {
    let mut whole = BodyHash::new();
    whole.feed(body.as_bytes());
    let whole = whole.finish();
    for split in 1..body.len().min(40) {
        let mut hash = BodyHash::new();
        body.as_bytes().chunks(split).for_each(|chunk| hash.feed(chunk));
        assert_eq!(hash.finish(), whole, "{body:?} in pieces of {split}");
    }
    STANDARD.encode(whole)
}

fn plain(text: &str) -> String {
    STANDARD.encode(digest(&SHA256, text.as_bytes()))
}

#[test]
fn a_body_is_hashed_in_its_relaxed_form() {
    for (body, relaxed) in [
        ("", ""),
        ("\r\n", ""),
        ("\r\n\r\n\r\n", ""),
        (" \t\r\n\t\r\n", ""),
        ("  ", ""),
        (" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
        ("no end", "no end\r\n"),
        ("blanks at the end  \t", "blanks at the end\r\n"),
        ("a\r\n\r\n  \r\nb\r\n \r\n\t", "a\r\n\r\n\r\nb\r\n"),
        ("\r\n\r\na\r\n", "\r\n\r\na\r\n"),
        ("\t a", " a\r\n"),
        ("a\rb\r\n", "a\rb\r\n"),
        ("a\nb\r\n", "a\nb\r\n"),
        ("a\r", "a\r\r\n"),
        ("a \r b\r\n", "a \r b\r\n"),
        (" \r", " \r\r\n"),
        ("a\r\r\n", "a\r\r\n"),
        ("\n", "\n\r\n"),
        ("QUJD\r\nREVG\r\n \r\nR0hJ\r\n", "QUJD\r\nREVG\r\n\r\nR0hJ\r\n"),
    ] {
        assert_eq!(hash(body), plain(relaxed), "{body:?}");
    }
    let long = format!("{}\r\n{}\r\n", "x".repeat(10_000), "y z ".repeat(3_000));
    assert_eq!(hash(&long), plain(&format!("{}\r\n{}\r\n", "x".repeat(10_000), "y z ".repeat(3_000).trim_end())));
}

/// RFC 8463 A.2 and A.3.
const MESSAGE: &str = "From: Joe SixPack <joe@football.example.com>\r\n\
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

fn signable(message: &str) -> Option<(Vec<u8>, [u8; 32])> {
    let give = |chunk: usize| {
        let mut signable = Signable::new();
        message.as_bytes().chunks(chunk).for_each(|chunk| _ = signable.feed(chunk));
        signable.finish().filter(|(header, _)| is_signable(header))
    };
    let whole = give(message.len().max(1));
    (1..7).for_each(|chunk| assert_eq!(give(chunk), whole, "in pieces of {chunk}"));
    // Who hashed the body while it arrived comes to the same, wherever the message can be signed.
    let mut watch = crate::HeaderWatch::new().hashing_body();
    watch.feed(message.as_bytes());
    if let (Some(hash), Some(_)) = (watch.finish().body_hash, &whole) {
        let mut known = Signable::of_known_body(hash);
        let header = message.as_bytes().chunks(5).take_while(|chunk| !known.feed(chunk)).count();
        assert!(header <= message.len() / 5 + 1);
        assert_eq!(known.finish(), whole, "known before");
    }
    whole
}

/// An Ed25519 key as PKCS #8, from its seed (RFC 8410 §7).
fn ed25519(seed: &str) -> SigningKey {
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend(STANDARD.decode(seed).unwrap());
    SigningKey::from_pkcs8(&der).unwrap()
}

#[test]
fn the_example_of_rfc_8463_is_signed_as_it_stands_there() {
    let (header, body_hash) = signable(MESSAGE).unwrap();
    assert_eq!(STANDARD.encode(body_hash), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
    let key = ed25519("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=");
    assert_eq!(key.record(), "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    let names = ["from", "to", "subject", "date", "message-id", "from", "subject", "date"];
    let own = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n \
        q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : date;\r\n \
        bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";
    let signature = key.sign(&signed_octets(&header, &names, own.as_bytes())).unwrap();
    assert_eq!(STANDARD.encode(signature), "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==");
}

/// A verifier of its own, as the RFC tells it: it reads the field that was written.
fn verifies(message: &str, field: &str, record: &str) -> bool {
    let tags = |text: &str| -> Vec<(String, String)> {
        let bare: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        bare.split(';').filter_map(|tag| tag.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let tag = |tags: &[(String, String)], name: &str| tags.iter().find(|(tag, _)| tag == name).unwrap().1.clone();
    let own = tags(field.strip_prefix("DKIM-Signature:").unwrap());
    let names = tag(&own, "h");
    let names: Vec<&str> = names.split(':').collect();
    let (header, body) = message.split_once("\r\n\r\n").unwrap();
    let mut hash = BodyHash::new();
    hash.feed(body.as_bytes());
    let at = field.find(" b=").unwrap() + 3;
    let octets = signed_octets(format!("{header}\r\n").as_bytes(), &names, &field.as_bytes()[..at]);
    let signature = STANDARD.decode(tag(&own, "b")).unwrap();
    let public = STANDARD.decode(tag(&tags(record), "p")).unwrap();
    let right = match tag(&own, "a").as_str() {
        "rsa-sha256" => {
            // SubjectPublicKeyInfo: the key stands behind 24 octets for 2048 bits.
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &public[24..]).verify(&octets, &signature)
        }
        _ => UnparsedPublicKey::new(&ED25519, &public).verify(digest(&SHA256, &octets).as_ref(), &signature),
    };
    right.is_ok() && tag(&own, "bh") == STANDARD.encode(hash.finish())
}

#[test]
fn what_is_signed_verifies_and_what_is_changed_does_not() {
    let keys =
        [Algorithm::RsaSha256, Algorithm::Ed25519Sha256].map(|kind| SigningKey::from_pkcs8(&SigningKey::generate(kind).unwrap()).unwrap());
    let (header, body_hash) = signable(MESSAGE).unwrap();
    let names = fields(&header);
    for key in &keys {
        let signature = Signature { domain: "football.example.com", selector: "brisbane", key, at: 1_795_466_220 };
        let mut out = Vec::new();
        signature.write(&header, &names, &body_hash, &mut out).unwrap();
        let field = String::from_utf8(out).unwrap();
        assert!(field.lines().all(|line| line.len() <= 78), "{field}");
        assert_eq!(Fields::of(field.as_bytes()).count(), 1, "{field}");
        let record = key.record();
        assert!(verifies(MESSAGE, &field, &record), "{field}");
        let refolded =
            MESSAGE.replace("dinner ready", "dinner\r\n \t ready").replace("game.  Are", "game. Are ").replace("Joe.\r\n", "Joe. \r\n\r\n");
        assert!(verifies(&refolded, &field, &record), "relaxed means that blanks may change");
        for changed in [
            MESSAGE.replace("dinner", "supper"),
            MESSAGE.replace("hungry", "angry"),
            MESSAGE.replace("To: ", "To: x"),
            format!("Subject: Buy!\r\n{MESSAGE}"),
            format!("From: evil@example.net\r\n{MESSAGE}"),
            format!("Reply-To: evil@example.net\r\n{MESSAGE}"),
            format!("{MESSAGE}P.S.\r\n"),
        ] {
            assert!(!verifies(&changed, &field, &record), "{changed}");
        }
        for kept in [format!("Received: from x\r\n{MESSAGE}"), format!("List-Id: <x>\r\n{MESSAGE}")] {
            assert!(verifies(&kept, &field, &record), "{kept}");
        }
    }
}

#[test]
fn each_field_is_named_as_often_as_it_is_there_and_what_matters_once_more() {
    let names = |header: &str| fields(header.as_bytes()).join(":");
    assert_eq!(names("From: a\r\n"), "from:from:to:cc:subject:reply-to:date:message-id");
    assert_eq!(
        names("SENDER: b\r\nfrom: a\r\nList-Unsubscribe: <x>\r\nlist-unsubscribe-post: y\r\nList-ID: z\r\nReceived: q\r\nBcc: n\r\n"),
        "from:from:to:cc:subject:reply-to:date:message-id:sender:sender:list-unsubscribe:list-unsubscribe:\
         list-unsubscribe-post:list-unsubscribe-post:list-id"
    );
}

#[test]
fn a_header_that_is_none_is_not_signed() {
    for (message, can) in [
        ("From: a\r\n\r\nbody", true),
        ("From: a\r\n\r\n", true),
        ("From: a\r\n", true),
        ("From: a\r\n b\r\n\r\n", true),
        ("Subject: no author\r\n\r\n", false),
        ("\r\nFrom: a\r\n", false),
        ("", false),
        ("From: a\r\ngarbage\r\nTo: b\r\n\r\n", false),
        ("garbage\r\n\r\n", false),
    ] {
        assert_eq!(signable(message).is_some(), can, "{message:?}");
    }
    let mut endless = Signable::new();
    endless.feed(b"From: a\r\n");
    (0..3_000).for_each(|_| _ = endless.feed(format!("X: {}\r\n", "y".repeat(1_000)).as_bytes()));
    assert!(endless.header.len() <= 1024 * 1024 + 2_000);
    assert!(endless.finish().is_none());
}

#[test]
fn keys_of_other_kinds_and_sizes_are_refused() {
    assert!(matches!(SigningKey::from_pkcs8(b"nonsense"), Err(KeyTrouble::Unreadable(_))));
    assert!(matches!(SigningKey::from_pkcs1(b""), Err(KeyTrouble::Unreadable(_))));
    let rsa = SigningKey::from_pkcs8(&SigningKey::generate(Algorithm::RsaSha256).unwrap()).unwrap();
    assert!(rsa.record().starts_with("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"), "{}", rsa.record());
    assert_eq!(format!("{rsa:?}"), "SigningKey(rsa-sha256)");
}
