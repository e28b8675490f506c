//! The messages the generator sends: made once, sent many times, whatever their size. Pure.
//!
//! A message is a short part of its own (token and Message-ID), a head, a block that may be repeated, and a rest that ends in the end of data. So
//! 20 messages of 50 MB cost the generator one block.

use super::ledger::Token;
use super::scan::TOKEN_FIELD;

/// Octets of a body line without its CRLF.
const LINE_OCTETS: usize = 76;

/// Lines in the block that is repeated.
const BLOCK_LINES: usize = 800;

const HEAD: &[u8] = b"From: Bench <bench@d0.bench.test>\r\n\
To: Somebody <somebody@bench.test>\r\n\
Subject: A message of a known size\r\n\
Date: Mon, 23 Nov 2026 09:00:00 +0000\r\n\
MIME-Version: 1.0\r\n\
Content-Type: text/plain; charset=us-ascii\r\n\
Content-Transfer-Encoding: 7bit\r\n\r\n";

const MESSAGE_ID_FIELD: &[u8] = b"\r\nMessage-ID: <";
const MESSAGE_ID_END: &[u8] = b"@bench.test>\r\n";

/// Octets of the part that each message has of its own.
pub const OWN_OCTETS: usize = TOKEN_FIELD.len() + 2 * Token::OCTETS + MESSAGE_ID_FIELD.len() + MESSAGE_ID_END.len();

/// The part that all messages share.
#[derive(Debug)]
pub struct Content {
    /// Header fields and, in a small message, everything up to the end of data.
    pub head: Vec<u8>,
    /// Sent `repeats` times after the head.
    pub block: Vec<u8>,
    /// How often the block is sent.
    pub repeats: usize,
    /// The rest and the end of data; empty when the head holds them.
    pub tail: Vec<u8>,
}

impl Content {
    /// A message of `octets` octets (at least its header section), not counting the end of data.
    pub fn new(octets: usize) -> Self {
        let head = HEAD.to_vec();
        let body_octets = octets.saturating_sub(OWN_OCTETS + head.len());
        let block_octets = BLOCK_LINES * (LINE_OCTETS + 2);
        let repeats = body_octets / block_octets;
        let mut content = Self { head, block: Vec::new(), repeats, tail: Vec::new() };
        let rest = if repeats == 0 { &mut content.head } else { &mut content.tail };
        lines(rest, body_octets - repeats * block_octets);
        rest.extend_from_slice(b".\r\n");
        if repeats > 0 {
            lines(&mut content.block, block_octets);
        }
        content
    }

    /// Room for the own part, with everything but the token filled in.
    pub fn own_part() -> [u8; OWN_OCTETS] {
        let blank = [b'0'; Token::OCTETS];
        let parts: [&[u8]; 5] = [TOKEN_FIELD, &blank, MESSAGE_ID_FIELD, &blank, MESSAGE_ID_END];
        let mut own = [0; OWN_OCTETS];
        own.copy_from_slice(&parts.concat());
        own
    }

    /// Writes the token into the own part.
    pub fn mark(own: &mut [u8; OWN_OCTETS], token: Token) {
        token.write(&mut own[TOKEN_FIELD.len()..]);
        let id = TOKEN_FIELD.len() + Token::OCTETS + MESSAGE_ID_FIELD.len();
        token.write(&mut own[id..]);
    }
}

/// Appends `octets` octets of text in lines of 76, each ended by CRLF; no line begins with a dot.
fn lines(to: &mut Vec<u8>, octets: usize) {
    let end = to.len() + octets;
    let mut letter = 0;
    while end - to.len() > 2 {
        let text = LINE_OCTETS.min(end - to.len() - 2);
        // A line must not leave a rest too short for its own CRLF.
        let text = if matches!(end - to.len() - 2 - text, 1 | 2) { text - 2 } else { text };
        for _ in 0..text {
            letter = (letter * 31 + 7) % 61;
            to.push(b'A' + (letter % 26) as u8 + if letter % 2 == 0 { 32 } else { 0 });
        }
        to.extend_from_slice(b"\r\n");
    }
    to.resize(end, b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::scan::{EndOfData, Finders, Head};
    use super::*;

    #[test]
    fn sizes_are_exact_and_lines_are_legal() {
        for octets in [500, 1000, 1001, 10_240, 62_400, 70_000, 1_000_000] {
            let content = Content::new(octets);
            let mut own = Content::own_part();
            let token = Token { run: 1, session: 2, number: 3 };
            Content::mark(&mut own, token);
            let mut whole = [&own[..], &content.head].concat();
            for _ in 0..content.repeats {
                whole.extend_from_slice(&content.block);
            }
            whole.extend_from_slice(&content.tail);
            assert_eq!(whole.len(), octets + 3, "the size is without the end of data");
            let finders = Finders::new();
            assert_eq!(EndOfData::start().find(&whole, &finders), Some(whole.len()), "{octets}");
            let mut head = Head::default();
            head.feed(&whole, &finders);
            assert_eq!(head.token(), Some(token));
            for line in whole.split_inclusive(|&octet| octet == b'\n') {
                assert!(line.ends_with(b"\r\n") && line.len() <= LINE_OCTETS + 2, "{octets}: {:?}", line.escape_ascii().to_string());
            }
        }
    }
}
