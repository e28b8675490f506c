//! The DNS as data, with weather.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use postrider_model::doors::{AddressAnswer, AliasAnswer, DnsTrouble, MxAnswer, MxRecord, PointerAnswer, TextAnswer, pointer_name};
use postrider_model::limits::POINTERS_MAX;
use postrider_smtp::Domain;

use crate::chance::Chance;

/// Aliases that a resolver follows before it gives up.
const ALIASES_MAX: usize = 8;

/// What a domain has for MX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MxData {
    /// (preference, host).
    Hosts(Vec<(u16, Domain)>),
    /// One record with an empty host (RFC 7505).
    Null,
    /// None; the domain may have addresses (RFC 5321 §5.1, implicit MX).
    NoData,
}

/// How look-ups go, in hundredths of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DnsWeather {
    /// Nobody answers.
    pub fail_percent: u8,
    /// A server says, wrongly, that the name does not exist.
    pub no_name_percent: u8,
    /// The answer takes `slow`.
    pub slow_percent: u8,
    /// How long a slow answer takes.
    pub slow: Duration,
}

/// All names there are.
#[derive(Debug)]
pub struct Zones {
    domains: BTreeMap<Domain, MxData>,
    hosts: BTreeMap<Domain, Vec<IpAddr>>,
    texts: BTreeMap<Domain, Vec<Box<[u8]>>>,
    pointers: BTreeMap<Domain, Vec<Domain>>,
    aliases: BTreeMap<Domain, Domain>,
    /// The time to live of all answers.
    pub ttl: Duration,
    /// How look-ups go now.
    pub weather: DnsWeather,
    /// Names for which nobody answers, whatever the weather.
    pub dark: Vec<Domain>,
    chance: Chance,
    /// Look-ups so far.
    pub look_ups: u64,
    /// What was felt of the weather, by a name for people.
    pub felt: BTreeSet<&'static str>,
}

impl Zones {
    /// Empty zones; the seed decides which look-ups the weather hits.
    pub fn new(seed: u64) -> Self {
        Self {
            domains: BTreeMap::new(),
            hosts: BTreeMap::new(),
            texts: BTreeMap::new(),
            pointers: BTreeMap::new(),
            aliases: BTreeMap::new(),
            ttl: Duration::from_secs(300),
            weather: DnsWeather::default(),
            dark: Vec::new(),
            chance: Chance::new(seed),
            look_ups: 0,
            felt: BTreeSet::new(),
        }
    }

    /// Sets a domain's MX.
    pub fn domain(&mut self, name: Domain, mx: MxData) {
        self.domains.insert(name, mx);
    }

    /// Sets a host's addresses.
    pub fn host(&mut self, name: Domain, addresses: Vec<IpAddr>) {
        self.hosts.insert(name, addresses);
    }

    /// Sets a name's TXT records; none of them leaves the name without.
    pub fn text_records(&mut self, name: Domain, records: &[&str]) {
        self.texts.insert(name, records.iter().map(|record| record.as_bytes().into()).collect());
    }

    /// Sets an address's names.
    pub fn pointer(&mut self, address: IpAddr, names: Vec<Domain>) {
        if let Ok(name) = Domain::parse(&pointer_name(address)) {
            self.pointers.insert(name, names);
        }
    }

    /// Makes a name an alias, of which nothing else is asked.
    pub fn alias_of(&mut self, name: Domain, target: Domain) {
        self.aliases.insert(name, target);
    }

    /// The MX of a domain, and how long the answer takes.
    pub fn mx(&mut self, name: &Domain) -> (Duration, Result<MxAnswer, DnsTrouble>) {
        let (pause, found) = self.find(name);
        let ttl = self.ttl;
        let answer = found.and_then(|name| match self.domains.get(&name) {
            Some(MxData::Hosts(hosts)) if !hosts.is_empty() => {
                let records =
                    hosts.iter().map(|(preference, host)| MxRecord { preference: *preference, host: Some(host.clone()) }).collect();
                Ok(MxAnswer { records, ttl })
            }
            Some(MxData::Null) => {
                self.felt.insert("a domain says that it takes no mail");
                Ok(MxAnswer { records: vec![MxRecord { preference: 0, host: None }], ttl })
            }
            Some(MxData::Hosts(_) | MxData::NoData) | None => Err(self.absence(&name)),
        });
        (pause, answer)
    }

    /// The addresses of a host, and how long the answer takes.
    pub fn addresses(&mut self, name: &Domain) -> (Duration, Result<AddressAnswer, DnsTrouble>) {
        let (pause, found) = self.find(name);
        let answer = found.and_then(|name| self.one_of(&self.hosts, &name));
        (pause, answer.map(|addresses| AddressAnswer { addresses, ttl: self.ttl }))
    }

    /// The TXT records of a name, and how long the answer takes.
    pub fn text(&mut self, name: &Domain) -> (Duration, Result<TextAnswer, DnsTrouble>) {
        let (pause, found) = self.find(name);
        let answer = found.and_then(|name| self.one_of(&self.texts, &name));
        (pause, answer.map(|records| TextAnswer { records, ttl: self.ttl }))
    }

    /// The names of an address, and how long the answer takes.
    pub fn pointers(&mut self, address: IpAddr) -> (Duration, Result<PointerAnswer, DnsTrouble>) {
        let Ok(name) = Domain::parse(&pointer_name(address)) else {
            return (Duration::ZERO, Err(DnsTrouble::NoName { ttl: self.ttl }));
        };
        let (pause, found) = self.find(&name);
        let answer = found.and_then(|name| self.one_of(&self.pointers, &name));
        (pause, answer.map(|names| PointerAnswer { names: names.into_iter().take(POINTERS_MAX).collect(), ttl: self.ttl }))
    }

    /// What a name is an alias of, and how long the answer takes.
    pub fn alias(&mut self, name: &Domain) -> (Duration, Result<AliasAnswer, DnsTrouble>) {
        let (pause, strike) = self.strike(name);
        let answer = match (strike, self.aliases.get(name)) {
            (Some(trouble), _) => Err(trouble),
            (None, Some(target)) => Ok(AliasAnswer { target: target.clone(), ttl: self.ttl }),
            (None, None) => Err(self.absence(name)),
        };
        (pause, answer)
    }

    /// The name at the end of the aliases, and how long finding it takes.
    fn find(&mut self, name: &Domain) -> (Duration, Result<Domain, DnsTrouble>) {
        let (pause, strike) = self.strike(name);
        if let Some(trouble) = strike {
            return (pause, Err(trouble));
        }
        let mut name = name;
        for _ in 0..=ALIASES_MAX {
            let Some(target) = self.aliases.get(name) else { return (pause, Ok(name.clone())) };
            name = target;
        }
        (pause, Err(DnsTrouble::Failed("a chain of aliases without end".into())))
    }

    fn one_of<T: Clone>(&self, records: &BTreeMap<Domain, Vec<T>>, name: &Domain) -> Result<Vec<T>, DnsTrouble> {
        records.get(name).filter(|records| !records.is_empty()).cloned().ok_or_else(|| self.absence(name))
    }

    /// How a name is absent that was not found.
    fn absence(&self, name: &Domain) -> DnsTrouble {
        let exists = self.domains.contains_key(name)
            || self.hosts.contains_key(name)
            || self.texts.contains_key(name)
            || self.pointers.contains_key(name)
            || self.aliases.contains_key(name);
        if exists { DnsTrouble::NoData { ttl: self.ttl } } else { DnsTrouble::NoName { ttl: self.ttl } }
    }

    fn strike(&mut self, name: &Domain) -> (Duration, Option<DnsTrouble>) {
        self.look_ups += 1;
        let DnsWeather { fail_percent, no_name_percent, slow_percent, slow } = self.weather;
        let pause = if self.chance.percent(slow_percent) { slow } else { Duration::from_millis(1) };
        let failed = self.dark.contains(name) || self.chance.percent(fail_percent);
        let absent = self.chance.percent(no_name_percent);
        let strikes = [
            (pause == slow && !slow.is_zero(), "DNS answers are slow"),
            (failed, "DNS look-ups fail"),
            (absent && !failed, "the DNS denies a name"),
        ];
        self.felt.extend(strikes.iter().filter(|(strikes, _)| *strikes).map(|(_, felt)| *felt));
        let trouble = match (failed, absent) {
            (true, _) => Some(DnsTrouble::Failed("SERVFAIL".into())),
            (false, true) => Some(DnsTrouble::NoName { ttl: Duration::from_secs(1) }),
            (false, false) => None,
        };
        (pause, trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_kept_apart_from_absence() {
        let name = |text: &str| Domain::parse(text).unwrap();
        let mut zones = Zones::new(1);
        zones.domain(name("a.example"), MxData::Hosts(vec![(10, name("mx.a.example"))]));
        zones.domain(name("null.example"), MxData::Null);
        zones.domain(name("none.example"), MxData::NoData);
        zones.host(name("mx.a.example"), vec!["192.0.2.1".parse().unwrap()]);
        zones.dark.push(name("dark.example"));
        let mx = |zones: &mut Zones, text: &str| zones.mx(&name(text)).1;
        assert_eq!(mx(&mut zones, "a.example").unwrap().records[0].host, Some(name("mx.a.example")));
        assert_eq!(mx(&mut zones, "null.example").unwrap().records, [MxRecord { preference: 0, host: None }]);
        assert!(matches!(mx(&mut zones, "none.example"), Err(DnsTrouble::NoData { .. })));
        assert!(matches!(mx(&mut zones, "mx.a.example"), Err(DnsTrouble::NoData { .. })));
        assert!(matches!(mx(&mut zones, "gone.example"), Err(DnsTrouble::NoName { .. })));
        assert!(matches!(mx(&mut zones, "dark.example"), Err(DnsTrouble::Failed(_))));
        assert_eq!(zones.addresses(&name("mx.a.example")).1.unwrap().addresses.len(), 1);
        zones.weather = DnsWeather { fail_percent: 100, ..DnsWeather::default() };
        assert!(matches!(mx(&mut zones, "a.example"), Err(DnsTrouble::Failed(_))));
        zones.weather = DnsWeather { no_name_percent: 100, ..DnsWeather::default() };
        assert!(matches!(mx(&mut zones, "a.example"), Err(DnsTrouble::NoName { .. })));
        assert_eq!(zones.look_ups, 9);
    }

    #[test]
    fn text_names_of_addresses_and_aliases() {
        let name = |text: &str| Domain::parse(text).unwrap();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let mut zones = Zones::new(1);
        zones.text_records(name("_dmarc.a.example"), &["v=DMARC1; p=none"]);
        zones.pointer(address, vec![name("mx.a.example")]);
        zones.alias_of(name("s1._domainkey.a.example"), name("s1.keys.example"));
        zones.text_records(name("s1.keys.example"), &["p="]);
        zones.alias_of(name("loop.example"), name("loop.example"));
        assert_eq!(zones.text(&name("_dmarc.a.example")).1.unwrap().records, [Box::from(&b"v=DMARC1; p=none"[..])]);
        assert_eq!(zones.text(&name("s1._domainkey.a.example")).1.unwrap().records, [Box::from(&b"p="[..])]);
        assert_eq!(zones.alias(&name("s1._domainkey.a.example")).1.unwrap().target, name("s1.keys.example"));
        assert!(matches!(zones.alias(&name("s1.keys.example")).1, Err(DnsTrouble::NoData { .. })));
        assert!(matches!(zones.text(&name("gone.example")).1, Err(DnsTrouble::NoName { .. })));
        assert!(matches!(zones.text(&name("loop.example")).1, Err(DnsTrouble::Failed(_))));
        assert_eq!(zones.pointers(address).1.unwrap().names, [name("mx.a.example")]);
        assert!(matches!(zones.pointers("192.0.2.2".parse().unwrap()).1, Err(DnsTrouble::NoName { .. })));
        zones.dark.push(name("1.2.0.192.in-addr.arpa"));
        assert!(matches!(zones.pointers(address).1, Err(DnsTrouble::Failed(_))));
    }
}
