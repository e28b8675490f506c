//! What is signed, and the field that says so.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::{BodyHash, KeyTrouble, SigningKey};
use crate::header::{Field, Fields};

/// Fields that a signature is of, where a message has them (RFC 6376 §5.4.1). The word tells whether one more than there are is named, so that nobody can add
/// one: a second From or Subject is what a reader may be shown. Lists add fields of their own and keep ours, so theirs may be added.
const SIGNED: [(&str, Named); 29] = [
    ("from", Named::Always),
    ("to", Named::Always),
    ("cc", Named::Always),
    ("subject", Named::Always),
    ("reply-to", Named::Always),
    ("date", Named::Always),
    ("message-id", Named::Always),
    ("sender", Named::OnceMore),
    ("mime-version", Named::OnceMore),
    ("content-type", Named::OnceMore),
    ("content-transfer-encoding", Named::OnceMore),
    ("in-reply-to", Named::OnceMore),
    ("references", Named::OnceMore),
    ("list-unsubscribe", Named::OnceMore),
    ("list-unsubscribe-post", Named::OnceMore),
    ("feedback-id", Named::OnceMore),
    ("content-id", Named::AsThere),
    ("content-description", Named::AsThere),
    ("list-id", Named::AsThere),
    ("list-help", Named::AsThere),
    ("list-subscribe", Named::AsThere),
    ("list-post", Named::AsThere),
    ("list-owner", Named::AsThere),
    ("list-archive", Named::AsThere),
    ("resent-date", Named::AsThere),
    ("resent-from", Named::AsThere),
    ("resent-to", Named::AsThere),
    ("resent-cc", Named::AsThere),
    ("resent-message-id", Named::AsThere),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    /// Once more than there are, and so once where there is none.
    Always,
    /// Once more than there are, where there is one.
    OnceMore,
    /// As often as there are.
    AsThere,
}

/// Octets of a header that are kept for signing; a longer one cannot be signed.
pub const HEADER_OCTETS_MAX: usize = 1024 * 1024;

/// Octets that are looked through for the end of a header at once, so that little of a body is copied with it.
const STEP_OCTETS: usize = 4096;

/// A message on its way to be signed: its header is kept, its body hashed. Fed with exactly what is sent, but for the signatures themselves.
#[derive(Debug, Default)]
pub struct Signable {
    pub(super) header: Vec<u8>,
    body: Option<Body>,
    /// What the body's hash is, known before.
    known: Option<[u8; 32]>,
    too_long: bool,
}

/// A body that has begun.
#[derive(Debug)]
enum Body {
    /// It is hashed as it goes by.
    Hashing(BodyHash),
    /// Its hash is known.
    Known([u8; 32]),
}

impl Signable {
    /// A message before its first octet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A message before its first octet, whose body was hashed before ([`crate::HeaderFacts::body_hash`]): nothing behind the header need be fed.
    pub fn of_known_body(hash: [u8; 32]) -> Self {
        Self { known: Some(hash), ..Self::default() }
    }

    /// The next octets. Says whether the header is over.
    pub fn feed(&mut self, octets: &[u8]) -> bool {
        let mut steps = octets.chunks(STEP_OCTETS);
        while self.body.is_none() {
            let Some(step) = steps.next() else { return false };
            self.header_step(step);
        }
        if let Some(Body::Hashing(hash)) = &mut self.body {
            steps.for_each(|step| hash.feed(step));
        }
        true
    }

    fn header_step(&mut self, octets: &[u8]) {
        let searched = self.header.len().saturating_sub(3);
        self.header.extend_from_slice(octets);
        // A verifier ends the header at the first empty line, whatever stands before it.
        let begins_with_it = self.header.starts_with(b"\r\n");
        let end = if begins_with_it { Some(2) } else { memmem::find(&self.header[searched..], b"\r\n\r\n").map(|at| searched + at + 4) };
        match end {
            Some(end) => {
                let body = self.known.map_or_else(|| Body::Hashing(BodyHash::new()), Body::Known);
                let body = self.body.insert(body);
                if let Body::Hashing(hash) = body {
                    hash.feed(&self.header[end..]);
                }
                self.header.truncate(end);
            }
            None if self.header.len() > HEADER_OCTETS_MAX => {
                self.too_long = true;
                self.header.clear();
            }
            None => {}
        }
    }

    /// Header and hash of the body; `None` for a header of more than [`HEADER_OCTETS_MAX`].
    pub fn finish(self) -> Option<(Vec<u8>, [u8; 32])> {
        let hash = match self.body {
            Some(Body::Known(hash)) => hash,
            Some(Body::Hashing(hash)) => hash.finish(),
            None => BodyHash::new().finish(),
        };
        (!self.too_long).then_some((self.header, hash))
    }
}

/// Whether a header can be signed: each of its lines is of a field, and one of them is a From, so that every verifier sees the same.
pub fn is_signable(header: &[u8]) -> bool {
    let mut fields = Fields::of(header);
    let octets: usize = fields.by_ref().map(|field| field.whole.len()).sum();
    let rest = &header[octets..];
    (rest.is_empty() || rest == b"\r\n") && Fields::of(header).any(|field| field.is("From"))
}

/// The names that a signature over this header has in its `h=`.
pub fn fields(header: &[u8]) -> Vec<&'static str> {
    let mut names = Vec::with_capacity(24);
    for (name, named) in SIGNED {
        let there = Fields::of(header).filter(|field| field.is(name)).count();
        let more = match named {
            Named::Always => 1,
            Named::OnceMore => usize::from(there > 0),
            Named::AsThere => 0,
        };
        names.extend(std::iter::repeat_n(name, there + more));
    }
    names
}

/// Who signs, and when.
#[derive(Debug, Clone, Copy)]
pub struct Signature<'a> {
    /// The domain that takes responsibility (`d=`), in A-labels.
    pub domain: &'a str,
    /// Where its key stands (`s=`), in A-labels.
    pub selector: &'a str,
    /// The key.
    pub key: &'a SigningKey,
    /// Seconds since 1970 (`t=`).
    pub at: u64,
}

impl Signature<'_> {
    /// Appends the DKIM-Signature field for a message with this header and this hash of its body. It belongs in front of the header. `names` is what
    /// [`fields`] gave for the header, once for all signatures.
    ///
    /// # Errors
    /// When the key does not sign; nothing is appended then.
    pub fn write(&self, header: &[u8], names: &[&str], body_hash: &[u8; 32], out: &mut Vec<u8>) -> Result<(), KeyTrouble> {
        let mut field = Folded::new("DKIM-Signature:");
        field.word("v=1;");
        field.word(&format!("a={};", self.key.algorithm().word()));
        field.word("c=relaxed/relaxed;");
        field.word(&format!("d={};", self.domain));
        field.word(&format!("s={};", self.selector));
        field.word(&format!("t={};", self.at));
        for (nth, name) in names.iter().enumerate() {
            let (before, behind) = (if nth == 0 { "h=" } else { "" }, if nth + 1 == names.len() { ";" } else { ":" });
            let word = format!("{before}{name}{behind}");
            // White space may stand around the colons (RFC 6376 §3.5), but none is needed where a line has room.
            if nth == 0 { field.word(&word) } else { field.glued(&word) }
        }
        field.word(&format!("bh={};", STANDARD.encode(body_hash)));
        field.word("b=");
        let signature = self.key.sign(&signed_octets(header, names, field.text.as_bytes()))?;
        field.broken(&STANDARD.encode(signature));
        out.extend_from_slice(field.text.as_bytes());
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// What a signature is over: the named fields in their relaxed form, the last of equal names first, and the signature's own with an empty `b=` (RFC 6376 §3.7).
pub(super) fn signed_octets(header: &[u8], names: &[&str], own: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(2048);
    let all: Vec<Field<'_>> = Fields::of(header).collect();
    for (nth, name) in names.iter().enumerate() {
        let again = names[..nth].iter().filter(|before| before.eq_ignore_ascii_case(name)).count();
        if let Some(field) = all.iter().rev().filter(|field| field.is(name)).nth(again) {
            relaxed(field.name, field.value, &mut octets);
            octets.extend_from_slice(b"\r\n");
        }
    }
    if let Some(own) = Fields::of(own).next() {
        relaxed(own.name, own.value, &mut octets);
    }
    octets
}

/// A field in its relaxed form, without its line end (RFC 6376 §3.4.2).
pub(crate) fn relaxed(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let start = out.len();
    let mut blank = false;
    let mut octets = value.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        match octet {
            b'\r' if octets.peek() == Some(&b'\n') => {}
            b'\n' => {}
            b' ' | b'\t' => blank = true,
            _ => {
                if std::mem::take(&mut blank) && out.len() > start {
                    out.push(b' ');
                }
                out.push(octet);
            }
        }
    }
}

/// A field that is folded at 78 octets (RFC 5322 §2.1.1).
struct Folded {
    text: String,
    column: usize,
}

impl Folded {
    const COLUMNS: usize = 76;

    fn new(name: &str) -> Self {
        Self { text: name.to_owned(), column: name.len() }
    }

    fn word(&mut self, word: &str) {
        if self.column + 1 + word.len() > Self::COLUMNS {
            self.text.push_str("\r\n");
            self.column = 0;
        }
        self.text.push(' ');
        self.text.push_str(word);
        self.column += 1 + word.len();
    }

    /// A word right behind the last, or on the next line.
    fn glued(&mut self, word: &str) {
        if self.column + word.len() > Self::COLUMNS {
            return self.word(word);
        }
        self.text.push_str(word);
        self.column += word.len();
    }

    /// A text that may be broken anywhere.
    fn broken(&mut self, mut text: &str) {
        while !text.is_empty() {
            if self.column >= Self::COLUMNS {
                self.text.push_str("\r\n ");
                self.column = 1;
            }
            let (now, later) = text.split_at(text.len().min(Self::COLUMNS - self.column));
            self.text.push_str(now);
            self.column += now.len();
            text = later;
        }
    }
}
