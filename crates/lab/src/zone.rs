//! The DNS as data, with weather.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use postrider_model::doors::{AddressAnswer, DnsTrouble, MxAnswer, MxRecord};
use postrider_smtp::Domain;

use crate::chance::Chance;

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

    /// The MX of a domain, and how long the answer takes.
    pub fn mx(&mut self, name: &Domain) -> (Duration, Result<MxAnswer, DnsTrouble>) {
        let (pause, strike) = self.strike(name);
        if let Some(trouble) = strike {
            return (pause, Err(trouble));
        }
        let ttl = self.ttl;
        let records = match self.domains.get(name) {
            Some(MxData::Hosts(hosts)) if !hosts.is_empty() => {
                hosts.iter().map(|(preference, host)| MxRecord { preference: *preference, host: Some(host.clone()) }).collect()
            }
            Some(MxData::Null) => {
                self.felt.insert("a domain says that it takes no mail");
                vec![MxRecord { preference: 0, host: None }]
            }
            Some(MxData::Hosts(_) | MxData::NoData) => return (pause, Err(DnsTrouble::NoData { ttl })),
            None if self.hosts.contains_key(name) => return (pause, Err(DnsTrouble::NoData { ttl })),
            None => return (pause, Err(DnsTrouble::NoName { ttl })),
        };
        (pause, Ok(MxAnswer { records, ttl }))
    }

    /// The addresses of a host, and how long the answer takes.
    pub fn addresses(&mut self, name: &Domain) -> (Duration, Result<AddressAnswer, DnsTrouble>) {
        let (pause, strike) = self.strike(name);
        if let Some(trouble) = strike {
            return (pause, Err(trouble));
        }
        let ttl = self.ttl;
        match self.hosts.get(name) {
            Some(addresses) if !addresses.is_empty() => (pause, Ok(AddressAnswer { addresses: addresses.clone(), ttl })),
            Some(_) => (pause, Err(DnsTrouble::NoData { ttl })),
            None if self.domains.contains_key(name) => (pause, Err(DnsTrouble::NoData { ttl })),
            None => (pause, Err(DnsTrouble::NoName { ttl })),
        }
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
}
