//! Watching a content stream by (RFC 5322 §2.2, RFC 5321 §6.3).
//!
//! **Promises.** A [`HeaderWatch`] is fed with a content in any split and gives the same facts for every split. It holds less than 1 KiB whatever comes, and
//! the header, up to a limit, where that was asked for ([`HeaderWatch::keeping_header`]); and it looks at each octet a bounded number of times; in the body it only asks whether an octet has its high bit set, by whole slices,
//! and hashes it for its signatures where that was asked for ([`HeaderWatch::hashing_body`]).
//!
//! **Never** judges: how many hops are a loop, or whether a missing Date is mended, is policy.
//!
//! **Bends.** As `header`: the header ends at the first empty line, or before the first line that is neither a field nor a continuation. The
//! octets of such a line count in the body.

use memchr::memchr;

use crate::dkim::BodyHash;
use crate::header::is_name_octet;
use crate::text::printable;

/// Octets of a Message-ID or Subject that are kept.
const KEPT_OCTETS_MAX: usize = 200;
/// The longest name that is told apart, `Message-ID`.
const NAME_OCTETS_MAX: usize = 10;

/// What a content was found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderFacts {
    /// Fields in all.
    pub fields: u32,
    /// Received fields: how many servers the message passed (RFC 5321 §6.3).
    pub hops: u32,
    /// From fields.
    pub from: u32,
    /// Date fields.
    pub date: u32,
    /// Message-ID fields.
    pub message_id: u32,
    /// Subject fields.
    pub subject: u32,
    /// The first Message-ID's first 200 octets, unfolded, without anything that deceives a reader.
    pub message_id_text: Option<Box<str>>,
    /// The first Subject's, likewise; encoded words are left as they are.
    pub subject_text: Option<Box<str>>,
    /// Octets of the header, the empty line not counted.
    pub header_octets: u64,
    /// Octets in all.
    pub content_octets: u64,
    /// Whether an empty line ends the header.
    pub empty_line: bool,
    /// Whether the header has an octet above 127, which asks for SMTPUTF8 (RFC 6531) or is broken.
    pub header_8bit: bool,
    /// Whether the body has one, which asks for 8BITMIME (RFC 6152).
    pub body_8bit: bool,
    /// The header as it came, the empty line not counted; `None` where it was not asked for, or is longer than was asked for.
    pub header: Option<Box<[u8]>>,
    /// SHA-256 of the body in its relaxed form (RFC 6376 §3.4.4); `None` where it was not asked for, or no empty line says where the body begins.
    pub body_hash: Option<[u8; 32]>,
}

impl HeaderFacts {
    /// Whether there is no header at all.
    pub fn is_absurd(&self) -> bool {
        self.fields == 0
    }

    /// Whether text follows the header, or stands there without one, and no empty line between.
    pub fn lacks_empty_line(&self) -> bool {
        !self.empty_line && self.content_octets > self.header_octets
    }
}

/// Watches a content go by.
#[derive(Clone, Debug)]
pub struct HeaderWatch {
    state: State,
    facts: HeaderFacts,
    /// Where the line began that may turn out to be the body's first.
    line_start: u64,
    name: [u8; NAME_OCTETS_MAX],
    name_octets: usize,
    keeping: Option<Kept>,
    message_id: Keep,
    subject: Keep,
    /// The header so far, while it is kept.
    header: Option<Vec<u8>>,
    header_octets_max: usize,
    /// The body so far, while it is hashed.
    body_hash: Option<Box<BodyHash>>,
    #[cfg(test)]
    work: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    LineStart,
    /// After CR at the start of a line.
    EmptyLine,
    Name,
    /// After a name, in the blanks before its colon.
    NameEnd,
    Value,
    Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    MessageId,
    Subject,
}

/// The first octets of a value, line ends left out.
#[derive(Clone, Debug, Default)]
struct Keep {
    octets: Vec<u8>,
    full: bool,
}

impl Keep {
    fn push(&mut self, octets: &[u8]) {
        for &octet in octets {
            if self.full || (self.octets.is_empty() && matches!(octet, b' ' | b'\t')) || matches!(octet, b'\r' | b'\n') {
                continue;
            }
            self.octets.push(octet);
            self.full = self.octets.len() == KEPT_OCTETS_MAX;
        }
    }

    fn text(&self) -> Box<str> {
        let mut octets = &self.octets[..];
        if self.full {
            // The cut may have gone through a letter; what is left of it is no fault of the sender's.
            let whole = octets.utf8_chunks().last().map_or(0, |chunk| chunk.invalid().len());
            octets = &octets[..octets.len() - whole.min(3)];
        }
        printable(octets, KEPT_OCTETS_MAX).trim_end().into()
    }
}

impl Default for HeaderWatch {
    fn default() -> Self {
        Self::new()
    }
}

impl HeaderWatch {
    /// A watch before the first octet.
    pub fn new() -> Self {
        Self {
            state: State::LineStart,
            facts: HeaderFacts::default(),
            line_start: 0,
            name: [0; NAME_OCTETS_MAX],
            name_octets: 0,
            keeping: None,
            message_id: Keep::default(),
            subject: Keep::default(),
            header: None,
            header_octets_max: 0,
            body_hash: None,
            #[cfg(test)]
            work: 0,
        }
    }

    /// A watch that keeps the header for those who judge it, when it has no more octets than these.
    pub fn keeping_header(octets_max: usize) -> Self {
        Self { header: Some(Vec::new()), header_octets_max: octets_max, ..Self::new() }
    }

    /// The same watch, which hashes the body, too: for its signatures, which are made when it is sent.
    pub fn hashing_body(self) -> Self {
        Self { body_hash: Some(Box::default()), ..self }
    }

    /// Takes the next octets of the content.
    pub fn feed(&mut self, mut octets: &[u8]) {
        while let Some(&first) = octets.first() {
            let used = match self.state {
                State::Body => self.body(octets),
                State::Value => self.value(octets),
                State::Name => self.name(octets),
                State::LineStart | State::EmptyLine | State::NameEnd => self.one(first),
            };
            #[cfg(test)]
            {
                self.work += used.max(1);
            }
            if self.state != State::Body {
                self.keep(&octets[..used]);
            }
            self.facts.content_octets += used as u64;
            octets = &octets[used..];
        }
    }

    /// Whether the header is over; until then `facts` is preliminary.
    pub fn in_body(&self) -> bool {
        self.state == State::Body
    }

    /// What is known so far. The two texts are in the last word only, `finish`.
    pub fn facts(&self) -> &HeaderFacts {
        &self.facts
    }

    /// The content is at its end.
    pub fn finish(mut self) -> HeaderFacts {
        match self.state {
            State::Name | State::NameEnd | State::EmptyLine => self.facts.header_octets = self.line_start,
            State::LineStart | State::Value => self.facts.header_octets = self.facts.content_octets,
            State::Body => {}
        }
        self.facts.message_id_text = (self.facts.message_id > 0).then(|| self.message_id.text());
        self.facts.subject_text = (self.facts.subject > 0).then(|| self.subject.text());
        let body_begins = self.facts.empty_line;
        self.facts.body_hash = self.body_hash.filter(|_| body_begins).map(|hash| hash.finish());
        let header_octets = usize::try_from(self.facts.header_octets).unwrap_or(usize::MAX);
        self.facts.header = self.header.filter(|header| header.len() >= header_octets).map(|mut header| {
            header.truncate(header_octets);
            header.into_boxed_slice()
        });
        self.facts
    }

    /// What the body's first line turns out to hold is cut off at the end.
    fn keep(&mut self, octets: &[u8]) {
        if let Some(header) = &mut self.header {
            match header.len() + octets.len() <= self.header_octets_max {
                true => header.extend_from_slice(octets),
                false => self.header = None,
            }
        }
    }

    /// A state that looks at one octet. Says how many were used: none when the body begins with this one.
    fn one(&mut self, octet: u8) -> usize {
        match (self.state, octet) {
            (State::LineStart | State::EmptyLine, b'\n') => return self.end_header(1),
            (State::LineStart, b'\r') => {
                self.line_start = self.facts.content_octets;
                self.state = State::EmptyLine;
            }
            (State::LineStart, b' ' | b'\t') if self.facts.fields > 0 => {
                self.state = State::Value;
                return 0;
            }
            (State::LineStart, octet) if is_name_octet(octet) => {
                self.line_start = self.facts.content_octets;
                self.name_octets = 0;
                self.state = State::Name;
                return 0;
            }
            (State::NameEnd, b' ' | b'\t') => {}
            (State::NameEnd, b':') => self.begin_field(),
            (State::LineStart, _) => {
                self.line_start = self.facts.content_octets;
                return self.end_header(0);
            }
            (_, _) => return self.end_header(0),
        }
        1
    }

    fn name(&mut self, octets: &[u8]) -> usize {
        let length = octets.iter().take_while(|octet| is_name_octet(**octet)).count();
        for &octet in &octets[..length.min(NAME_OCTETS_MAX + 1)] {
            if let Some(place) = self.name.get_mut(self.name_octets) {
                *place = octet.to_ascii_lowercase();
            }
            self.name_octets = (self.name_octets + 1).min(NAME_OCTETS_MAX + 1);
        }
        if length < octets.len() {
            self.state = State::NameEnd;
        }
        length
    }

    fn begin_field(&mut self) {
        let facts = &mut self.facts;
        let name = self.name.get(..self.name_octets).unwrap_or_default();
        let (count, keeping) = match name {
            b"received" => (Some(&mut facts.hops), None),
            b"from" => (Some(&mut facts.from), None),
            b"date" => (Some(&mut facts.date), None),
            b"message-id" => (Some(&mut facts.message_id), Some(Kept::MessageId)),
            b"subject" => (Some(&mut facts.subject), Some(Kept::Subject)),
            _ => (None, None),
        };
        self.keeping = None;
        if let Some(count) = count {
            self.keeping = keeping.filter(|_| *count == 0);
            *count = count.saturating_add(1);
        }
        facts.fields = facts.fields.saturating_add(1);
        self.state = State::Value;
    }

    fn value(&mut self, octets: &[u8]) -> usize {
        let line_end = memchr(b'\n', octets);
        let part = &octets[..line_end.map_or(octets.len(), |at| at + 1)];
        if line_end.is_some() {
            self.state = State::LineStart;
        }
        self.facts.header_8bit = self.facts.header_8bit || !part.is_ascii();
        match self.keeping {
            Some(Kept::MessageId) => self.message_id.push(part),
            Some(Kept::Subject) => self.subject.push(part),
            None => {}
        }
        part.len()
    }

    fn body(&mut self, octets: &[u8]) -> usize {
        self.facts.body_8bit = self.facts.body_8bit || !octets.is_ascii();
        if let Some(hash) = &mut self.body_hash {
            hash.feed(octets);
        }
        octets.len()
    }

    /// The header ends; `used` octets of the empty line are used now.
    fn end_header(&mut self, used: usize) -> usize {
        self.facts.header_octets = if self.state == State::LineStart { self.facts.content_octets } else { self.line_start };
        self.facts.empty_line = used > 0;
        self.state = State::Body;
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(content: &[u8], slice_octets: usize) -> HeaderFacts {
        let mut watch = HeaderWatch::keeping_header(1 << 20);
        content.chunks(slice_octets).for_each(|slice| watch.feed(slice));
        watch.finish()
    }

    /// Every split gives the same facts; returns them.
    fn check(content: &[u8]) -> HeaderFacts {
        let facts = watch(content, content.len().max(1));
        for slice_octets in [1, 2, 3, 7, 64] {
            assert_eq!(watch(content, slice_octets), facts, "slices of {slice_octets}");
        }
        let fields: Vec<_> = crate::Fields::of(content).collect();
        assert_eq!(facts.fields as usize, fields.len(), "both readers see the same fields");
        assert_eq!(facts.hops as usize, fields.iter().filter(|field| field.is("Received")).count());
        assert_eq!(facts.header_octets as usize, fields.iter().map(|field| field.whole.len()).sum::<usize>());
        assert_eq!(facts.content_octets as usize, content.len());
        assert_eq!(facts.header.as_deref(), Some(&content[..facts.header_octets as usize]));
        facts
    }

    #[test]
    fn a_usual_message() {
        let facts = check(
            b"Received: from a\r\n\tby b; now\r\nRECEIVED : from c\r\nFrom: a@b.example\r\nDate: now\r\nMessage-ID:\r\n <1@b.example>\r\n\
              Subject: Hello\r\n there \r\nSubject: second\r\n\r\nReceived: not me\r\n",
        );
        assert_eq!((facts.fields, facts.hops, facts.from, facts.date, facts.message_id, facts.subject), (7, 2, 1, 1, 1, 2));
        assert_eq!(facts.message_id_text.as_deref(), Some("<1@b.example>"));
        assert_eq!(facts.subject_text.as_deref(), Some("Hello there"));
        assert!(!facts.header_8bit && !facts.body_8bit && !facts.is_absurd());
    }

    #[test]
    fn eight_bit_octets_are_found_where_they_are() {
        for (content, header, body) in [
            (&b"From: a\r\n\r\nplain\r\n"[..], false, false),
            (b"From: \xc3\xbc\r\n\r\nplain\r\n", true, false),
            (b"From: a\r\n \xff\r\n\r\nplain\r\n", true, false),
            (b"From: a\r\n\r\nplain\r\n.\xff", false, true),
            (b"From: a\r\nJ\xfcrgen: b\r\n", false, true),
            (b"\xff", false, true),
        ] {
            let facts = check(content);
            assert_eq!((facts.header_8bit, facts.body_8bit), (header, body), "{content:?}");
        }
    }

    #[test]
    fn a_header_is_kept_whole_or_not_at_all() {
        let content = b"From: a@b.example\r\nSubject: x\r\n\r\nbody";
        for (octets_max, kept) in [(0, false), (30, false), (32, true), (1_000, true)] {
            let mut watch = HeaderWatch::keeping_header(octets_max);
            content.chunks(3).for_each(|slice| watch.feed(slice));
            assert_eq!(watch.finish().header.is_some(), kept, "{octets_max}");
        }
        let mut watch = HeaderWatch::new();
        watch.feed(content);
        assert_eq!(watch.finish().header, None, "nobody asked");
    }

    #[test]
    fn a_body_is_hashed_as_its_signatures_want_it() {
        for (content, hashed) in [
            (&b"From: a@b.example\r\n\r\nA  line \r\nand more\r\n\r\n\r\n"[..], Some(&b"A line\r\nand more\r\n"[..])),
            (b"From: a@b.example\r\n\r\n", Some(b"")),
            (b"\r\nno header", Some(b"no header")),
            (b"From: a@b.example\r\n", None),
            (b"From: a@b.example\r\nno field\r\n\r\nmore\r\n", None),
        ] {
            for slice_octets in [1, 2, 5, 100] {
                let mut watch = HeaderWatch::new().hashing_body();
                content.chunks(slice_octets).for_each(|slice| watch.feed(slice));
                let expected = hashed.map(|octets| {
                    let mut hash = BodyHash::new();
                    hash.feed(octets);
                    hash.finish()
                });
                assert_eq!(watch.finish().body_hash, expected, "{content:?} in slices of {slice_octets}");
            }
        }
        let mut watch = HeaderWatch::new();
        watch.feed(b"From: a@b.example\r\n\r\nbody");
        assert_eq!(watch.finish().body_hash, None, "nobody asked");
    }

    #[test]
    fn headers_that_are_none() {
        for content in
            [&b""[..], b"\r\n", b"\n\nFrom: a", b"no header\r\n\r\n", b": x\r\n", b" x: y\r\n", b"\0\0\0", b"From", b"\rX: y\r\n", b"\r"]
        {
            let facts = check(content);
            assert!(facts.is_absurd() && facts.header_octets == 0, "{content:?}");
        }
        assert!(!check(b"X:").is_absurd(), "the control: one field is enough");
    }

    #[test]
    fn what_is_kept_is_bounded_and_harmless() {
        let facts = check(format!("Subject: \x1b[31m\u{202e}{}\r\n\r\n", "ü".repeat(500)).as_bytes());
        let text = facts.subject_text.unwrap();
        assert!(text.starts_with("?[31m?ü") && text.len() <= 200 && text.len() > 190, "{text}");
        assert!(text.ends_with('ü'), "the cut leaves whole letters: {text}");
        assert_eq!(check(b"Message-ID: <a\0b>\xff\r\n").message_id_text.as_deref(), Some("<a?b>?"));
        assert_eq!(check(b"Subject:\r\n\r\n").subject_text.as_deref(), Some(""));
        assert_eq!(check(b"Subject-Line: x\r\nMessage-IDs: y\r\n\r\n").subject, 0);
    }

    #[test]
    fn ten_times_the_input_is_at_most_twelve_times_the_work() {
        let work = |content: &[u8], slice_octets: usize| {
            let mut watch = HeaderWatch::new();
            content.chunks(slice_octets).for_each(|slice| watch.feed(slice));
            watch.work
        };
        for unit in
            ["X: y\r\n", "X:\r\n \r\n \r\n", "aaaaaaaaaaaaaaaaaaaa", "Received: from x\r\n", "Subject: (((((\r\n ))))\r\n", "\r", "X : \n"]
        {
            for slice_octets in [1, 4096] {
                let (once, ten) = (work(unit.repeat(1_000).as_bytes(), slice_octets), work(unit.repeat(10_000).as_bytes(), slice_octets));
                assert!(ten <= 12 * once, "{unit:?}: {once} and {ten}");
                assert!(once <= 3 * unit.len() * 1_000, "{unit:?}: {once} steps");
            }
        }
    }
}
