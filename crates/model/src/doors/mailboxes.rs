//! Mailboxes on this machine, and a page that survives a restart.

use crate::{BoxFuture, Content};

use super::SpoolTrouble;

/// Where mail of local domains is put, one file a mail.
pub trait Mailboxes: Send + Sync {
    /// Puts a mail into a Maildir, made when it is not there. `Ok` means that the file and its name are on stable storage. The same name twice is the
    /// same mail: the second is dropped, so that a mail whose outcome was lost in a crash comes once all the same.
    fn deliver(&self, maildir: &str, name: &str, head: Vec<u8>, content: Content) -> BoxFuture<'_, Result<(), MailboxTrouble>>;
}

/// Why a mail could not be put into a mailbox. All of it may pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailboxTrouble {
    /// The disk, or the user's part of it, is full.
    #[error("no room: {0}")]
    Full(String),
    /// We may not write there.
    #[error("{0}")]
    Denied(String),
    /// Something else.
    #[error("{0}")]
    Io(String),
    /// The content could not be read.
    #[error("the content cannot be read: {0}")]
    Content(SpoolTrouble),
}

/// One short text that survives a restart, replaced as a whole.
pub trait Notebook: Send + Sync {
    /// What stood there when the relay started.
    fn text(&self) -> &str;

    /// Replaces it. `Ok` means that it is on stable storage.
    fn write(&self, text: String) -> BoxFuture<'_, Result<(), String>>;
}
