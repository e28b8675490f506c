//! One part of a report, in the transfer encoding that carries it whole (RFC 2045 §6; RFC 6522 §4 allows quoted-printable for returned headers).

use crate::encode::QuotedPrintable;
use crate::text::LINE_OCTETS;

/// Octets of an unencoded line (RFC 5322 §2.1.1).
const LINE_OCTETS_MAX: usize = 998;

/// How a part travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    SevenBit,
    /// Only in a report that is sent with SMTPUTF8, or that returns a message that was 8-bit itself.
    EightBit,
    QuotedPrintable,
}

/// A part ready to be written.
pub(super) struct Part {
    kind: &'static str,
    description: &'static str,
    charset: Option<&'static str>,
    pub(super) encoding: Encoding,
    /// Encoded.
    pub(super) body: Vec<u8>,
}

impl Part {
    /// Chooses the encoding: plain where the octets are plain, 8-bit where the report may be, quoted-printable for the rest.
    pub(super) fn new(kind: &'static str, body: Vec<u8>, description: &'static str, utf8: bool) -> Self {
        let encoding = match (has_plain_lines(&body), body.is_ascii()) {
            (true, true) => Encoding::SevenBit,
            (true, false) if utf8 && std::str::from_utf8(&body).is_ok() => Encoding::EightBit,
            _ => Encoding::QuotedPrintable,
        };
        let charset = (kind == "text/plain").then_some(if body.is_ascii() { "us-ascii" } else { "utf-8" });
        let body = if encoding == Encoding::QuotedPrintable { quoted_printable(&body) } else { body };
        Self { kind, description, charset, encoding, body }
    }

    /// A message inside the report, which no encoding may touch (RFC 2046 §5.2.1); `None` when it cannot stand there as it is.
    pub(super) fn unencoded(kind: &'static str, mut body: Vec<u8>, description: &'static str) -> Option<Self> {
        if !has_plain_lines(&body) {
            return None;
        }
        let encoding = if body.is_ascii() { Encoding::SevenBit } else { Encoding::EightBit };
        if !body.ends_with(b"\r\n") {
            body.extend_from_slice(b"\r\n");
        }
        Some(Self { kind, description, charset: None, encoding, body })
    }

    pub(super) fn is_message(&self) -> bool {
        matches!(self.kind, "message/rfc822" | "message/global")
    }

    /// The part's fields and its body.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let encoding = match self.encoding {
            Encoding::SevenBit => "7bit",
            Encoding::EightBit => "8bit",
            Encoding::QuotedPrintable => "quoted-printable",
        };
        let charset = self.charset.map(|charset| format!("; charset={charset}")).unwrap_or_default();
        let fields = format!(
            "Content-Type: {}{charset}\r\nContent-Description: {}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n",
            self.kind, self.description
        );
        debug_assert!(fields.lines().all(|line| line.len() <= LINE_OCTETS));
        out.extend_from_slice(fields.as_bytes());
        out.extend_from_slice(&self.body);
    }
}

/// Whether every CR and LF is of a CR LF, there is no NUL, and no line is too long.
fn has_plain_lines(body: &[u8]) -> bool {
    let mut lines = body.split(|octet| *octet == b'\n').peekable();
    while let Some(line) = lines.next() {
        let last = lines.peek().is_none();
        let text = if last { Some(line) } else { line.strip_suffix(b"\r") };
        if text.is_none_or(|text| text.len() > LINE_OCTETS_MAX || text.iter().any(|octet| matches!(octet, 0 | b'\r'))) {
            return false;
        }
    }
    true
}

/// The body in quoted-printable.
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / 8);
    let mut encoder = QuotedPrintable::default();
    encoder.feed(body, &mut out);
    encoder.finish(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_printable_as_in_the_rfc() {
        for (body, encoded) in [
            (&b"plain text\r\n"[..], &b"plain text\r\n"[..]),
            (b"a=b \r\nc\t", b"a=3Db=20\r\nc=09"),
            (b"\xfc\0\rx\ny\r\n", b"=FC=00=0Dx=0Ay\r\n"),
        ] {
            assert_eq!(quoted_printable(body), encoded);
        }
        let long = quoted_printable(&b"abcdefg=".repeat(100));
        assert!(long.split(|octet| *octet == b'\n').all(|line| line.len() <= 77));
    }

    #[test]
    fn the_encoding_fits_the_octets() {
        let encoding = |body: &[u8], utf8| Part::new("text/plain", body.to_vec(), "", utf8).encoding;
        assert_eq!(encoding(b"a\r\nb\r\n", false), Encoding::SevenBit);
        assert_eq!(encoding("ü\r\n".as_bytes(), true), Encoding::EightBit);
        assert_eq!(encoding("ü\r\n".as_bytes(), false), Encoding::QuotedPrintable);
        for broken in [&b"a\nb\r\n"[..], b"a\rb\r\n", b"\0\r\n", b"\xff\r\n", &[b'x'; 999], b"a\r"] {
            assert_eq!(encoding(broken, true), Encoding::QuotedPrintable, "{broken:?}");
        }
    }
}
