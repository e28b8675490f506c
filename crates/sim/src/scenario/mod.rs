//! What happens in one run: all of it chosen before it begins.

pub mod build;
pub mod named;
pub mod pools;
pub mod random;
pub mod records;
pub mod routes;
pub mod strangers;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_flow::ReceiveLimits;
use postrider_lab::{DnsWeather, Fault, FaultKind, Hostile, Manner, Moment, MxData, Personality, Zones};
use postrider_model::policy::{DomainMatch, Provider, QuotaLimits, Remote, SmartHost, Snapshot, Target};
use postrider_smtp::Domain;

use crate::world::clients::ClientPlan;
use crate::world::disk::{Crash, Failing, Loss};
use crate::world::net::Reach;
use crate::world::{RegistryWeather, Unsubscriber};

/// A whole scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What people call it.
    pub name: String,
    /// Where its chance comes from.
    pub seed: u64,
    /// The relay's policy.
    pub snapshot: Snapshot,
    /// The relay's limits.
    pub limits: ReceiveLimits,
    /// The mailbox providers.
    pub providers: Vec<ProviderPlan>,
    /// Domains without a provider.
    pub domains: Vec<(Domain, MxData)>,
    /// Hosts with which no TLS handshake succeeds.
    pub tls_breaks: Vec<String>,
    /// Time to live of DNS answers.
    pub dns_ttl: Duration,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// Those who ask for silence.
    pub unsubscribers: Vec<Unsubscriber>,
    /// What changes, and when, in milliseconds since the beginning; in order.
    pub changes: Vec<(u64, Change)>,
    /// How each life ends before its time; further lives end when all is done.
    pub ends: Vec<End>,
    /// How much the disk holds at first.
    pub disk_octets: u64,
    /// The relay's reserve on it.
    pub reserve_octets: u64,
    /// Octets of a segment.
    pub segment_octets: u32,
    /// Whether the spool keeps its history in files.
    pub journal: bool,
    /// How long the committer waits before it takes what is there.
    pub commit_pause: Duration,
    /// When the weather is fine for ever, in milliseconds since the beginning.
    pub clear_ms: u64,
    /// How long after that the spool may take to drain.
    pub drain_ms: u64,
    /// The clients are strangers, whose mail is verified (`[verify]`), not clients of ours.
    pub strangers: bool,
    /// TXT records.
    pub texts: Vec<(Domain, String)>,
    /// A tenant whose mail must arrive within so many milliseconds of its 250, whatever others queue.
    pub fair: Option<(String, u64)>,
}

impl Scenario {
    /// How many connections a policy allows to each provider.
    pub fn connections_max(&self, snapshot: &Snapshot) -> Vec<u32> {
        let of = |plan: &ProviderPlan| {
            let named = snapshot.providers.iter().find(|policy| policy.name == plan.policy.name);
            named.map_or(plan.policy.connections_max, |policy| policy.connections_max)
        };
        self.providers.iter().map(of).collect()
    }

    /// Whether the DNS denies names that exist, at some time.
    pub fn dns_lies(&self) -> bool {
        self.changes.iter().any(|(_, change)| matches!(change, Change::Dns(weather) if weather.no_name_percent > 0))
    }

    /// The recipient hosts each provider takes mail for, as the DNS says, or the first rule that names them; literals in their brackets.
    pub fn homes(&self) -> Vec<BTreeSet<String>> {
        let rules = &self.snapshot.routing.rules;
        let routed = |host: &String| rules.iter().any(|rule| rule.recipients.contains(&DomainMatch::Exact(host.clone())));
        let of = |plan: &ProviderPlan| {
            let own = plan.domains.iter().map(ToString::to_string).chain(plan.addresses().map(|address| format!("[{address}]")));
            let mut homes: BTreeSet<String> = own.filter(|host| !routed(host)).collect();
            for rule in rules.iter().filter(|rule| plan.smart_hosts(&rule.target).next().is_some()) {
                homes.extend(
                    rule.recipients.iter().filter_map(|set| if let DomainMatch::Exact(name) = set { Some(name.clone()) } else { None }),
                );
            }
            homes
        };
        self.providers.iter().map(of).collect()
    }

    /// What each provider takes as a smart host.
    pub fn quotas(&self) -> Vec<QuotaLimits> {
        let of = |plan: &ProviderPlan| {
            let mut hosts = self.snapshot.routing.rules.iter().flat_map(|rule| plan.smart_hosts(&rule.target));
            hosts.next().map_or(QuotaLimits::default(), |host| host.quota)
        };
        self.providers.iter().map(of).collect()
    }

    /// Domains whose provider never says "never", in a DNS that never denies a name: mail to a plain user there may be late, but is not bounced before its time.
    pub fn patient_domains(&self) -> BTreeSet<String> {
        if self.dns_lies() {
            return BTreeSet::new();
        }
        let mut harsh = BTreeSet::new();
        for (_, change) in &self.changes {
            if let Change::Personality(number, personality) = change
                && says_never(personality)
            {
                harsh.insert(*number);
            }
        }
        harsh.extend(self.providers.iter().enumerate().filter(|(_, plan)| says_never(&plan.personality)).map(|(nth, _)| nth));
        let domains = self.providers.iter().flat_map(|plan| plan.domains.iter().map(ToString::to_string));
        let homes = self.homes();
        domains.filter(|domain| !harsh.iter().any(|nth| homes[*nth].contains(domain))).collect()
    }
}

/// Whether a provider may say "never" to mail it has seen, or something that can be read so.
fn says_never(personality: &Personality) -> bool {
    let throttles = personality.throttle.is_some_and(|throttle| throttle.manner == Manner::Permanent);
    let replies = |fault: &Fault| match &fault.kind {
        FaultKind::Reply(text) | FaultKind::ReplyAndDrop(text) => text.starts_with('5'),
        FaultKind::Hostile(kind) => matches!(kind, Hostile::Bare550 | Hostile::Differing | Hostile::Double),
        FaultKind::Drop | FaultKind::Silence | FaultKind::TakeAndDrop | FaultKind::TakeAndSilence => false,
    };
    // Before MAIL a 5yz speaks of the host, and not of the mail. A double reply puts all that follow out of step, and then one may be a 503.
    let out_of_step = |fault: &&Fault| matches!(fault.kind, FaultKind::Hostile(Hostile::Double));
    let after_mail = |fault: &&Fault| out_of_step(fault) || !matches!(fault.at, Moment::Connect | Moment::Hello | Moment::Quit);
    throttles || personality.faults.iter().filter(after_mail).any(replies)
}

/// A mailbox provider in a scenario.
#[derive(Debug, Clone)]
pub struct ProviderPlan {
    /// How it behaves at first.
    pub personality: Personality,
    /// The domains it takes mail for.
    pub domains: Vec<Domain>,
    /// Its hosts with their preference and addresses.
    pub hosts: Vec<(u16, Domain, Vec<IpAddr>)>,
    /// How far away it is.
    pub latency: Duration,
    /// The policy that the relay follows with it.
    pub policy: Provider,
}

impl ProviderPlan {
    /// All its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.hosts.iter().flat_map(|(_, _, addresses)| addresses.iter().copied())
    }

    /// Its place among the smart hosts of a target, when it is one of them.
    pub fn place_in(&self, target: &Target) -> Option<usize> {
        let Target::SmartHosts(hosts) = target else { return None };
        let own = self.smart_hosts(target).next()?;
        hosts.iter().position(|host| host.name == own.name)
    }

    /// The smart hosts of a target that are this provider.
    fn smart_hosts<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = &'a SmartHost> + 'a {
        let hosts = if let Target::SmartHosts(hosts) = target { hosts.as_slice() } else { &[] };
        hosts.iter().map(|host| &**host).filter(|smart| match &smart.host {
            Remote::Name(name) => self.hosts.iter().any(|(_, host, _)| host == name),
            Remote::Address(address) => self.addresses().any(|own| own == *address),
        })
    }

    pub(crate) fn publish(&self, zones: &mut Zones) {
        for domain in &self.domains {
            let hosts = self.hosts.iter().map(|(preference, host, _)| (*preference, host.clone())).collect();
            zones.domain(domain.clone(), MxData::Hosts(hosts));
        }
        for (_, host, addresses) in &self.hosts {
            zones.host(host.clone(), addresses.clone());
        }
    }
}

/// A change of the weather.
#[derive(Debug, Clone)]
pub enum Change {
    /// A provider behaves otherwise.
    Personality(usize, Box<Personality>),
    /// A provider can be reached otherwise.
    Reach(usize, Reach),
    /// The DNS behaves otherwise.
    Dns(DnsWeather),
    /// So many of a hundred connections break.
    Breaks(u8),
    /// The disk holds so much.
    Disk(u64),
    /// A sync fails, or none any more.
    FailSync(Option<Failing>),
    /// The registry answers otherwise.
    Registry(RegistryWeather),
    /// The policy is another one.
    Reload(Arc<Snapshot>),
    /// A stream (`tenant/stream`) names another pool, or none.
    Pool(&'static str, Option<&'static str>),
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// When.
    pub when: When,
    /// How.
    pub how: How,
    /// How long there is no relay then, in milliseconds.
    pub down_ms: u64,
}

/// When a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At its k-th changing operation of the disk, or the k-th in the midst of some work.
    Disk(Crash),
    /// So many milliseconds after it began.
    After(u64),
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The power goes.
    Power(Loss),
    /// The process is killed; the machine goes on.
    Kill,
    /// It is told to drain.
    Drain,
    /// It is told to drain, and at the k-th changing operation of the disk from then on the power goes.
    DrainAndPower(Loss, u64),
}
