//! Content for a next hop that takes less than it holds (RFC 6152 §3, RFC 3030 §3, RFC 2045 §6): parts that it would not take get another transfer encoding, on
//! the way. 8-bit parts become quoted-printable, and so does binary text; other binary parts become base64.
//!
//! **Promises.** A [`Recoder`] is fed with a content in any split and gives the same octets for every split. What is decoded from them is what was fed in, part
//! by part; parts that the next hop takes by their own word, and everything inside `multipart/signed` and `multipart/encrypted`, pass as they are (RFC 1847
//! §2.1). It holds one header of at most [`HEADER_OCTETS_MAX`] and one line of at most [`LINE_OCTETS_MAX`].
//!
//! **Never** decides whether that is needed, and never touches what a header holds above 127: there is no transfer encoding for that. A bare LF never makes a
//! delimiter of what is coded.
//!
//! **Does badly.** A part that says 7bit or 8bit and is not is left as it is, and so is one whose header is beyond its limit: who sends binary content on looks at
//! what came out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr;

use crate::header::Fields;

/// Octets of one entity's header.
pub const HEADER_OCTETS_MAX: usize = 64 * 1024;
/// Octets of a line that are looked at as one; no boundary is as long (RFC 2046 §5.1.1).
pub const LINE_OCTETS_MAX: usize = 2048;
/// Multiparts in multiparts; deeper ones pass as they are.
const DEPTH_MAX: usize = 32;
/// Octets of an encoded line, its soft break included (RFC 2045 §6.7).
const QUOTED_OCTETS_MAX: usize = 76;
/// Octets that make one line of base64 (RFC 2045 §6.8).
const BASE64_LINE_OF: usize = 57;

/// What a next hop takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Octets up to 127, in lines.
    SevenBit,
    /// Any octets but NUL, in lines (RFC 6152).
    EightBit,
    /// Lines of no more than 998 octets (RFC 5322 §2.1.1), whatever a part says of itself: every part that is not encoded yet is.
    ShortLines,
}

/// Octets of a line that every server takes (RFC 5322 §2.1.1), its line end not counted.
pub const SHORT_LINE_OCTETS: usize = 998;

/// Looks whether any line is longer than [`SHORT_LINE_OCTETS`].
#[derive(Clone, Copy, Debug, Default)]
pub struct LongLines {
    octets: usize,
    found: bool,
}

impl LongLines {
    /// Takes the next octets.
    pub fn feed(&mut self, mut octets: &[u8]) {
        while !self.found && !octets.is_empty() {
            let (line, rest) = match memchr(b'\n', octets) {
                Some(at) => (&octets[..at], Some(&octets[at + 1..])),
                None => (octets, None),
            };
            // The CR is counted, and stands before the LF.
            self.octets += line.len();
            self.found = self.octets > SHORT_LINE_OCTETS + 1;
            if rest.is_some() {
                self.octets = 0;
            }
            octets = rest.unwrap_or_default();
        }
    }

    /// Whether there was one.
    pub fn found(self) -> bool {
        self.found
    }
}

/// Quoted-printable in the making (RFC 2045 §6.7): CR LF stays a line end; every other CR, LF, control, `=`, octet above 126, and blank at a line's end is
/// encoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuotedPrintable {
    column: usize,
    /// A blank that may turn out to stand at a line's end.
    blank: Option<u8>,
    /// A CR that may turn out to begin a line end.
    cr: bool,
}

impl QuotedPrintable {
    pub(crate) fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for &octet in octets {
            if std::mem::take(&mut self.cr) {
                if octet == b'\n' {
                    self.end_line(out);
                    continue;
                }
                self.put_blank(false, out);
                self.put(b'\r', false, out);
            }
            match octet {
                b'\r' => self.cr = true,
                b' ' | b'\t' => {
                    self.put_blank(false, out);
                    self.blank = Some(octet);
                }
                _ => {
                    self.put_blank(false, out);
                    self.put(octet, matches!(octet, 33..=60 | 62..=126), out);
                }
            }
        }
    }

    /// The end of the part.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.cr) {
            self.put_blank(false, out);
            self.put(b'\r', false, out);
        }
        self.put_blank(true, out);
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        self.put_blank(true, out);
        out.extend_from_slice(b"\r\n");
        self.column = 0;
    }

    fn put_blank(&mut self, at_end: bool, out: &mut Vec<u8>) {
        if let Some(blank) = self.blank.take() {
            self.put(blank, !at_end, out);
        }
    }

    fn put(&mut self, octet: u8, plain: bool, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let width = if plain { 1 } else { 3 };
        if self.column + width >= QUOTED_OCTETS_MAX {
            out.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
        if plain {
            out.push(octet);
        } else {
            out.extend_from_slice(&[b'=', DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
        }
        self.column += width;
    }
}

/// Base64 in the making (RFC 2045 §6.8). The line end in front of a delimiter is the delimiter's (RFC 2046 §5.1.1), so the last one waits.
#[derive(Clone, Debug, Default)]
struct Base64 {
    line: Vec<u8>,
    line_end: bool,
}

impl Base64 {
    fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        if std::mem::take(&mut self.line_end) {
            self.put(b"\r\n", out);
        }
        let octets = match octets.strip_suffix(b"\r\n") {
            Some(before) => {
                self.line_end = true;
                before
            }
            None => octets,
        };
        self.put(octets, out);
    }

    fn put(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        while !octets.is_empty() {
            let (now, later) = octets.split_at(octets.len().min(BASE64_LINE_OF - self.line.len()));
            self.line.extend_from_slice(now);
            octets = later;
            if self.line.len() == BASE64_LINE_OF {
                self.end_line(out);
            }
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        if !self.line.is_empty() {
            out.extend_from_slice(STANDARD.encode(&self.line).as_bytes());
            out.extend_from_slice(b"\r\n");
            self.line.clear();
        }
    }

    /// The end of the part; `delimited` when a delimiter follows.
    fn finish(&mut self, delimited: bool, out: &mut Vec<u8>) {
        let had_line_end = std::mem::take(&mut self.line_end);
        if had_line_end && !delimited {
            self.put(b"\r\n", out);
        }
        self.end_line(out);
    }
}

/// How the body at one place is passed on.
#[derive(Clone, Debug)]
enum Coding {
    Quoted(QuotedPrintable),
    Base64(Base64),
}

/// A content on its way into other transfer encodings.
#[derive(Clone, Debug)]
pub struct Recoder {
    takes: Takes,
    /// The line that has not ended.
    line: Vec<u8>,
    /// The line's beginning was dealt with already.
    amid_line: bool,
    /// What came before ended in CR.
    behind_cr: bool,
    /// The header that has not ended, with the lines so far.
    header: Option<Vec<u8>>,
    /// Nothing was read yet but the message's own header.
    outermost: bool,
    /// Of the multiparts around this place.
    boundaries: Vec<Vec<u8>>,
    /// How the body at this place is passed on; `None`: as it is.
    coding: Option<Coding>,
}

impl Recoder {
    /// Before the first octet of a message, on its way to somebody who takes this.
    pub fn to(takes: Takes) -> Self {
        Self {
            takes,
            line: Vec::new(),
            amid_line: false,
            behind_cr: false,
            header: Some(Vec::new()),
            outermost: true,
            boundaries: Vec::new(),
            coding: None,
        }
    }

    /// Takes the next octets of the content, and appends what can be passed on.
    pub fn feed(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        while !octets.is_empty() {
            let end = memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
            let take = end.min(LINE_OCTETS_MAX - self.line.len());
            self.line.extend_from_slice(&octets[..take]);
            octets = &octets[take..];
            let ended = self.line.ends_with(b"\n");
            if ended || self.line.len() == LINE_OCTETS_MAX {
                let whole_end = self.line.ends_with(b"\r\n") || (self.behind_cr && self.line == b"\n");
                self.behind_cr = self.line.ends_with(b"\r");
                self.take_line(out);
                // In what is coded a bare LF is content, and no line begins behind it.
                self.amid_line = !ended || (self.coding.is_some() && !whole_end);
            }
        }
    }

    /// The content is complete.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if !self.line.is_empty() {
            self.take_line(out);
        }
        if let Some(header) = self.header.take() {
            // It has no body that would need anything.
            out.extend_from_slice(&header);
        }
        self.end_coding(false, out);
    }

    fn end_coding(&mut self, delimited: bool, out: &mut Vec<u8>) {
        match self.coding.take() {
            None => {}
            Some(Coding::Quoted(mut quoted)) => quoted.finish(out),
            Some(Coding::Base64(mut base64)) => base64.finish(delimited, out),
        }
    }

    fn take_line(&mut self, out: &mut Vec<u8>) {
        let mut line = std::mem::take(&mut self.line);
        if self.amid_line || !self.delimits(&line, out) {
            self.pass(&line, out);
        }
        line.clear();
        self.line = line;
    }

    /// A line of a header or of a body.
    fn pass(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(mut header) = self.header.take() else { return self.pass_body(line, out) };
        let empty = matches!(line, b"\r\n" | b"\n");
        let continues = !header.is_empty() && (self.amid_line || line.starts_with(b" ") || line.starts_with(b"\t"));
        if !empty && (continues || is_field(line)) {
            if header.len() + line.len() <= HEADER_OCTETS_MAX {
                header.extend_from_slice(line);
                self.header = Some(header);
            } else {
                out.extend_from_slice(&header);
                out.extend_from_slice(line);
                self.outermost = false;
            }
            return;
        }
        self.pass_header(&header, out);
        if empty {
            out.extend_from_slice(line);
        } else {
            // There is no empty line where one should be: what follows is text, whatever the header promised.
            self.header = None;
            self.pass_body(line, out);
        }
    }

    fn pass_body(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match &mut self.coding {
            Some(Coding::Quoted(quoted)) => quoted.feed(octets, out),
            Some(Coding::Base64(base64)) => base64.feed(octets, out),
            None => out.extend_from_slice(octets),
        }
    }

    /// Whether the line is a boundary around this place; then it ends what stands before it.
    fn delimits(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(rest) = line.strip_prefix(b"--") else { return false };
        let rest = rest.trim_ascii_end();
        let found = self.boundaries.iter().enumerate().rev().find_map(|(depth, boundary)| {
            let closing = rest.strip_prefix(boundary.as_slice())?;
            match closing {
                b"" => Some((depth, false)),
                b"--" => Some((depth, true)),
                _ => None,
            }
        });
        let Some((depth, closes)) = found else { return false };
        if let Some(header) = self.header.take() {
            self.pass_header(&header, out);
        }
        self.end_coding(true, out);
        out.extend_from_slice(line);
        self.boundaries.truncate(if closes { depth } else { depth + 1 });
        self.header = (!closes).then(Vec::new);
        true
    }

    /// The header of an entity is complete: passes it on, changed where its body will be, and says how the body goes.
    fn pass_header(&mut self, header: &[u8], out: &mut Vec<u8>) {
        let outermost = std::mem::replace(&mut self.outermost, false);
        let field = |name: &str| Fields::of(header).find(|field| field.is(name)).map(|field| field.value);
        let (kind, encoding) = (field("Content-Type"), field("Content-Transfer-Encoding").map(word).unwrap_or_default());
        let is_binary = encoding == "binary";
        let (is_wide, around) = match self.takes {
            Takes::SevenBit => (is_binary || encoding == "8bit", "7bit"),
            Takes::EightBit => (is_binary, "8bit"),
            Takes::ShortLines => (is_binary || matches!(encoding.as_str(), "7bit" | "8bit"), "7bit"),
        };
        let words = kind.map(word).unwrap_or_default();
        let new_encoding = match words.split_once('/') {
            Some(("multipart", "signed" | "encrypted")) => None,
            Some(("multipart", _)) => {
                let boundary = kind.and_then(boundary).filter(|_| self.boundaries.len() < DEPTH_MAX);
                self.boundaries.extend(boundary);
                is_wide.then_some(around)
            }
            Some(("message", "rfc822" | "global")) => {
                self.header = Some(Vec::new());
                is_wide.then_some(around)
            }
            Some(("message", _)) => None,
            Some((class, _)) if is_binary && class != "text" => {
                self.coding = Some(Coding::Base64(Base64::default()));
                Some("base64")
            }
            _ if is_wide || encoding.is_empty() => {
                self.coding = Some(Coding::Quoted(QuotedPrintable::default()));
                Some("quoted-printable")
            }
            _ => None,
        };
        let Some(new_encoding) = new_encoding else { return out.extend_from_slice(header) };
        for field in Fields::of(header).filter(|field| !field.is("Content-Transfer-Encoding")) {
            out.extend_from_slice(field.whole);
        }
        if outermost && field("MIME-Version").is_none() {
            out.extend_from_slice(b"MIME-Version: 1.0\r\n");
            if kind.is_none() && self.takes != Takes::ShortLines {
                // RFC 1428 §2: nobody said which letters these are.
                out.extend_from_slice(b"Content-Type: text/plain; charset=unknown-8bit\r\n");
            }
        }
        out.extend_from_slice(format!("Content-Transfer-Encoding: {new_encoding}\r\n").as_bytes());
    }
}

/// Whether a line begins a field.
fn is_field(line: &[u8]) -> bool {
    Fields::of(line).next().is_some()
}

/// A value up to its parameters, in lower case.
fn word(value: &[u8]) -> String {
    let value = value.split(|octet| *octet == b';').next().unwrap_or_default();
    String::from_utf8_lossy(value.trim_ascii()).to_ascii_lowercase()
}

/// The boundary that a Content-Type names (RFC 2045 §5.1, RFC 2046 §5.1.1).
fn boundary(value: &[u8]) -> Option<Vec<u8>> {
    let mut rest = value;
    loop {
        rest = rest.get(memchr(b';', rest)? + 1..)?.trim_ascii_start();
        let named = rest.get(..8).is_some_and(|name| name.eq_ignore_ascii_case(b"boundary"));
        let Some(after) = rest.get(8..).filter(|_| named) else { continue };
        let Some(text) = after.trim_ascii_start().strip_prefix(b"=") else { continue };
        let text = text.trim_ascii_start();
        let boundary = match text.strip_prefix(b"\"") {
            Some(quoted) => quoted.get(..memchr(b'"', quoted)?)?,
            None => text.split(|octet| octet.is_ascii_whitespace() || *octet == b';').next()?,
        };
        return (1..=LINE_OCTETS_MAX / 2).contains(&boundary.len()).then(|| boundary.to_vec());
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
