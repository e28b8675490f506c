//! The DNS, with failure kept apart from absence.

use std::net::IpAddr;
use std::time::Duration;

use postrider_smtp::Domain;

use crate::BoxFuture;

/// Look-ups. Answers are cached behind this door as long as their time to live says, and no longer.
pub trait Resolver: Send + Sync {
    /// The MX records of a domain.
    fn mx(&self, domain: &Domain) -> BoxFuture<'_, Result<MxAnswer, DnsTrouble>>;

    /// The addresses of a host, both families (RFC 5321 §5.1).
    fn addresses(&self, host: &Domain) -> BoxFuture<'_, Result<AddressAnswer, DnsTrouble>>;
}

/// The MX records of a domain, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxAnswer {
    /// As they came; a null MX is one record with an empty host (RFC 7505).
    pub records: Vec<MxRecord>,
    /// How long this may be believed.
    pub ttl: Duration,
}

/// One MX record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MxRecord {
    /// Lower is preferred.
    pub preference: u16,
    /// The host; `None` is the root, which says "no mail".
    pub host: Option<Domain>,
}

/// The addresses of a host, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressAnswer {
    /// AAAA and A, as they came.
    pub addresses: Vec<IpAddr>,
    /// How long this may be believed.
    pub ttl: Duration,
}

/// Why there is no answer. Only the first two are facts; the third never bounces mail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsTrouble {
    /// The name does not exist.
    #[error("no such name")]
    NoName {
        /// How long this may be believed.
        ttl: Duration,
    },
    /// The name exists, without records of this type.
    #[error("no such records")]
    NoData {
        /// How long this may be believed.
        ttl: Duration,
    },
    /// Nobody answered, or not with sense.
    #[error("look-up failed: {0}")]
    Failed(String),
}
