//! Finds what a sink must find in a stream of content: the end of data and the token of a message.
//!
//! Promises: the end of data (RFC 5321 §4.1.1.4, `<CRLF>.<CRLF>`) is found wherever the stream is split, and octets behind it are left for the
//! next command (RFC 2920 §3.1 lets a client pipeline them). The token counts only inside the header section, so that a DSN that quotes a
//! message is not taken for its arrival.
//!
//! Does badly: bare LF is content like any other; a header section longer than [`HEAD_OCTETS_MAX`] hides its token.

use memchr::memmem::{self, Finder};

use super::ledger::Token;

const END_OF_DATA: &[u8] = b"\r\n.\r\n";

/// Octets of a header section in which the token is looked for: a relay puts its trace fields above it.
pub const HEAD_OCTETS_MAX: usize = 16 * 1024;

/// The name of the field that carries the token, from its line's start.
pub const TOKEN_FIELD: &[u8] = b"X-Bench: ";

/// Searchers that are built once per thread.
pub struct Finders {
    end_of_data: Finder<'static>,
    token: Finder<'static>,
    end_of_head: Finder<'static>,
}

impl Finders {
    /// Builds the searchers.
    pub fn new() -> Self {
        Self { end_of_data: Finder::new(END_OF_DATA), token: Finder::new(TOKEN_FIELD), end_of_head: memmem::Finder::new(b"\r\n\r\n") }
    }
}

/// How much of `<CRLF>.<CRLF>` stands at the end of what was seen. The command line before the content ends in CRLF, so content begins after two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndOfData {
    matched: u8,
}

impl EndOfData {
    /// At the first octet of the content.
    pub fn start() -> Self {
        Self { matched: 2 }
    }

    /// Looks through the next chunk. `Some(index)` is the first octet behind the end of data.
    pub fn find(&mut self, chunk: &[u8], finders: &Finders) -> Option<usize> {
        // A match that began in an earlier chunk ends within the first four octets of this one.
        let seam = chunk.len().min(END_OF_DATA.len() - 1);
        for (index, &octet) in chunk[..seam].iter().enumerate() {
            if self.step(octet) {
                return Some(index + 1);
            }
        }
        if seam == chunk.len() {
            return None;
        }
        if let Some(index) = finders.end_of_data.find(chunk) {
            return Some(index + END_OF_DATA.len());
        }
        self.matched = 0;
        for &octet in &chunk[chunk.len() - seam..] {
            self.step(octet);
        }
        None
    }

    /// One octet of the automaton; true at the end of data.
    fn step(&mut self, octet: u8) -> bool {
        let matched = usize::from(self.matched);
        self.matched = match (matched, octet) {
            (_, octet) if octet == END_OF_DATA[matched] => self.matched + 1,
            (_, b'\r') => 1,
            _ => 0,
        };
        usize::from(self.matched) == END_OF_DATA.len()
    }
}

/// Gathers the head of one message until its token is known. Where the first chunk holds the whole field, nothing is copied.
#[derive(Debug, Default)]
pub struct Head {
    kept: Vec<u8>,
    settled: bool,
    token: Option<Token>,
}

impl Head {
    /// Forgets the last message.
    pub fn clear(&mut self) {
        self.kept.clear();
        self.settled = false;
        self.token = None;
    }

    /// The token, once seen.
    pub fn token(&self) -> Option<Token> {
        self.token
    }

    /// The next content octets of this message.
    pub fn feed(&mut self, chunk: &[u8], finders: &Finders) {
        if self.settled {
            return;
        }
        let room = HEAD_OCTETS_MAX.saturating_sub(self.kept.len());
        let chunk = &chunk[..chunk.len().min(room)];
        if self.kept.is_empty() {
            match search(chunk, finders) {
                Search::More if chunk.len() < room => self.kept.extend_from_slice(chunk),
                done => self.settle(done),
            }
        } else {
            self.kept.extend_from_slice(chunk);
            match search(&self.kept, finders) {
                Search::More if self.kept.len() < HEAD_OCTETS_MAX => {}
                done => self.settle(done),
            }
        }
    }

    fn settle(&mut self, done: Search) {
        self.settled = true;
        if let Search::Found(token) = done {
            self.token = Some(token);
        }
    }
}

enum Search {
    Found(Token),
    Absent,
    More,
}

fn search(head: &[u8], finders: &Finders) -> Search {
    let mut from = 0;
    while let Some(found) = finders.token.find(&head[from..]) {
        let at = from + found;
        if finders.end_of_head.find(&head[..at]).is_some() {
            return Search::Absent;
        }
        if at == 0 || head[at - 1] == b'\n' {
            let value = &head[at + TOKEN_FIELD.len()..];
            if value.len() < Token::OCTETS {
                return Search::More;
            }
            return Token::parse(&value[..Token::OCTETS]).map_or(Search::Absent, Search::Found);
        }
        from = at + 1;
    }
    if finders.end_of_head.find(head).is_some() { Search::Absent } else { Search::More }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `stream` in two chunks at every split and octet by octet; the answer must be the same as whole.
    fn check(stream: &[u8], expected: Option<usize>) {
        let finders = Finders::new();
        for split in 0..=stream.len() {
            let mut scan = EndOfData::start();
            let (first, second) = stream.split_at(split);
            let found = scan.find(first, &finders).or_else(|| scan.find(second, &finders).map(|index| index + split));
            assert_eq!(found, expected, "split at {split} of {stream:?}");
        }
        let mut scan = EndOfData::start();
        let found = stream.iter().position(|octet| scan.find(std::slice::from_ref(octet), &finders).is_some()).map(|index| index + 1);
        assert_eq!(found, expected, "octet by octet {stream:?}");
    }

    #[test]
    fn end_of_data_is_found_at_every_split() {
        check(b".\r\n", Some(3));
        check(b"\r\n.\r\n", Some(5));
        check(b"a\r\n.\r\nMAIL FROM:<>\r\n", Some(6));
        check(b"a\r\n..\r\n.\r\n", Some(10));
        check(b"a\r\n.\r\r\n.\r\n", Some(10));
        check(b"a\r\n.\r\n.\r\n", Some(6));
        check(b"a\r\r\n.\r\n", Some(7));
    }

    #[test]
    fn what_only_resembles_the_end_of_data_is_content() {
        for stream in [&b"a\n.\n"[..], b"a\r\n.\n", b"a\n.\r\n", b"a\r\n.\r", b"a.\r\n", b"..\r\n", b"\r\n..\r\n", b"", b"\r.\r\n"] {
            check(stream, None);
        }
    }

    fn token_of(stream: &[u8], split: usize) -> Option<Token> {
        let finders = Finders::new();
        let mut head = Head::default();
        let (first, second) = stream.split_at(split);
        head.feed(first, &finders);
        head.feed(second, &finders);
        head.token()
    }

    #[test]
    fn token_is_found_below_trace_fields_at_every_split() {
        let token = Token { run: 3, session: 9, number: 77 };
        let mut line = [0; Token::OCTETS];
        token.write(&mut line);
        let stream = [b"Received: from x\r\n by y\r\nX-Bench: ", &line[..], b"\r\nSubject: s\r\n\r\nbody\r\n.\r\n"].concat();
        for split in 0..=stream.len() {
            assert_eq!(token_of(&stream, split), Some(token), "split at {split}");
        }
    }

    #[test]
    fn token_in_a_quoted_message_is_not_an_arrival() {
        let stream = b"Subject: Undelivered\r\n\r\nX-Bench: 00030009-0000004d\r\n\r\n.\r\n";
        for split in 0..=stream.len() {
            assert_eq!(token_of(stream, split), None, "split at {split}");
        }
        assert_eq!(token_of(b"X-Bench: 0003zzzz-0000004d\r\n\r\n", 4), None);
        assert_eq!(token_of(b"Not-X-Bench: 00030009-0000004d\r\n\r\n", 4), None);
    }
}
