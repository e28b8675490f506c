//! May an address send for a domain, as receivers judge it (RFC 7208 §4), and what a domain's record costs them (§4.6.4).

use std::net::IpAddr;

use postrider_mail::records::{MacroFacts, Mechanism, Qualifier, SpfRecord, Term, expand, is_spf};
use postrider_smtp::Domain;

use super::asking::{Asking, Served};

/// Look-ups that one record may cost a receiver (RFC 7208 §4.6.4).
pub const LOOKUPS_MAX: usize = 10;
/// Of them without an answer (RFC 7208 §4.6.4).
pub const VOIDS_MAX: usize = 2;
/// Exchangers that one `mx` may have, and names that one `ptr` looks at (RFC 7208 §4.6.4).
const HOSTS_MAX: usize = 10;
/// Lines of a tree that is shown, and so the look-ups that are counted in one that never ends.
const TREE_LINES_MAX: usize = 64;
/// How deep the tree is looked into.
const DEPTH_MAX: usize = 12;

/// What a receiver would say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may send.
    Pass,
    /// It may not; the qualifier that decided says how strictly.
    Not(Qualifier),
    /// There is no record.
    NoRecord,
    /// The record cannot be followed (`permerror`).
    Broken(String),
    /// The DNS did not say.
    Unknown(String),
}

/// Whether an address may send for a domain. `hello` is what it says in EHLO.
pub fn judge(asking: &mut Asking<'_>, domain: &Domain, address: IpAddr, hello: &str) -> Verdict {
    let mut judge = Judge { asking, address: address.to_canonical(), sender: domain.to_ascii().into_owned(), hello, lookups: 0, voids: 0 };
    judge.host(domain)
}

struct Judge<'a, 'b> {
    asking: &'a mut Asking<'b>,
    address: IpAddr,
    sender: String,
    hello: &'a str,
    lookups: usize,
    voids: usize,
}

impl Judge<'_, '_> {
    fn host(&mut self, domain: &Domain) -> Verdict {
        let record = match record_of(self.asking, domain) {
            Ok(Some(record)) => record,
            Ok(None) => return Verdict::NoRecord,
            Err(verdict) => return verdict,
        };
        for term in &record.terms {
            match self.matches(domain, term) {
                Ok(true) if term.qualifier == Qualifier::Pass => return Verdict::Pass,
                Ok(true) => return Verdict::Not(term.qualifier),
                Ok(false) => {}
                Err(verdict) => return verdict,
            }
        }
        let Some(redirect) = &record.redirect else { return Verdict::Not(Qualifier::Neutral) };
        if let Err(verdict) = self.count() {
            return verdict;
        }
        let Some(target) = self.name(redirect, domain) else { return Verdict::Broken(format!("redirect={redirect} names no domain")) };
        match self.host(&target) {
            Verdict::NoRecord => Verdict::Broken(format!("redirect={redirect}: {target} has no SPF record")),
            other => other,
        }
    }

    fn matches(&mut self, domain: &Domain, term: &Term) -> Result<bool, Verdict> {
        match &term.mechanism {
            Mechanism::All => return Ok(true),
            Mechanism::Network(network, bits) => return Ok(is_in(self.address, *network, *bits)),
            _ => self.count()?,
        }
        let target = |judge: &Self, spec: Option<&str>| spec.map_or_else(|| Some(domain.clone()), |spec| judge.name(spec, domain));
        match &term.mechanism {
            Mechanism::All | Mechanism::Network(..) => Ok(false),
            Mechanism::Include(spec) => {
                let Some(target) = self.name(spec, domain) else { return Ok(false) };
                match self.host(&target) {
                    Verdict::Pass => Ok(true),
                    Verdict::Not(_) => Ok(false),
                    Verdict::NoRecord => Err(Verdict::Broken(format!("{}: {target} has no SPF record", term.text))),
                    other => Err(other),
                }
            }
            Mechanism::Addresses(spec, v4, v6) => {
                let Some(target) = target(self, spec.as_deref()) else { return Ok(false) };
                self.is_of_host(&target, *v4, *v6)
            }
            Mechanism::Mx(spec, v4, v6) => {
                let Some(target) = target(self, spec.as_deref()) else { return Ok(false) };
                let records = self.asking.mx(&target);
                let Some(records) = self.here(records)? else { return Ok(false) };
                if records.len() > HOSTS_MAX {
                    return Err(Verdict::Broken(format!("{}: {target} has more than {HOSTS_MAX} mail exchangers", term.text)));
                }
                self.any(records.iter().filter_map(|record| record.host.as_ref()), |judge, host| judge.is_of_host(host, *v4, *v6))
            }
            Mechanism::Ptr(spec) => {
                let Some(target) = target(self, spec.as_deref()) else { return Ok(false) };
                let names = self.asking.pointers(self.address);
                let Some(names) = self.here(names)? else { return Ok(false) };
                let below = names.iter().take(HOSTS_MAX).filter(|name| is_at_or_below(name, &target));
                self.any(below, |judge, name| judge.is_of_host(name, 32, 128))
            }
            Mechanism::Exists(spec) => {
                let Some(target) = self.name(spec, domain) else { return Ok(false) };
                let found = self.asking.addresses(&target);
                Ok(self.here(found)?.is_some_and(|found| found.iter().any(IpAddr::is_ipv4)))
            }
        }
    }

    /// Whether it holds for any; all are asked about before one that is not known decides.
    fn any<'d>(
        &mut self,
        hosts: impl Iterator<Item = &'d Domain>,
        holds: impl Fn(&mut Self, &Domain) -> Result<bool, Verdict>,
    ) -> Result<bool, Verdict> {
        let mut unknown = None;
        for host in hosts {
            match holds(self, host) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(verdict) => unknown = unknown.or(Some(verdict)),
            }
        }
        unknown.map_or(Ok(false), Err)
    }

    fn is_of_host(&mut self, host: &Domain, v4: u8, v6: u8) -> Result<bool, Verdict> {
        let found = self.asking.addresses(host);
        let width = if self.address.is_ipv4() { v4 } else { v6 };
        Ok(self.here(found)?.is_some_and(|found| found.iter().any(|network| is_in(self.address, network.to_canonical(), width))))
    }

    fn count(&mut self) -> Result<(), Verdict> {
        self.lookups += 1;
        if self.lookups > LOOKUPS_MAX { Err(Verdict::Broken(too_many_lookups())) } else { Ok(()) }
    }

    fn here<T>(&mut self, served: Served<T>) -> Result<Option<T>, Verdict> {
        match served {
            Served::Here(found) => Ok(Some(found)),
            Served::Unknown(why) => Err(Verdict::Unknown(why.into())),
            Served::Absent => {
                self.voids += 1;
                if self.voids > VOIDS_MAX { Err(Verdict::Broken(too_many_voids())) } else { Ok(None) }
            }
        }
    }

    fn name(&self, spec: &str, domain: &Domain) -> Option<Domain> {
        let ascii = domain.to_ascii();
        let facts =
            MacroFacts { address: self.address, local_part: "postmaster", sender_domain: &self.sender, domain: &ascii, hello: self.hello };
        Domain::parse(&expand(spec, &facts)?).ok()
    }
}

fn too_many_lookups() -> String {
    format!("it costs receivers more than {LOOKUPS_MAX} look-ups, and they give up there")
}

fn too_many_voids() -> String {
    format!("more than {VOIDS_MAX} of its look-ups find nothing, and receivers give up there")
}

/// The one record of a domain.
fn record_of(asking: &mut Asking<'_>, domain: &Domain) -> Result<Option<SpfRecord>, Verdict> {
    let texts = match asking.text(domain) {
        Served::Here(texts) => texts,
        Served::Absent => return Ok(None),
        Served::Unknown(why) => return Err(Verdict::Unknown(why.into())),
    };
    let records: Vec<_> = texts.iter().filter(|text| is_spf(text)).collect();
    match records[..] {
        [] => Ok(None),
        [record] => SpfRecord::parse(record).map(Some).map_err(|trouble| Verdict::Broken(format!("the record of {domain}: {trouble}"))),
        _ => Err(Verdict::Broken(format!("{domain} has {} SPF records, and may have one", records.len()))),
    }
}

fn is_at_or_below(name: &Domain, above: &Domain) -> bool {
    let (name, above) = (name.to_ascii(), above.to_ascii());
    name.strip_suffix(&*above).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

fn is_in(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

/// What a record costs an address that nothing in it matches: every term is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cost {
    /// Look-ups.
    pub lookups: usize,
    /// Of them without an answer.
    pub voids: usize,
    /// Each term that costs one, below the one that led to it.
    pub tree: Vec<String>,
    /// The DNS did not say all.
    pub unknown: bool,
    /// What is broken further down, which receivers take for broken as a whole.
    pub broken: Vec<String>,
}

impl Cost {
    /// What is wrong with it, in words.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.broken.clone();
        if self.lookups > LOOKUPS_MAX {
            faults.push(format!("it costs {} look-ups, and receivers give up after {LOOKUPS_MAX} (RFC 7208 §4.6.4)", self.lookups));
        }
        if self.voids > VOIDS_MAX {
            faults.push(format!("{} of its look-ups find nothing, and receivers give up after {VOIDS_MAX} (RFC 7208 §4.6.4)", self.voids));
        }
        faults
    }
}

/// Counts what a domain's record costs.
pub fn cost(asking: &mut Asking<'_>, domain: &Domain) -> Cost {
    let mut cost = Cost::default();
    count(asking, domain, 0, &mut cost);
    cost
}

fn count(asking: &mut Asking<'_>, domain: &Domain, depth: usize, cost: &mut Cost) {
    let record = match record_of(asking, domain) {
        Ok(Some(record)) => record,
        Ok(None) if depth > 0 => return cost.broken.push(format!("{domain} has no SPF record, and is named as if it had one")),
        Ok(None) => return,
        Err(Verdict::Broken(why)) => return cost.broken.push(why),
        Err(_) => {
            cost.unknown = true;
            return;
        }
    };
    let redirect = record.redirect.as_ref().map(|target| format!("redirect={target}"));
    let ends = record.terms.iter().any(|term| term.mechanism == Mechanism::All);
    let mut looked = record.terms.iter().map(|term| (&*term.text, Some(&term.mechanism))).collect::<Vec<_>>();
    // RFC 7208 §6.1: a redirect behind `all` is never followed.
    looked.extend(redirect.as_deref().filter(|_| !ends).map(|text| (text, None)));
    for (text, mechanism) in looked {
        if matches!(mechanism, Some(Mechanism::All | Mechanism::Network(..))) {
            continue;
        }
        if cost.tree.len() == TREE_LINES_MAX || depth == DEPTH_MAX {
            return;
        }
        cost.lookups += 1;
        cost.tree.push(format!("{:>2} {}{text}", cost.lookups, "  ".repeat(depth)));
        let plain = |spec: Option<&str>| match spec {
            None => Some(domain.clone()),
            // What a macro makes is different for each message.
            Some(spec) => Some(spec).filter(|spec| !spec.contains('%')).and_then(|spec| Domain::parse(spec).ok()),
        };
        let (target, is_void) = match mechanism {
            None => (plain(record.redirect.as_deref()), None),
            Some(Mechanism::Include(spec)) => (plain(Some(spec)), None),
            Some(Mechanism::Addresses(spec, ..)) => (None, plain(spec.as_deref()).map(|host| is_absent(&asking.addresses(&host), cost))),
            Some(Mechanism::Mx(spec, ..)) => (None, plain(spec.as_deref()).map(|host| is_absent(&asking.mx(&host), cost))),
            Some(Mechanism::Exists(_) | Mechanism::Ptr(_) | Mechanism::All | Mechanism::Network(..)) => (None, None),
        };
        cost.voids += usize::from(is_void == Some(true));
        if let Some(target) = target {
            count(asking, &target, depth + 1, cost);
        }
    }
}

fn is_absent<T>(served: &Served<T>, cost: &mut Cost) -> bool {
    cost.unknown |= matches!(served, Served::Unknown(_));
    matches!(served, Served::Absent)
}

#[cfg(test)]
mod tests {
    use super::super::asking::Zone;
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    const ZONE: &str = "
        a.example TXT v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all
        b.example TXT v=spf1 include:a.example ?all
        c.example TXT v=spf1 redirect=a.example
        d.example TXT v=spf1 a:host.example mx -all
        d.example MX 10 host2.example
        host.example A 198.51.100.1
        host2.example A 2001:db8:1::1
        host2.example A 198.51.100.2
        e.example TXT v=spf1 exists:%{i}.list.example ~all
        203.0.113.9.list.example A 127.0.0.2
        f.example TXT v=spf1 include:none.example -all
        g.example TXT v=spf1 -all
        g.example TXT v=spf1 +all
        h.example TXT v=spf1 nonsense -all
        i.example TXT v=spf1 include:i.example -all
        j.example TXT v=spf1 a:no1.example a:no2.example a:no3.example ip4:192.0.2.1 -all
        k.example TXT v=spf1 include:dark.example -all
        l.example TXT v=spf1 ptr -all
        192.0.2.7 PTR mx.l.example
        mx.l.example A 192.0.2.7
        m.example TXT google-site-verification=x
        n.example TXT v=spf1 a:%{d}.%{x}
        o.example TXT v=spf1 ip4:192.0.2.1 a a a a a a a a a a a -all
        o.example A 198.51.100.9
        p.example TXT v=spf1 redirect=none.example
        q.example TXT v=spf1 a:host.example/24 -all";

    #[test]
    fn addresses_are_judged_as_receivers_do() {
        let mut zone = Zone::new(ZONE);
        zone.dark.push("dark.example".into());
        for (name, address, said) in [
            ("a.example", "192.0.2.9", "pass"),
            ("a.example", "::ffff:192.0.2.9", "pass"),
            ("a.example", "2001:db8:9::1", "pass"),
            ("a.example", "198.51.100.9", "Fail"),
            ("b.example", "192.0.2.9", "pass"),
            ("b.example", "198.51.100.9", "Neutral"),
            ("c.example", "192.0.2.9", "pass"),
            ("c.example", "198.51.100.9", "Fail"),
            ("d.example", "198.51.100.1", "pass"),
            ("d.example", "198.51.100.2", "pass"),
            ("d.example", "2001:db8:1::1", "pass"),
            ("d.example", "198.51.100.3", "Fail"),
            ("e.example", "203.0.113.9", "pass"),
            ("e.example", "203.0.113.8", "SoftFail"),
            ("f.example", "192.0.2.1", "broken: include:none.example: none.example has no SPF record"),
            ("g.example", "192.0.2.1", "broken: g.example has 2 SPF records"),
            ("h.example", "192.0.2.1", "broken: the record of h.example: \"nonsense\" is no term"),
            ("i.example", "192.0.2.1", "broken: it costs receivers more than 10 look-ups"),
            ("j.example", "192.0.2.1", "broken: more than 2 of its look-ups find nothing"),
            ("k.example", "192.0.2.1", "unknown"),
            ("l.example", "192.0.2.7", "pass"),
            ("l.example", "192.0.2.8", "Fail"),
            ("m.example", "192.0.2.1", "no record"),
            ("nowhere.example", "192.0.2.1", "no record"),
            ("dark.example", "192.0.2.1", "unknown"),
            ("n.example", "192.0.2.1", "broken: the record of n.example"),
            ("o.example", "192.0.2.1", "pass"),
            ("o.example", "192.0.2.2", "broken: it costs receivers more than 10"),
            ("p.example", "192.0.2.2", "broken: redirect=none.example: none.example has no SPF record"),
            ("q.example", "198.51.100.77", "pass"),
        ] {
            let verdict = zone.run(|asking| judge(asking, &domain(name), address.parse().unwrap(), "mail.example"));
            let found = match verdict {
                Verdict::Pass => "pass".to_owned(),
                Verdict::Not(qualifier) => format!("{qualifier:?}"),
                Verdict::NoRecord => "no record".to_owned(),
                Verdict::Broken(why) => format!("broken: {why}"),
                Verdict::Unknown(_) => "unknown".to_owned(),
            };
            assert!(found.starts_with(said), "{name} {address}: {found}");
        }
    }

    #[test]
    fn what_a_record_costs() {
        let mut zone = Zone::new(ZONE);
        zone.dark.push("dark.example".into());
        for (name, lookups, voids, unknown, faults) in [
            ("a.example", 0, 0, false, 0),
            ("b.example", 1, 0, false, 0),
            ("d.example", 2, 0, false, 0),
            ("f.example", 1, 0, false, 1),
            ("i.example", 12, 0, false, 1),
            ("j.example", 3, 3, false, 1),
            ("k.example", 1, 0, true, 0),
            ("o.example", 11, 0, false, 1),
        ] {
            let cost = zone.run(|asking| cost(asking, &domain(name)));
            assert_eq!(
                (cost.lookups, cost.voids, cost.unknown, cost.faults().len()),
                (lookups, voids, unknown, faults),
                "{name}: {cost:?}"
            );
        }
        let cost = zone.run(|asking| cost(asking, &domain("d.example")));
        assert_eq!(cost.tree, [" 1 a:host.example", " 2 mx"]);
    }

    #[test]
    fn records_that_spread_without_end_cost_bounded_work() {
        let mut lines: Vec<String> = Vec::new();
        for nth in 0..200 {
            let includes: String = (1..=50).map(|more| format!(" include:s{}.example", (nth * 7 + more) % 200)).collect();
            lines.push(format!("s{nth}.example TXT v=spf1{includes} -all"));
        }
        let mut zone = Zone::new(&lines.join("\n"));
        let cost = zone.run(|asking| cost(asking, &domain("s0.example")));
        assert!(cost.lookups <= TREE_LINES_MAX && cost.lookups > LOOKUPS_MAX, "{}", cost.lookups);
        assert!(zone.asked <= super::super::asking::QUESTIONS_MAX, "{}", zone.asked);
    }
}
