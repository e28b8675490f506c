//! Reading replies of a peer that may be broken or hostile (RFC 5321 §4.2, §4.5.3.1.5; RFC 2034).
//!
//! **Promises.** A reply is complete, its codes agree, and it is bounded; all else is a [`ProtocolTrouble`]. Text is made clean here, octets that are
//! not UTF-8 become U+FFFD. A reply without text, with or without a status, is taken (RFC 5321 §4.2 lets a client do so), and so is a line that ends
//! in a bare LF: nothing of a reply is ever passed on as octets.

use super::config::ProtocolTrouble;
use super::{REPLY_LINE_OCTETS_MAX, REPLY_LINES_MAX};
use crate::line::{self, Inbox, Split};
use crate::reply::{self, Reply};
use crate::status::EnhancedStatus;

/// A reply, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    code: Option<u16>,
    lines: Vec<String>,
    /// Replies that were complete.
    heard: u64,
}

impl ReplyReader {
    /// Takes what is there; gives a reply when it is complete. `with_status`: an enhanced status may stand in front of the text, which is not so
    /// in a greeting and an answer to EHLO (RFC 2034 §4).
    pub(super) fn take(&mut self, inbox: &mut Inbox, with_status: bool) -> Result<Option<Reply>, ProtocolTrouble> {
        loop {
            match line::split_leniently(inbox.unread(), REPLY_LINE_OCTETS_MAX) {
                Split::Partial => return Ok(None),
                Split::TooLong => return Err(ProtocolTrouble::LineTooLong),
                Split::Stray => return Err(ProtocolTrouble::Nul),
                Split::Line { text, whole } => {
                    let range = inbox.consume(whole);
                    let last = self.line(&inbox.consumed(range)[..text])?;
                    if last {
                        return self.complete(with_status).map(Some);
                    }
                }
            }
        }
    }

    /// Replies that were complete, in all.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    /// Whether a reply has begun and is not complete.
    pub(super) fn is_midway(&self) -> bool {
        self.code.is_some()
    }

    /// Takes one line; says whether it is the last.
    fn line(&mut self, line: &[u8]) -> Result<bool, ProtocolTrouble> {
        let (code, rest) = line.split_at_checked(3).ok_or(ProtocolTrouble::Malformed)?;
        if !code.iter().all(u8::is_ascii_digit) {
            return Err(ProtocolTrouble::Malformed);
        }
        let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        if !(200..=599).contains(&code) {
            return Err(ProtocolTrouble::Malformed);
        }
        if *self.code.get_or_insert(code) != code {
            return Err(ProtocolTrouble::CodesDiffer);
        }
        if self.lines.len() == REPLY_LINES_MAX {
            return Err(ProtocolTrouble::TooManyLines);
        }
        let (last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(ProtocolTrouble::Malformed),
        };
        self.lines.push(reply::clean(&String::from_utf8_lossy(text)));
        Ok(last)
    }

    fn complete(&mut self, with_status: bool) -> Result<Reply, ProtocolTrouble> {
        let code = self.code.take().ok_or(ProtocolTrouble::Malformed)?;
        self.heard += 1;
        let mut lines = std::mem::take(&mut self.lines);
        let mut status = None;
        if with_status {
            for line in &mut lines {
                // RFC 2034 §4: the class is that of the code; anything else is text that looks like a status.
                let Some((found, rest)) = EnhancedStatus::split_off(line).filter(|(found, _)| u16::from(found.class) == code / 100) else {
                    continue;
                };
                if *status.get_or_insert(found) == found {
                    *line = rest.to_owned();
                }
            }
        }
        Reply::from_parts(code, status, lines).ok_or(ProtocolTrouble::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(octets: &[u8]) -> Result<Option<Reply>, ProtocolTrouble> {
        let mut whole = Inbox::default();
        whole.push(octets);
        let at_once = ReplyReader::default().take(&mut whole, true);
        let (mut inbox, mut reader, mut slowly) = (Inbox::default(), ReplyReader::default(), Ok(None));
        for octet in octets {
            inbox.push(&[*octet]);
            slowly = reader.take(&mut inbox, true);
            if !matches!(slowly, Ok(None)) {
                break;
            }
        }
        assert_eq!(at_once, slowly, "{}", octets.escape_ascii());
        at_once
    }

    #[test]
    fn replies_that_are() {
        for (octets, printed, lines) in [
            (&b"250 2.0.0 Ok\r\n"[..], "250 2.0.0 Ok", 1),
            (b"250 Ok\n", "250 Ok", 1),
            (b"550\r\n", "550", 1),
            (b"550 \r\n", "550", 1),
            (b"550 5.7.2\r\n", "550 5.7.2", 1),
            (b"550-5.7.2\r\n550 5.7.2 no\r\n", "550 5.7.2 no", 2),
            (b"550-5.1.1 a\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n", "550 5.1.1 a b c", 3),
            (b"550-a\r\n550 5.1.1 c\r\n", "550 5.1.1 a c", 2),
            (b"550 4.1.1 liar\r\n", "550 4.1.1 liar", 1),
            (b"550 <b>\x1b[2J\x00\r\n", "", 0),
            (b"550 \x1b[2J\xff\xfe\rx\r\n", "550 \\x1b[2J\u{fffd}\u{fffd}\\x0dx", 1),
        ] {
            let reply = match read(octets) {
                Ok(Some(reply)) => reply,
                Err(ProtocolTrouble::Nul) if lines == 0 => continue,
                other => panic!("{}: {other:?}", octets.escape_ascii()),
            };
            assert_eq!((reply.to_string().as_str(), reply.lines().len()), (printed, lines));
        }
    }

    #[test]
    fn a_status_of_another_class_is_text() {
        assert_eq!(read(b"550 4.1.1 liar\r\n").unwrap().unwrap().status(), None);
        assert_eq!(read(b"550 5.1.1 true\r\n").unwrap().unwrap().status(), Some(EnhancedStatus::new(5, 1, 1)));
    }

    #[test]
    fn hostile_replies() {
        let endless = b"250-x\r\n".repeat(REPLY_LINES_MAX + 1);
        let long = [b"250 ".to_vec(), vec![b'x'; 8 << 20]].concat();
        for (octets, trouble) in [
            (&b"999 x\r\n"[..], ProtocolTrouble::Malformed),
            (b"199 x\r\n", ProtocolTrouble::Malformed),
            (b"\r\n", ProtocolTrouble::Malformed),
            (b"25\r\n", ProtocolTrouble::Malformed),
            (b"250x\r\n", ProtocolTrouble::Malformed),
            (b"250\tx\r\n", ProtocolTrouble::Malformed),
            (b"2 50 x\r\n", ProtocolTrouble::Malformed),
            (b"HTTP/1.1 400 Bad Request\r\n", ProtocolTrouble::Malformed),
            (b"250-a\r\n550 b\r\n", ProtocolTrouble::CodesDiffer),
            (b"250 a\0b\r\n", ProtocolTrouble::Nul),
            (&endless, ProtocolTrouble::TooManyLines),
            (&long, ProtocolTrouble::LineTooLong),
        ] {
            let octets = &octets[..octets.len().min(100_000)];
            assert_eq!(read(octets), Err(trouble), "{}", octets[..octets.len().min(40)].escape_ascii());
        }
        assert_eq!(read(b"250-a\r\n250-b\r\n"), Ok(None));
    }
}
