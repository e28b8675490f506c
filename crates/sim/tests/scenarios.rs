//! A few hundred seeds, every named scenario, every seed that ever failed, and the same run twice. Any number of seeds: the command `sim`.

use postrider_sim::scenario::named::{KEPT_SEEDS, named};
use postrider_sim::scenario::random::random;
use postrider_sim::{Scenario, run};

/// Plays scenarios and tells of all that failed.
fn check(scenarios: impl IntoIterator<Item = Scenario>) {
    let mut failed = Vec::new();
    for scenario in scenarios {
        let report = run(&scenario);
        if !report.violations.is_empty() {
            let first: Vec<String> = report.violations.iter().take(5).map(ToString::to_string).collect();
            failed.push(format!("{}:\n    {}", scenario.name, first.join("\n    ")));
        }
    }
    assert!(failed.is_empty(), "{} scenarios failed:\n  {}", failed.len(), failed.join("\n  "));
}

#[test]
fn seeds_even() {
    check((0..300).step_by(2).map(random));
}

#[test]
fn seeds_odd() {
    check((1..300).step_by(2).map(random));
}

#[test]
fn named_scenarios() {
    check(named());
}

#[test]
fn seeds_that_failed_once() {
    check(KEPT_SEEDS.iter().map(|(seed, _)| random(*seed)));
}

/// C8.
#[test]
fn the_same_seed_gives_the_same_book() {
    for seed in (0..40).step_by(4) {
        let scenario = random(seed);
        let (first, second) = (run(&scenario), run(&scenario));
        let differs = first.lines.iter().zip(&second.lines).find(|(a, b)| a != b);
        assert_eq!(first.hash, second.hash, "seed {seed}: {differs:?}");
    }
    assert_ne!(run(&random(0)).hash, run(&random(1)).hash, "the number stands for what happened");
}
