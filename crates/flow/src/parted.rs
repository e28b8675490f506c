//! The empty line between header and text, for a message whose text follows its header without one.
//!
//! Postfix's cleanup puts it in, too: without it each server draws the line elsewhere, and no signature holds.
//!
//! **Promises.** What is stored stays as it is. A header of more than [`HEADER_OCTETS_MAX`] that streams is left as it is.

use bytes::{Bytes, BytesMut};
use postrider_mail::{HeaderWatch, header};
use postrider_model::doors::SpoolTrouble;
use postrider_model::{BoxFuture, Content, ContentSource, Message};

use crate::Doors;

/// Octets of a header that is looked through.
const HEADER_OCTETS_MAX: usize = 1024 * 1024;

/// A message's content from its start, parted from its header.
pub(crate) async fn open(doors: &Doors, message: &Message) -> Result<Content, SpoolTrouble> {
    let opened = doors.spool.open(message.id).await?;
    parted(message, opened.content).await
}

/// The same, when it is open already.
pub(crate) async fn parted(message: &Message, content: Content) -> Result<Content, SpoolTrouble> {
    if !message.mend.empty_line {
        return Ok(content);
    }
    let (mut first, mut rest) = match content {
        Content::Held(octets) => (BytesMut::from(octets), None),
        Content::Streamed(source) => (BytesMut::new(), Some(source)),
    };
    if let Some(source) = &mut rest {
        let mut watch = HeaderWatch::new();
        while !watch.in_body()
            && first.len() < HEADER_OCTETS_MAX
            && let Some(chunk) = source.next().await?
        {
            watch.feed(&chunk);
            first.extend_from_slice(&chunk);
        }
    }
    let (head, _) = header::split(&first);
    let first = if first.len() < HEADER_OCTETS_MAX || rest.is_none() {
        Bytes::from([head, b"\r\n", &first[head.len()..]].concat())
    } else {
        first.freeze()
    };
    Ok(match rest {
        None => Content::Held(first),
        Some(rest) => Content::Streamed(Box::new(Begun { first: Some(first), rest })),
    })
}

/// A content whose beginning was read already.
pub(crate) struct Begun {
    /// What was read.
    pub(crate) first: Option<Bytes>,
    /// What follows.
    pub(crate) rest: Box<dyn ContentSource>,
}

impl ContentSource for Begun {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SpoolTrouble>> {
        match self.first.take() {
            Some(first) => Box::pin(async move { Ok(Some(first)) }),
            None => self.rest.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use postrider_model::{Arrival, BodyType, Envelope, Mend, MessageId, Priority, Protocol, Role, Timestamp};
    use postrider_smtp::ReversePath;

    use super::*;

    struct Pieces(VecDeque<Bytes>);

    impl ContentSource for Pieces {
        fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SpoolTrouble>> {
            let next = self.0.pop_front();
            Box::pin(std::future::ready(Ok(next)))
        }
    }

    fn message(empty_line: bool) -> Message {
        let at = Timestamp::from_millis(1);
        let hello = "h".into();
        let arrival = Arrival { at, role: Role::Submission, peer: None, hello, protocol: Protocol::Esmtp, tls: None, credential: None };
        Message {
            id: MessageId::new(at, [0; 10]),
            tenant: "t".into(),
            stream: "s".into(),
            envelope: Envelope::new(ReversePath::Null, BodyType::SevenBit, false),
            arrival,
            priority: Priority::Normal,
            deadline: None,
            release_at: None,
            recipients: Vec::new(),
            content_octets: 0,
            mend: Mend { empty_line, ..Mend::default() },
            body_hash: None,
            held: None,
        }
    }

    async fn all(content: Content) -> String {
        let mut text = Vec::new();
        match content {
            Content::Held(octets) => text.extend_from_slice(&octets),
            Content::Streamed(mut source) => {
                while let Some(chunk) = source.next().await.unwrap() {
                    text.extend_from_slice(&chunk);
                }
            }
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn an_empty_line_stands_before_the_first_line_that_is_no_field() {
        for (content, expected) in [
            ("just text\r\n", "\r\njust text\r\n"),
            ("From: a\r\n b\r\nno field\r\nTo: b\r\n\r\n", "From: a\r\n b\r\n\r\nno field\r\nTo: b\r\n\r\n"),
            ("From: a\r\nno line end", "From: a\r\n\r\nno line end"),
        ] {
            let held = Content::Held(Bytes::from_static(content.as_bytes()));
            assert_eq!(all(parted(&message(true), held).await.unwrap()).await, expected);
            for octets in 1..content.len() {
                let pieces = content.as_bytes().chunks(octets).map(Bytes::copy_from_slice).collect();
                let streamed = Content::Streamed(Box::new(Pieces(pieces)));
                assert_eq!(all(parted(&message(true), streamed).await.unwrap()).await, expected, "in pieces of {octets}");
            }
            let held = Content::Held(Bytes::from_static(content.as_bytes()));
            assert_eq!(all(parted(&message(false), held).await.unwrap()).await, content);
        }
    }
}
