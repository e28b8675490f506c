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

    /// The addresses of a host, of one family only: SPF must know that there is none of the client's own (RFC 7208 §5), which half an answer does not tell.
    fn family(&self, host: &Domain, ipv6: bool) -> BoxFuture<'_, Result<AddressAnswer, DnsTrouble>>;

    /// The TXT records of a name, aliases followed. A [`Domain`] takes underscores, so `_dmarc.brand.example` and `s1._domainkey.brand.example` can be asked.
    fn text(&self, name: &Domain) -> BoxFuture<'_, Result<TextAnswer, DnsTrouble>>;

    /// The names of an address: PTR in `in-addr.arpa` or `ip6.arpa` (RFC 1035 §3.5, RFC 3596 §2.5).
    fn pointers(&self, address: IpAddr) -> BoxFuture<'_, Result<PointerAnswer, DnsTrouble>>;

    /// The name that this one is an alias of (CNAME), one step. `NoData` where it is a name of its own.
    fn alias(&self, name: &Domain) -> BoxFuture<'_, Result<AliasAnswer, DnsTrouble>>;
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

/// The TXT records of a name, at least one. More or longer ones than [`limits::TEXT_RECORDS_MAX`](crate::limits::TEXT_RECORDS_MAX) and
/// [`limits::TEXT_RECORD_OCTETS_MAX`](crate::limits::TEXT_RECORD_OCTETS_MAX) allow are a failure, never a part of the answer: what was left out could be what decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextAnswer {
    /// As they came, the strings of each joined without a space (RFC 7208 §3.3, RFC 6376 §3.6.2.2). Any octets.
    pub records: Vec<Box<[u8]>>,
    /// How long this may be believed.
    pub ttl: Duration,
}

/// The names of an address, at least one and at most [`limits::POINTERS_MAX`](crate::limits::POINTERS_MAX).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointerAnswer {
    /// As they came.
    pub names: Vec<Domain>,
    /// How long this may be believed.
    pub ttl: Duration,
}

/// The name under which the names of an address stand, without a trailing dot. An IPv4 address in IPv6's clothes is the IPv4 address.
pub fn pointer_name(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

/// What a name is an alias of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasAnswer {
    /// The other name; it may be an alias, too.
    pub target: Domain,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_addresses() {
        for (address, name) in [
            ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
            ("::ffff:192.0.2.1", "1.2.0.192.in-addr.arpa"),
            // RFC 3596 §2.5.
            ("4321:0:1:2:3:4:567:89ab", "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa"),
        ] {
            assert_eq!(pointer_name(address.parse().unwrap()), name);
        }
    }
}
