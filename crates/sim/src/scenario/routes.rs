//! Scenarios with rules: smart hosts with limits, and what falls back from one to the next.

use std::sync::Arc;
use std::time::Duration;

use postrider_lab::Chance;
use postrider_model::policy::{AuthInClear, DomainMatch, Provider, ProviderMatch, QuotaLimits, Remote, Rule, SmartHost, Target, TlsLevel};

use super::build::{client, mail, provider, scenario};
use super::{Change, End, How, ProviderPlan, Scenario, When};
use crate::world::acts::KEEPING;
use crate::world::clients::MailPlan;
use crate::world::disk::{Crash, Failing, Loss};
use crate::world::net::Reach;

const HOUR_MS: u64 = 3_600_000;

/// All with a name.
pub(super) fn named() -> Vec<Scenario> {
    let mut all = vec![fall_back(), counts_cannot_be_kept()];
    for (name, how) in [("killed", How::Kill), ("its power gone", How::Power(Loss::All)), ("drained", How::Drain)] {
        all.push(limit(&format!("a smart host with limits, and the relay {name} again and again"), 300, 1, how));
    }
    // At each step of keeping a count: made, written, synced, renamed, safe.
    for (nth, loss) in [Loss::All, Loss::Tail, Loss::Sectors, Loss::Nothing].into_iter().enumerate() {
        for operation in 1..6 {
            let name = format!("a smart host with limits, and the power goes at step {operation} of keeping them, losing {loss:?}");
            let mut scenario = limit(&name, 310 + nth as u64, 3, How::Power(loss));
            let end = |nth: u64| End { when: When::Disk(Crash::Amid(KEEPING, operation + 5 * nth)), how: How::Power(loss), down_ms: 1_000 };
            scenario.ends = [1, 2, 0, 3, 1, 2, 4, 1].map(end).to_vec();
            all.push(scenario);
        }
    }
    all
}

/// From now on mail for these domains goes to these providers as smart hosts, in this order, each with its limits.
pub fn route(scenario: &mut Scenario, domains: &[&str], hosts: &[(usize, QuotaLimits)]) {
    let hosts: Vec<Arc<SmartHost>> = hosts.iter().map(|(number, quota)| smart_host(scenario, *number, *quota)).collect();
    let numbers = hosts.iter().map(|host| host.name.clone());
    let site = Target::SmartHosts(hosts.clone()).site();
    let at_once = hosts.iter().filter_map(|host| host.quota.at_once()).min();
    let usual = Provider::fallback();
    let policy = Provider {
        name: format!("route of {}", domains.join(", ")).as_str().into(),
        matches: site.map_or(ProviderMatch::All, ProviderMatch::Site),
        connections_max: hosts.iter().map(|host| host.connections_max).max().unwrap_or(usual.connections_max),
        recipients_per_message_max: at_once.map_or(usual.recipients_per_message_max, |most| most.min(usual.recipients_per_message_max)),
        ..usual
    };
    scenario.snapshot.routing.smart_hosts.extend(numbers.zip(hosts.clone()));
    scenario.snapshot.providers.insert(0, policy.clone());
    for plan in &mut scenario.providers {
        if plan.smart_hosts(&Target::SmartHosts(hosts.clone())).next().is_some() {
            plan.policy = policy.clone();
        }
    }
    scenario.snapshot.routing.rules.push(Rule {
        name: format!("route{}", scenario.snapshot.routing.rules.len()),
        recipients: domains.iter().map(|name| DomainMatch::Exact((*name).to_owned())).collect(),
        senders: Vec::new(),
        tenants: Vec::new(),
        streams: Vec::new(),
        target: Target::SmartHosts(hosts),
        tls: TlsLevel::Opportunistic,
        tls13_only: false,
        pool: None,
    });
}

fn smart_host(scenario: &Scenario, number: usize, quota: QuotaLimits) -> Arc<SmartHost> {
    let plan = &scenario.providers[number];
    Arc::new(SmartHost {
        name: format!("smart{number}"),
        host: Remote::Name(plan.hosts[0].1.clone()),
        port: 25,
        tls: TlsLevel::Opportunistic,
        tls13_only: false,
        credentials: None,
        auth_in_clear: AuthInClear::Never,
        quota,
        connections_max: 4,
    })
}

fn limits(per_hour: u32, per_day: u32) -> QuotaLimits {
    QuotaLimits { per_second: None, per_hour: Some(per_hour), per_day: Some(per_day) }
}

fn letters(count: u64, every_ms: u64, recipients: u64) -> Vec<MailPlan> {
    let letter = |nth| {
        let to: Vec<String> = (0..recipients).map(|user| format!("user{nth}x{user}@p1.example")).collect();
        mail(nth * every_ms, "sender@p0.example", &to.iter().map(String::as_str).collect::<Vec<_>>())
    };
    (0..count).map(letter).collect()
}

/// More mail than a smart host takes in a day, and a relay that does not live long. Mail may wait for five days, so all of it arrives.
fn limit(name: &str, seed: u64, recipients: u64, how: How) -> Scenario {
    let mails = letters(60 / recipients, 20_000, recipients);
    let clients = vec![client(0, "shop", mails.clone()), client(1, "bank", mails)];
    let mut scenario = scenario(name, seed, vec![provider(0), provider(1)], clients);
    route(&mut scenario, &["p1.example", "q1.example"], &[(1, limits(12, 60))]);
    patient(&mut scenario);
    // A slow disk: a mail goes faster than a count is kept.
    scenario.commit_pause = Duration::from_millis(300);
    scenario.providers[1].latency = Duration::from_millis(1);
    // Close together while the first hours fill up, and then some in between and behind the first day.
    let lives = [400, 1_500, 20_000, 21_000, 40_000, 100_000, 3 * HOUR_MS, HOUR_MS / 2, HOUR_MS + 70_000, 26 * HOUR_MS];
    scenario.ends = lives.map(|ms| End { when: When::After(ms), how, down_ms: 1_000 }).to_vec();
    scenario
}

/// Mail waits for days, and the spool may take them.
fn patient(scenario: &mut Scenario) {
    scenario.snapshot.retry.give_up = Duration::from_secs(5 * 86_400);
    scenario.drain_ms = 5 * 24 * HOUR_MS;
}

/// The first smart host is down for twenty minutes, and then takes a part; the second takes the rest.
pub fn fall_back() -> Scenario {
    let clients = vec![client(0, "shop", letters(90, 60_000, 1))];
    let mut scenario = scenario(
        "a route falls back: the first smart host is down, then limited",
        340,
        vec![provider(0), provider(1), provider(2)],
        clients,
    );
    route(&mut scenario, &["p1.example"], &[(1, limits(10, 200)), (2, QuotaLimits::default())]);
    patient(&mut scenario);
    scenario.clear_ms = 1_200_000;
    scenario.changes = vec![(0, Change::Reach(1, Reach::Refuses)), (scenario.clear_ms, Change::Reach(1, Reach::Up))];
    let end = |ms, how| End { when: When::After(ms), how, down_ms: 1_000 };
    scenario.ends = vec![end(600_000, How::Kill), end(900_000, How::Power(Loss::All)), end(1_200_000, How::Power(Loss::Tail))];
    scenario
}

/// A sync of the counts fails again and again: nothing is sent on a count that is not kept, and nothing is lost by it.
fn counts_cannot_be_kept() -> Scenario {
    let mut scenario = limit("the counts of a smart host cannot be kept", 350, 1, How::Kill);
    scenario.ends.truncate(3);
    scenario.changes = (0..20).map(|nth| (1_000 + nth * 30_000, Change::FailSync(Some(Failing::Of("counts"))))).collect();
    scenario.clear_ms = HOUR_MS;
    scenario
}

/// Mail for a domain goes to a smart host with limits, or to one beside it; neither has anything to do with the DNS of that domain.
pub(super) fn random(chance: &mut Chance, scenario: &mut Scenario) {
    // Mail of the seeds lives for an hour and a half; what a limit of a day holds longer is told in time all the same.
    let quota = |chance: &mut Chance| {
        let maybe = |chance: &mut Chance, percent, most| chance.percent(percent).then(|| chance.between(3, most) as u32);
        QuotaLimits { per_second: maybe(chance, 30, 10), per_hour: maybe(chance, 80, 30), per_day: maybe(chance, 25, 60) }
    };
    let mut hosts = Vec::new();
    for number in [7, 8] {
        hosts.push((scenario.providers.len(), quota(chance)));
        scenario.providers.push(ProviderPlan { domains: Vec::new(), ..provider(number) });
        if chance.percent(50) {
            break;
        }
    }
    route(scenario, &["p1.example", "q1.example"], &hosts);
    let (number, at_ms) = (hosts[0].0, chance.below(scenario.clear_ms));
    let reach = *chance.pick(&[Reach::Refuses, Reach::Black, Reach::Unreachable]);
    let clear = (scenario.clear_ms, Change::Reach(number, Reach::Up));
    scenario.changes.extend([(at_ms, Change::Reach(number, reach)), clear]);
}

/// A life that ends while a count is kept.
pub(super) fn end(chance: &mut Chance) -> End {
    let when = When::Disk(Crash::Amid(KEEPING, chance.between(1, 20)));
    End { when, how: How::Power(Loss::any(chance)), down_ms: *chance.pick(&[10, 1_000, 600_000]) }
}
