//! Reports against golden files, and against arguments that try to forge something. `POSTRIDER_BLESS=1` writes the golden files anew;
//! `fixtures/check_dsn.py` reads them with another MIME parser.

use postrider_mail::dsn::RETURNED_OCTETS_MAX;
use postrider_mail::{Action, RecipientReport, Report, Words};

const ORIGINAL: &[u8] =
    b"From: Shop <shop@shop.example>\r\nTo: nobody@b.example\r\nSubject: Your order\r\nMessage-ID: <1@shop.example>\r\n\r\nThe secret body.\r\n";

fn recipient(address: &str) -> RecipientReport<'_> {
    RecipientReport {
        final_recipient: address,
        original_recipient: None,
        action: Action::Failed,
        status: (5, 1, 1),
        remote_mta: Some("mx1.b.example"),
        words: Some(Words::Remote("550 5.1.1 <nobody@b.example>: Recipient address rejected: User unknown in virtual mailbox table")),
        last_attempt: Some(1_795_466_222),
        will_retry_until: None,
    }
}

fn report(recipients: Vec<RecipientReport<'_>>) -> Report<'_> {
    Report {
        boundary: "0193a7c2d4e5",
        message_id: "<0193a7c2@mx.example>",
        date: 1_795_466_230,
        from: "MAILER-DAEMON@mx.example",
        to: "shop@shop.example",
        reporting_mta: "mx.example",
        arrival_date: 1_795_466_220,
        id: "0193a7c2-1111-7222-8333-444455556666",
        envelope_id: None,
        original_message_id: Some("<1@shop.example>"),
        recipients,
        original: ORIGINAL,
        returns_content: false,
    }
}

/// What holds for every report.
fn check(report: &Report) -> Vec<u8> {
    let message = check_lines(report);
    assert!(report.needs_smtputf8() || message.is_ascii(), "7-bit unless an address needs more");
    message
}

/// The same of one that returns an 8-bit message.
fn check_lines(report: &Report) -> Vec<u8> {
    let message = report.render();
    for (at, octet) in message.iter().enumerate() {
        match octet {
            b'\r' => assert_eq!(message.get(at + 1), Some(&b'\n'), "bare CR at {at}"),
            b'\n' => assert!(at > 0 && message[at - 1] == b'\r', "bare LF at {at}"),
            0 => panic!("NUL at {at}"),
            _ => {}
        }
    }
    let lines: Vec<&[u8]> = message.split(|octet| *octet == b'\n').collect();
    assert!(lines.iter().all(|line| line.len() <= 999), "lines within 998 octets");
    assert!(message.ends_with(b"--\r\n"));
    let names: Vec<String> = postrider_mail::Fields::of(&message)
        .map(|field| String::from_utf8_lossy(field.name).into_owned())
        .filter(|name| name != "References")
        .collect();
    let mut expected = vec!["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];
    if !message.is_ascii() {
        expected.push("Content-Transfer-Encoding");
    }
    assert_eq!(names, expected, "no field but ours");
    let opening = String::from_utf8_lossy(&message).into_owned();
    let boundary = opening.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a boundary").to_owned();
    assert!(boundary.len() <= 70);
    assert_eq!(opening.matches(&format!("--{boundary}")).count(), 4, "three parts, and the end");
    message
}

fn golden(name: &str, report: &Report) {
    let message = check(report);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    if std::env::var_os("POSTRIDER_BLESS").is_some() {
        std::fs::write(&path, &message).unwrap();
    }
    let expected = std::fs::read(&path).unwrap();
    assert_eq!(String::from_utf8_lossy(&message), String::from_utf8_lossy(&expected), "{name}");
}

#[test]
fn golden_reports() {
    golden("dsn-failed.eml", &report(vec![recipient("nobody@b.example")]));
    golden(
        "dsn-mixed.eml",
        &Report {
            envelope_id: Some("QQ314159"),
            recipients: vec![
                RecipientReport {
                    status: (4, 4, 7),
                    words: Some(Words::Ours("connection refused")),
                    remote_mta: None,
                    ..recipient("late@c.example")
                },
                RecipientReport {
                    action: Action::Delayed,
                    status: (4, 2, 2),
                    original_recipient: Some("rfc822;first@d.example"),
                    will_retry_until: Some(1_795_898_220),
                    words: Some(Words::Remote("452 4.2.2 mailbox full")),
                    ..recipient("full@d.example")
                },
                RecipientReport { action: Action::Relayed, status: (2, 0, 0), words: None, ..recipient("fine@e.example") },
            ],
            ..report(Vec::new())
        },
    );
    golden(
        "dsn-utf8.eml",
        &Report {
            to: "jürgen@bücher.example",
            original: "From: jürgen@bücher.example\r\nSubject: Grüße\r\n\r\nx".as_bytes(),
            ..report(vec![RecipientReport { words: Some(Words::Remote("550 5.1.1 unbekannt: θ")), ..recipient("θ@b.example") }])
        },
    );
    golden(
        "dsn-utf8-recipient.eml",
        &Report {
            original: "From: shop@shop.example\r\nTo: jörg@b.example\r\nSubject: Grüße\r\n\r\nx".as_bytes(),
            ..report(vec![RecipientReport {
                status: (5, 6, 7),
                original_recipient: Some("utf-8;jörg+x@b.example"),
                words: Some(Words::Ours("the next hop does not support SMTPUTF8, which this message needs")),
                ..recipient("jörg@b.example")
            }])
        },
    );
    golden(
        "dsn-8bit-header.eml",
        &Report {
            original: b"From: a@b.example\r\nSubject: Gr\xfc\xdfe\n\tx\ry\0\r\n\r\n",
            ..report(vec![RecipientReport { words: Some(Words::Remote("550 gesperrt für Sie")), ..recipient("a@b.example") }])
        },
    );
}

#[test]
fn the_body_never_returns() {
    for original in [ORIGINAL, b"no header\r\nThe secret body.", b"", b"The secret body."] {
        let message = check(&Report { original, ..report(vec![recipient("a@b.example")]) });
        assert!(!String::from_utf8_lossy(&message).contains("secret"));
    }
}

#[test]
fn the_message_returns_whole_where_that_was_asked_for_and_it_can() {
    let whole = |original: &[u8]| {
        let message = check_lines(&Report { original, returns_content: true, ..report(vec![recipient("a@b.example")]) });
        String::from_utf8_lossy(&message).into_owned()
    };
    let text = whole(ORIGINAL);
    assert!(text.contains("Content-Type: message/rfc822\r\n") && text.contains("The secret body.") && text.contains("attached as it was"));
    let eight_bit = "From: a@b.example\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße";
    let text = whole(eight_bit.as_bytes());
    assert!(text.contains("Grüße") && text.contains("\r\nContent-Transfer-Encoding: 8bit\r\n\r\nThis is a report"), "{text}");
    let international = "From: a@b.example\r\nSubject: Grüße\r\n\r\nx";
    let text = whole(international.as_bytes());
    assert!(text.is_ascii() && text.contains("Content-Type: message/global\r\n") && text.contains("Subject: Gr=C3=BC=C3=9Fe"), "{text}");
    let large = format!("From: a@b.example\r\n\r\n{}", "secret secret secret\r\n".repeat(4_000));
    for cannot in ["From: a@b.example\r\n\r\nbare\nsecret", "From: a@b.example\r\n\r\nsecret \0", &large] {
        let text = whole(cannot.as_bytes());
        assert!(text.contains("text/rfc822-headers") && !text.contains("secret") && text.contains("its text is not"), "{text}");
    }
}

#[test]
fn a_large_header_is_cut_at_a_line() {
    let original = "X-Filler: 0123456789012345678901234567890123456789\r\n".repeat(3_000);
    let message = check(&Report { original: original.as_bytes(), ..report(vec![recipient("a@b.example")]) });
    let text = String::from_utf8(message).unwrap();
    let returned = text.matches("X-Filler: 0123456789012345678901234567890123456789\r\n").count();
    assert_eq!(returned, RETURNED_OCTETS_MAX / 52, "as many whole lines as fit");
    assert_eq!(text.matches("X-Filler").count(), returned);
    let one_line = format!("X: {}", "y".repeat(100_000));
    check(&Report { original: one_line.as_bytes(), ..report(vec![recipient("a@b.example")]) });
}

#[test]
fn nothing_can_be_forged() {
    let long = "x".repeat(100_000);
    let many = "550-a ".repeat(10_000);
    for hostile in [
        "a@b.example\r\nBcc: victim@c.example",
        "a\r\n\r\n--=_0193a7c2d4e5\r\nContent-Type: text/html\r\n\r\n<script>",
        "\r\n--=_0193a7c2d4e5--\r\n",
        "a\nb\rc\0d\x1b[31m\x7f",
        "\u{2028}\u{85}\u{202e}\u{10d}\u{10a}ü",
        "\"boundary\"; x=\"y",
        "<a> (b) ;",
        "",
        " ",
        &long,
        &many,
    ] {
        let recipients = vec![RecipientReport {
            final_recipient: hostile,
            original_recipient: Some(hostile),
            action: Action::Failed,
            status: (5, u16::MAX, 0),
            remote_mta: Some(hostile),
            words: Some(Words::Remote(hostile)),
            last_attempt: Some(u64::MAX),
            will_retry_until: Some(u64::MAX),
        }];
        for boundary in [hostile, "0193a7c2d4e5"] {
            check(&Report {
                boundary,
                message_id: hostile,
                date: u64::MAX,
                from: hostile,
                to: hostile,
                reporting_mta: hostile,
                arrival_date: u64::MAX,
                id: hostile,
                envelope_id: Some(hostile),
                original_message_id: Some(hostile),
                recipients: recipients.clone(),
                original: format!("Subject: {hostile}\r\n\r\n").as_bytes(),
                returns_content: false,
            });
        }
    }
}

#[test]
fn a_boundary_that_the_original_holds_is_not_used() {
    let original = b"X: =_0193a7c2d4e5\r\nY: --=_0193a7c2d4e5_1--\r\n\r\n";
    let text = String::from_utf8(check(&Report { original, ..report(vec![recipient("a@b.example")]) })).unwrap();
    assert!(text.contains("boundary=\"=_0193a7c2d4e5_2\""));
}
