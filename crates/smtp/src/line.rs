//! Splitting octets into lines, and the buffer both machines read into.
//!
//! **Promises.** A line is what ends in CR LF (RFC 5321 §2.3.8). Everything else that could end or cut a line for another reader (a bare CR, a bare
//! LF, a NUL) is told apart, so that the caller can refuse it; a line beyond its limit is told before it is kept.
//!
//! **Does badly.** A line that arrives octet by octet is searched again from its beginning; the limit bounds the waste.

use std::ops::Range;

use memchr::{memchr, memchr3};

/// What stands at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// No line end yet, and the limit is not reached.
    Partial,
    /// A line of `text` octets; with its end it takes `whole` octets.
    Line {
        /// Octets of the line without its end.
        text: usize,
        /// Octets with CR LF.
        whole: usize,
    },
    /// More octets than allowed without a line end.
    TooLong,
    /// A CR that no LF follows, a LF that no CR precedes, or a NUL.
    Stray,
}

/// Looks for a line at the front. `octets_max` counts the CR LF, as RFC 5321 §4.5.3.1.4 does.
pub fn split(buffer: &[u8], octets_max: usize) -> Split {
    let seen = &buffer[..buffer.len().min(octets_max)];
    match memchr3(b'\r', b'\n', 0, seen) {
        Some(at) if seen[at] == b'\r' => match seen.get(at + 1) {
            Some(b'\n') => Split::Line { text: at, whole: at + 2 },
            Some(_) => Split::Stray,
            None if seen.len() == octets_max => Split::TooLong,
            None => Split::Partial,
        },
        Some(_) => Split::Stray,
        None if seen.len() == octets_max => Split::TooLong,
        None => Split::Partial,
    }
}

/// As [`split`], but any LF ends a line, with or without a CR before it. For a peer whose lines we only read and never pass on.
pub fn split_leniently(buffer: &[u8], octets_max: usize) -> Split {
    let seen = &buffer[..buffer.len().min(octets_max)];
    match memchr(b'\n', seen) {
        Some(at) if memchr(0, &seen[..at]).is_some() => Split::Stray,
        Some(at) => Split::Line { text: if at > 0 && seen[at - 1] == b'\r' { at - 1 } else { at }, whole: at + 1 },
        None if seen.len() == octets_max => Split::TooLong,
        None => Split::Partial,
    }
}

/// Octets read and not yet understood. It holds no memory while it is idle and empty, and reuses what it has while traffic flows.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Always initialised over its whole length, so that it can be handed out for reading.
    octets: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// Room for one read of at least half of `octets_wanted`.
    pub(crate) fn space(&mut self, octets_wanted: usize) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.octets.len() - self.end < octets_wanted / 2 {
            self.octets.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let wanted = self.end + octets_wanted;
            if self.octets.len() < wanted {
                self.octets.resize(wanted, 0);
            }
        }
        &mut self.octets[self.end..]
    }

    /// The driver read `octets` octets into the space; says whether that was all of it.
    pub(crate) fn filled(&mut self, octets: usize) -> bool {
        assert!(octets <= self.octets.len() - self.end, "the driver claims to have read more than there was space");
        self.end += octets;
        self.end == self.octets.len()
    }

    pub(crate) fn push(&mut self, octets: &[u8]) {
        self.space(octets.len() * 2)[..octets.len()].copy_from_slice(octets);
        self.filled(octets.len());
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.octets[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Gives up `octets` octets at the front; says where they stand.
    pub(crate) fn consume(&mut self, octets: usize) -> Range<usize> {
        let from = self.start;
        self.start += octets;
        debug_assert!(self.start <= self.end);
        from..self.start
    }

    /// Octets that [`Inbox::consume`] gave up; good until the next [`Inbox::space`].
    pub(crate) fn consumed(&self, range: Range<usize>) -> &[u8] {
        &self.octets[range]
    }

    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Releases the memory when nothing is unread.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() {
            *self = Inbox::default();
        }
    }

    #[cfg(test)]
    pub(crate) fn memory_octets(&self) -> usize {
        self.octets.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cr_lf_ends_a_line() {
        for (octets, split_as) in [
            (&b""[..], Split::Partial),
            (b"QUIT", Split::Partial),
            (b"QUIT\r", Split::Partial),
            (b"QUIT\r\n", Split::Line { text: 4, whole: 6 }),
            (b"\r\nx", Split::Line { text: 0, whole: 2 }),
            (b"QUIT\n", Split::Stray),
            (b"QUIT\rx", Split::Stray),
            (b"QUIT\r\r\n", Split::Stray),
            (b"QU\0IT\r\n", Split::Stray),
            (b"12345678\r\n", Split::Line { text: 8, whole: 10 }),
            (b"123456789\r\n", Split::TooLong),
            (b"1234567890", Split::TooLong),
        ] {
            assert_eq!(split(octets, 10), split_as, "{}", octets.escape_ascii());
        }
    }

    #[test]
    fn leniently_any_lf_does() {
        for (octets, split_as) in [
            (&b"ab\n"[..], Split::Line { text: 2, whole: 3 }),
            (b"ab\r\n", Split::Line { text: 2, whole: 4 }),
            (b"\n", Split::Line { text: 0, whole: 1 }),
            (b"a\rb\n", Split::Line { text: 3, whole: 4 }),
            (b"a\0b\n", Split::Stray),
            (b"ab", Split::Partial),
            (b"0123456789", Split::TooLong),
        ] {
            assert_eq!(split_leniently(octets, 10), split_as, "{}", octets.escape_ascii());
        }
    }

    #[test]
    fn the_inbox_keeps_octets_in_order_and_lets_memory_go() {
        let mut inbox = Inbox::default();
        let (mut fed, mut taken) = (Vec::new(), Vec::new());
        for nth in 0..1000_usize {
            let piece = vec![nth as u8; nth % 97 + 1];
            fed.extend_from_slice(&piece);
            inbox.push(&piece);
            let some = inbox.unread().len().min(nth % 89);
            let range = inbox.consume(some);
            taken.extend_from_slice(inbox.consumed(range));
        }
        inbox.shrink();
        assert!(inbox.memory_octets() > 0, "unread octets are not thrown away");
        taken.extend_from_slice(inbox.unread());
        assert_eq!(fed, taken);
        inbox.clear();
        inbox.shrink();
        assert_eq!(inbox.memory_octets(), 0);
    }
}
