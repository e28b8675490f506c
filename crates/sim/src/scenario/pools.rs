//! Scenarios with pools of streams: who is sent from where, by the word of the providers.

use std::sync::Arc;
use std::time::Duration;

use postrider_model::policy::{Pool, Provider};

use super::build::{client, mail, provider, scenario};
use super::{Change, End, How, Scenario, When};
use crate::world::clients::MailPlan;
use crate::world::disk::Loss;

/// All with a name.
pub(super) fn named() -> Vec<Scenario> {
    vec![two_pools(), changed(), missing(), together()]
}

fn letters(count: u64, every_ms: u64) -> Vec<MailPlan> {
    (0..count).map(|nth| mail(nth * every_ms, "sender@p0.example", &[&format!("user{nth}@p1.example")])).collect()
}

/// Two streams and a tenant without a word about it, all to the same provider; `left` is sent from the first address alone, `right` from the second.
fn pooled(name: &str, seed: u64, count: u64, every_ms: u64) -> Scenario {
    let streams = ["shop/left", "shop/right", "bank"];
    let clients = streams.iter().enumerate().map(|(number, user)| client(number, user, letters(count, every_ms))).collect();
    let mut scenario = scenario(name, seed, vec![provider(0), provider(1)], clients);
    for (name, source) in [("left", "out1"), ("right", "out2")] {
        let pool = Pool { name: name.to_owned(), sources: vec![(source.into(), 1)] };
        scenario.snapshot.routing.pools.insert(name.to_owned(), Arc::new(pool));
    }
    scenario.changes = vec![(0, Change::Pool("shop/left", Some("left"))), (0, Change::Pool("shop/right", Some("right")))];
    scenario
}

/// The relay is killed, and its power goes, in the midst of it.
fn two_pools() -> Scenario {
    let mut scenario = pooled("two streams with a pool each, and crashes between", 360, 40, 500);
    let end = |ms, how| End { when: When::After(ms), how, down_ms: 1_000 };
    scenario.ends =
        vec![end(4_000, How::Kill), end(6_000, How::Power(Loss::All)), end(5_000, How::Power(Loss::Tail)), end(4_000, How::Drain)];
    scenario
}

/// The pools of two streams are changed for each other while their mail waits, and one is taken away.
fn changed() -> Scenario {
    let mut scenario = pooled("the pools of streams are changed while mail waits", 361, 40, 2_000);
    // What waits for its retry was placed under the old pools, and its place would be believed for an hour.
    scenario.dns_ttl = Duration::from_secs(3_600);
    let fine = scenario.providers[1].personality.clone();
    let greylisting = postrider_lab::FaultKind::Reply("450 4.2.0 come later".to_owned());
    scenario.providers[1].personality = fine.clone().with(postrider_lab::Moment::Mail, greylisting, 60);
    scenario.changes.extend([
        (30_000, Change::Pool("shop/left", Some("right"))),
        (30_000, Change::Pool("shop/right", Some("left"))),
        // Long after the restart that forgets places anyway.
        (120_000, Change::Pool("shop/left", Some("left"))),
        (120_000, Change::Pool("shop/right", Some("right"))),
        (700_000, Change::Pool("shop/left", None)),
        (800_000, Change::Pool("shop/left", Some("left"))),
        (900_000, Change::Personality(1, Box::new(fine))),
    ]);
    scenario.clear_ms = 900_000;
    scenario.ends = vec![End { when: When::After(60_000), how: How::Power(Loss::All), down_ms: 1_000 }];
    scenario
}

/// A stream names a pool that is not there for a while: its mail waits, and is sent from nowhere else.
fn missing() -> Scenario {
    let mut scenario = pooled("a stream's pool is not there for a while", 362, 20, 5_000);
    scenario.changes.extend([
        (20_000, Change::Pool("shop/left", Some("gone"))),
        (600_000, Change::Pool("shop/left", Some("left"))),
        (600_001, Change::Pool("shop/right", None)),
    ]);
    scenario.clear_ms = 600_001;
    scenario.ends = vec![End { when: When::After(200_000), how: How::Kill, down_ms: 1_000 }];
    scenario
}

/// Two Sites of the same hosts from the same address: the provider sees one Source, and counts it once.
fn together() -> Scenario {
    let mut scenario = pooled("Sites of the same hosts count together", 363, 120, 20);
    let policy = Provider { connections_max: 3, message_rate: None, ..scenario.providers[1].policy.clone() };
    scenario.providers[1].policy = policy;
    scenario.providers[1].latency = Duration::from_millis(120);
    scenario.snapshot.providers = super::build::snapshot(&scenario.providers).providers;
    scenario
}
