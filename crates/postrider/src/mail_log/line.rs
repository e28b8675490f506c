//! One line in the making, and the escaping that keeps it one line.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use postrider_model::{MessageId, Timestamp};
use postrider_smtp::{Host, Mailbox};

use crate::shown::deceives;

/// A line in a buffer.
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
    json: bool,
}

/// What lines are made in: a buffer that is used again, and the text of the last second, which is the next line's, too, nearly always.
#[derive(Default)]
pub struct LineMaker {
    out: Vec<u8>,
    second: u64,
    second_text: Vec<u8>,
}

impl LineMaker {
    /// Makes one line and gives it to `take`.
    pub fn make(&mut self, json: bool, now: Timestamp, event: &str, fill: impl FnOnce(&mut Line<'_>), take: impl FnOnce(&[u8])) {
        self.out.clear();
        self.out.extend_from_slice(if json { b"{\"time\":\"" } else { b"" });
        self.stamp(now);
        self.out.extend_from_slice(if json { b"\",\"event\":\"" } else { b" " });
        self.out.extend_from_slice(event.as_bytes());
        self.out.extend_from_slice(if json { b"\"" } else { b"" });
        let mut line = Line { out: &mut self.out, json };
        fill(&mut line);
        self.out.extend_from_slice(if json { b"}\n" } else { b"\n" });
        take(&self.out);
    }

    /// `2026-11-23T20:37:00.041Z`
    fn stamp(&mut self, now: Timestamp) {
        if self.second != now.seconds() || self.second_text.is_empty() {
            self.second = now.seconds();
            self.second_text.clear();
            let _ = write!(Raw(&mut self.second_text), "{}", Timestamp::from_millis(self.second * 1000));
            // Up to the point: the rest differs from line to line.
            self.second_text.truncate(self.second_text.len() - "000Z".len());
        }
        self.out.extend_from_slice(&self.second_text);
        push_three(&mut self.out, now.millis() % 1000);
        self.out.push(b'Z');
    }
}

impl Line<'_> {
    /// A value of ours that needs no escaping: an id, an address, an instant.
    pub fn plain(&mut self, key: &str, value: impl Display) {
        self.key(key);
        self.mark();
        self.raw(value);
        self.mark();
    }

    /// A message's id, or a delivery's: the most frequent value, so it does without the formatting machinery.
    pub fn id(&mut self, message: MessageId, index: Option<u32>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.key("id");
        self.mark();
        for (nth, octet) in message.0.to_be_bytes().into_iter().enumerate() {
            if matches!(nth, 4 | 6 | 8 | 10) {
                self.out.push(b'-');
            }
            self.out.extend_from_slice(&[DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
        }
        if let Some(index) = index {
            self.out.push(b'/');
            push_number(self.out, u64::from(index));
        }
        self.mark();
    }

    /// A number.
    pub fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        push_number(self.out, value);
    }

    /// A duration in seconds, to the millisecond.
    pub fn seconds(&mut self, key: &str, value: Duration) {
        self.key(key);
        push_number(self.out, value.as_secs());
        self.out.push(b'.');
        push_three(self.out, u64::from(value.subsec_millis()));
    }

    /// A word of ours.
    pub fn word(&mut self, key: &str, value: &str) {
        self.key(key);
        self.mark();
        self.out.extend_from_slice(value.as_bytes());
        self.mark();
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
        let local_part = mailbox.local_part();
        let domain = match mailbox.host() {
            _ if !local_part.bytes().all(is_plain) => return self.shown(key, format_args!("<{mailbox}>")),
            Host::Domain(domain) if domain.is_ascii() => domain,
            Host::Domain(_) => return self.shown(key, format_args!("<{mailbox}>")),
            Host::Literal(_) => return self.plain(key, format_args!("<{mailbox}>")),
        };
        self.key(key);
        self.mark();
        for part in ["<", local_part, "@", domain.as_str(), ">"] {
            self.out.extend_from_slice(part.as_bytes());
        }
        self.mark();
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

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The three digits of a number below 1,000.
fn push_three(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&[number / 100 % 10, number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8));
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
