use std::collections::VecDeque;

use postrider_core::prepare::{Removed, Why};
use postrider_model::{BoxFuture, ContentSource};

use super::*;

struct Pieces(VecDeque<Bytes>);

impl ContentSource for Pieces {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SpoolTrouble>> {
        let next = self.0.pop_front();
        Box::pin(std::future::ready(Ok(next)))
    }
}

fn in_pieces(content: &[u8], octets: usize) -> Content {
    Content::Streamed(Box::new(Pieces(content.chunks(octets).map(Bytes::copy_from_slice).collect())))
}

async fn all(content: Content) -> Vec<u8> {
    match content {
        Content::Held(octets) => octets.to_vec(),
        Content::Streamed(mut source) => {
            let mut out = Vec::new();
            while let Some(chunk) = source.next().await.unwrap() {
                out.extend_from_slice(&chunk);
            }
            out
        }
    }
}

fn without(places: &[usize]) -> Prepared {
    let removed = places.iter().map(|place| Removed { place: *place, name: "x".to_owned(), why: Why::Internal });
    Prepared { plan: Preparation { removed: removed.collect(), ..Preparation::default() }, from: None }
}

#[tokio::test]
async fn fields_go_and_nothing_else_moves_in_any_split() {
    let content = b"A: 1\r\n folded\r\nB: 2\r\nC: 3\r\n\r\nA: body\r\n.\r\n\xff";
    for (places, expected) in [
        (&[][..], &content[..]),
        (&[0], b"B: 2\r\nC: 3\r\n\r\nA: body\r\n.\r\n\xff"),
        (&[1], b"A: 1\r\n folded\r\nC: 3\r\n\r\nA: body\r\n.\r\n\xff"),
        (&[0, 2], b"B: 2\r\n\r\nA: body\r\n.\r\n\xff"),
        (&[0, 1, 2], b"\r\nA: body\r\n.\r\n\xff"),
        (&[7], content),
    ] {
        let prepared = without(places);
        let by = expected.len() as i64 - content.len() as i64;
        let (held, grown) = prepared.content(Content::Held(Bytes::from_static(content))).await.unwrap();
        assert_eq!((all(held).await, grown), (expected.to_vec(), by), "{places:?}");
        for octets in [1, 2, 7, 20, 100] {
            let (streamed, grown) = prepared.content(in_pieces(content, octets)).await.unwrap();
            assert_eq!((all(streamed).await, grown), (expected.to_vec(), by), "{places:?} in pieces of {octets}");
        }
    }
    for headless in [&b""[..], b"\r\ntext", b"A: 1", b"A: 1\r\n"] {
        let (content, _) = without(&[5]).content(in_pieces(headless, 3)).await.unwrap();
        assert_eq!(all(content).await, headless);
    }
}

#[tokio::test]
async fn a_header_is_read_whole_or_known_to_be_too_long() {
    let long = [b"A: ".to_vec(), b"x".repeat(HEADER_OCTETS_MAX + 70_000), b"\r\n\r\nbody".to_vec()].concat();
    let (header, content) = begun(in_pieces(&long, 65_536)).await.unwrap();
    assert!(header.is_none() && all(content).await == long, "and nothing is lost");
    let short = b"A: 1\r\n\r\nbody";
    let (header, content) = begun(in_pieces(short, 3)).await.unwrap();
    assert!(header.unwrap().starts_with(b"A: 1\r\n\r\n"));
    assert_eq!(all(content).await, short);
    let (header, _) = begun(in_pieces(b"A: 1\r\nB: 2", 3)).await.unwrap();
    assert_eq!(header.unwrap(), &b"A: 1\r\nB: 2"[..], "a content may end in its header");
}

#[tokio::test]
async fn fields_are_encoded_in_their_place() {
    let content = "A: 1\r\nSubject: ü\r\n folded\r\nB: ü\r\n\r\nSubject: ü\r\n".as_bytes();
    let plan = Preparation { encoded: vec![1], removed: without(&[2]).plan.removed, ..Preparation::default() };
    let prepared = Prepared { plan, from: None };
    let expected = "A: 1\r\nSubject: =?utf-8?B?w7w=?= folded\r\n\r\nSubject: ü\r\n".as_bytes();
    for octets in [1, 9, 100] {
        let (streamed, by) = prepared.content(in_pieces(content, octets)).await.unwrap();
        assert_eq!((all(streamed).await, by), (expected.to_vec(), expected.len() as i64 - content.len() as i64));
    }
}
