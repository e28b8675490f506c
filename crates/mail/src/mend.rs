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
}
