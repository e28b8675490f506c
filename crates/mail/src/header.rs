//! Header fields as spans over the octets that came (RFC 5322 §2.2).
//!
//! **Promises.** A [`Field`] borrows; nothing is copied, unfolded or printed anew, so whatever is done to a message is a splice. The fields' `whole`
//! spans, one after another, are exactly the header. Any octets are taken: the header ends at the first empty line or before the first line that is
//! neither a field nor its continuation, as the mail servers of the world read it.
//!
//! **Never** allocates, never panics, looks at each octet a bounded number of times.
//!
//! **Bends.** A line ends at LF, with or without CR before it: bare LF was refused at the border, or came by a way where it is usual. Blanks between
//! name and colon are taken (RFC 5322 §4.5.8, obsolete syntax).

use memchr::memchr;

/// One field of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as it was written, without colon or blanks.
    pub name: &'a [u8],
    /// What follows the colon, folds included, without the last line end.
    pub value: &'a [u8],
    /// The whole field with its line end.
    pub whole: &'a [u8],
}

impl Field<'_> {
    /// Whether the field has this name; names have no case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a content's header, from the first on.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads the header that `content` begins with.
    pub fn of(content: &'a [u8]) -> Self {
        Self { rest: content }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (name_octets, value_start) = name(self.rest)?;
        let mut end = line_octets(&self.rest[value_start..]) + value_start;
        while matches!(self.rest.get(end), Some(b' ' | b'\t')) {
            end += line_octets(&self.rest[end..]);
        }
        let (whole, rest) = self.rest.split_at(end);
        self.rest = rest;
        let value = &whole[value_start..];
        let value = value.strip_suffix(b"\n").map_or(value, |value| value.strip_suffix(b"\r").unwrap_or(value));
        Some(Field { name: &whole[..name_octets], value, whole })
    }
}

/// Splits a content into its header, the empty line with it when there is one, and its body.
pub fn split(content: &[u8]) -> (&[u8], &[u8]) {
    let mut fields = Fields::of(content);
    fields.by_ref().for_each(drop);
    let rest = fields.rest;
    let empty_line = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
    content.split_at(content.len() - rest.len() + empty_line)
}

/// Whether an octet may stand in a field's name (RFC 5322 §3.6.8, `ftext`).
pub(crate) fn is_name_octet(octet: u8) -> bool {
    matches!(octet, 33..=57 | 59..=126)
}

/// The length of the name a line begins with, and where its value starts; none when the line is not the start of a field.
fn name(line: &[u8]) -> Option<(usize, usize)> {
    let name_octets = line.iter().take_while(|octet| is_name_octet(**octet)).count();
    let blanks = line[name_octets..].iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    (name_octets > 0 && line.get(name_octets + blanks) == Some(&b':')).then_some((name_octets, name_octets + blanks + 1))
}

/// Octets up to and with the next LF, or all.
fn line_octets(octets: &[u8]) -> usize {
    memchr(b'\n', octets).map_or(octets.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(content: &str) -> Vec<String> {
        Fields::of(content.as_bytes()).map(|field| String::from_utf8_lossy(field.name).into_owned()).collect()
    }

    #[test]
    fn fields_and_the_end_of_the_header() {
        for (content, expected, body) in [
            ("From: a\r\nTo: b\r\n\r\nX: y\r\n", &["From", "To"][..], "X: y\r\n"),
            ("From: a\r\n b\r\n\tc\r\nTo: d", &["From", "To"], ""),
            ("From : a\n\nbody", &["From"], "body"),
            ("From: a\r\nno field\r\nTo: b\r\n\r\n", &["From"], "no field\r\nTo: b\r\n\r\n"),
            ("From: a\r\n: b\r\n", &["From"], ": b\r\n"),
            (" From: a\r\n\r\n", &[], " From: a\r\n\r\n"),
            ("\r\nFrom: a\r\n", &[], "From: a\r\n"),
            ("__proto__:\r\nconstructor: \r\n\r\n", &["__proto__", "constructor"], ""),
            ("J\u{fc}rgen: a\r\n", &[], "J\u{fc}rgen: a\r\n"),
            ("From a@b Mon\r\nX: y\r\n", &[], "From a@b Mon\r\nX: y\r\n"),
            ("X:a\rY: b\r\n", &["X"], ""),
            ("", &[], ""),
        ] {
            assert_eq!(names(content), expected, "{content:?}");
            let (header, rest) = split(content.as_bytes());
            assert_eq!(rest, body.as_bytes(), "{content:?}");
            assert_eq!([header, rest].concat(), content.as_bytes());
        }
    }

    #[test]
    fn spans_are_what_came() {
        let content = b"Subject:  a\r\n b \r\nX-Y: \r\n\r\n";
        let fields: Vec<_> = Fields::of(content).collect();
        assert_eq!(fields[0], Field { name: b"Subject", value: b"  a\r\n b ", whole: b"Subject:  a\r\n b \r\n" });
        assert_eq!(fields[1], Field { name: b"X-Y", value: b" ", whole: b"X-Y: \r\n" });
        assert!(fields[0].is("sUBJECT") && !fields[0].is("Subject2"));
    }
}
