//! Encoded words, read (RFC 2047), for those who look at a field as a person sees it.
//!
//! **Promises.** What comes out is text of one line: folds are gone, what deceives a reader is a question mark. Words in the encodings of the
//! web are decoded; others, and broken ones, stay as they stand. Blanks between two words that were decoded are no text (RFC 2047 §6.2). Work is linear.
//!
//! **Never** writes encoded words, and never changes a field.

use crate::text::printable;

/// Octets of a value that are looked at; the rest of an absurd one is not.
pub const VALUE_OCTETS_MAX: usize = 64 * 1024;

/// A field's value as one line, encoded words as they stand.
pub fn unfolded(value: &[u8]) -> String {
    // A fold goes, and the blank behind it stays (RFC 5322 §2.2.3).
    let line: Vec<u8> = value.iter().copied().take(VALUE_OCTETS_MAX).filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    printable(&line, VALUE_OCTETS_MAX).trim().to_owned()
}

/// A field's value as a person sees it.
pub fn decoded(value: &[u8]) -> String {
    let line = unfolded(value);
    let (mut out, mut rest, mut after_word) = (String::with_capacity(line.len()), line.as_str(), false);
    while let Some(at) = rest.find("=?") {
        let between = &rest[..at];
        match word(&rest[at..]) {
            Some((text, octets)) => {
                if !(after_word && between.trim().is_empty()) {
                    out.push_str(between);
                }
                out.push_str(&text);
                (rest, after_word) = (&rest[at + octets..], true);
            }
            None => {
                out.push_str(&rest[..at + 2]);
                (rest, after_word) = (&rest[at + 2..], false);
            }
        }
    }
    out.push_str(rest);
    printable(out.as_bytes(), VALUE_OCTETS_MAX)
}

/// Octets of an encoded word that are looked at. RFC 2047 §2 allows 75; the world is more generous.
const WORD_OCTETS_MAX: usize = 1024;

/// `=?charset?encoding?text?=` that the text begins with: what it says, and its length.
fn word(text: &str) -> Option<(String, usize)> {
    let text = &text[..text.floor_char_boundary(WORD_OCTETS_MAX)];
    let mut parts = text[2..].splitn(4, '?');
    let (charset, encoding, encoded, end) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if !end.starts_with('=') || encoded.contains(' ') {
        return None;
    }
    let octets = match encoding {
        "q" | "Q" => quoted(encoded)?,
        "b" | "B" => base64(encoded)?,
        _ => return None,
    };
    // A language may stand behind the charset (RFC 2231 §5).
    let charset = charset.split('*').next().unwrap_or_default();
    let encoding = encoding_rs::Encoding::for_label_no_replacement(charset.as_bytes())?;
    let (said, _) = encoding.decode_without_bom_handling(&octets);
    Some((said.into_owned(), 2 + parts_octets(text)))
}

/// Octets up to and with the end of the word, behind its `=?`.
fn parts_octets(text: &str) -> usize {
    let ends = text[2..].match_indices('?').map(|(at, _)| at);
    ends.take(3).last().map_or(0, |last| last + 2)
}

fn quoted(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut octets) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(octet) = octets.next() {
        out.push(match octet {
            b'_' => b' ',
            b'=' => digit(octets.next()?)? << 4 | digit(octets.next()?)?,
            octet => octet,
        });
    }
    Some(out)
}

fn digit(octet: u8) -> Option<u8> {
    char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut count) = (Vec::with_capacity(text.len()), 0u32, 0);
    for octet in text.trim_end_matches('=').bytes() {
        let six = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        (bits, count) = (bits << 6 | u32::from(six), count + 6);
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words_are_read() {
        for (value, said) in [
            (" plain\r\n text ", "plain text"),
            ("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
            ("=?UTF-8?B?R3LDvMOfZQ==?= you", "Grüße you"),
            ("=?iso-8859-1?Q?Gr=FC=DFe_all?=", "Grüße all"),
            ("=?utf-8?q?one?=\r\n =?utf-8?q?_two?= three", "one two three"),
            ("a =?utf-8?q?one?= b =?utf-8?q?two?=", "a one b two"),
            ("=?utf-8*en?q?hi?=", "hi"),
            ("=?koi8-r?B?8PDw?=", "\u{41f}\u{41f}\u{41f}"),
            ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "\u{65e5}\u{672c}"),
            ("=?utf-7?Q?+AEA-?=", "=?utf-7?Q?+AEA-?="),
            ("=?utf-8?q?a=0D=0ABcc:_x?=", "a Bcc: x"),
            ("=?utf-8?q?=ZZ?= =?utf-8?b?!!?=", "=?utf-8?q?=ZZ?= =?utf-8?b?!!?="),
            ("=?utf-8?q?open", "=?utf-8?q?open"),
            ("=?=?=?=?", "=?=?=?=?"),
            ("2 =? 3", "2 =? 3"),
            ("", ""),
        ] {
            assert_eq!(decoded(value.as_bytes()), said, "{value:?}");
        }
        assert_eq!(unfolded(b" =?utf-8?q?a?=\r\n\tb\0"), "=?utf-8?q?a?= b?");
    }
}
