//! Making foreign text harmless, and folding what we write.
//!
//! **Promises.** What [`printable`] gives back holds no control character, no line break of any alphabet, and no mark that turns text around
//! for a reader. [`Fold`] never lets a line grow beyond RFC 5322 §2.1.1's 998 octets, and keeps to 78 where words allow it.

/// Octets of a line we like to stay within, without its CR LF (RFC 5322 §2.1.1).
pub(crate) const LINE_OCTETS: usize = 78;
/// Octets of a line that must not be passed; a little under RFC 5322 §2.1.1's 998 leaves room for a leading blank.
const WORD_OCTETS_MAX: usize = 990;

/// Control characters of both sets, the line and paragraph separators, and the marks that turn text around for a reader.
pub(crate) fn deceives(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// The octets as text, at most `octets_max` octets of UTF-8: blanks for line breaks and tabs, a question mark for whatever deceives or is not UTF-8.
pub(crate) fn printable(octets: &[u8], octets_max: usize) -> String {
    let mut text = String::with_capacity(octets.len().min(octets_max));
    'chunks: for chunk in octets.utf8_chunks() {
        let invalid = if chunk.invalid().is_empty() { "" } else { "?" };
        for letter in chunk.valid().chars().chain(invalid.chars()) {
            let letter = match letter {
                '\t' | '\n' => ' ',
                '\r' => continue,
                letter if deceives(letter) => '?',
                letter => letter,
            };
            if text.len() + letter.len_utf8() > octets_max {
                break 'chunks;
            }
            text.push(letter);
        }
    }
    text
}

/// `text` with a question mark for every letter outside ASCII.
pub(crate) fn ascii(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii() { letter } else { '?' }).collect()
}

/// Writes words into a header field, with a blank between them, or a line break and a blank where the line is full.
pub(crate) struct Fold<'o> {
    out: &'o mut Vec<u8>,
    column: usize,
    breaks: bool,
}

impl<'o> Fold<'o> {
    /// Begins a field; `start` is its name with the colon.
    pub(crate) fn new(out: &'o mut Vec<u8>, start: &str) -> Self {
        out.extend_from_slice(start.as_bytes());
        Self { out, column: start.len(), breaks: false }
    }

    /// A word that must stay on one line where it possibly can. Callers give words without control characters.
    pub(crate) fn word(&mut self, word: &str) {
        if self.breaks || (self.column > 1 && self.column + 1 + word.len() > LINE_OCTETS) {
            self.break_line();
        } else {
            self.out.push(b' ');
            self.column += 1;
        }
        let mut rest = word;
        while rest.len() > WORD_OCTETS_MAX {
            let (part, after) = rest.split_at(rest.floor_char_boundary(WORD_OCTETS_MAX));
            self.out.extend_from_slice(part.as_bytes());
            self.break_line();
            rest = after;
        }
        self.out.extend_from_slice(rest.as_bytes());
        self.column += rest.len();
    }

    /// Each word of a text.
    pub(crate) fn words(&mut self, text: &str) {
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            self.word(word);
        }
    }

    /// Puts the next word on a new line.
    pub(crate) fn break_line_before_next(&mut self) {
        self.breaks = true;
    }

    /// Adds to the last word, without a blank.
    pub(crate) fn glue(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.column += text.len();
    }

    fn break_line(&mut self) {
        self.out.extend_from_slice(b"\r\n ");
        self.column = 1;
        self.breaks = false;
    }

    /// Ends the field.
    pub(crate) fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_break_lines_or_deceive() {
        for (octets, text) in [
            (&b"plain"[..], "plain"),
            (b"a\r\n b\tc", "a  b c"),
            (b"a\0\x1b[31m\x7f", "a??[31m?"),
            (b"\xff\xc3\xbc\xc3", "?ü?"),
            ("a\u{2028}b\u{85}c\u{202e}d".as_bytes(), "a?b?c?d"),
        ] {
            assert_eq!(printable(octets, 100), text);
        }
        assert_eq!(printable("üü".as_bytes(), 3), "ü", "a letter is not cut in half");
    }

    #[test]
    fn lines_fold_at_78_and_never_pass_998() {
        let mut out = Vec::new();
        let mut fold = Fold::new(&mut out, "X:");
        fold.words(&"abcdefghi ".repeat(30));
        fold.word(&"ü".repeat(2000));
        fold.end();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.split_terminator("\r\n").collect();
        assert!(lines.iter().all(|line| line.len() <= 998));
        assert!(lines.iter().filter(|line| line.is_ascii()).all(|line| line.len() <= 78));
        assert!(lines.iter().skip(1).all(|line| line.starts_with(' ') && line.len() > 1));
    }
}
