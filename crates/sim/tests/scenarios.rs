//! A few hundred seeds, every named scenario, every seed that ever failed, and the same run twice. Any number of seeds: the command `sim`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use postrider_model::Timestamp;
use postrider_sim::coverage::INGREDIENTS;
use postrider_sim::scenario::named::{KEPT_SEEDS, named};
use postrider_sim::scenario::random::random;
use postrider_sim::scenario::routes::fall_back;
use postrider_sim::world::{EPOCH_MS, Fact};
use postrider_sim::{Scenario, run};

/// Plays scenarios on all cores and tells of all that failed; says in how many each ingredient was met. Each run stays in one thread.
fn check(scenarios: &[Scenario]) -> BTreeMap<&'static str, usize> {
    let next = AtomicUsize::new(0);
    let found: Mutex<(Vec<String>, BTreeMap<&'static str, usize>)> = Mutex::default();
    let play = || {
        while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
            let report = run(scenario);
            let mut found = found.lock().unwrap();
            report.met.into_iter().for_each(|what| *found.1.entry(what).or_default() += 1);
            if !report.violations.is_empty() {
                // Some of each check, so that none hides another.
                let mut told: BTreeMap<&str, usize> = BTreeMap::new();
                let mut some = |check| {
                    let told = told.entry(check).or_default();
                    *told += 1;
                    *told <= 3
                };
                let first: Vec<String> = report.violations.iter().filter(|v| some(v.check)).map(ToString::to_string).collect();
                found.0.push(format!("{}:\n    {}", scenario.name, first.join("\n    ")));
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = available_parallelism().map_or(1, usize::from);
        (0..cores).for_each(|_| drop(scope.spawn(play)));
    });
    let (failed, met) = found.into_inner().unwrap();
    assert!(failed.is_empty(), "{} scenarios failed:\n  {}", failed.len(), failed.join("\n  "));
    met
}

/// The seeds fail nowhere, and between them they meet everything that a scenario can hold.
#[test]
fn seeds() {
    let met = check(&(0..300).map(random).collect::<Vec<_>>());
    let seldom = INGREDIENTS.iter().filter(|(what, least)| met.get(what).copied().unwrap_or(0) < *least);
    let seldom: Vec<String> = seldom.map(|(what, least)| format!("{what}: {:?}, not {least}", met.get(what))).collect();
    assert!(seldom.is_empty(), "too seldom in 300 seeds:\n  {}", seldom.join("\n  "));
    let unknown: Vec<_> = met.keys().filter(|what| !INGREDIENTS.iter().any(|(known, _)| known == *what)).collect();
    assert!(unknown.is_empty(), "no ingredients: {unknown:?}");
}

#[test]
fn named_scenarios() {
    check(&named());
}

#[test]
fn seeds_that_failed_once() {
    check(&KEPT_SEEDS.iter().map(|(seed, _)| random(*seed)).collect::<Vec<_>>());
}

/// C8.
#[test]
fn the_same_seed_gives_the_same_book() {
    // 20033: four workers that connect are told at once that the relay drains.
    for seed in (0..40).step_by(4).chain([20_033]) {
        let scenario = random(seed);
        let (first, second) = (run(&scenario), run(&scenario));
        let differs = first.facts.iter().zip(&second.facts).find(|(a, b)| a != b);
        assert_eq!(first.hash, second.hash, "seed {seed}: {differs:?}");
    }
    assert_ne!(run(&random(0)).hash, run(&random(1)).hash, "the number stands for what happened");
}

/// While the first smart host is down the second takes the mail; then the first takes as much as it may, and the second the rest.
#[test]
fn a_route_falls_back_and_comes_back() {
    let scenario = fall_back();
    let report = run(&scenario);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    let taken = |remote, from_ms: u64, to_ms: u64| {
        let here = |at: &Timestamp| (from_ms..to_ms).contains(&(at.millis() - EPOCH_MS));
        report.facts.iter().filter(|(at, fact)| here(at) && matches!(fact, Fact::Taken { remote: by, .. } if *by == remote)).count()
    };
    let (down_ms, end_ms) = (scenario.clear_ms, u64::MAX);
    assert_eq!((taken(1, 0, down_ms), taken(2, 0, down_ms) > 10), (0, true));
    let hour = taken(1, down_ms, down_ms + 3_600_000);
    assert!((1..=10).contains(&hour), "{hour} of 10 went to the first smart host in its hour");
    assert!(taken(2, down_ms, end_ms) > 10 && taken(1, 0, end_ms) + taken(2, 0, end_ms) >= 90);
}
