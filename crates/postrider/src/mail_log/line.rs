//! One line in the making, and the escaping that keeps it one line.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use postrider_model::Timestamp;
use postrider_smtp::Mailbox;

use crate::shown::deceives;

/// A line in a buffer.
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
    json: bool,
}

impl<'a> Line<'a> {
    /// Begins a line at the end of the buffer.
    pub fn begin(out: &'a mut Vec<u8>, json: bool, now: Timestamp, event: &str) -> Self {
        let mut line = Self { out, json };
        if json {
            line.out.extend_from_slice(b"{\"time\":\"");
            line.raw(now);
            line.out.extend_from_slice(b"\",\"event\":\"");
            line.raw(event);
            line.out.push(b'"');
        } else {
            line.raw(now);
            line.out.push(b' ');
            line.raw(event);
        }
        line
    }

    /// Ends it.
    pub fn end(self) {
        self.out.extend_from_slice(if self.json { b"}\n" } else { b"\n" });
    }

    /// A value of ours that needs no escaping: an id, an address, an instant.
    pub fn plain(&mut self, key: &str, value: impl Display) {
        self.key(key);
        self.mark();
        self.raw(value);
        self.mark();
    }

    /// A number.
    pub fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.raw(value);
    }

    /// A duration in seconds, to the millisecond.
    pub fn seconds(&mut self, key: &str, value: Duration) {
        self.key(key);
        self.raw(format_args!("{}.{:03}", value.as_secs(), value.subsec_millis()));
    }

    /// Text; bare for people when it is plain.
    pub fn text(&mut self, key: &str, value: &str) {
        if !self.json && !value.is_empty() && value.bytes().all(is_plain) {
            self.key(key);
            self.out.extend_from_slice(value.as_bytes());
        } else {
            self.quoted(key, value);
        }
    }

    /// Text in quotes, escaped.
    pub fn quoted(&mut self, key: &str, value: &str) {
        self.shown(key, value);
    }

    /// Anything that can be shown, in quotes, escaped.
    pub fn shown(&mut self, key: &str, value: impl Display) {
        self.key(key);
        self.out.push(b'"');
        let mut escaped = Escaped { out: self.out };
        // Writing to a vector does not fail.
        let _ = write!(escaped, "{value}");
        self.out.push(b'"');
    }

    /// A mailbox as a path. A local part that needs quotes stands in quotes as a whole, so that it cannot play a second field.
    pub fn path(&mut self, key: &str, mailbox: &Mailbox) {
        let bare = mailbox.local_part().bytes().all(is_plain);
        if bare { self.plain(key, format_args!("<{mailbox}>")) } else { self.shown(key, format_args!("<{mailbox}>")) }
    }

    fn key(&mut self, key: &str) {
        if self.json {
            self.out.extend_from_slice(b",\"");
            self.out.extend_from_slice(key.as_bytes());
            self.out.extend_from_slice(b"\":");
        } else {
            self.out.push(b' ');
            self.out.extend_from_slice(key.as_bytes());
            self.out.push(b'=');
        }
    }

    fn mark(&mut self) {
        if self.json {
            self.out.push(b'"');
        }
    }

    fn raw(&mut self, value: impl Display) {
        let _ = write!(Raw(self.out), "{value}");
    }
}

/// Octets that can stand bare: no blank, no quote, nothing a terminal or a parser of `key=value` could take for something else.
fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.:,@[]".contains(&octet)
}

struct Raw<'a>(&'a mut Vec<u8>);

impl Write for Raw<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

struct Escaped<'a> {
    out: &'a mut Vec<u8>,
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|octet| (b' '..=b'~').contains(&octet) && octet != b'"' && octet != b'\\') {
            self.out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        text.chars().try_for_each(|letter| self.write_char(letter))
    }

    fn write_char(&mut self, letter: char) -> fmt::Result {
        match letter {
            '"' | '\\' => self.out.extend_from_slice(&[b'\\', letter as u8]),
            _ if deceives(letter) => {
                // JSON knows only four digits; what lies above the basic plane goes as a pair of surrogates.
                let mut units = [0; 2];
                for unit in letter.encode_utf16(&mut units) {
                    let _ = write!(Raw(self.out), "\\u{unit:04x}");
                }
            }
            _ => Raw(self.out).write_char(letter)?,
        }
        Ok(())
    }
}
