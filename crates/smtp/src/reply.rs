//! The reply: a code, perhaps an enhanced status, and lines of text (RFC 5321 §4.2, RFC 2034).
//!
//! **Promises.** The lines of a reply are clean whoever made it: no control character, no line separator, no mark that turns text around. What a
//! peer sent of these is kept in escaped form (`\x1b`), octets that are not UTF-8 as U+FFFD, so a reply can be logged, stored and shown
//! without forging anything. A reply has at least one line, and bounded size.
//!
//! **Never** decides what a reply means for a delivery; that is `core::classify`.

use std::fmt;

use crate::address::deceives;
use crate::status::EnhancedStatus;

/// Lines kept of one reply; further lines of a peer are read and dropped.
pub const LINES_KEPT_MAX: usize = 128;
/// Octets kept of one line; the rest is dropped and marked.
pub const LINE_OCTETS_KEPT_MAX: usize = 2048;

/// A reply of ours or of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    code: u16,
    status: Option<EnhancedStatus>,
    lines: Vec<String>,
}

impl Reply {
    /// A reply of ours. `text` is split at line feeds.
    ///
    /// # Panics
    /// When the code is not within 200 to 599: the code that says so is wrong.
    pub fn new(code: u16, status: Option<EnhancedStatus>, text: impl AsRef<str>) -> Reply {
        let lines = text.as_ref().split('\n').map(|line| clean(line.trim_end_matches('\r'))).take(LINES_KEPT_MAX).collect();
        Reply::from_parts(code, status, lines).expect("a reply code is within 200 to 599")
    }

    /// A reply from stored parts, for a reader of durable records. None when the code is not within 200 to 599. The lines are made clean.
    pub fn from_parts(code: u16, status: Option<EnhancedStatus>, mut lines: Vec<String>) -> Option<Reply> {
        if !(200..=599).contains(&code) {
            return None;
        }
        lines.truncate(LINES_KEPT_MAX);
        if lines.is_empty() {
            lines.push(String::new());
        }
        for line in &mut lines {
            if line.len() > LINE_OCTETS_KEPT_MAX || line.chars().any(deceives) {
                *line = clean(line);
            }
        }
        Some(Reply { code, status, lines })
    }

    /// The three-digit code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status, when the reply had one.
    pub fn status(&self) -> Option<EnhancedStatus> {
        self.status
    }

    /// The text lines, without code and status. At least one, perhaps empty.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// All lines, joined by one space.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }

    /// 2yz (RFC 5321 §4.2.1).
    pub fn is_positive_completion(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3yz (RFC 5321 §4.2.1).
    pub fn is_positive_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4yz, transient negative completion (RFC 5321 §4.2.1).
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz, permanent negative completion (RFC 5321 §4.2.1).
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Appends the reply as it goes on the wire, the enhanced status on each line (RFC 2034 §4).
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let last = self.lines.len() - 1;
        for (nth, line) in self.lines.iter().enumerate() {
            write_line(out, self.code, self.status, line, nth == last);
        }
    }
}

/// One line, `250 2.0.0 text`: safe for logs, because the lines are clean.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        self.lines.iter().filter(|line| !line.is_empty()).try_for_each(|line| write!(f, " {line}"))
    }
}

/// Appends one line of a reply. The text must be clean.
pub(crate) fn write_line(out: &mut Vec<u8>, code: u16, status: Option<EnhancedStatus>, text: &str, last: bool) {
    push_number(out, code);
    out.push(if last { b' ' } else { b'-' });
    if let Some(status) = status {
        push_number(out, u16::from(status.class));
        out.push(b'.');
        push_number(out, status.subject);
        out.push(b'.');
        push_number(out, status.detail);
        if !text.is_empty() {
            out.push(b' ');
        }
    }
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn push_number(out: &mut Vec<u8>, number: u16) {
    if number >= 10 {
        push_number(out, number / 10);
    }
    out.push(b'0' + (number % 10) as u8);
}

/// The text with everything that could deceive a reader escaped, and cut at [`LINE_OCTETS_KEPT_MAX`].
pub(crate) fn clean(text: &str) -> String {
    use fmt::Write;
    let mut cleaned = String::with_capacity(text.len().min(LINE_OCTETS_KEPT_MAX));
    for letter in text.chars() {
        if cleaned.len() + 12 > LINE_OCTETS_KEPT_MAX {
            cleaned.push_str("...");
            break;
        }
        match letter {
            '\t' => cleaned.push(' '),
            letter if !deceives(letter) => cleaned.push(letter),
            letter if (letter as u32) < 0x100 => {
                let _ = write!(cleaned, "\\x{:02x}", letter as u32);
            }
            letter => cleaned.extend(letter.escape_unicode()),
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_line_and_many() {
        let reply = Reply::new(250, Some(EnhancedStatus::new(2, 0, 0)), "Ok");
        assert_eq!(wire(&reply), "250 2.0.0 Ok\r\n");
        assert_eq!(reply.to_string(), "250 2.0.0 Ok");
        let reply = Reply::new(550, Some(EnhancedStatus::new(5, 7, 509)), "no\nreally\r\nno");
        assert_eq!(wire(&reply), "550-5.7.509 no\r\n550-5.7.509 really\r\n550 5.7.509 no\r\n");
        assert_eq!((reply.text(), reply.to_string()), ("no really no".into(), "550 5.7.509 no really no".into()));
        assert_eq!(wire(&Reply::new(250, None, "")), "250 \r\n");
        assert_eq!(wire(&Reply::new(250, Some(EnhancedStatus::new(2, 1, 0)), "")), "250 2.1.0\r\n");
    }

    #[test]
    fn classes() {
        let classes = |code| {
            let reply = Reply::new(code, None, "x");
            [reply.is_positive_completion(), reply.is_positive_intermediate(), reply.is_transient(), reply.is_permanent()]
        };
        assert_eq!(classes(250), [true, false, false, false]);
        assert_eq!(classes(354), [false, true, false, false]);
        assert_eq!(classes(421), [false, false, true, false]);
        assert_eq!(classes(599), [false, false, false, true]);
    }

    #[test]
    fn nothing_in_a_reply_can_forge_a_line() {
        let reply = Reply::new(550, None, "a\rb\u{1b}[31m\u{85}\u{2028}\0\tc");
        assert_eq!(wire(&reply), "550 a\\x0db\\x1b[31m\\x85\\u{2028}\\x00 c\r\n");
        let reply = Reply::from_parts(550, None, vec!["x\r\n250 forged".into()]).unwrap();
        assert_eq!(wire(&reply), "550 x\\x0d\\x0a250 forged\r\n");
    }

    #[test]
    fn bounded() {
        let reply = Reply::new(550, None, "x\n".repeat(1000));
        assert_eq!(reply.lines().len(), LINES_KEPT_MAX);
        let reply = Reply::from_parts(550, None, vec!["ä".repeat(100_000)]).unwrap();
        assert!(reply.text().len() <= LINE_OCTETS_KEPT_MAX && reply.text().ends_with("..."));
        assert_eq!(Reply::from_parts(999, None, vec![]), None);
        assert_eq!(Reply::from_parts(199, None, vec![]), None);
        assert_eq!(Reply::from_parts(250, None, vec![]).unwrap().lines(), [""]);
    }
}
