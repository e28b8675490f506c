//! The parts scenarios are put together from.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use postrider_flow::ReceiveLimits;
use postrider_lab::Personality;
use postrider_model::SourceName;
use postrider_model::policy::{Checking, Provider, ProviderMatch, RetryPolicy, Routing, Snapshot, Source, Timeouts};
use postrider_smtp::Domain;

use super::{ProviderPlan, Scenario};
use crate::world::clients::{ClientPlan, MailPlan, Wish};
use crate::world::strangers::Guise;

/// Octets of disk that nobody fills by accident.
pub const ROOMY: u64 = 1 << 33;

/// A domain from its name.
pub fn domain(name: &str) -> Domain {
    Domain::parse(name).expect("names in scenarios are domains")
}

/// The number-th provider: domains `p{number}.example` and `q{number}.example`, and two hosts.
pub fn provider(number: usize) -> ProviderPlan {
    let suffix = format!(".net{number}.example");
    let address = |last: u8| IpAddr::from([198, 51, 100 + number as u8, last]);
    let host = |name: &str, last: u8| (10, domain(&format!("{name}{suffix}")), vec![address(last)]);
    let policy = Provider {
        name: format!("net{number}").as_str().into(),
        matches: ProviderMatch::HostSuffix(vec![suffix.clone()]),
        rest: Duration::from_secs(30),
        rest_max: Duration::from_secs(300),
        ..Provider::fallback()
    };
    ProviderPlan {
        personality: Personality::honest(&format!("mx{suffix}")),
        domains: vec![domain(&format!("p{number}.example")), domain(&format!("q{number}.example"))],
        hosts: vec![host("mx1", 1), host("mx2", 2)],
        latency: Duration::from_millis(10),
        policy,
    }
}

/// A host that nobody names: mail comes to it by its address literal, `[198.51.0.9]`.
pub fn nameless() -> ProviderPlan {
    let host = (10, domain("nameless.example"), vec![IpAddr::from([198, 51, 0, 9])]);
    ProviderPlan {
        personality: Personality::honest("nameless"),
        domains: Vec::new(),
        hosts: vec![host],
        latency: Duration::from_millis(10),
        policy: Provider::fallback(),
    }
}

/// A mail from the home domain (that of provider 0, where reports go).
pub fn mail(not_before_ms: u64, from: &str, recipients: &[&str]) -> MailPlan {
    MailPlan {
        not_before_ms,
        reverse_path: from.to_owned(),
        recipients: recipients.iter().map(|r| (*r).to_owned()).collect(),
        body_octets: 300,
        eight_bit: false,
        break_at: None,
        wish: Wish::None,
        guise: Guise::Plain,
    }
}

/// A client of a tenant.
pub fn client(number: usize, user: &str, mails: Vec<MailPlan>) -> ClientPlan {
    ClientPlan {
        user: user.to_owned(),
        address: IpAddr::from([203, 0, 113, number as u8 + 1]),
        pipelined: number % 2 == 1,
        tries_max: 50,
        pause: Duration::from_secs(20),
        mails,
    }
}

/// A relay with two sources, impatient enough that a day passes quickly.
pub fn snapshot(providers: &[ProviderPlan]) -> Snapshot {
    let source = |name: &str, last: u8| Source {
        name: SourceName::new(name),
        address: Some(IpAddr::from([192, 0, 2, last])),
        ehlo_name: format!("{name}.relay.example"),
        proxy: None,
    };
    let mut policies: Vec<Provider> = providers.iter().map(|plan| plan.policy.clone()).collect();
    // Several providers of the lab may follow one policy.
    let mut seen = BTreeSet::new();
    policies.push(Provider::fallback());
    policies.retain(|policy| seen.insert(policy.name.clone()));
    let seconds = Duration::from_secs;
    Snapshot {
        host_name: "relay.example".into(),
        postmaster: None,
        sources: vec![source("out1", 25), source("out2", 26)],
        providers: policies,
        routing: Routing::default(),
        checking: Checking::default(),
        retry: RetryPolicy {
            intervals: [10, 30, 60, 300, 600].map(seconds).to_vec(),
            jitter_percent: 10,
            give_up: seconds(5_400),
            give_up_reports: seconds(5_400),
            ..RetryPolicy::default()
        },
        timeouts: Timeouts::default(),
        smtp_port: 25,
        chunking: true,
        connections_out_max: 100,
        public_url: None,
    }
}

/// A scenario in fine weather.
pub fn scenario(name: &str, seed: u64, providers: Vec<ProviderPlan>, clients: Vec<ClientPlan>) -> Scenario {
    Scenario {
        name: name.to_owned(),
        seed,
        snapshot: snapshot(&providers),
        limits: ReceiveLimits::default(),
        providers,
        domains: Vec::new(),
        tls_breaks: Vec::new(),
        dns_ttl: Duration::from_secs(300),
        clients,
        unsubscribers: Vec::new(),
        changes: Vec::new(),
        ends: Vec::new(),
        disk_octets: ROOMY,
        reserve_octets: 1 << 20,
        segment_octets: 128 * 1024,
        journal: seed.is_multiple_of(2),
        commit_pause: Duration::from_millis(1),
        clear_ms: 0,
        // Give-up time, the grace of the last attempt, and a report's own life.
        drain_ms: 6 * 3_600_000,
        strangers: false,
        texts: Vec::new(),
        fair: None,
    }
}
