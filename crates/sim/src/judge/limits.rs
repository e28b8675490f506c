//! C3: what providers saw stays within the policy. C6: windows, and a small tenant beside a flood.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use postrider_model::Timestamp;
use postrider_model::policy::{QuotaLimits, Rate};

use super::Found;
use super::evidence::Evidence;
use crate::world::Fact;

/// Parcels a connection may have at hand beyond what its permit let go at this instant: they arrive late, and so too near each other.
const AT_HAND: u64 = 2;

pub(super) fn check(evidence: &Evidence, found: &mut Found) {
    connections(evidence, found);
    messages(evidence, found);
    rates(evidence, found);
    quotas(evidence, found);
    for complaint in &evidence.complaints {
        found.say("C3", format!("a provider complains: {complaint}"));
    }
    windows(evidence, found);
    fairness(evidence, found);
}

/// Who shares permits: the provider's name where its Sites share, else the remote itself.
fn scope(evidence: &Evidence, remote: usize) -> String {
    match evidence.policies.get(remote) {
        Some(policy) if policy.provider.shared => policy.provider.name.to_string(),
        _ => format!("remote {remote}"),
    }
}

/// How long a connection may have been under way under the limits before a reload.
const DIALLING_MS: u64 = 600_000;

/// The connections each remote allows, as reloads change it.
struct Allowed<'a> {
    evidence: &'a Evidence,
    reloads: Vec<(Timestamp, &'a Vec<u32>)>,
}

impl Allowed<'_> {
    /// The most that any policy allowed that was in force lately.
    fn at(&self, remote: usize, now: Timestamp) -> usize {
        let limit = |limits: &Vec<u32>| limits.get(remote).copied().unwrap_or(u32::MAX);
        let mut most = self.evidence.policies[remote].provider.connections_max;
        for (at, limits) in &self.reloads {
            most = if at.millis() + DIALLING_MS <= now.millis() { limit(limits) } else { most.max(limit(limits)) };
        }
        most as usize
    }
}

fn connections(evidence: &Evidence, found: &mut Found) {
    let mut allowed = Allowed { evidence, reloads: Vec::new() };
    let mut open: BTreeMap<(String, IpAddr), BTreeSet<u64>> = BTreeMap::new();
    let mut all = BTreeSet::new();
    let mut where_of = BTreeMap::new();
    for (at, fact) in &evidence.facts {
        match fact {
            Fact::Reloaded(limits) => allowed.reloads.push((*at, limits)),
            Fact::Opened { remote, source, connection } => {
                let key = (scope(evidence, *remote), *source);
                where_of.insert(*connection, key.clone());
                all.insert(*connection);
                let here = open.entry(key.clone()).or_default();
                here.insert(*connection);
                let max = allowed.at(*remote, *at);
                if here.len() > max {
                    let at = Evidence::clock(*at);
                    found.say("C3", format!("{} connections from {} to {} at {at}, and {max} are allowed", here.len(), key.1, key.0));
                }
                if all.len() > evidence.connections_out_max as usize {
                    found.say("C3", format!("{} connections in all at {}", all.len(), Evidence::clock(*at)));
                }
            }
            Fact::Closed { connection } => {
                all.remove(connection);
                if let Some(here) = where_of.get(connection).and_then(|key| open.get_mut(key)) {
                    here.remove(connection);
                }
            }
            _ => {}
        }
    }
}

fn messages(evidence: &Evidence, found: &mut Found) {
    for (remote, transactions) in evidence.transactions.iter().enumerate() {
        let provider = &evidence.policies[remote].provider;
        let mut count: BTreeMap<u64, u32> = BTreeMap::new();
        for (_, _, session) in transactions {
            *count.entry(*session).or_default() += 1;
        }
        let max = provider.messages_per_connection_max;
        for (session, count) in count.into_iter().filter(|(_, count)| *count > max) {
            found.say("C3", format!("{count} messages in session {session} of remote {remote}, and {max} are allowed"));
        }
    }
    for told in &evidence.told {
        let max = evidence.policies[told.remote].provider.recipients_per_message_max as usize;
        if told.taken.recipients.len() > max {
            found.say("C3", format!("{} recipients in one transaction, and {max} are allowed", told.taken.recipients.len()));
        }
    }
}

fn rates(evidence: &Evidence, found: &mut Found) {
    let mut opened: BTreeMap<(String, IpAddr), Vec<Timestamp>> = BTreeMap::new();
    let mut sent: BTreeMap<(String, IpAddr), Vec<Timestamp>> = BTreeMap::new();
    let mut policies = BTreeMap::new();
    for (remote, transactions) in evidence.transactions.iter().enumerate() {
        for (at, peer, _) in transactions {
            let key = (scope(evidence, remote), *peer);
            policies.insert(key.clone(), &evidence.policies[remote].provider);
            sent.entry(key).or_default().push(*at);
        }
    }
    for (at, fact) in &evidence.facts {
        if let Fact::Opened { remote, source, .. } = fact {
            let key = (scope(evidence, *remote), *source);
            policies.insert(key.clone(), &evidence.policies[*remote].provider);
            opened.entry(key).or_default().push(*at);
        }
    }
    let crashes: Vec<Timestamp> = evidence.facts.iter().filter(|(_, f)| matches!(f, Fact::LifeEnded(_))).map(|(at, _)| *at).collect();
    for (key, provider) in policies {
        let at_hand = u64::from(provider.connections_max) * AT_HAND;
        if let (Some(rate), Some(times)) = (provider.message_rate, sent.get_mut(&key)) {
            times.sort();
            rate_of("messages", &key, rate, at_hand, times, &crashes, found);
        }
        if let (Some(rate), Some(times)) = (provider.connection_rate, opened.get(&key)) {
            let looked_up = if evidence.dns_slow { u64::from(provider.connections_max) } else { 0 };
            rate_of("connections", &key, rate, looked_up, times, &crashes, found);
        }
    }
}

/// In any window of the rate's length there are at most count and burst, and what was late; a restart begins a new burst.
fn rate_of(what: &str, key: &(String, IpAddr), rate: Rate, late: u64, times: &[Timestamp], lives: &[Timestamp], found: &mut Found) {
    let mut window: VecDeque<Timestamp> = VecDeque::new();
    for at in times {
        window.push_back(*at);
        while window.front().is_some_and(|first| at.since(*first) >= rate.per) {
            window.pop_front();
        }
        let first = window.front().copied().unwrap_or(*at);
        let restarts = lives.iter().filter(|life| (first..=*at).contains(*life)).count() as u64;
        let allowed = u64::from(rate.count) + u64::from(rate.burst.max(1)) * (1 + restarts) + late;
        if window.len() as u64 > allowed {
            let at = Evidence::clock(*at);
            return found.say(
                "C3",
                format!("{} {what} from {} to {} within {:?} at {at}, and {allowed} are allowed", window.len(), key.1, key.0, rate.per),
            );
        }
    }
}

/// How long what was counted may be under way: two of a full span arrive that much nearer to each other than they were counted.
const UNDER_WAY_MS: u64 = 5_000;

/// Recipients that smart hosts took: in any hour and in any 24 hours not more than their limits, whatever crashed.
fn quotas(evidence: &Evidence, found: &mut Found) {
    for (remote, limits) in evidence.quotas.iter().enumerate().filter(|(_, limits)| **limits != QuotaLimits::default()) {
        let transactions = &evidence.transactions[remote];
        let here = evidence.told.iter().filter(|told| told.remote == remote).map(|told| &told.taken);
        // A mail counts from the beginning of its transaction: how slowly it goes on is the other side's affair.
        let mut taken: Vec<(Timestamp, usize)> = here
            .map(|taken| {
                let began = transactions.iter().filter(|(at, _, session)| *session == taken.session.0 && *at <= taken.at);
                (began.map(|(at, ..)| *at).max().unwrap_or(taken.at), taken.recipients.len())
            })
            .collect();
        taken.sort();
        for (word, span_ms, max) in [("an hour", 3_600_000, limits.per_hour), ("24 hours", 86_400_000, limits.per_day)] {
            let Some(max) = max else { continue };
            let (mut first, mut gone) = (0, 0);
            for (at, recipients) in &taken {
                gone += recipients;
                while at.since(taken[first].0).as_millis() as u64 + UNDER_WAY_MS >= span_ms {
                    gone -= taken[first].1;
                    first += 1;
                }
                if gone > max as usize {
                    let at = Evidence::clock(*at);
                    found.say("C3", format!("smart host {remote} took {gone} recipients in {word} until {at}, and {max} are allowed"));
                    break;
                }
            }
        }
    }
}

/// C6: the windows.
fn windows(evidence: &Evidence, found: &mut Found) {
    let limits = evidence.policies.iter().map(|policy| policy.provider.connections_max);
    let most = limits.max().unwrap_or(0);
    for (at, fact) in &evidence.facts {
        // A window that was cut lets the connections above it end in peace, so only the policy bounds them.
        if let Fact::Window { site, window, .. } = fact
            && *window > most * 2
        {
            found.say("C6", format!("the window of {site} is {window} at {}", Evidence::clock(*at)));
        }
    }
}

/// C6: the small tenant.
fn fairness(evidence: &Evidence, found: &mut Found) {
    let Some((tenant, within_ms)) = &evidence.fair else { return };
    let copies = evidence.copies();
    for (at, offered) in evidence.offered().filter(|(_, offered)| offered.tenant == *tenant) {
        for recipient in &offered.recipients {
            let first = copies.get(&(offered.token.clone(), recipient.clone())).and_then(|copies| copies.first());
            let took = first.map(|copy| copy.at.since(at).as_millis() as u64);
            if took.is_none_or(|took| took > *within_ms) {
                found.say(
                    "C6",
                    format!("{} to {recipient} of tenant {tenant} took {took:?} ms, and {within_ms} are allowed", offered.token),
                );
            }
        }
    }
}
