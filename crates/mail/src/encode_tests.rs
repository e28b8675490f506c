use super::*;

fn converted(content: &[u8]) -> Vec<u8> {
    recoded(Takes::SevenBit, content)
}

/// Every split gives the same.
fn recoded(takes: Takes, content: &[u8]) -> Vec<u8> {
    let split = |octets: usize| {
        let (mut recoder, mut out) = (Recoder::to(takes), Vec::new());
        content.chunks(octets).for_each(|chunk| recoder.feed(chunk, &mut out));
        recoder.finish(&mut out);
        out
    };
    let whole = split(content.len().max(1));
    for octets in [1, 2, 3, 7, 64, 4096] {
        assert_eq!(split(octets), whole, "slices of {octets}");
    }
    whole
}

fn check(content: &str, expected: &str) {
    assert_eq!(String::from_utf8(converted(content.as_bytes())).unwrap(), expected);
}

/// RFC 2045 §6.7, read back.
fn decoded(quoted: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = quoted;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'=' {
            out.push(octet);
        } else if let Some(after) = rest.strip_prefix(b"\r\n") {
            rest = after;
        } else {
            out.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
            rest = &rest[2..];
        }
    }
    out
}

#[test]
fn a_text_becomes_quoted_printable() {
    check(
        "From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nSubject: x\r\n\r\nGrüße = 1 \r\n.\r\n",
        "From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nSubject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe =3D 1=20\r\n.\r\n",
    );
    check(
        "From: a@b.example\r\n\r\nü\r\n",
        "From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\r\n",
    );
}

#[test]
fn each_part_goes_its_own_way() {
    let mixed = |text: &str, encoding: &str| {
        format!(
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tcharset=x; boundary=\"a b\"\r\n{}\r\npreamble\r\n--a b\r\nContent-Type: text/html\r\n{}\r\n<p>{text}</p>\r\n--a b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--a b\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n--in\r\n{}\r\n{text}\r\n--in--\r\nepilogue\r\n--a b--\r\n--a b\r\nlast\r\n",
            if encoding == "8bit" { "Content-Transfer-Encoding: 8bit\r\n" } else { "Content-Transfer-Encoding: 7bit\r\n" },
            if encoding == "8bit" { "Content-Transfer-Encoding: 8BIT\r\n" } else { "Content-Transfer-Encoding: quoted-printable\r\n" },
            if encoding == "8bit" { "" } else { "Content-Transfer-Encoding: quoted-printable\r\n" },
        )
    };
    check(&mixed("é", "8bit"), &mixed("=C3=A9", "7bit"));
}

#[test]
fn a_message_in_a_message_is_converted_and_what_is_signed_is_not() {
    check(
        "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: inner\r\nContent-Transfer-Encoding: 8bit\r\n\r\né\r\n",
        "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: inner\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9\r\n",
    );
    let signed = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n--s\r\nContent-Transfer-Encoding: 8bit\r\n\r\né\r\n--s--\r\n";
    check(signed, signed);
    let seven = "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 7bit\r\n\r\nas it is =\r\n";
    check(seven, seven);
}

#[test]
fn strange_messages_keep_their_octets() {
    // No header at all, an end in the header, a part without its empty line, a boundary that never comes, a header that never ends.
    for (content, expected) in [
        ("", ""),
        ("A: b\r\nContent-Transfer-Encoding: base64", "A: b\r\nContent-Transfer-Encoding: base64"),
        (
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n--b\r\n\r\né\r\n",
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9\r\n",
        ),
    ] {
        check(content, expected);
    }
    let endless = format!("A: {}", "ü".repeat(HEADER_OCTETS_MAX));
    assert!(converted(endless.as_bytes()).len() >= HEADER_OCTETS_MAX);
}

#[test]
fn every_octet_comes_back_and_lines_are_short() {
    let all: Vec<u8> = (0..=255u8).cycle().take(10_000).collect();
    for body in [&all[..], b" \r\n\t\r\n \t", b"\r\r\n\n\r", &[b'='; 300], &[0xff; 5000], b"x".repeat(5000).as_slice()] {
        let content = [b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n", body].concat();
        let out = converted(&content);
        let (_, quoted) = crate::header::split(&out);
        assert_eq!(decoded(quoted), body);
        assert!(out.is_ascii() && out.split(|octet| *octet == b'\n').all(|line| line.len() <= 77));
    }
}

/// RFC 3030 §3: what is binary is encoded for everybody, what is 8bit only for those who take seven bits.
#[test]
fn binary_parts_become_base64_and_binary_text_quoted_printable() {
    let mixed = |around: &str, text: (&str, &str), wide: (&str, &str), octets: (&str, &str)| {
        format!(
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: {around}\r\n\r\n--b\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {}\r\n\r\n{}\r\n--b\r\n\
             Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: {}\r\n\r\n{}\r\n--b\r\n\
             Content-Type: image/png\r\nContent-Transfer-Encoding: {}\r\n\r\n{}\r\n--b--\r\n",
            text.0, text.1, wide.0, wide.1, octets.0, octets.1
        )
    };
    let sent = mixed("binary", ("binary", "a\nb=\rü"), ("8bit", "é"), ("binary", "\0\n--b\n\r\n\r\n"));
    let (text, image) = (("quoted-printable", "a=0Ab=3D=0D=C3=BC"), ("base64", "AAotLWIKDQoNCg=="));
    assert_eq!(String::from_utf8(recoded(Takes::EightBit, sent.as_bytes())).unwrap(), mixed("8bit", text, ("8bit", "é"), image));
    let seven = mixed("7bit", text, ("quoted-printable", "=C3=A9"), image);
    assert_eq!(String::from_utf8(recoded(Takes::SevenBit, sent.as_bytes())).unwrap(), seven);
}

#[test]
fn every_octet_of_a_binary_part_comes_back() {
    use base64::Engine;
    let all: Vec<u8> = (0..=255u8).cycle().take(10_000).collect();
    let head = b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n";
    for body in [&all[..], b"", b"\r\n", b"\n\r\n\r", b"\r\n\r\n", &[b'\r'; 2049], b"x\r\n".repeat(2000).as_slice()] {
        let out = recoded(Takes::EightBit, &[head, body].concat());
        let (_, encoded) = crate::header::split(&out);
        let lines: Vec<u8> = encoded.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
        assert_eq!(base64::engine::general_purpose::STANDARD.decode(lines).unwrap(), body);
        assert!(encoded.split(|octet| *octet == b'\n').all(|line| line.len() <= 77));
    }
}

#[test]
fn what_is_signed_stays_binary() {
    let signed = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=s\r\nContent-Transfer-Encoding: binary\r\n\r\n--s\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\0\r\n--s--\r\n";
    assert_eq!(recoded(Takes::EightBit, signed.as_bytes()), signed.as_bytes());
}

#[test]
fn long_lines_are_found_in_any_split() {
    let line = |octets: usize| [vec![b'x'; octets], b"\r\n".to_vec()].concat();
    for (content, found) in [
        (line(998), false),
        (line(999), true),
        ([line(998), line(998)].concat(), false),
        ([line(1), line(2_000), line(1)].concat(), true),
        (vec![b'x'; 1_000], true),
        (b"\r\n".repeat(2_000), false),
        (Vec::new(), false),
    ] {
        for octets in [1, 7, 998, 4_096] {
            let mut lines = LongLines::default();
            content.chunks(octets).for_each(|chunk| lines.feed(chunk));
            assert_eq!(lines.found(), found, "{} octets in slices of {octets}", content.len());
        }
    }
}

#[test]
fn what_has_long_lines_is_encoded_and_comes_back() {
    let long = "word ".repeat(500);
    for (header, ending) in [
        ("", "MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n"),
        ("MIME-Version: 1.0\r\nContent-Type: text/html\r\n", "Content-Transfer-Encoding: quoted-printable\r\n"),
        (
            "MIME-Version: 1.0\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: 7bit\r\n",
            "Content-Transfer-Encoding: quoted-printable\r\n",
        ),
        (
            "MIME-Version: 1.0\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: 8bit\r\n",
            "Content-Transfer-Encoding: quoted-printable\r\n",
        ),
    ] {
        let body = format!("{long}\r\n=x \r\n");
        let out = recoded(Takes::ShortLines, format!("Subject: x\r\n{header}\r\n{body}").as_bytes());
        let (head, quoted) = crate::header::split(&out);
        assert!(String::from_utf8_lossy(head).ends_with(&format!("{ending}\r\n")), "{}", String::from_utf8_lossy(head));
        assert!(quoted.split(|octet| *octet == b'\n').all(|line| line.len() <= 77));
        assert_eq!(decoded(quoted), body.as_bytes());
    }
    let signed = format!("Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n{long}\r\n--b--\r\n");
    assert_eq!(recoded(Takes::ShortLines, signed.as_bytes()), signed.as_bytes(), "another's signature would break");
    let encoded = "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n";
    assert_eq!(recoded(Takes::ShortLines, encoded.as_bytes()), encoded.as_bytes());
}
