//! Buckets that several Routes fill together: those of one Source at a provider whose Sites share, and those of one Source at Sites of the same hosts.
//!
//! A rule or a stream's pool may give mail for the same hosts a Site of its own (`bank@mx.example`, `pool:vip@mx.example`). The provider sees one Source and counts once,
//! so such Sites count together with each other and with the Site that is the hosts alone; what they learn of the wire, each learns for itself.

use std::collections::{BTreeMap, BTreeSet};

use postrider_model::policy::Provider;
use postrider_model::{ProviderName, SourceName, Timestamp};

use super::bucket::Bucket;
use super::line::Line;

/// Buckets of hosts before the first look for those that nobody needs any more.
const SWEPT_FROM: usize = 1_024;

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Together {
    /// All Sites of a provider, from one Source. There are as many as policy has providers and Sources, so they stay.
    Provider(ProviderName, SourceName),
    /// All Sites of the same hosts, from one Source. They go when they are as good as new.
    Hosts(Box<str>, SourceName),
}

/// What Routes share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) bucket: Bucket,
    pub(super) line: Line,
    /// The provider's connections, as last seen.
    pub(super) connections_max: u32,
}

impl Shared {
    fn is_as_good_as_new(&self, now: Timestamp) -> bool {
        self.bucket.connections == 0 && self.bucket.settled_at() <= now && self.line.is_forgotten(now)
    }
}

/// All of them, by numbers that stay as long as they are needed.
#[derive(Debug, Default)]
pub(super) struct AllShared {
    all: Vec<Shared>,
    free: Vec<usize>,
    index: BTreeMap<Together, usize>,
    /// How many are of hosts.
    of_hosts: usize,
    swept_from: usize,
    /// Those that somebody waits for.
    lined: BTreeSet<usize>,
}

impl AllShared {
    pub(super) fn get(&self, number: usize) -> Option<&Shared> {
        self.all.get(number)
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut Shared> {
        self.all.get_mut(number)
    }

    pub(super) fn find(&self, key: &Together) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// Whether any Site counts with others of its hosts. Without one nobody looks for them.
    pub(super) fn has_hosts(&self) -> bool {
        self.of_hosts > 0
    }

    pub(super) fn make(&mut self, key: Together) -> usize {
        self.of_hosts += usize::from(matches!(key, Together::Hosts(..)));
        let number = self.free.pop().unwrap_or(self.all.len());
        match self.all.get_mut(number) {
            Some(slot) => *slot = Shared::default(),
            None => self.all.push(Shared::default()),
        }
        self.index.insert(key, number);
        number
    }

    pub(super) fn seen(&mut self, number: usize, provider: &Provider) {
        if let Some(shared) = self.all.get_mut(number) {
            shared.connections_max = provider.connections_max;
        }
    }

    /// How many are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Somebody waits for it.
    pub(super) fn lined(&mut self, number: usize) {
        self.lined.insert(number);
    }

    /// Those that somebody waits for.
    pub(super) fn waited_for(&self) -> impl Iterator<Item = &Shared> {
        self.lined.iter().filter_map(|number| self.all.get(*number))
    }

    /// The numbers of those that somebody waits for.
    pub(super) fn numbers_waited_for(&mut self) -> Vec<usize> {
        self.lined.retain(|number| self.all.get(*number).is_some_and(|shared| !shared.line.is_empty()));
        self.lined.iter().copied().collect()
    }

    /// Now and then, those of hosts that are as good as new go; gives whose they were.
    pub(super) fn sweep(&mut self, now: Timestamp) -> Vec<(Box<str>, SourceName)> {
        if self.of_hosts < self.swept_from.max(SWEPT_FROM) {
            return Vec::new();
        }
        let mut gone = Vec::new();
        self.index.retain(|key, number| {
            let Together::Hosts(hosts, source) = key else { return true };
            let goes = self.all.get(*number).is_none_or(|shared| shared.is_as_good_as_new(now));
            if goes {
                gone.push((hosts.clone(), source.clone()));
                self.free.push(*number);
                self.lined.remove(number);
            }
            !goes
        });
        self.of_hosts -= gone.len();
        // A look costs as much as there are, so it comes when there are twice as many.
        self.swept_from = self.of_hosts * 2;
        gone
    }
}
