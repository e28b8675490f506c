//! Plays scenarios from seeds: `sim --seeds N [--from M] [--twice] [--show] [--cover]`, or `sim --named [TEXT]`.

use std::collections::BTreeMap;

use postrider_sim::coverage::INGREDIENTS;
use postrider_sim::scenario::{named::named, random::random};
use postrider_sim::{Scenario, run};

struct Options {
    seeds: u64,
    from: u64,
    twice: bool,
    show: bool,
    cover: bool,
    named: Option<String>,
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options { seeds: 100, from: 0, twice: false, show: false, cover: false, named: None };
    let mut words = std::env::args().skip(1).peekable();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse().ok()).ok_or_else(|| anyhow::anyhow!("{word} needs a number"));
        match word.as_str() {
            "--seeds" => options.seeds = number()?,
            "--from" => options.from = number()?,
            "--twice" => options.twice = true,
            "--show" => options.show = true,
            "--cover" => options.cover = true,
            "--named" => options.named = Some(words.next_if(|next| !next.starts_with("--")).unwrap_or_default()),
            _ => anyhow::bail!("usage: sim [--seeds N] [--from M] [--twice] [--show] [--named TEXT]"),
        }
    }
    Ok(options)
}

/// Plays one scenario; whether all was well.
#[allow(clippy::print_stdout, reason = "a command speaks on its standard output")]
fn play(scenario: &Scenario, options: &Options, sums: &mut Sums) -> bool {
    let report = run(scenario);
    sums.runs += 1;
    sums.lives += u64::from(report.lives);
    sums.taken += report.taken as u64;
    sums.facts += report.facts.len() as u64;
    report.met.iter().for_each(|what| *sums.met.entry(what).or_default() += 1);
    if options.show {
        report.lines().for_each(|line| println!("{line}"));
    }
    let mut well = report.violations.is_empty();
    if options.twice {
        let again = run(scenario);
        if again.hash != report.hash {
            let first = report.facts.iter().zip(&again.facts).position(|(a, b)| a != b);
            let at = first.unwrap_or(report.facts.len().min(again.facts.len()));
            let [one, other] = [&report, &again].map(|report| report.lines().nth(at));
            println!("{}: C8: the second run differs at fact {at}:\n  {one:?}\n  {other:?}", scenario.name);
            well = false;
        }
    }
    if !report.violations.is_empty() {
        println!("{} FAILED, {} violations, {} lives", scenario.name, report.violations.len(), report.lives);
        report.violations.iter().take(6).for_each(|violation| println!("  {violation}"));
        println!("  ends {:?}; changes {:?}", scenario.ends, scenario.changes.iter().map(|(at, c)| (at, brief(c))).collect::<Vec<_>>());
    }
    well
}

fn brief(change: &postrider_sim::scenario::Change) -> String {
    format!("{change:?}").chars().take(120).collect()
}

#[derive(Default)]
struct Sums {
    runs: u64,
    lives: u64,
    taken: u64,
    facts: u64,
    met: BTreeMap<&'static str, u64>,
}

#[allow(clippy::print_stdout, reason = "a command speaks on its standard output")]
fn main() -> anyhow::Result<()> {
    let options = options()?;
    let mut sums = Sums::default();
    let mut failed = Vec::new();
    if let Some(text) = &options.named {
        for scenario in named().into_iter().filter(|scenario| scenario.name.contains(text.as_str())) {
            if !play(&scenario, &options, &mut sums) {
                failed.push(scenario.name.clone());
            }
        }
    } else {
        for seed in options.from..options.from + options.seeds {
            if !play(&random(seed), &options, &mut sums) {
                failed.push(seed.to_string());
            }
        }
    }
    let Sums { runs, lives, taken, facts, met } = sums;
    if options.cover {
        INGREDIENTS.iter().for_each(|(what, _)| println!("{:>8} {what}", met.get(what).copied().unwrap_or(0)));
    }
    println!("{runs} runs, {lives} lives, {taken} messages taken, {facts} facts; {} failed: {}", failed.len(), failed.join(", "));
    anyhow::ensure!(failed.is_empty(), "{} of {runs} runs failed", failed.len());
    Ok(())
}
