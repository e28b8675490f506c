//! Binary content on its way to those who do not take it: looked at first, encoded on the way.
//!
//! **Promises.** What is passed on holds no NUL, no bare CR and no bare LF: a content for which no encoding gives that is found out before a word of it is sent
//! ([`measure`] reads it once, in bounded memory, and keeps nothing).

use bytes::Bytes;
use postrider_mail::encode::{Recoder, Takes};
use postrider_model::doors::SpoolTrouble;
use postrider_model::{BoxFuture, Content, ContentSource};
use postrider_smtp::data::{Decoder, Piece};

/// A line beyond it is taken for a sign that nothing made lines of it.
const LINE_OCTETS_MAX: usize = 65_536;

/// Why a content could not be encoded, for the sender.
pub(crate) const NOT_ENCODABLE: &str =
    "a part holds NUL, bare CR or bare LF where no encoding may be changed: it is signed or encrypted, or says 7bit or 8bit and is not";

/// Looks at the next octets of a content whose line ends are watched.
pub(crate) fn look_at(decoder: &mut Decoder, mut octets: &[u8]) {
    while !octets.is_empty() {
        let (used, piece) = decoder.next(octets);
        octets = &octets[used..];
        if piece == Piece::NeedMore {
            return;
        }
    }
}

/// Whether what was looked at holds what text cannot. The content is at its end.
pub(crate) fn is_binary(decoder: &Decoder) -> bool {
    let mut decoder = decoder.clone();
    decoder.finish();
    decoder.trouble().is_some()
}

/// Octets of a content, encoded; none when no encoding makes lines of it.
pub(crate) async fn measure(takes: Takes, head: &[u8], content: Content) -> Result<Option<u64>, SpoolTrouble> {
    let mut recoded = Recoded::new(takes, head, content);
    let (mut decoder, mut octets) = (Decoder::for_chunks(LINE_OCTETS_MAX), 0);
    while let Some(chunk) = recoded.next().await? {
        look_at(&mut decoder, &chunk);
        octets += chunk.len() as u64;
    }
    Ok((!is_binary(&decoder)).then_some(octets))
}

/// Octets that are encoded at once: what comes of them is at most three times as much.
const SLICE_OCTETS: usize = 64 * 1024;

/// A content and the head before it, encoded as they are read.
pub(crate) struct Recoded {
    /// None when the end was given out.
    recoder: Option<Recoder>,
    /// What comes next.
    read: Bytes,
    source: Option<Box<dyn ContentSource>>,
    /// Behind a head that came apart from it.
    held: Option<Bytes>,
}

impl Recoded {
    pub(crate) fn new(takes: Takes, head: &[u8], content: Content) -> Self {
        let (held, source) = match content {
            Content::Held(octets) => (Some(octets), None),
            Content::Streamed(source) => (None, Some(source)),
        };
        Self { recoder: Some(Recoder::to(takes)), read: Bytes::copy_from_slice(head), source, held }
    }

    /// Octets that were not encoded yet; none at the end.
    async fn slice(&mut self) -> Result<Option<Bytes>, SpoolTrouble> {
        while self.read.is_empty() {
            self.read = match (self.held.take(), &mut self.source) {
                (Some(held), _) => held,
                (None, Some(source)) => match source.next().await? {
                    Some(octets) => octets,
                    None => return Ok(None),
                },
                (None, None) => return Ok(None),
            };
        }
        Ok(Some(self.read.split_to(self.read.len().min(SLICE_OCTETS))))
    }
}

impl ContentSource for Recoded {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SpoolTrouble>> {
        Box::pin(async move {
            let mut out = Vec::new();
            while out.is_empty() {
                let slice = if self.recoder.is_some() { self.slice().await? } else { None };
                match (slice, &mut self.recoder) {
                    (_, None) => return Ok(None),
                    (Some(octets), Some(recoder)) => recoder.feed(&octets, &mut out),
                    (None, recoder) => recoder.take().into_iter().for_each(|recoder| recoder.finish(&mut out)),
                }
            }
            Ok(Some(out.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its content in pieces of this many octets.
    struct Pieces(Bytes, usize);

    impl ContentSource for Pieces {
        fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SpoolTrouble>> {
            let piece = (!self.0.is_empty()).then(|| self.0.split_to(self.0.len().min(self.1)));
            Box::pin(async move { Ok(piece) })
        }
    }

    const HEAD: &[u8] = b"Received: by us\r\n";

    fn content(encoding: &str, body: &[u8]) -> Bytes {
        let header = format!("MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n");
        [header.as_bytes(), body].concat().into()
    }

    #[tokio::test]
    async fn what_is_measured_is_what_is_sent_and_it_is_bounded() {
        let whole = content("binary", &b"\0\r\n.\n".repeat(100_000));
        let mut given = Vec::new();
        for content in [Content::Held(whole.clone()), Content::Streamed(Box::new(Pieces(whole.clone(), 10_001)))] {
            let mut recoded = Recoded::new(Takes::EightBit, HEAD, content);
            let mut out = Vec::new();
            while let Some(chunk) = recoded.next().await.unwrap() {
                assert!(!chunk.is_empty() && chunk.len() <= 4 * SLICE_OCTETS);
                out.extend_from_slice(&chunk);
            }
            assert!(recoded.next().await.unwrap().is_none());
            given.push(out);
        }
        assert_eq!(given[0], given[1]);
        let measured = measure(Takes::EightBit, HEAD, Content::Held(whole)).await.unwrap();
        assert_eq!(measured, Some(given[0].len() as u64));
    }

    #[tokio::test]
    async fn what_cannot_be_encoded_is_found_out() {
        for (encoding, body, encodable) in [
            ("binary", &b"a\nb"[..], true),
            ("", b"a\nb", true),
            ("8bit", b"a\r\nb", true),
            ("8bit", b"a\nb", false),
            ("7bit", b"a\0b", false),
            ("base64", b"YQ==\r", false),
        ] {
            for takes in [Takes::EightBit, Takes::SevenBit] {
                // A part that says 8bit is quoted for those who take seven bits.
                let quoted = encoding == "8bit" && takes == Takes::SevenBit;
                let measured = measure(takes, HEAD, Content::Held(content(encoding, body))).await.unwrap();
                assert_eq!(measured.is_some(), encodable || quoted, "{encoding} {} {takes:?}", body.escape_ascii());
            }
        }
    }
}
