//! Encoded words, written (RFC 2047), for a header that holds letters beyond ASCII and travels without SMTPUTF8.
//!
//! **Promises.** [`encoded`] gives a field's value in ASCII that a reader sees as the one that came: text in UTF-8 becomes words of at most 75 octets, cut between
//! letters (RFC 2047 §2 and §5); names before addresses are encoded, addresses are never touched. What it cannot do it leaves alone: octets that are no UTF-8, an
//! address that needs SMTPUTF8 itself, and fields whose grammar has no place for an encoded word.
//!
//! **Never** panics, whatever the octets; work is linear.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::mailboxes;

/// Octets of text in one encoded word: `=?utf-8?B?` and `?=` leave 60 letters of base64.
const WORD_OCTETS: usize = 45;

/// Fields that hold addresses (RFC 5322 §3.6).
const OF_ADDRESSES: [&str; 11] =
    ["From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Bcc"];

/// Fields in whose grammar no encoded word stands.
const STRICT: [&str; 17] = [
    "Received",
    "Return-Path",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Content-ID",
    "DKIM-Signature",
    "ARC-Seal",
    "ARC-Message-Signature",
    "ARC-Authentication-Results",
    "Authentication-Results",
    "List-Unsubscribe",
];

/// The value of a field, its leading blank included, in ASCII; `None` where it is so already, or cannot be.
pub fn encoded(name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let is = |listed: &&str| name.eq_ignore_ascii_case(listed.as_bytes());
    if value.is_ascii() || STRICT.iter().any(is) {
        return None;
    }
    // A fold goes, and the blank behind it stays (RFC 5322 §2.2.3).
    let line: Vec<u8> = value.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    let line = String::from_utf8(line).ok()?;
    let text = line.trim();
    let mut out = String::with_capacity(2 * text.len() + 16);
    out.push(' ');
    match OF_ADDRESSES.iter().any(is) {
        true => {
            addresses(text, &mut out)?;
            // What a hostile list looks like to a reader nobody foresees: it has to show the same addresses as before.
            (mailboxes(out.as_bytes()) == mailboxes(line.as_bytes())).then_some(())?;
        }
        false => free_text(text, &mut out),
    }
    out.is_ascii().then(|| out.into_bytes())
}

/// From the first word beyond ASCII to the last, one run; what is around it stays readable.
fn free_text(text: &str, out: &mut String) {
    let Some(first) = text.find(|letter: char| !letter.is_ascii()) else { return out.push_str(text) };
    let last = text.rfind(|letter: char| !letter.is_ascii()).unwrap_or(first);
    let start = text[..first].rfind(' ').map_or(0, |at| at + 1);
    let end = text[last..].find(' ').map_or(text.len(), |at| last + at);
    out.push_str(&text[..start]);
    words(&text[start..end], out);
    out.push_str(&text[end..]);
}

/// Encoded words, with a fold between each two, which readers take away (RFC 2047 §6.2).
fn words(text: &str, out: &mut String) {
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.floor_char_boundary(WORD_OCTETS));
        if rest.len() != text.len() {
            out.push_str("\r\n ");
        }
        out.push_str("=?utf-8?B?");
        STANDARD.encode_string(word, out);
        out.push_str("?=");
        rest = after;
    }
}

/// What stands in a list of addresses.
enum Piece<'t> {
    /// A word, or several with quotes and blanks; `plain` is what a reader sees.
    Phrase { written: &'t str, plain: String },
    /// `<...>`
    Angle(&'t str),
    /// `(...)`
    Comment(&'t str),
    /// `,` `;` `:`
    Special(char),
}

fn addresses(text: &str, out: &mut String) -> Option<()> {
    let pieces = pieces(text)?;
    for (nth, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Special(letter) => {
                out.push(*letter);
                out.push(' ');
            }
            Piece::Angle(address) if address.is_ascii() => out.push_str(address),
            Piece::Comment(comment) if comment.is_ascii() => {
                out.push_str(comment);
                out.push(' ');
            }
            Piece::Comment(comment) => {
                let inner = comment.get(1..comment.len() - 1).filter(|inner| !inner.contains(['(', ')', '\\']))?;
                out.push('(');
                words(inner, out);
                out.push_str(") ");
            }
            Piece::Phrase { written, .. } if written.is_ascii() => {
                out.push_str(written);
                out.push(' ');
            }
            Piece::Phrase { plain, .. } => {
                // Only a name may be encoded: before an address in brackets, or before the colon of a group.
                let is_name = matches!(pieces.get(nth + 1), Some(Piece::Angle(_) | Piece::Special(':')));
                is_name.then(|| words(plain, out))?;
                out.push(' ');
            }
            Piece::Angle(_) => return None,
        }
    }
    out.truncate(out.trim_end().len());
    Some(())
}

/// The pieces of a list; none where a quote or a bracket does not end.
fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let (mut at, mut phrase): (usize, Option<(usize, String)>) = (0, None);
    while let Some(letter) = text[at..].chars().next() {
        let octets = match letter {
            '"' => {
                let quoted = quoted(&text[at..])?;
                let (_, plain) = phrase.get_or_insert_with(|| (at, String::new()));
                unescape(&text[at + 1..at + quoted - 1], plain);
                quoted
            }
            '<' | '(' | ',' | ';' | ':' => {
                if let Some((start, plain)) = phrase.take() {
                    pieces.push(Piece::Phrase { written: text[start..at].trim_end(), plain: plain.trim_end().to_owned() });
                }
                let (piece, octets) = match letter {
                    '<' => {
                        let end = text[at..].find('>')? + 1;
                        (Piece::Angle(&text[at..at + end]), end)
                    }
                    '(' => {
                        let end = comment(&text[at..])?;
                        (Piece::Comment(&text[at..at + end]), end)
                    }
                    special => (Piece::Special(special), 1),
                };
                pieces.push(piece);
                octets
            }
            // No atom holds these (RFC 5322 §3.2.3); what a reader makes of them nobody knows, and an encoded word would hide them from it.
            '[' | ']' | '>' | ')' | '\\' => return None,
            letter if letter.is_control() && letter != '\t' => return None,
            letter => {
                if phrase.is_some() || !letter.is_whitespace() {
                    phrase.get_or_insert_with(|| (at, String::new())).1.push(letter);
                }
                letter.len_utf8()
            }
        };
        at += octets;
    }
    if let Some((start, plain)) = phrase {
        pieces.push(Piece::Phrase { written: text[start..].trim_end(), plain: plain.trim_end().to_owned() });
    }
    Some(pieces)
}

/// Octets of the quoted string that the text begins with.
fn quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, octet) in text.bytes().enumerate().skip(1) {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Octets of the comment that the text begins with, comments in it included.
fn comment(text: &str) -> Option<usize> {
    let (mut depth, mut escaped) = (0usize, false);
    for (at, octet) in text.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(at + 1),
            b')' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn unescape(text: &str, out: &mut String) {
    let mut escaped = false;
    for letter in text.chars() {
        if letter == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(letter);
            escaped = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::decoded;

    fn check(name: &str, value: &str) -> Option<String> {
        let encoded = encoded(name.as_bytes(), value.as_bytes())?;
        assert!(encoded.is_ascii(), "{value}");
        let text = String::from_utf8(encoded).unwrap();
        assert!(text.split("\r\n").all(|line| line.len() <= 900 && !line.contains(['\r', '\n'])), "{text}");
        Some(text)
    }

    #[test]
    fn a_reader_sees_what_came() {
        for (name, value) in [
            ("Subject", " Grüße aus Köln"),
            ("Subject", " Sale: 50 % für Sie, only today"),
            ("subject", " ü"),
            ("Comments", " plain words before ünd after"),
            ("X-Campaign", " 你好 你好"),
            ("Subject", "\tfolded ü\r\n and ö"),
        ] {
            let text = check(name, value).unwrap();
            let folds: String = value.chars().filter(|letter| !matches!(letter, '\r' | '\n')).collect();
            assert_eq!(decoded(text.as_bytes()).trim(), folds.trim(), "{text}");
        }
        let long = format!(" {}", "Überraschung ".repeat(40).trim_end());
        let text = check("Subject", &long).unwrap();
        assert!(text.split("\r\n ").all(|word| word.len() <= 76), "{text}");
        assert_eq!(decoded(text.as_bytes()).trim(), long.trim());
    }

    #[test]
    fn names_are_encoded_and_addresses_stay() {
        for (value, expected) in [
            (" Jürgen Müller <j@b.example>", " =?utf-8?B?SsO8cmdlbiBNw7xsbGVy?= <j@b.example>"),
            (" \"Müller, Jürgen\" <j@b.example>", " =?utf-8?B?TcO8bGxlciwgSsO8cmdlbg==?= <j@b.example>"),
            (" a@b.example, Ü <c@d.example>", " a@b.example , =?utf-8?B?w5w=?= <c@d.example>"),
            (" a@b.example (Ü)", " a@b.example (=?utf-8?B?w5w=?=)"),
            (" Bücher: a@b.example, c@d.example;", " =?utf-8?B?QsO8Y2hlcg==?= : a@b.example , c@d.example ;"),
            (" \"q\\\"ü\" <a@b.example>", " =?utf-8?B?cSLDvA==?= <a@b.example>"),
        ] {
            assert_eq!(check("From", value).as_deref(), Some(expected), "{value}");
            assert_eq!(crate::mailboxes(value.as_bytes()), crate::mailboxes(expected.as_bytes()), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_said_so_is_left_alone() {
        for (name, value) in [
            ("To", " ünal@b.example"),
            ("To", " <a@bücher.example>"),
            ("To", " \"ü <a@b.example>"),
            ("To", " Ü <a@b.example"),
            ("To", " (ü"),
            ("To", " a@b.example ((ü))"),
            ("To", " Ü <a@b.example> [Ö <c@d.example>"),
            ("To", " Ü] <a@b.example>"),
            ("To", " Ü <c@d.example/[> x ] [ <j@b.example> 3 \"Ü, Ö\" <k@b.example ]>"),
            ("To", " Ü \0 <a@b.example>"),
            ("Message-ID", " <ü@b.example>"),
            ("Content-Type", " text/plain; name=ü"),
            ("Subject", " plain"),
        ] {
            assert_eq!(check(name, value), None, "{name}:{value}");
        }
        assert_eq!(encoded(b"Subject", b" \xff\xfe"), None, "no UTF-8");
    }
}
