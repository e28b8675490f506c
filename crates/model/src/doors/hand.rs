//! What a person may do to the live relay, beyond what the spool alone can do.

use std::sync::Arc;

use crate::{BoxFuture, DeliveryId, SiteName, SourceName, TenantName, Timestamp};

use super::SpoolTrouble;

/// The live relay in a person's hands.
pub trait Hand: Send + Sync {
    /// Ends deliveries that are not with a worker, each through a loan and its settlement. What is not named any more, or under way, is left alone.
    fn end(&self, deliveries: Vec<DeliveryId>, how: End, reason: Arc<str>) -> BoxFuture<'_, Result<Ended, SpoolTrouble>>;

    /// Gives the spool back what only waits for its turn, so that a hold reaches it.
    fn recall(&self) -> BoxFuture<'_, ()>;

    /// From now on exactly these are suspended; what is asked of the relay afterwards knows it.
    fn suspend(&self, suspensions: Vec<Suspension>);
}

/// How a person ends a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nobody is told.
    Cancel,
    /// The sender is told, as of any bounce.
    Bounce,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// Custody of so many ended.
    pub ended: usize,
    /// So many were with a worker, or ended by themselves.
    pub left: usize,
}

/// Nothing is sent there, for them, or from there, until a person says otherwise or the time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// What is suspended.
    pub what: Suspended,
    /// When it was said.
    pub since: Timestamp,
    /// Until when; `None` until a person resumes it.
    pub until: Option<Timestamp>,
    /// Why, as the person said; may be empty.
    pub reason: Arc<str>,
}

/// What can be suspended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suspended {
    /// Mail to the hosts of a Site.
    Site(SiteName),
    /// A tenant's mail.
    Tenant(TenantName),
    /// Mail from a Source.
    Source(SourceName),
}

impl std::fmt::Display for Suspended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Suspended::Site(site) => write!(f, "site {site}"),
            Suspended::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Suspended::Source(source) => write!(f, "source {source}"),
        }
    }
}
