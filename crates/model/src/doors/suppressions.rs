//! Who is not to be written to any more.

use std::net::IpAddr;
use std::sync::Arc;

use postrider_smtp::{Host, Mailbox};

use crate::{BoxFuture, MessageId, StreamName, TenantName, Timestamp};

/// Addresses that a tenant's stream does not write to. Every engine passes the contract suite in `postrider_model::contract`.
pub trait Suppressions: Send + Sync {
    /// Adds one. When this returns `Ok`, it is on stable storage. An address that is there already stays as it was, and is no trouble: `false`.
    fn suppress(&self, suppression: Suppression) -> BoxFuture<'_, Result<bool, SuppressionTrouble>>;

    /// The word about an address, when there is one. Asked of every recipient at every attempt: cheap where a stream has none.
    fn suppressed<'a>(
        &'a self,
        tenant: &'a TenantName,
        stream: &'a StreamName,
        mailbox: &'a SuppressedMailbox,
    ) -> BoxFuture<'a, Result<Option<Arc<Suppression>>, SuppressionTrouble>>;

    /// Whether there is none at all, as far as is known without asking: then nobody is asked about.
    fn are_none(&self) -> bool {
        false
    }

    /// Those after `after`, in their order, at most `max`.
    fn list<'a>(
        &'a self,
        filter: &'a SuppressionFilter,
        after: Option<&'a SuppressionKey>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Suppression>>, SuppressionTrouble>>;

    /// Takes one away, on stable storage; whether it was there.
    fn lift<'a>(&'a self, key: &'a SuppressionKey) -> BoxFuture<'a, Result<bool, SuppressionTrouble>>;

    /// Those that nobody has told of yet, the oldest first, at most `max`; or this one, when it is such a one.
    fn untold<'a>(
        &'a self,
        which: Option<&'a SuppressionKey>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Suppression>>, SuppressionTrouble>>;

    /// Notes that one was told of; on stable storage when this returns `Ok`.
    fn told<'a>(&'a self, key: &'a SuppressionKey) -> BoxFuture<'a, Result<(), SuppressionTrouble>>;
}

/// Who takes a word of silence: into the book, and into the journal.
pub trait Suppressing: Send + Sync {
    /// Adds one to the book, and tells of it. When this returns `Ok`, both are on stable storage. An address that is there already stays as it was: `false`. `peer` is from
    /// where the word came, when that was the web.
    fn suppress(&self, suppression: Suppression, peer: Option<IpAddr>) -> BoxFuture<'_, Result<bool, SuppressionTrouble>>;
}

/// An address as suppressions know it: whoever asked for silence means one mailbox, however a list spells it. Case goes, in the local part too, and the
/// domain stands in A-labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SuppressedMailbox(Box<str>);

impl SuppressedMailbox {
    /// Of a mailbox.
    pub fn of(mailbox: &Mailbox) -> Self {
        let host = match mailbox.host() {
            Host::Domain(domain) => domain.to_ascii().to_ascii_lowercase(),
            Host::Literal(_) => mailbox.host().to_string(),
        };
        Self(format!("{}@{host}", mailbox.local_part().to_lowercase()).into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names one: tenant, stream, address. The order of lists.
pub type SuppressionKey = (TenantName, StreamName, SuppressedMailbox);

/// One address that is not written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// Whose mail.
    pub tenant: TenantName,
    /// Which class of it; other streams go on.
    pub stream: StreamName,
    /// To whom.
    pub mailbox: SuppressedMailbox,
    /// Since when.
    pub since: Timestamp,
    /// By whose word.
    pub cause: SuppressionCause,
    /// The message by which the word came.
    pub message: Option<MessageId>,
    /// A person's reason; may be empty.
    pub reason: Arc<str>,
}

impl Suppression {
    /// What names it.
    pub fn key(&self) -> SuppressionKey {
        (self.tenant.clone(), self.stream.clone(), self.mailbox.clone())
    }

    /// One sentence for reports and logs.
    pub fn describe(&self) -> String {
        let Self { stream, since, .. } = self;
        match self.cause {
            SuppressionCause::OneClick => format!("unsubscribed from stream {stream} at {since}"),
            SuppressionCause::Operator => format!("not written to by stream {stream} since {since}, by the operator's word"),
        }
    }
}

/// By whose word an address is not written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SuppressionCause {
    /// The recipient's, by the link in a message (RFC 8058).
    OneClick,
    /// The operator's.
    Operator,
}

impl SuppressionCause {
    /// Its word, in files and interfaces.
    pub fn word(self) -> &'static str {
        match self {
            SuppressionCause::OneClick => "one_click",
            SuppressionCause::Operator => "operator",
        }
    }

    /// The cause of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        [SuppressionCause::OneClick, SuppressionCause::Operator].into_iter().find(|cause| cause.word() == word)
    }
}

/// Which suppressions; what is not said is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SuppressionFilter {
    /// Of a tenant.
    pub tenant: Option<TenantName>,
    /// Of a stream of this name.
    pub stream: Option<StreamName>,
}

impl SuppressionFilter {
    /// Whether it is one of those.
    pub fn matches(&self, suppression: &Suppression) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == suppression.tenant)
            && self.stream.as_ref().is_none_or(|stream| *stream == suppression.stream)
    }
}

/// Why the book of suppressions gives no answer. All of it may pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuppressionTrouble {
    /// It takes no more.
    #[error("no room for more suppressions: {0}")]
    Full(String),
    /// It could not be read or written.
    #[error("the suppressions cannot be used: {0}")]
    Io(String),
}
