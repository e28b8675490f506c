//! Which deliveries a person means.

use std::sync::Arc;

use postrider_smtp::{Host, Mailbox, ReversePath};

use crate::{MessageId, SiteName, StreamName, TenantName, Timestamp};

/// Which deliveries; an empty filter is all. All that is said must be true of a delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueFilter {
    /// Of these messages; none named is any.
    pub messages: Vec<MessageId>,
    /// A tenant's.
    pub tenant: Option<TenantName>,
    /// Of a stream of this name.
    pub stream: Option<StreamName>,
    /// To a recipient host, as its text.
    pub host: Option<String>,
    /// To a Site.
    pub site: Option<SiteName>,
    /// From a sender. Memory does not know it: only [`super::SpoolDesk::walk`] looks, and reads each message for it.
    pub sender: Option<SenderFilter>,
    /// Standing there. Not for an alteration, whose record could not say it.
    pub state: Option<DeliveryState>,
    /// Arrived at this instant or later.
    pub arrived_from: Option<Timestamp>,
    /// Arrived at this instant or earlier.
    pub arrived_to: Option<Timestamp>,
}

/// A reverse-path, or all of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderFilter {
    /// The null reverse-path: reports.
    Null,
    /// One mailbox.
    Mailbox(Mailbox),
    /// Any mailbox of this host.
    Host(Host),
}

impl SenderFilter {
    /// Whether it means this reverse-path.
    pub fn means(&self, path: &ReversePath) -> bool {
        match self {
            SenderFilter::Null => path.is_null(),
            SenderFilter::Mailbox(mailbox) => path.mailbox() == Some(mailbox),
            SenderFilter::Host(host) => path.mailbox().is_some_and(|mailbox| mailbox.host() == host),
        }
    }
}

impl std::fmt::Display for SenderFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SenderFilter::Null => f.write_str("<>"),
            SenderFilter::Mailbox(mailbox) => mailbox.fmt(f),
            SenderFilter::Host(host) => host.fmt(f),
        }
    }
}

/// Where a live delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// In the spool.
    Waiting,
    /// With a worker.
    Lent,
    /// In the spool, and not lent until a person releases it.
    Held,
}

/// A person's word that deliveries are not to be lent until they are released.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OnHold {
    /// When it was said.
    pub since: Timestamp,
    /// Why, as the person said; may be empty.
    pub reason: Arc<str>,
}

/// A change by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alteration {
    /// Due now, whatever the retry interval said.
    RetryNow(Timestamp),
    /// Not lent until released. What is lent is held when it comes back; what is held already is held for the new reason.
    Hold(OnHold),
    /// Held no more, since this instant; due when it was due before.
    Release(Timestamp),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_nobody_a_mailbox_or_a_host() {
        let (mailbox, host) = (Mailbox::parse("a@shop.example").unwrap(), Host::parse("Shop.Example").unwrap());
        let rows = [("<>", [true, false, false]), ("<a@SHOP.example>", [false, true, true]), ("<b@shop.example>", [false, false, true])];
        for (path, expected) in rows {
            let path = ReversePath::parse(path).unwrap();
            let said = [SenderFilter::Null, SenderFilter::Mailbox(mailbox.clone()), SenderFilter::Host(host.clone())];
            assert_eq!(said.map(|filter| filter.means(&path)), expected, "{path}");
        }
    }
}
