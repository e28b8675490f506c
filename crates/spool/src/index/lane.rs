//! The waiting deliveries of one host in one lane: what is due, and what is due later.

use std::collections::BTreeSet;

/// The order of what is due: priority and deadline as one rank, then due time; then the order of arrival in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NowKey {
    pub(crate) rank: u64,
    pub(crate) due: u64,
    pub(crate) slot: u32,
    pub(crate) index: u32,
}

/// The order of what is due later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaterKey {
    pub(crate) due: u64,
    pub(crate) slot: u32,
    pub(crate) index: u32,
}

/// Both sets.
#[derive(Default)]
pub(crate) struct LaneQueue {
    pub(crate) now: BTreeSet<NowKey>,
    pub(crate) later: BTreeSet<LaterKey>,
}

/// The first of each set, by which a group knows a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Firsts {
    pub(crate) now: Option<NowKey>,
    pub(crate) later: Option<u64>,
}

impl Firsts {
    /// What a group is told of a queue: nothing, when its lane is paused.
    pub(crate) fn unless(self, paused: bool) -> Self {
        if paused { Self::default() } else { self }
    }
}

impl LaneQueue {
    pub(crate) fn firsts(&self) -> Firsts {
        Firsts { now: self.now.first().copied(), later: self.later.first().map(|key| key.due) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.now.is_empty() && self.later.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.now.len() + self.later.len()
    }
}
