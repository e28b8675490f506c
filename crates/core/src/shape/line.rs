//! A line of Routes that wait for something many share: the connections of a provider, or those of the relay.
//!
//! Who waits longest is called first, and what it was called for is kept for it a moment, so that a busy Route that has just closed a connection
//! cannot take it again before the others had theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use postrider_model::Timestamp;

/// How long a called Route has a right of way. It may have lost its mail meanwhile, and then nobody comes.
const CALL_GRACE: Duration = Duration::from_secs(1);

pub(super) type RouteId = u32;

/// A Route that was called.
#[derive(Debug)]
struct Called {
    /// The end of its right of way.
    until: Timestamp,
    /// It had nothing when it joined.
    poor: bool,
}

#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: BTreeMap<u64, RouteId>,
    called: BTreeMap<RouteId, Called>,
    /// Of those that wait, who had nothing when they joined.
    poor: BTreeSet<RouteId>,
    tickets: u64,
}

impl Line {
    /// Puts a Route at the end; gives its ticket. `poor`: it has nothing of what is waited for.
    pub(super) fn join(&mut self, route: RouteId, poor: bool) -> u64 {
        self.tickets += 1;
        if poor {
            self.poor.insert(route);
        }
        self.waiting.insert(self.tickets, route);
        self.tickets
    }

    /// Whether a Route may take one of `free`, or others come first. `ticket` is its own, when it waits here.
    pub(super) fn lets(&self, route: RouteId, ticket: Option<u64>, free: u32, now: Timestamp) -> bool {
        if self.called.is_empty() && self.waiting.is_empty() {
            return free > 0;
        }
        let called = self.called.iter().filter(|(other, called)| **other != route && now < called.until).count();
        let ahead = match ticket {
            _ if self.is_called(route, now) => 0,
            Some(ticket) if self.waiting.first_key_value().is_some_and(|(first, _)| *first == ticket) => 0,
            Some(_) => self.waiting.len() - 1,
            None => self.waiting.len(),
        };
        free as usize > called + ahead
    }

    /// Calls the next one, when something is free that nobody else was called for. Says until when it is kept for it.
    pub(super) fn call(&mut self, free: u32, now: Timestamp) -> Option<(RouteId, Timestamp)> {
        if self.waiting.is_empty() {
            return None;
        }
        self.called.retain(|_, called| now < called.until);
        if free as usize <= self.called.len() {
            return None;
        }
        let (_, route) = self.waiting.pop_first()?;
        let until = now.after(CALL_GRACE);
        let poor = self.poor.remove(&route);
        self.called.insert(route, Called { until, poor });
        Some((route, until))
    }

    /// When a call runs out that keeps others waiting.
    pub(super) fn next_change(&self) -> Option<Timestamp> {
        if self.waiting.is_empty() { None } else { self.called.values().map(|called| called.until).min() }
    }

    pub(super) fn leave(&mut self, route: RouteId, ticket: Option<u64>) {
        self.called.remove(&route);
        self.poor.remove(&route);
        if let Some(ticket) = ticket {
            self.waiting.remove(&ticket);
        }
    }

    /// How many others wait, or were called, that have nothing.
    pub(super) fn poor_but(&self, route: RouteId, now: Timestamp) -> usize {
        let called = self.called.iter().filter(|(other, called)| **other != route && called.poor && now < called.until).count();
        self.poor.len() - usize::from(self.poor.contains(&route)) + called
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nobody waits, and nobody that was called has a right of way any more.
    pub(super) fn is_forgotten(&self, now: Timestamp) -> bool {
        self.waiting.is_empty() && self.called.values().all(|called| called.until <= now)
    }

    /// Whether the line would be moved by a free connection.
    pub(super) fn would_call(&self, free: u32, now: Timestamp) -> bool {
        !self.waiting.is_empty() && free as usize > self.called.values().filter(|called| now < called.until).count()
    }

    fn is_called(&self, route: RouteId, now: Timestamp) -> bool {
        self.called.get(&route).is_some_and(|called| now < called.until)
    }
}
