//! The hash of a body in its relaxed form (RFC 6376 §3.4.4), or, for those who verify, in its simple one (RFC 6376 §3.4.3).
//!
//! Relaxed: blanks at a line's end vanish, other runs of blanks are one space, empty lines at the end vanish, and a body that is not empty ends with CR LF.
//! Simple: empty lines at the end vanish, and every body ends with CR LF.

use aws_lc_rs::digest::{Context, SHA256};
use memchr::{memchr, memchr2};

/// Octets that are gathered before they are hashed.
const BATCH_OCTETS: usize = 4096;

/// How a text is made the same again after what happens to it on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Canonical {
    /// Nothing may happen to it.
    Simple,
    /// Blanks may change.
    Relaxed,
}

/// A body on its way into its hash.
#[derive(Clone)]
pub struct BodyHash {
    context: Context,
    canonical: Canonical,
    /// Octets of the canonical body that are hashed (`l=`).
    octets_max: u64,
    /// Octets of the canonical body so far.
    octets: u64,
    batch: Vec<u8>,
    /// Line ends that count only if something follows them.
    line_ends: u64,
    /// A run of blanks that counts only if the line goes on.
    blank: bool,
    /// A CR that may begin a line end.
    cr: bool,
    /// The line has something but blanks.
    in_line: bool,
    /// So has the body.
    any: bool,
}

impl std::fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyHash").field("line_ends", &self.line_ends).finish_non_exhaustive()
    }
}

impl Default for BodyHash {
    fn default() -> Self {
        Self::new()
    }
}

impl BodyHash {
    /// A body before its first octet.
    pub fn new() -> Self {
        Self::of(Canonical::Relaxed, None)
    }

    /// A body before its first octet, in either form; hashed are no more than these octets of it.
    pub fn of(canonical: Canonical, octets_max: Option<u64>) -> Self {
        Self {
            context: Context::new(&SHA256),
            canonical,
            octets_max: octets_max.unwrap_or(u64::MAX),
            octets: 0,
            batch: Vec::new(),
            line_ends: 0,
            blank: false,
            cr: false,
            in_line: false,
            any: false,
        }
    }

    /// The next octets of the body.
    pub fn feed(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let used = self.whole_line(octets).unwrap_or_else(|| self.part(octets));
            octets = &octets[used..];
        }
    }

    /// SHA-256 of the canonical body.
    pub fn finish(self) -> [u8; 32] {
        self.finish_counted().0
    }

    /// The same, and how many octets the canonical body has in all.
    pub fn finish_counted(mut self) -> ([u8; 32], u64) {
        if std::mem::take(&mut self.cr) {
            self.text(b"\r");
        }
        // The last line's end is always there, those of empty lines behind it never.
        if self.any || self.canonical == Canonical::Simple {
            self.put(b"\r\n");
        }
        self.context.update(&self.batch);
        let mut hash = [0; 32];
        hash.copy_from_slice(self.context.finish().as_ref());
        (hash, self.octets)
    }

    /// The usual line of an encoded attachment: no blanks, CR LF at its end, and nothing pending. Says how many octets it was.
    fn whole_line(&mut self, octets: &[u8]) -> Option<usize> {
        if self.in_line || self.cr || self.blank {
            return None;
        }
        let end = memchr(b'\n', octets)?;
        let line = octets[..end].strip_suffix(b"\r").filter(|line| !line.is_empty())?;
        if (self.canonical == Canonical::Relaxed && memchr2(b' ', b'\t', line).is_some()) || memchr(b'\r', line).is_some() {
            return None;
        }
        self.open();
        self.put(line);
        self.line_ends = 1;
        Some(end + 1)
    }

    /// Octets up to the end of a line, or of what there is.
    fn part(&mut self, octets: &[u8]) -> usize {
        if std::mem::take(&mut self.cr) {
            if octets[0] == b'\n' {
                // Blanks before it vanish. Where the line had something, its end counts as soon as more follows.
                (self.blank, self.in_line) = (false, false);
                self.line_ends += 1;
                return 1;
            }
            self.text(b"\r");
        }
        match octets[0] {
            b'\r' => {
                self.cr = true;
                1
            }
            b' ' | b'\t' if self.canonical == Canonical::Relaxed => {
                self.blank = true;
                1
            }
            _ => {
                let relaxed = self.canonical == Canonical::Relaxed;
                let ends = |octet: &u8| *octet == b'\r' || (relaxed && matches!(octet, b' ' | b'\t'));
                let end = octets.iter().position(ends).unwrap_or(octets.len());
                self.text(&octets[..end]);
                end
            }
        }
    }

    /// What is no blank and no line end: everything that was pending before it counts.
    fn text(&mut self, octets: &[u8]) {
        self.open();
        if std::mem::take(&mut self.blank) {
            self.put(b" ");
        }
        self.in_line = true;
        self.put(octets);
    }

    /// Line ends that were pending count: something follows them.
    fn open(&mut self) {
        self.any = true;
        for _ in 0..std::mem::take(&mut self.line_ends) {
            self.put(b"\r\n");
        }
    }

    fn put(&mut self, octets: &[u8]) {
        let room = usize::try_from(self.octets_max.saturating_sub(self.octets)).unwrap_or(usize::MAX);
        self.octets += octets.len() as u64;
        let octets = &octets[..octets.len().min(room)];
        if self.batch.len() + octets.len() > BATCH_OCTETS {
            self.context.update(&self.batch);
            self.batch.clear();
            if octets.len() >= BATCH_OCTETS {
                return self.context.update(octets);
            }
        }
        self.batch.extend_from_slice(octets);
    }
}
