//! A spooled content as the body of an answer, chunk by chunk.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use postrider_model::Content;
use postrider_model::doors::SpoolTrouble;
use tokio::sync::mpsc;

/// The content, read no faster than the client takes it. Trouble in the middle breaks the connection off, so that nobody takes half for whole.
pub(crate) fn content_body(content: Content) -> Body {
    match content {
        Content::Held(octets) => Body::from(octets),
        Content::Streamed(mut source) => {
            let (sender, chunks) = mpsc::channel(1);
            tokio::spawn(async move {
                while let Some(chunk) = source.next().await.transpose() {
                    let broken = chunk.is_err();
                    if sender.send(chunk).await.is_err() || broken {
                        break;
                    }
                }
            });
            Body::new(Chunks { chunks })
        }
    }
}

/// Chunks as they come.
pub(crate) struct Chunks {
    pub(crate) chunks: mpsc::Receiver<Result<Bytes, SpoolTrouble>>,
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = SpoolTrouble;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SpoolTrouble>>> {
        self.chunks.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}
