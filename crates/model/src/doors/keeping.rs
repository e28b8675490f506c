//! Messages that stay when they are done, to be looked at and sent again.

use std::sync::Arc;

use crate::{BoxFuture, Content, Message, MessageId};

/// Keeps copies of messages for as long as their streams say. Nothing of custody: what is kept is a copy, and mail goes on whatever becomes of it.
pub trait Keeping: Send + Sync {
    /// Whether a message is kept already, as far as memory knows.
    fn has(&self, message: MessageId) -> bool;

    /// Keeps a message with its content as it was accepted. When this returns `Ok`, it is on stable storage.
    fn keep<'a>(&'a self, message: &'a Message, content: Content) -> BoxFuture<'a, Result<(), KeepingTrouble>>;
}

/// A message could not be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct KeepingTrouble {
    /// What is wrong, and what to do.
    pub why: Arc<str>,
    /// Whether the one before could be kept: somebody is told once, and not for each message.
    pub is_news: bool,
}
