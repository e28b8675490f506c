//! In the midst of what the disk struck: which work a crash, a loss or a failing sync fell on. Only counted, for the proof that the seeds reach it all
//! ([`crate::coverage`]); nothing depends on it.

use std::collections::{BTreeMap, BTreeSet};

use postrider_spool::checks::kinds_written;

use super::medium::Harm;
use super::notebook;

/// Where a segment's first record stands; before it are the two copies of its header.
const RECORDS_START: u64 = 8192;

/// Keeping what smart hosts were given: only who has one with a limit does it.
pub const KEEPING: &str = "keeping counts";

/// Telling what is about no message: only who has unsubscribers does it.
pub const TELLING: &str = "telling a word of silence";

/// All work a crash can fall in the midst of, and what that crash is called.
pub const WORKS: [(&str, &str); 12] = [
    ("recovering", "crash while recovering"),
    ("accepting", "crash while accepting"),
    ("settling", "crash while settling"),
    ("compacting", "crash while compacting"),
    ("sealing", "crash while sealing"),
    ("beginning or freeing a segment", "crash while beginning or freeing a segment"),
    ("making a segment or giving it back", "crash while making a segment or giving it back"),
    ("staging a large content", "crash while staging a large content"),
    ("archiving", "crash while archiving"),
    ("draining", "crash while draining"),
    (KEEPING, "crash while keeping counts"),
    (TELLING, "crash while telling a word of silence"),
];

/// What the relay does with the disk at large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// It opens the spool.
    #[default]
    Recovering,
    /// It works.
    Working,
    /// It was told to end.
    Draining,
}

/// One changing operation.
pub(crate) struct Act<'a> {
    name: &'a str,
    kinds: BTreeSet<&'static str>,
}

impl<'a> Act<'a> {
    /// Something about a file or folder.
    pub(crate) fn name(name: &'a str) -> Self {
        Self { name, kinds: BTreeSet::new() }
    }

    /// Octets for a file.
    pub(crate) fn write(name: &'a str, offset: u64, octets: &[u8]) -> Self {
        let mut kinds = BTreeSet::new();
        if name.starts_with("log/") {
            kinds.extend(kinds_written(octets));
            if offset < RECORDS_START {
                kinds.insert("header");
            }
        }
        Self { name, kinds }
    }
}

/// What was struck.
#[derive(Default)]
pub(crate) struct Acts {
    phase: Phase,
    /// The last life ended in its recovery.
    died_recovering: bool,
    dies_recovering: bool,
    /// Kinds of records written to a file and not synced.
    unsynced: BTreeMap<u64, BTreeSet<&'static str>>,
    /// All that was met, by name.
    pub(crate) met: BTreeSet<&'static str>,
}

impl Acts {
    pub(crate) fn enter(&mut self, phase: Phase) {
        if phase == Phase::Recovering {
            self.died_recovering = std::mem::take(&mut self.dies_recovering);
        }
        self.phase = phase;
    }

    pub(crate) fn meet(&mut self, what: &'static str) {
        self.met.insert(what);
    }

    /// A file is written.
    pub(crate) fn begun(&mut self, file: u64, act: &Act<'_>) {
        if !act.kinds.is_empty() {
            self.unsynced.entry(file).or_default().extend(&act.kinds);
            if self.phase == Phase::Working && act.kinds.contains("copy") {
                self.meet("it compacts");
            }
        }
    }

    /// What a sync of this file makes safe.
    pub(crate) fn of_sync<'a>(&self, file: u64, name: &'a str) -> Act<'a> {
        Act { name, kinds: self.unsynced.get(&file).cloned().unwrap_or_default() }
    }

    pub(crate) fn synced(&mut self, file: u64) {
        self.unsynced.remove(&file);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// In the midst of what this operation is: some of [`WORKS`].
    pub(crate) fn works(&self, act: &Act<'_>) -> Vec<&'static str> {
        match self.phase {
            Phase::Recovering => vec!["recovering"],
            Phase::Draining => vec!["draining"],
            Phase::Working if act.name.starts_with("contents") => vec!["staging a large content"],
            Phase::Working if act.name.starts_with("journal") => vec!["archiving"],
            Phase::Working if act.name.starts_with(notebook::FOLDER) => vec![KEEPING],
            Phase::Working if act.kinds.is_empty() => vec!["making a segment or giving it back"],
            Phase::Working => {
                let work = |kind: &&'static str| match *kind {
                    "acceptance" => "accepting",
                    "settlement" => "settling",
                    "copy" => "compacting",
                    "footer" => "sealing",
                    "notice" => TELLING,
                    _ => "beginning or freeing a segment",
                };
                act.kinds.iter().map(work).collect()
            }
        }
    }

    /// The relay dies in the midst of these.
    pub(crate) fn crash(&mut self, works: &[&'static str]) {
        for (_, crash) in WORKS.iter().filter(|(work, _)| works.contains(work)) {
            self.meet(crash);
        }
        if self.phase == Phase::Recovering {
            self.dies_recovering = true;
            if self.died_recovering {
                self.meet("crash in two recoveries in a row");
            }
        }
    }

    /// A file lost something.
    pub(crate) fn harmed(&mut self, file: u64, harm: Harm) {
        for (harmed, what) in [(harm.gone, "loses a write"), (harm.torn, "tears a write"), (harm.holes, "writes some sectors, not others")]
        {
            if harmed {
                self.meet(what);
            }
        }
        let kinds = self.unsynced.remove(&file).unwrap_or_default();
        if harm != Harm::default() && kinds.contains("acceptance") {
            self.meet("loses or tears an acceptance");
        }
    }

    /// A sync failed.
    pub(crate) fn failed_sync(&mut self, name: &str, folder: bool) {
        if self.phase == Phase::Recovering {
            self.meet("fails a sync while recovering");
        }
        self.meet(match name.split('/').next() {
            _ if folder => "fails the sync of a folder",
            Some("log") => "fails a sync of the log",
            Some("journal") => "fails a sync of the journal",
            Some(notebook::FOLDER) => "fails a sync of the counts",
            _ => "fails a sync of a large content",
        });
    }
}
