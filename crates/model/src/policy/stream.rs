//! What the registry knows of a tenant's mail: its streams, and the domains it speaks for.

use std::sync::Arc;
use std::time::Duration;

use postrider_smtp::{Domain, Mailbox};

use crate::Priority;

/// A tenant's class of mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// What kind of mail it is.
    pub class: StreamClass,
    /// Before or after others.
    pub priority: Priority,
    /// Which Sources send it, by the pool's name; `None`: as the routes say.
    pub pool: Option<Box<str>>,
    /// After this time it is given up; `None`: as the retry policy says.
    pub give_up_after: Option<Duration>,
    /// For so long after its arrival a message stays to be looked at and sent again; `None`: it goes with its last delivery.
    pub retention: Option<Duration>,
    /// What is done to each message.
    pub preparing: Preparing,
    /// What becomes of mail that breaks a provider's rule.
    pub strictness: Strictness,
}

/// What kind of mail a stream has. Providers ask more of bulk mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamClass {
    /// What somebody waits for: receipts, pass words.
    Transactional,
    /// What many get at once: news, campaigns.
    Bulk,
}

/// What is done to each message of a stream. All of it is off where nobody asked for it: such mail goes as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preparing {
    /// Failures come back to us: the reverse-path is a token of ours at the sending domain's return path, one for each recipient (VERP).
    pub own_return_path: bool,
    /// List-Unsubscribe with one click (RFC 8058), one token for each recipient.
    pub one_click: bool,
    /// Feedback-ID, by which Gmail counts complaints.
    pub feedback_id: bool,
    /// Fields that are nobody's business but the sender's go: Bcc, and names that begin with one of these (without case).
    pub strips: Vec<Box<str>>,
}

/// What becomes of mail that breaks a rule of the providers'.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strictness {
    /// Nobody looks.
    #[default]
    Off,
    /// It goes as it is, and the log says what is wrong.
    Warn,
    /// What can be mended is; the rest is told.
    Mend,
    /// What cannot be mended is refused.
    Refuse,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            class: StreamClass::Transactional,
            priority: Priority::Normal,
            pool: None,
            give_up_after: None,
            retention: None,
            preparing: Preparing::default(),
            strictness: Strictness::Off,
        }
    }
}

/// A domain that a tenant sends from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendingDomain {
    /// Itself.
    pub name: Domain,
    /// The domain below it whose mail comes back to us, once its MX and SPF records are in the DNS; `None` until then.
    pub return_path: Option<Domain>,
}

/// A domain whose mail is failures that come back to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnPath {
    /// Itself.
    pub domain: Domain,
    /// Who has what comes back for mail that is here no more; `None`: the postmaster.
    pub bounces_to: Option<Mailbox>,
}

/// Whether a tenant may speak for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voice {
    /// It has proven that the domain, or the closest one above it that is known, is its own.
    Proven(Arc<SendingDomain>),
    /// It may send as anybody: whoever runs the relay said so.
    Free(Option<Arc<SendingDomain>>),
    /// The domain is the tenant's in name only: the record that proves it was not found.
    Unproven(Domain),
    /// Nobody said that it is this tenant's.
    Foreign,
}

impl Voice {
    /// The domain it speaks for, where there is one.
    pub fn domain(&self) -> Option<&Arc<SendingDomain>> {
        match self {
            Voice::Proven(domain) => Some(domain),
            Voice::Free(domain) => domain.as_ref(),
            Voice::Unproven(_) | Voice::Foreign => None,
        }
    }
}
