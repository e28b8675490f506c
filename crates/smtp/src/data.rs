//! Content on the wire: dot-stuffing taken off and put on (RFC 5321 §4.5.2), chunks (RFC 3030), and line ends kept honest.
//!
//! **Promises.** Only CR LF `.` CR LF ends the content, wherever the reads are cut. Octets are not copied: the [`Decoder`] gives ranges of its
//! input. A bare CR, a bare LF or a NUL is noticed in every position; with [`BareNewline::Normalise`] the octets given out are free of them.
//! What the [`Encoder`] writes holds no bare CR, no bare LF, no NUL and, behind DATA, no line that begins with an unstuffed dot, whatever it was given:
//! nothing a next hop could take for the end of data leaves us early (SMTP smuggling). Binary content passes as it is, in chunks alone.
//!
//! **Bends.** Where normalised, a bare LF becomes CR LF, a bare CR or a NUL becomes a space: the first keeps the sender's lines, the second
//! never makes a line that was not there.
//!
//! **Does badly.** Text with very short lines costs one search per line.

use std::ops::Range;

use memchr::memchr3;

/// What is done with a bare CR, a bare LF or a NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareNewline {
    /// Commands with one end the session, content with one is refused.
    #[default]
    Refuse,
    /// A bare LF becomes CR LF, a bare CR or NUL becomes a space; in commands a bare LF ends the line. Never ends the content.
    Normalise,
}

/// Why content is refused by its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentTrouble {
    /// A bare CR, a bare LF or a NUL.
    Stray,
    /// A line longer than the limit.
    LineTooLong,
}

/// What a decoder found at the front of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The input is used up.
    NeedMore,
    /// Content: this range of the input.
    Run(Range<usize>),
    /// Content that does not stand in the input in this form.
    Static(&'static [u8]),
    /// The end of data, CR LF `.` CR LF.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Behind CR LF, or at the very beginning.
    LineStart,
    /// Inside a line.
    Text,
    /// Behind a CR that was not given out yet.
    Cr,
    /// Behind a dot at the start of a line, which is dropped.
    Dot,
    /// Behind such a dot and a CR.
    DotCr,
}

/// Takes the dot-stuffing off a stream of content and watches its line ends.
#[derive(Clone, Debug)]
pub struct Decoder {
    at: At,
    dots: bool,
    /// Nothing is looked for, and nothing held back.
    binary: bool,
    trouble: Option<ContentTrouble>,
    line_octets: usize,
    line_octets_max: usize,
}

impl Decoder {
    /// For the octets behind DATA. `line_octets_max` counts without CR LF.
    pub fn for_data(line_octets_max: usize) -> Decoder {
        Decoder { at: At::LineStart, dots: true, binary: false, trouble: None, line_octets: 0, line_octets_max }
    }

    /// For the chunks of BDAT (RFC 3030): no dots, and no end of its own; else the same watch.
    pub fn for_chunks(line_octets_max: usize) -> Decoder {
        Decoder { at: At::Text, dots: false, binary: false, trouble: None, line_octets: 0, line_octets_max }
    }

    /// For the chunks of BDAT under BODY=BINARYMIME (RFC 3030 §3): every octet is content.
    pub fn for_binary() -> Decoder {
        Decoder { binary: true, ..Decoder::for_chunks(usize::MAX) }
    }

    /// The first trouble seen so far.
    pub fn trouble(&self) -> Option<ContentTrouble> {
        self.trouble
    }

    /// Looks at the front of `input`; says how many octets are done with, and what they were. Call again with the rest.
    pub fn next(&mut self, input: &[u8]) -> (usize, Piece) {
        if self.binary && !input.is_empty() {
            return (input.len(), Piece::Run(0..input.len()));
        }
        let mut used = 0;
        while let Some(&octet) = input.get(used) {
            match (self.at, octet) {
                (At::LineStart, b'.') if self.dots => (self.at, used) = (At::Dot, used + 1),
                (At::LineStart, _) => self.at = At::Text,
                (At::Dot, b'\r') => (self.at, used) = (At::DotCr, used + 1),
                (At::Dot, _) => self.at = At::Text,
                (At::DotCr, b'\n') => return (used + 1, Piece::End),
                (At::Cr, b'\n') => {
                    self.line_ends();
                    return (used + 1, Piece::Static(b"\r\n"));
                }
                (At::Cr | At::DotCr, _) => {
                    self.at = At::Text;
                    return (used, self.stray(b" "));
                }
                (At::Text, b'\n') => return (used + 1, self.stray(b"\r\n")),
                (At::Text, b'\r') if input.get(used + 1) != Some(&b'\n') => (self.at, used) = (At::Cr, used + 1),
                (At::Text, 0) => return (used + 1, self.stray(b" ")),
                (At::Text, _) => return self.run(input, used),
            }
        }
        (used, Piece::NeedMore)
    }

    /// The content is over (the last chunk of BDAT): what was held back, if anything.
    pub fn finish(&mut self) -> Option<&'static [u8]> {
        let held = std::mem::replace(&mut self.at, At::Text);
        if held != At::Cr {
            return None;
        }
        self.note(ContentTrouble::Stray);
        Some(b" ")
    }

    /// The longest run from `from` that stands in the input as it stands in the content.
    fn run(&mut self, input: &[u8], from: usize) -> (usize, Piece) {
        let mut line_from = from;
        let mut search = from;
        loop {
            let Some(hit) = memchr3(b'\r', b'\n', 0, &input[search..]).map(|offset| search + offset) else {
                self.count(input.len() - line_from);
                return (input.len(), Piece::Run(from..input.len()));
            };
            if input[hit] != b'\r' {
                self.count(hit - line_from);
                return (hit, Piece::Run(from..hit));
            }
            match input.get(hit + 1) {
                Some(b'\n') => {
                    self.count(hit - line_from);
                    self.line_ends();
                    (line_from, search) = (hit + 2, hit + 2);
                    match input.get(search) {
                        Some(b'.') if self.dots => return (search, Piece::Run(from..search)),
                        Some(_) => self.at = At::Text,
                        None => return (search, Piece::Run(from..search)),
                    }
                }
                // A CR whose LF is missing, or not here yet: the next call looks at it.
                _ => {
                    self.count(hit - line_from);
                    return (hit, Piece::Run(from..hit));
                }
            }
        }
    }

    fn line_ends(&mut self) {
        self.line_octets = 0;
        self.at = if self.dots { At::LineStart } else { At::Text };
    }

    fn count(&mut self, octets: usize) {
        self.line_octets += octets;
        if self.line_octets > self.line_octets_max {
            self.note(ContentTrouble::LineTooLong);
        }
    }

    fn stray(&mut self, instead: &'static [u8]) -> Piece {
        self.note(ContentTrouble::Stray);
        self.line_octets = if instead == b"\r\n" { 0 } else { self.line_octets + 1 };
        // A dot behind a normalised LF is content: only a true CR LF makes it stuffing.
        self.at = At::Text;
        Piece::Static(instead)
    }

    /// A long line outweighs a stray octet: a setting can forgive the one, but not the other.
    fn note(&mut self, trouble: ContentTrouble) {
        if self.trouble != Some(ContentTrouble::LineTooLong) {
            self.trouble = Some(trouble);
        }
    }
}

/// Puts the dot-stuffing on a stream of content, and mends its line ends.
#[derive(Clone, Debug)]
pub struct Encoder {
    form: Form,
    line_start: bool,
    held_cr: bool,
}

/// What content is made of on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Lines, dot-stuffed, with an end of data.
    Dotted,
    /// Lines.
    Lines,
    /// Octets.
    Binary,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    /// At the start of content behind DATA.
    pub fn new() -> Encoder {
        Encoder { form: Form::Dotted, line_start: true, held_cr: false }
    }

    /// At the start of content that goes in chunks: the same mending, no dots and no end of data, because the chunks tell it.
    pub fn for_chunks() -> Encoder {
        Encoder { form: Form::Lines, ..Encoder::new() }
    }

    /// At the start of content that goes in chunks under BODY=BINARYMIME: as it is.
    pub fn for_binary() -> Encoder {
        Encoder { form: Form::Binary, ..Encoder::new() }
    }

    /// Appends `content`, encoded, to `out`.
    pub fn encode(&mut self, content: &[u8], out: &mut Vec<u8>) {
        if self.form == Form::Binary {
            return out.extend_from_slice(content);
        }
        out.reserve(content.len() + content.len() / 64 + 8);
        let mut from = 0;
        if self.held_cr && !content.is_empty() {
            self.held_cr = false;
            if content[0] == b'\n' {
                out.extend_from_slice(b"\r\n");
                self.line_start = true;
                from = 1;
            } else {
                out.push(b' ');
            }
        }
        let mut search = from;
        loop {
            if search < content.len() && self.line_start {
                self.line_start = false;
                if content[search] == b'.' && self.form == Form::Dotted {
                    out.extend_from_slice(&content[from..search]);
                    out.push(b'.');
                    from = search;
                }
            }
            let Some(hit) = memchr3(b'\r', b'\n', 0, &content[search..]).map(|offset| search + offset) else {
                out.extend_from_slice(&content[from..]);
                return;
            };
            if content[hit] == b'\r' && content.get(hit + 1) == Some(&b'\n') {
                search = hit + 2;
                self.line_start = true;
                continue;
            }
            out.extend_from_slice(&content[from..hit]);
            self.mend(content, hit, out);
            (from, search) = (hit + 1, hit + 1);
        }
    }

    /// Ends the content: completes the last line, and appends the end of data where there is one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.form == Form::Binary {
            return;
        }
        if std::mem::take(&mut self.held_cr) {
            out.push(b' ');
        }
        if !std::mem::replace(&mut self.line_start, true) {
            out.extend_from_slice(b"\r\n");
        }
        if self.form == Form::Dotted {
            out.extend_from_slice(b".\r\n");
        }
    }

    fn mend(&mut self, content: &[u8], hit: usize, out: &mut Vec<u8>) {
        match content[hit] {
            b'\n' => {
                out.extend_from_slice(b"\r\n");
                self.line_start = true;
            }
            b'\r' if hit + 1 == content.len() => self.held_cr = true,
            _ => out.push(b' '),
        }
    }
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
