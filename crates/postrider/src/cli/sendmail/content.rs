//! A message from standard input: its lines, its recipients, and what does not stay in its header. What is missing there the relay adds itself.

use std::io::{self, BufRead};

use postrider_mail::{Fields, header, mailboxes};

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

/// The sender as the command line names him, for a message without From; without a name the relay adds the field itself.
pub struct Author<'a> {
    /// A mailbox.
    pub mailbox: &'a str,
    /// His name.
    pub full_name: &'a str,
}

/// The message without what it does not keep, and with its author where he is named and missing. A text without a header gets one then.
pub fn cleaned(content: &[u8], author: Option<&Author<'_>>) -> Vec<u8> {
    let (_, body) = header::split(content);
    let mut out = Vec::with_capacity(content.len() + 512);
    let (mut fields, mut has_from) = (0, false);
    for field in Fields::of(content) {
        fields += 1;
        has_from |= field.is("From");
        if !DROPPED.iter().any(|name| field.is(name)) {
            out.extend_from_slice(field.whole);
        }
    }
    if let Some(author) = author.filter(|_| !has_from) {
        fields += 1;
        out.extend_from_slice(format!("From: {} <{}>\r\n", phrase(author.full_name), author.mailbox).as_bytes());
    }
    if fields > 0 {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        return out;
    }
    content.to_vec()
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

    #[test]
    fn what_does_not_stay_goes_and_a_named_author_comes() {
        let author = |full_name| Some(Author { mailbox: "app@x", full_name });
        for (content, author, expected) in [
            ("Subject: s\r\n\r\nbody\r\n", None, "Subject: s\r\n\r\nbody\r\n"),
            ("Subject: s\r\nbody\r\n", None, "Subject: s\r\n\r\nbody\r\n"),
            ("just text\r\n", None, "just text\r\n"),
            ("\r\njust text\r\n", None, "\r\njust text\r\n"),
            ("just text\r\n", author("A. B"), "From: \"A. B\" <app@x>\r\n\r\njust text\r\n"),
            ("\r\njust text\r\n", author("B"), "From: B <app@x>\r\n\r\njust text\r\n"),
            ("From: me\r\n\r\n", author("x"), "From: me\r\n\r\n"),
            ("From: me\r\nBcc: b@x,\r\n c@x\r\nReturn-Path: <x>\r\n\r\nBcc: d\r\n", None, "From: me\r\n\r\nBcc: d\r\n"),
            ("", None, ""),
            ("", author("Gr\u{fc}n\r\nBcc: x@y"), "From: =?utf-8?B?R3LDvG4gIEJjYzogeEB5?= <app@x>\r\n\r\n"),
        ] {
            let cleaned = cleaned(content.as_bytes(), author.as_ref());
            assert_eq!(String::from_utf8(cleaned).unwrap(), expected, "{content:?}");
        }
    }
}
