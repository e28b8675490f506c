//! A message from standard input: its lines, its recipients, and what is missing in its header.

use std::io::{self, BufRead};

use postrider_mail::{Fields, header, mailboxes};
use postrider_model::Timestamp;

use super::super::compose::encoded_words;

/// Fields that a message does not keep (Postfix: message_drop_headers).
const DROPPED: [&str; 4] = ["Bcc", "Resent-Bcc", "Content-Length", "Return-Path"];

/// Reads lines until the end, or until a dot alone where that ends it. Every line ends in CR LF then: one CR in front of a line's end belongs to it,
/// as in files of other systems; other CRs, as progress bars leave them, end a line, too; NULs go. The first line that old mailboxes begin with
/// (`From a@b Mon Nov 23 ...`) goes as well.
pub fn read(mut input: impl BufRead, dot_ends: bool, octets_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut line = Vec::new();
    let mut first = true;
    loop {
        line.clear();
        let left = octets_max.saturating_sub(content.len() as u64) + 1;
        if io::Read::take(&mut input, left).read_until(b'\n', &mut line)? == 0 {
            return Ok(content);
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = &text[..text.len() - text.iter().rev().take_while(|octet| **octet == b'\r').count()];
        if dot_ends && text == b"." {
            return Ok(content);
        }
        let mailbox_line = std::mem::take(&mut first) && (text.starts_with(b"From ") || text.starts_with(b">From "));
        if !mailbox_line {
            for part in text.split(|octet| *octet == b'\r') {
                content.extend(part.iter().filter(|octet| **octet != 0));
                content.extend_from_slice(b"\r\n");
            }
        }
        if content.len() as u64 > octets_max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("the message is longer than {octets_max} octets")));
        }
    }
}

/// The recipients that the header names. A message that was sent again (Resent- fields, RFC 5322 §3.6.6) goes to whom it is sent now.
pub fn recipients(content: &[u8]) -> Vec<String> {
    let resent = Fields::of(content).any(|field| field.name.to_ascii_lowercase().starts_with(b"resent-"));
    let names = if resent { ["Resent-To", "Resent-Cc", "Resent-Bcc"] } else { ["To", "Cc", "Bcc"] };
    let fields = Fields::of(content).filter(|field| names.iter().any(|name| field.is(name)));
    fields.flat_map(|field| mailboxes(field.value)).collect()
}

/// What a header without From, Date or Message-ID gets (RFC 6409 §8).
pub struct Missing<'a> {
    /// The reverse-path's mailbox; empty for none.
    pub sender: &'a str,
    /// His name.
    pub full_name: Option<&'a str>,
    /// Now.
    pub at: Timestamp,
    /// What makes the Message-ID unlike any other.
    pub unique: [u8; 16],
    /// The right side of the Message-ID.
    pub host_name: &'a str,
}

/// The message with its header mended. A text without a header gets one.
pub fn mended(content: &[u8], missing: &Missing<'_>) -> Vec<u8> {
    let (_, body) = header::split(content);
    let mut out = Vec::with_capacity(content.len() + 512);
    let has = |name: &str| Fields::of(content).any(|field| field.is(name));
    for field in Fields::of(content).filter(|field| !DROPPED.iter().any(|name| field.is(name))) {
        out.extend_from_slice(field.whole);
    }
    if !has("From") {
        let sender = match missing.sender {
            "" => format!("MAILER-DAEMON@{}", missing.host_name),
            sender => sender.to_owned(),
        };
        let field = match missing.full_name.map(phrase).filter(|name| !name.is_empty()) {
            Some(name) => format!("From: {name} <{sender}>\r\n"),
            None => format!("From: {sender}\r\n"),
        };
        out.extend_from_slice(field.as_bytes());
    }
    if !has("Date") {
        out.extend_from_slice(format!("Date: {}\r\n", postrider_mail::date::date_time(missing.at.seconds())).as_bytes());
    }
    if !has("Message-ID") {
        let unique: String = missing.unique.iter().map(|octet| format!("{octet:02x}")).collect();
        out.extend_from_slice(format!("Message-ID: <{unique}@{}>\r\n", missing.host_name).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

/// A name in front of an address: in quotes where it needs them (RFC 5322 §3.2.5), encoded where it is not ASCII (RFC 2047 §5).
fn phrase(name: &str) -> String {
    let clean: String = name.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let clean = clean.trim();
    if !clean.is_ascii() {
        return encoded_words(clean);
    }
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b" !#$%&'*+-/=?^_`{|}~".contains(&octet);
    if clean.bytes().all(plain) {
        return clean.to_owned();
    }
    format!("\"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_come() {
        for (input, dot_ends, content) in [
            ("a\nb\n", true, "a\r\nb\r\n"),
            ("a\r\nb\r\n", true, "a\r\nb\r\n"),
            ("a\n.\nb\n", true, "a\r\n"),
            ("a\n.\nb\n", false, "a\r\n.\r\nb\r\n"),
            ("a\r\n.\r\nb", true, "a\r\n"),
            ("a\n..\nno end", true, "a\r\n..\r\nno end\r\n"),
            ("10%\r20%\r\r\n", true, "10%\r\n20%\r\n"),
            ("a\0b\n", true, "ab\r\n"),
            ("From a@b Mon\nTo: c\n\n>From d\n", true, "To: c\r\n\r\n>From d\r\n"),
            ("", true, ""),
            (".", true, ""),
        ] {
            assert_eq!(read(input.as_bytes(), dot_ends, 1_000).unwrap(), content.as_bytes(), "{input:?} {dot_ends}");
        }
        assert_eq!(read(&b"12345678\n"[..], true, 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(&b"1".repeat(5_000)[..], true, 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn recipients_come_from_the_header_alone() {
        for (content, expected) in [
            ("To: a@x, B <b@x>\r\nCc: c@x\r\nBCC: d@x\r\nReply-To: e@x\r\n\r\nTo: f@x\r\n", &["a@x", "b@x", "c@x", "d@x"][..]),
            ("To: a@x\r\nResent-To: b@x\r\nResent-Bcc: c@x\r\n\r\n", &["b@x", "c@x"]),
            ("To: a@x,\r\n b@x\r\n\r\n", &["a@x", "b@x"]),
            ("no header\r\nTo: a@x\r\n", &[]),
        ] {
            assert_eq!(recipients(content.as_bytes()), expected, "{content:?}");
        }
    }

    fn with(content: &str, full_name: Option<&str>) -> String {
        let missing =
            Missing { sender: "app@x", full_name, at: Timestamp::from_millis(1_795_466_220_000), unique: [7; 16], host_name: "relay.x" };
        String::from_utf8(mended(content.as_bytes(), &missing)).unwrap()
    }

    #[test]
    fn what_is_missing_is_put_in_and_nothing_else() {
        const DATE: &str = "Date: Mon, 23 Nov 2026 20:37:00 +0000\r\nMessage-ID: <07070707070707070707070707070707@relay.x>\r\n";
        for (content, name, expected) in [
            ("Subject: s\r\n\r\nbody\r\n", None, format!("Subject: s\r\nFrom: app@x\r\n{DATE}\r\nbody\r\n")),
            ("just text\r\n", Some("A. B"), format!("From: \"A. B\" <app@x>\r\n{DATE}\r\njust text\r\n")),
            ("From: me\r\nDate: d\r\nMessage-id: m\r\n\r\n", Some("x"), "From: me\r\nDate: d\r\nMessage-id: m\r\n\r\n".to_owned()),
            (
                "From: me\r\nBcc: b@x\r\nDate: d\r\nMessage-ID: m\r\nReturn-Path: <x>\r\n",
                None,
                "From: me\r\nDate: d\r\nMessage-ID: m\r\n\r\n".to_owned(),
            ),
            ("", None, format!("From: app@x\r\n{DATE}\r\n")),
        ] {
            assert_eq!(with(content, name), expected, "{content:?}");
        }
        assert!(with("", Some("Gr\u{fc}n\r\nBcc: x@y")).starts_with("From: =?utf-8?B?R3LDvG4gIEJjYzogeEB5?= <app@x>\r\n"));
    }
}
