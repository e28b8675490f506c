//! Fields that a submitted message lacks (RFC 6409 §8; RFC 5322 §3.6 demands Date and From, and wants Message-ID).
//!
//! **Promises.** [`Missing::write`] appends whole fields, folded, with no line break that an argument brought along. They stand in front of the message's own
//! header, so nothing of that moves.
//!
//! **Never** decides what is missing, or whose messages are mended.

use crate::date::date_time;
use crate::text::{Fold, printable};

/// Octets of an address or id that are written.
const VALUE_OCTETS_MAX: usize = 900;
/// Octets of a link: with its brackets it stays on one line (RFC 5322 §2.1.1).
pub const LINK_OCTETS_MAX: usize = 980;

/// What is added; `None` is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing<'a> {
    /// Date, in seconds since 1970-01-01T00:00:00Z.
    pub date: Option<u64>,
    /// From: an address without brackets.
    pub from: Option<&'a str>,
    /// Message-ID, without brackets.
    pub message_id: Option<&'a str>,
}

impl Missing<'_> {
    /// Appends what is missing, each with its line end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut field = |name: &str, value: &str| {
            let mut fold = Fold::new(out, name);
            fold.words(value);
            fold.end();
        };
        if let Some(seconds) = self.date {
            field("Date:", &date_time(seconds));
        }
        if let Some(from) = self.from {
            field("From:", &format!("<{}>", printable(from.as_bytes(), VALUE_OCTETS_MAX)));
        }
        if let Some(id) = self.message_id {
            field("Message-ID:", &format!("<{}>", printable(id.as_bytes(), VALUE_OCTETS_MAX)));
        }
    }
}

/// Fields that a stream has put in front of its messages; `None` is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added<'a> {
    /// `MIME-Version: 1.0` (RFC 2045 §4).
    pub mime_version: bool,
    /// Feedback-ID.
    pub feedback_id: Option<&'a str>,
    /// Our link for one click (RFC 8058 §3.1), and the other links, for letters (RFC 2369 §3.2).
    pub unsubscribe: Option<(&'a str, &'a [String])>,
}

impl Added<'_> {
    /// Appends them, each with its line end.
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.mime_version {
            out.extend_from_slice(b"MIME-Version: 1.0\r\n");
        }
        if let Some(value) = self.feedback_id {
            let mut fold = Fold::new(out, "Feedback-ID:");
            fold.words(&printable(value.as_bytes(), VALUE_OCTETS_MAX));
            fold.end();
        }
        if let Some((link, others)) = self.unsubscribe {
            let mut fold = Fold::new(out, "List-Unsubscribe:");
            let mut links = std::iter::once(link).chain(others.iter().map(String::as_str)).peekable();
            while let Some(link) = links.next() {
                // A fold inside a link would be read as part of it by some.
                let link: String = printable(link.as_bytes(), LINK_OCTETS_MAX).chars().filter(|letter| !" <>".contains(*letter)).collect();
                fold.word(&format!("<{link}>{}", if links.peek().is_some() { "," } else { "" }));
            }
            fold.end();
            out.extend_from_slice(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(missing: Missing) -> String {
        let mut out = Vec::new();
        missing.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_missing_is_written_and_nothing_else() {
        assert_eq!(written(Missing::default()), "");
        let all = Missing { date: Some(1_795_466_220), from: Some("a@b.example"), message_id: Some("1@c.example") };
        assert_eq!(written(all), "Date: Mon, 23 Nov 2026 20:37:00 +0000\r\nFrom: <a@b.example>\r\nMessage-ID: <1@c.example>\r\n");
    }

    #[test]
    fn no_argument_ends_a_field() {
        let evil = "a\r\nBcc: x@y.example\u{2028}\0";
        let text = written(Missing { from: Some(evil), message_id: Some(evil), ..Missing::default() });
        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!(text.matches('\r').count(), 2);
    }

    #[test]
    fn what_a_stream_adds_is_whole_fields() {
        let write = |added: Added| {
            let mut out = Vec::new();
            added.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(write(Added::default()), "");
        let evil = "mailto:a@b.example>\r\nBcc: <x".to_owned();
        let link = format!("https://m.example/u/{}", "A".repeat(500));
        let text = write(Added { mime_version: true, feedback_id: Some("a:b:c:d"), unsubscribe: Some((&link, &[evil])) });
        let expected = format!(
            "MIME-Version: 1.0\r\nFeedback-ID: a:b:c:d\r\nList-Unsubscribe:\r\n <{link}>,\r\n <mailto:a@b.exampleBcc:x>\r\n\
             List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        );
        assert_eq!(text, expected);
        let long = "l".repeat(5_000);
        assert!(write(Added { unsubscribe: Some((&long, &[])), ..Added::default() }).lines().all(|line| line.len() <= 998));
    }
}
