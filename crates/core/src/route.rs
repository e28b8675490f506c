//! Which hosts take mail for a domain, in which order, and at which of their addresses (RFC 5321 §5, RFC 7505).
//!
//! **Promises.** [`hosts`] turns one MX answer into a plan or a typed reason why there is none; absence is kept apart from failure, so that
//! only a name server that answered can make mail bounce. A plan has at least one host, each host once, at its best preference, and at
//! most [`MX_RECORDS_MAX`] hosts. Two domains with the same hosts have the same [`SiteName`].
//!
//! **Never** asks the DNS. It does not know addresses when it plans: whether hosts exist is seen later, and judged by [`no_address`].
//!
//! **Does badly.** It knows ourselves by name only; an exchanger of another name with an address of ours is found out by the hop count.

pub mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_model::doors::{DnsTrouble, MxAnswer};
use postrider_model::limits::{ADDRESSES_PER_ATTEMPT_MAX, MX_RECORDS_MAX};
use postrider_model::{SiteName, Trouble};
use postrider_smtp::{Domain, Host};

/// The hosts of a Site, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxPlan {
    /// Their names, sorted: what the Site is called.
    pub site: SiteName,
    /// Hosts of equal preference together, the best first; inside a tier sorted by name. Never empty.
    pub tiers: Vec<Vec<Domain>>,
    /// Whether the domain has no MX and stands for itself (RFC 5321 §5.1, "implicit MX").
    pub implicit: bool,
    /// How long the answer may be believed.
    pub ttl: Duration,
}

/// Why there is no host to go to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteTrouble {
    /// The name does not exist.
    #[error("no such domain")]
    NoSuchDomain,
    /// The domain takes no mail (RFC 7505).
    #[error("null MX")]
    NullMx,
    /// The domain has no host with an address.
    #[error("no mail host")]
    NoMailHost,
    /// We are the best host ourselves (RFC 5321 §5.1).
    #[error("mail loops back to this host")]
    Loop,
    /// The DNS failed; tomorrow it may answer.
    #[error("look-up failed: {0}")]
    DnsFailed(Arc<str>),
}

impl RouteTrouble {
    /// The same, as an attempt's trouble with this domain.
    pub fn trouble(&self, domain: &Domain) -> Trouble {
        let name = Arc::from(domain.as_str());
        match self {
            RouteTrouble::NoSuchDomain => Trouble::NoSuchDomain(name),
            RouteTrouble::NullMx => Trouble::NullMx(name),
            RouteTrouble::NoMailHost => Trouble::NoMailHost(name),
            RouteTrouble::Loop => Trouble::Loop(name),
            RouteTrouble::DnsFailed(why) => Trouble::DnsFailed(name, why.clone()),
        }
    }
}

/// Plans the hosts for a domain from the answer to its MX look-up. `ours` are the names under which we take mail ourselves.
pub fn hosts(domain: &Domain, mx: Result<&MxAnswer, &DnsTrouble>, ours: &[Domain]) -> Result<MxPlan, RouteTrouble> {
    match mx {
        Ok(answer) if answer.records.is_empty() => implicit(domain, answer.ttl, ours),
        Ok(answer) => explicit(answer, ours),
        Err(DnsTrouble::NoData { ttl }) => implicit(domain, *ttl, ours),
        Err(DnsTrouble::NoName { .. }) => Err(RouteTrouble::NoSuchDomain),
        Err(DnsTrouble::Failed(why)) => Err(RouteTrouble::DnsFailed(Arc::from(why.as_str()))),
    }
}

/// The Site of an address literal (RFC 5321 §4.1.3): `[192.0.2.1]`. No domain can have such a name.
pub fn literal_site(address: IpAddr) -> SiteName {
    SiteName::new(&Host::Literal(address).to_string())
}

/// Why no host of a plan has a usable address: when all look-ups gave the fact that there is none, mail can never go there; when one of
/// them failed, nobody knows. An empty list means that all addresses there were are unusable.
pub fn no_address<'a>(implicit: bool, troubles: impl IntoIterator<Item = &'a DnsTrouble>) -> RouteTrouble {
    let mut no_name = false;
    for trouble in troubles {
        match trouble {
            DnsTrouble::Failed(why) => return RouteTrouble::DnsFailed(Arc::from(why.as_str())),
            DnsTrouble::NoName { .. } => no_name = true,
            DnsTrouble::NoData { .. } => {}
        }
    }
    if implicit && no_name { RouteTrouble::NoSuchDomain } else { RouteTrouble::NoMailHost }
}

/// All hosts in the order in which one attempt goes through them: tier by tier, and inside a tier by chance, so that the load spreads
/// over equals (RFC 5321 §5.1). The same number gives the same order.
pub fn order(plan: &MxPlan, random: u64) -> Vec<Domain> {
    let mut chance = random;
    let mut all = Vec::with_capacity(plan.tiers.iter().map(Vec::len).sum());
    for tier in &plan.tiers {
        let start = all.len();
        all.extend(tier.iter().cloned());
        shuffle(&mut all[start..], &mut chance);
    }
    all
}

/// The addresses of a host in the order of trying: the families in turn, the wanted one first, so that a broken family costs every second
/// try only (the idea of RFC 8305 §4). Addresses nobody can be reached at are dropped, doubles too; at most [`ADDRESSES_PER_ATTEMPT_MAX`].
pub fn addresses(v6_first: bool, found: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut seen = BTreeSet::new();
    // An IPv4 address in IPv6 clothes (RFC 4291 §2.5.5.2) is what it is.
    let usable = found.into_iter().map(|address| address.to_canonical()).filter(usable).filter(|address| seen.insert(*address));
    let (v6, v4): (Vec<_>, Vec<_>) = usable.partition(IpAddr::is_ipv6);
    let (first, second) = if v6_first { (v6, v4) } else { (v4, v6) };
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        let before = ordered.len();
        ordered.extend(first.next());
        ordered.extend(second.next());
        if ordered.len() == before || ordered.len() >= ADDRESSES_PER_ATTEMPT_MAX {
            ordered.truncate(ADDRESSES_PER_ATTEMPT_MAX);
            return ordered;
        }
    }
}

fn explicit(answer: &MxAnswer, ours: &[Domain]) -> Result<MxPlan, RouteTrouble> {
    // Best preference first, then by name, so that the cut below does not depend on the order of the answer.
    let mut records: Vec<(u16, &Domain)> =
        answer.records.iter().filter_map(|record| record.host.as_ref().map(|host| (record.preference, host))).collect();
    if records.is_empty() {
        return Err(RouteTrouble::NullMx);
    }
    records.sort();
    let own = records.iter().find(|(_, host)| is_ours(host, ours)).map(|(preference, _)| *preference);
    if let Some(own) = own {
        // RFC 5321 §5.1: hosts as good as we are, or worse, would send it back to us.
        records.retain(|(preference, _)| *preference < own);
    }
    let mut seen = BTreeSet::new();
    let mut tiers: BTreeMap<u16, Vec<Domain>> = BTreeMap::new();
    for (preference, host) in records {
        if seen.len() < MX_RECORDS_MAX && seen.insert(host) {
            tiers.entry(preference).or_default().push(host.clone());
        }
    }
    if tiers.is_empty() {
        return Err(RouteTrouble::Loop);
    }
    Ok(MxPlan { site: site_name(seen), tiers: tiers.into_values().collect(), implicit: false, ttl: answer.ttl })
}

fn implicit(domain: &Domain, ttl: Duration, ours: &[Domain]) -> Result<MxPlan, RouteTrouble> {
    if is_ours(domain, ours) {
        return Err(RouteTrouble::Loop);
    }
    // A domain of U-labels and its A-labels are one Site. What does not parse again stays as it came.
    let host = Domain::parse(&domain.to_ascii()).unwrap_or_else(|_| domain.clone());
    Ok(MxPlan { site: site_name([&host]), tiers: vec![vec![host]], implicit: true, ttl })
}

fn is_ours(host: &Domain, ours: &[Domain]) -> bool {
    ours.iter().any(|own| own == host || own.to_ascii() == host.to_ascii())
}

fn site_name<'a>(hosts: impl IntoIterator<Item = &'a Domain>) -> SiteName {
    let mut names: Vec<&str> = hosts.into_iter().map(Domain::as_str).collect();
    names.sort_unstable();
    SiteName::new(&names.join(","))
}

/// Whether a connection to the address can mean anything. Loopback and private addresses can: a relay inside a network uses them.
fn usable(address: &IpAddr) -> bool {
    match address {
        // 0.0.0.0/8 is "this network", 240.0.0.0/4 reserved, with the broadcast address in it (RFC 6890).
        IpAddr::V4(v4) => !(v4.octets()[0] == 0 || v4.is_multicast() || v4.octets()[0] >= 240),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast()),
    }
}

/// Fisher and Yates, drawing from a Weyl sequence mixed as in splitmix64.
fn shuffle<T>(slice: &mut [T], chance: &mut u64) {
    for last in (1..slice.len()).rev() {
        *chance = chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *chance;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        slice.swap(last, (mixed % (last as u64 + 1)) as usize);
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
