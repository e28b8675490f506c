//! The DNS, by hickory-resolver over the machine's or the configured recursive servers (RFC 1035, RFC 2308; RFC 5321 §5.1 and RFC 7505 for mail).
//!
//! **Promises.** Absence is told only by a server that answered: `NoName` is NXDOMAIN, `NoData` an empty answer without error; a timeout, SERVFAIL, REFUSED,
//! FORMERR, a referral, a chain of aliases without end, or an answer without sense is `Failed`, and never bounces mail. Answers live in hickory's cache
//! for their time to live and no longer, and what is reported is what remains of it. Look-ups under way are bounded; the rest wait. Of several servers
//! the one that answered last is asked first; one that is silent, or answers without knowing, costs a look-up its time limit once, and hides no other's answer.
//!
//! **Never** reads `/etc/hosts`, and never appends a search domain: a mail domain is a full name (RFC 5321 §2.3.5).
//!
//! **Bends.** When one address family answers and the other fails, the answer counts, but only for [`HALF_ANSWER_TTL`]. An MX record whose host
//! is no domain name is left out, and so is such a PTR record; when none remains the answer has no sense.
//!
//! **Does badly.** It trusts the configured servers (no DNSSEC). An empty answer without an SOA costs one more question each time.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use postrider_model::BoxFuture;
use postrider_model::doors::{
    AddressAnswer, AliasAnswer, DnsTrouble, MxAnswer, MxRecord, PointerAnswer, Resolver, TextAnswer, pointer_name,
};
use postrider_model::limits::{POINTERS_MAX, TEXT_RECORD_OCTETS_MAX, TEXT_RECORDS_MAX};
use postrider_smtp::Domain;
use tokio::sync::Semaphore;

/// How long an answer counts in which one address family is missing because its look-up failed.
pub const HALF_ANSWER_TTL: Duration = Duration::from_secs(30);

/// How long it counts that a name is too long for the DNS: it will never exist.
const IMPOSSIBLE_NAME_TTL: Duration = Duration::from_secs(3600);

/// How the DNS is asked.
#[derive(Clone, Debug)]
pub struct ResolverSettings {
    /// Recursive servers; empty for the machine's own (`/etc/resolv.conf`).
    pub servers: Vec<SocketAddr>,
    /// Whether AAAA records are asked for.
    pub ipv6: bool,
    /// The time limit of one try.
    pub timeout: Duration,
    /// Tries after the first.
    pub retries: usize,
    /// Look-ups under way at once; each holds a descriptor.
    pub lookups_max: usize,
    /// Answers in the cache, for each server.
    pub answers_max: u64,
}

impl Default for ResolverSettings {
    fn default() -> Self {
        Self { servers: Vec::new(), ipv6: true, timeout: Duration::from_secs(5), retries: 2, lookups_max: 128, answers_max: 32_768 }
    }
}

/// The DNS could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("DNS: {0}")]
pub struct ResolverSetupTrouble(String);

/// Look-ups through recursive servers.
pub struct DnsResolver {
    /// One for each server: hickory's own choice among several counts an answer of "no such name" against a server as it counts silence, and
    /// forgets a truncated answer while another server is silent.
    servers: Vec<TokioResolver>,
    /// The place of the server that answered last; it is asked first.
    preferred: AtomicUsize,
    retries: usize,
    ipv6: bool,
    under_way: Semaphore,
    limit: Duration,
}

impl DnsResolver {
    /// Sets look-ups up; asks nothing yet. Must be called within a runtime.
    ///
    /// # Errors
    /// When the machine's own servers are wanted and it names none.
    pub fn new(settings: &ResolverSettings) -> Result<Self, ResolverSetupTrouble> {
        let trouble = |trouble: NetError| ResolverSetupTrouble(trouble.to_string());
        let config = if settings.servers.is_empty() {
            read_system_conf().map_err(trouble)?.0
        } else {
            ResolverConfig::from_name_servers(settings.servers.iter().map(|server| name_server(*server)).collect())
        };
        let one = |server: &NameServerConfig| {
            let config = ResolverConfig::from_name_servers(vec![server.clone()]);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            set_options(builder.options_mut(), settings);
            builder.build().map_err(trouble)
        };
        let servers = config.name_servers().iter().map(one).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(ResolverSetupTrouble("there is no server to ask".into()));
        }
        // One look-up may ask for each link of a chain of aliases; this ends it when all of them answer late. Servers that are dead get their time, too.
        let tries = settings.retries.saturating_add(1).saturating_mul(2).saturating_add(servers.len() - 1);
        let limit = settings.timeout.saturating_mul(u32::try_from(tries).unwrap_or(u32::MAX));
        let under_way = Semaphore::new(settings.lookups_max.max(1));
        Ok(Self { servers, preferred: AtomicUsize::new(0), retries: settings.retries, ipv6: settings.ipv6, under_way, limit })
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Lookup, DnsTrouble> {
        let _place = self.under_way.acquire().await.map_err(|_| DnsTrouble::Failed("shutting down".into()))?;
        let asked = self.ask_in_turn(name, kind);
        tokio::time::timeout(self.limit, asked).await.unwrap_or_else(|_| Err(DnsTrouble::Failed("request timed out".into())))
    }

    /// Asks one server after the other until one knows; those that said nothing are asked again, `retries` times.
    async fn ask_in_turn(&self, name: &Name, kind: RecordType) -> Result<Lookup, DnsTrouble> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut turn: Vec<usize> = (0..self.servers.len()).map(|nth| (first + nth) % self.servers.len()).collect();
        let (mut said, mut unheard) = (None, DnsTrouble::Failed("request timed out".into()));
        for _ in 0..=self.retries {
            let mut silent = Vec::new();
            for place in turn {
                let trouble = match self.servers[place].lookup(name.clone(), kind).await {
                    Ok(lookup) => {
                        self.preferred.store(place, Ordering::Relaxed);
                        return Ok(lookup);
                    }
                    Err(NetError::Dns(DnsError::NoRecordsFound(none))) => self.absence(place, &none).await,
                    Err(trouble) => {
                        unheard = DnsTrouble::Failed(trouble.to_string());
                        silent.push(place);
                        continue;
                    }
                };
                if !matches!(trouble, DnsTrouble::Failed(_)) {
                    self.preferred.store(place, Ordering::Relaxed);
                    return Err(trouble);
                }
                // It answered, and does not know; another may.
                said = Some(trouble);
            }
            if said.is_some() || silent.is_empty() {
                break;
            }
            turn = silent;
        }
        Err(said.unwrap_or(unheard))
    }

    /// What an answer without records says (RFC 2308 §2).
    async fn absence(&self, place: usize, none: &NoRecords) -> DnsTrouble {
        let ttl = Duration::from_secs(none.negative_ttl.unwrap_or(0).into());
        match none.response_code {
            ResponseCode::NXDomain => DnsTrouble::NoName { ttl },
            ResponseCode::NoError if none.soa.is_some() => DnsTrouble::NoData { ttl },
            ResponseCode::NoError if none.ns.is_some() => DnsTrouble::Failed("the server gave a referral instead of an answer".into()),
            // Either a server that leaves the SOA out, or a chain of aliases that hickory gave up on; the two look alike. An alias at its
            // end tells.
            ResponseCode::NoError => {
                let alias = self.servers[place].lookup(none.query.name().clone(), RecordType::CNAME);
                match tokio::time::timeout(self.limit, alias).await {
                    Ok(Ok(_)) => DnsTrouble::Failed("a chain of aliases without end".into()),
                    Ok(Err(NetError::Dns(DnsError::NoRecordsFound(_)))) => DnsTrouble::NoData { ttl },
                    Ok(Err(trouble)) => DnsTrouble::Failed(trouble.to_string()),
                    Err(_) => DnsTrouble::Failed("request timed out".into()),
                }
            }
            code => DnsTrouble::Failed(format!("error response: {code}")),
        }
    }

    async fn addresses_of(&self, name: &Name, kind: RecordType) -> Result<AddressAnswer, DnsTrouble> {
        let lookup = self.ask(name, kind).await?;
        let addresses: Vec<_> = lookup.answers().iter().filter_map(|record| address_record(&record.data)).collect();
        if addresses.is_empty() {
            return Err(DnsTrouble::Failed("an answer without addresses".into()));
        }
        Ok(AddressAnswer { addresses, ttl: remaining(&lookup) })
    }
}

impl Resolver for DnsResolver {
    fn mx(&self, domain: &Domain) -> BoxFuture<'_, Result<MxAnswer, DnsTrouble>> {
        let name = dns_name(domain);
        Box::pin(async move {
            let lookup = self.ask(&name?, RecordType::MX).await?;
            let records: Vec<_> = lookup.answers().iter().filter_map(|record| mx_record(&record.data)).collect();
            if records.is_empty() {
                return Err(DnsTrouble::Failed("no MX record names a host".into()));
            }
            Ok(MxAnswer { records, ttl: remaining(&lookup) })
        })
    }

    fn addresses(&self, host: &Domain) -> BoxFuture<'_, Result<AddressAnswer, DnsTrouble>> {
        let name = dns_name(host);
        Box::pin(async move {
            let name = name?;
            if !self.ipv6 {
                return self.addresses_of(&name, RecordType::A).await;
            }
            let (v6, v4) = tokio::join!(self.addresses_of(&name, RecordType::AAAA), self.addresses_of(&name, RecordType::A));
            both_families(v6, v4)
        })
    }

    fn family(&self, host: &Domain, ipv6: bool) -> BoxFuture<'_, Result<AddressAnswer, DnsTrouble>> {
        let name = dns_name(host);
        Box::pin(async move { self.addresses_of(&name?, if ipv6 { RecordType::AAAA } else { RecordType::A }).await })
    }

    fn text(&self, name: &Domain) -> BoxFuture<'_, Result<TextAnswer, DnsTrouble>> {
        let name = dns_name(name);
        Box::pin(async move {
            let lookup = self.ask(&name?, RecordType::TXT).await?;
            let records = text_records(lookup.answers().iter().map(|record| &record.data))?;
            Ok(TextAnswer { records, ttl: remaining(&lookup) })
        })
    }

    fn pointers(&self, address: IpAddr) -> BoxFuture<'_, Result<PointerAnswer, DnsTrouble>> {
        let name = full_name(&pointer_name(address));
        Box::pin(async move {
            let lookup = self.ask(&name?, RecordType::PTR).await?;
            let names: Vec<_> = lookup.answers().iter().filter_map(|record| pointer_record(&record.data)).take(POINTERS_MAX).collect();
            if names.is_empty() {
                return Err(DnsTrouble::Failed("no PTR record names a host".into()));
            }
            Ok(PointerAnswer { names, ttl: remaining(&lookup) })
        })
    }

    fn alias(&self, name: &Domain) -> BoxFuture<'_, Result<AliasAnswer, DnsTrouble>> {
        let name = dns_name(name);
        Box::pin(async move {
            let name = name?;
            let lookup = self.ask(&name, RecordType::CNAME).await?;
            let first = lookup.answers().iter().filter(|record| record.name == name).find_map(|record| alias_record(&record.data));
            let target = first.ok_or_else(|| DnsTrouble::Failed("no CNAME record names a host".into()))?;
            Ok(AliasAnswer { target, ttl: remaining(&lookup) })
        })
    }
}

fn set_options(options: &mut ResolverOpts, settings: &ResolverSettings) {
    options.timeout = settings.timeout;
    // Trying again is ours.
    options.attempts = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = settings.answers_max;
    options.max_active_requests = settings.lookups_max.max(1);
    options.edns0 = true;
    // The aliases carry their own time to live, which bounds the answer's.
    options.preserve_intermediates = true;
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connection = |protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = server.port();
        connection
    };
    NameServerConfig::new(server.ip(), true, vec![connection(ProtocolConfig::Udp), connection(ProtocolConfig::Tcp)])
}

/// The domain in A-labels, as a full name. One that the DNS cannot hold (RFC 1035 §2.3.4) does not exist.
fn dns_name(domain: &Domain) -> Result<Name, DnsTrouble> {
    full_name(&domain.to_ascii())
}

fn full_name(text: &str) -> Result<Name, DnsTrouble> {
    let mut name = Name::from_ascii(text).map_err(|_| DnsTrouble::NoName { ttl: IMPOSSIBLE_NAME_TTL })?;
    name.set_fqdn(true);
    Ok(name)
}

/// A record of an MX answer, when it is one whose host is a name that mail can use; the root stands for "no mail" (RFC 7505 §3).
pub(crate) fn mx_record(data: &RData) -> Option<MxRecord> {
    let RData::MX(mx) = data else { return None };
    let host = if mx.exchange.is_root() { None } else { Some(Domain::parse(&mx.exchange.to_ascii()).ok()?) };
    Some(MxRecord { preference: mx.preference, host })
}

/// The address of a record of an address answer.
pub(crate) fn address_record(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// The records of a TXT answer, each with its strings joined. Too many or too long ones are a failure: what would be left out could be what decides.
pub(crate) fn text_records<'a>(answers: impl Iterator<Item = &'a RData>) -> Result<Vec<Box<[u8]>>, DnsTrouble> {
    let mut records = Vec::new();
    for data in answers {
        let RData::TXT(text) = data else { continue };
        let octets: usize = text.txt_data.iter().map(|string| string.len()).sum();
        if octets > TEXT_RECORD_OCTETS_MAX {
            return Err(DnsTrouble::Failed(format!("a TXT record of {octets} octets; {TEXT_RECORD_OCTETS_MAX} are the most that is read")));
        }
        if records.len() == TEXT_RECORDS_MAX {
            return Err(DnsTrouble::Failed(format!("more than {TEXT_RECORDS_MAX} TXT records at one name")));
        }
        records.push(text.txt_data.concat().into_boxed_slice());
    }
    if records.is_empty() { Err(DnsTrouble::Failed("an answer without TXT records".into())) } else { Ok(records) }
}

/// The name in a PTR record, when it is one of a host.
pub(crate) fn pointer_record(data: &RData) -> Option<Domain> {
    let RData::PTR(name) = data else { return None };
    Domain::parse(&name.to_ascii()).ok()
}

/// The name in a CNAME record, when it is one that can be asked again.
pub(crate) fn alias_record(data: &RData) -> Option<Domain> {
    let RData::CNAME(name) = data else { return None };
    Domain::parse(&name.to_ascii()).ok()
}

/// What remains of the shortest time to live in the answer: hickory counts it down in the cached records.
fn remaining(lookup: &Lookup) -> Duration {
    Duration::from_secs(lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0).into())
}

/// One answer from two. Absence needs both families to say so.
fn both_families(v6: Result<AddressAnswer, DnsTrouble>, v4: Result<AddressAnswer, DnsTrouble>) -> Result<AddressAnswer, DnsTrouble> {
    use DnsTrouble::{Failed, NoData, NoName};
    match (v6, v4) {
        (Ok(mut v6), Ok(v4)) => {
            v6.addresses.extend(v4.addresses);
            Ok(AddressAnswer { addresses: v6.addresses, ttl: v6.ttl.min(v4.ttl) })
        }
        (Ok(answer), Err(Failed(_))) | (Err(Failed(_)), Ok(answer)) => Ok(AddressAnswer { ttl: answer.ttl.min(HALF_ANSWER_TTL), ..answer }),
        (Ok(answer), Err(NoData { .. } | NoName { .. })) | (Err(NoData { .. } | NoName { .. }), Ok(answer)) => Ok(answer),
        (Err(Failed(why)), Err(_)) | (Err(_), Err(Failed(why))) => Err(Failed(why)),
        (Err(NoName { ttl: one }), Err(NoName { ttl: other })) => Err(NoName { ttl: one.min(other) }),
        // Some servers deny a name for the one type they do not know; the other's word that it exists is the safer one.
        (Err(NoName { ttl: one } | NoData { ttl: one }), Err(NoName { ttl: other } | NoData { ttl: other })) => {
            Err(NoData { ttl: one.min(other) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_needs_both_families() {
        use DnsTrouble::{Failed, NoData, NoName};
        let seconds = Duration::from_secs;
        let answer = |address: &str, ttl| Ok(AddressAnswer { addresses: vec![address.parse().unwrap()], ttl: seconds(ttl) });
        let failed = || Err(Failed("x".into()));
        let (no_data, no_name) = (|ttl| Err(NoData { ttl: seconds(ttl) }), |ttl| Err(NoName { ttl: seconds(ttl) }));
        let both = Ok(AddressAnswer { addresses: vec!["2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap()], ttl: seconds(60) });
        for (v6, v4, expected) in [
            (answer("2001:db8::1", 300), answer("192.0.2.1", 60), both),
            (failed(), answer("192.0.2.1", 300), answer("192.0.2.1", 30)),
            (answer("2001:db8::1", 10), failed(), answer("2001:db8::1", 10)),
            (no_data(5), answer("192.0.2.1", 300), answer("192.0.2.1", 300)),
            (no_name(5), answer("192.0.2.1", 300), answer("192.0.2.1", 300)),
            (no_data(5), no_data(9), no_data(5)),
            (no_data(5), failed(), failed()),
            (failed(), no_name(5), failed()),
            (failed(), failed(), failed()),
            (no_name(7), no_name(5), no_name(5)),
            (no_name(7), no_data(5), no_data(5)),
        ] {
            assert_eq!(both_families(v6, v4), expected);
        }
    }

    #[test]
    fn names_are_full_and_in_a_labels() {
        let name = |text: &str| dns_name(&Domain::parse(text).unwrap()).map(|name| name.to_ascii());
        assert_eq!(name("bücher.example"), Ok("xn--bcher-kva.example.".into()));
        assert_eq!(name("a_b.example"), Ok("a_b.example.".into()));
        let label = "b".repeat(63);
        let long = format!("{label}.{label}.{label}.{}", "b".repeat(63));
        assert!(matches!(name(&long), Err(DnsTrouble::NoName { .. })), "255 octets of text are 257 on the wire");
    }
}
