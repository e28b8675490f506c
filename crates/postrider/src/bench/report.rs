//! What the bench says: a table for a person, or JSON for a machine. Pure but for the writer it is given.
//!
//! Promises: a figure that was not measured is absent, never 0. Medians are over the runs of one relay; a ratio is the first relay's median
//! over the other's.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::measure::median;

/// One figure's key in JSON, its name for a person, and its decimals.
type Figure = (&'static str, &'static str, usize);

/// All figures, in the order of the table. A key ends in its unit.
const FIGURES: &[Figure] = &[
    ("delivered_per_s", "delivered, msg/s (first MAIL to last arrival)", 0),
    ("accepted_per_s", "accepted, msg/s (first MAIL to last 250)", 0),
    ("relay_cpu_s_per_1000", "relay, CPU s per 1,000", 4),
    ("bench_cpu_s_per_1000", "bench, CPU s per 1,000", 4),
    ("fsyncs_per_message", "fsyncs per message", 3),
    ("written_bytes_per_message", "octets to storage per message", 0),
    ("arrival_p50_ms", "250 to arrival, p50 ms", 3),
    ("arrival_p99_ms", "250 to arrival, p99 ms", 3),
    ("reply_p50_ms", "end of data to 250, p50 ms", 3),
    ("reply_p99_ms", "end of data to 250, p99 ms", 3),
    ("relay_rss_before_mb", "relay resident before, MB", 1),
    ("relay_rss_mb", "relay resident after, MB", 1),
    ("relay_rss_peak_mb", "relay resident peak, MB", 1),
    ("relay_rss_more_mb", "relay resident more than before, MB", 1),
    ("relay_processes", "relay processes", 0),
    ("idle_sessions", "idle sessions open", 0),
    ("idle_opened_per_s", "idle sessions opened per s", 0),
    ("new_session_p50_ms", "a new session answered, p50 ms", 3),
    ("new_session_max_ms", "a new session answered, worst ms", 3),
    ("accepted_empty_per_s", "accepted with an empty queue, msg/s", 0),
    ("accepted_full_per_s", "accepted with the full queue, msg/s", 0),
    ("queue_failed_once_s", "until each failed once, s", 1),
    ("queued", "deliveries queued", 0),
    ("restart_cold", "after kill -9: page cache cold (1) or not (0)", 0),
    ("restart_220_ms", "after kill -9: first 220, ms", 0),
    ("restart_attempt_ms", "after kill -9: first attempt, ms", 0),
    ("accepted", "messages accepted", 0),
    ("lost", "messages lost", 0),
    ("duplicates", "copies too many", 0),
    ("truncated", "arrivals too short", 0),
    ("strays", "arrivals unknown", 0),
    ("unacknowledged", "arrived without 250", 0),
    ("refused_transient", "transient refusals (tried again)", 0),
    ("refused_permanent", "messages refused", 0),
    ("sessions_broken", "sessions broken", 0),
];

/// Figures in which nothing is worth a line when it is 0 in every run.
const QUIET: &[&str] = &["truncated", "strays", "unacknowledged", "refused_transient", "refused_permanent", "sessions_broken"];

/// What one run measured.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The relay, or the variant of the work.
    pub relay: String,
    /// Which run, from 1.
    pub run: u16,
    /// Figures by key.
    pub figures: BTreeMap<&'static str, f64>,
}

impl Row {
    /// A row without figures.
    pub fn new(relay: impl Into<String>, run: u16) -> Self {
        Self { relay: relay.into(), run, figures: BTreeMap::new() }
    }

    /// Sets a figure that was measured.
    pub fn set(&mut self, key: &'static str, value: impl Into<Option<f64>>) {
        debug_assert!(FIGURES.iter().any(|figure| figure.0 == key), "{key} has no place in the table");
        if let Some(value) = value.into().filter(|value| value.is_finite()) {
            self.figures.insert(key, value);
        }
    }
}

/// All runs of one call.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The work in words.
    pub work: String,
    /// Every run, in the order in which they ran.
    pub runs: Vec<Row>,
    /// Per relay, the median of each figure.
    pub medians: Vec<Row>,
    /// The first relay's median over the second's.
    pub ratios: BTreeMap<&'static str, f64>,
}

impl Report {
    /// Gathers runs.
    pub fn new(work: String, runs: Vec<Row>) -> Self {
        let mut medians: Vec<Row> = Vec::new();
        for row in &runs {
            if medians.iter().all(|median| median.relay != row.relay) {
                medians.push(medians_of(&row.relay, &runs));
            }
        }
        let mut ratios = BTreeMap::new();
        if let [first, second] = &medians[..] {
            for (&key, &value) in &first.figures {
                if let Some(&other) = second.figures.get(key).filter(|&&other| other != 0.0) {
                    ratios.insert(key, value / other);
                }
            }
        }
        Self { work, runs, medians, ratios }
    }

    /// Messages lost in all runs.
    pub fn lost(&self) -> f64 {
        self.runs.iter().filter_map(|row| row.figures.get("lost")).sum()
    }

    /// Writes JSON and a line end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_json(&self, to: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *to, self)?;
        writeln!(to)
    }

    /// Writes the table: a median per relay, its lowest and highest run beside it, and the ratio where there are two relays.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_table(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}\n", self.work)?;
        write!(to, "{:<46}", "")?;
        for row in &self.medians {
            write!(to, "{:>34}", row.relay)?;
        }
        writeln!(to, "{}", if self.medians.len() == 2 { "     ratio" } else { "" })?;
        for &(key, name, decimals) in FIGURES {
            let quiet = QUIET.contains(&key) && self.runs.iter().all(|row| row.figures.get(key).is_none_or(|&value| value == 0.0));
            if quiet || self.medians.iter().all(|row| !row.figures.contains_key(key)) {
                continue;
            }
            write!(to, "{name:<46}")?;
            for row in &self.medians {
                write!(to, "{:>34}", self.cell(row, key, decimals))?;
            }
            match self.ratios.get(key) {
                Some(ratio) => writeln!(to, "{ratio:>10.3}")?,
                None => writeln!(to)?,
            }
        }
        Ok(())
    }

    fn cell(&self, row: &Row, key: &str, decimals: usize) -> String {
        let Some(value) = row.figures.get(key) else { return "-".into() };
        let all: Vec<f64> = self.runs.iter().filter(|run| run.relay == row.relay).filter_map(|run| run.figures.get(key).copied()).collect();
        let low = all.iter().copied().fold(f64::INFINITY, f64::min);
        let high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if all.len() < 2 || low == high {
            return format!("{value:.decimals$}");
        }
        format!("{value:.decimals$} ({low:.decimals$} .. {high:.decimals$})")
    }
}

fn medians_of(relay: &str, runs: &[Row]) -> Row {
    let own: Vec<&Row> = runs.iter().filter(|row| row.relay == relay).collect();
    let mut row = Row::new(relay, u16::try_from(own.len()).unwrap_or(u16::MAX));
    for &(key, ..) in FIGURES {
        let values: Vec<f64> = own.iter().filter_map(|row| row.figures.get(key).copied()).collect();
        row.set(key, median(&values));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(relay: &str, run: u16, delivered: f64) -> Row {
        let mut row = Row::new(relay, run);
        row.set("delivered_per_s", delivered);
        row.set("fsyncs_per_message", None);
        row.set("lost", 0.0);
        row.set("strays", 0.0);
        row
    }

    #[test]
    fn medians_and_ratios_are_per_relay() {
        let runs =
            vec![row("ours", 1, 600.0), row("theirs", 1, 100.0), row("ours", 2, 800.0), row("theirs", 2, 100.0), row("ours", 3, 100.0)];
        let report = Report::new("work".into(), runs);
        assert_eq!(report.medians.len(), 2);
        assert_eq!(report.ratios["delivered_per_s"], 6.0);
        assert!(!report.ratios.contains_key("lost"), "no ratio to nothing");
        let mut table = Vec::new();
        report.write_table(&mut table).expect("a Vec takes it");
        let table = String::from_utf8(table).expect("a table is text");
        assert!(table.contains("600 (100 .. 800)") && table.contains("6.000"), "{table}");
        assert!(!table.contains("fsyncs"), "what was not measured is absent: {table}");
        assert!(!table.contains("unknown"), "{table}");
        let mut json = Vec::new();
        report.write_json(&mut json).expect("a Vec takes it");
        let value: serde_json::Value = serde_json::from_slice(&json).expect("it is JSON");
        assert_eq!(value["medians"][0]["figures"]["delivered_per_s"], 600.0);
    }
}
