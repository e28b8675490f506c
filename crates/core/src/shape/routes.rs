//! The Routes that are remembered, who of them waits where, and when one can be forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use postrider_model::{SiteName, SourceName, Timestamp};

use super::Route;
use super::bucket::Bucket;
use super::line::RouteId;
use super::window::Window;

/// Routes without a connection that are remembered at most, for what they learned or for how long they rest: about 20 MB.
pub const IDLE_ROUTES_MAX: usize = 65_536;

/// How long a learned window outlives the last connection: bursts of one campaign are not further apart.
const KEEP: Duration = Duration::from_secs(600);

/// Expired Routes that are forgotten at one call.
const SWEPT_AT_ONCE: usize = 4;

/// Where a held Route waits, besides waiting for time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// For a connection of its own, or a larger window.
    Own,
    /// In the line for its provider's connections.
    Shared,
    /// In the line for the relay's connections.
    Total,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) route: Route,
    pub(super) connections: u32,
    pub(super) window: Window,
    /// Its own, unused while the provider shares one.
    pub(super) bucket: Bucket,
    /// The shared bucket in whose line it last stood.
    pub(super) shared: Option<usize>,
    /// Where its own bucket went when others of its hosts came.
    pub(super) joined: Option<usize>,
    waits: Option<Waits>,
    /// Whether it stands in the row of those that are ready.
    ready: bool,
    /// Until when it has a right of way in a line that called it.
    called_until: Timestamp,
    idle_until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Waits {
    place: Place,
    ticket: Option<u64>,
    until: Option<Timestamp>,
}

impl Node {
    /// Its ticket in a line, when it stands there.
    pub(super) fn ticket(&self, place: Place) -> Option<u64> {
        self.waits.filter(|waits| waits.place == place).and_then(|waits| waits.ticket)
    }

    pub(super) fn waits_for_own(&self) -> bool {
        self.waits.is_some_and(|waits| waits.place == Place::Own)
    }
}

#[derive(Debug, Default)]
pub(super) struct Routes {
    nodes: Vec<Option<Node>>,
    free: Vec<RouteId>,
    index: BTreeMap<Route, RouteId>,
    timers: BTreeSet<(Timestamp, RouteId)>,
    ready: VecDeque<RouteId>,
    idle: BTreeSet<(Timestamp, RouteId)>,
}

impl Routes {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn find(&self, route: &Route) -> Option<RouteId> {
        self.index.get(route).copied()
    }

    pub(super) fn find_or_insert(&mut self, route: &Route) -> RouteId {
        if let Some(id) = self.find(route) {
            return id;
        }
        let node = Node {
            route: route.clone(),
            connections: 0,
            window: Window::default(),
            bucket: Bucket::default(),
            shared: None,
            joined: None,
            waits: None,
            ready: false,
            called_until: Timestamp::default(),
            idle_until: None,
        };
        let id = self.free.pop().unwrap_or(self.nodes.len() as RouteId);
        match self.nodes.get_mut(id as usize) {
            Some(slot) => *slot = Some(node),
            None => self.nodes.push(Some(node)),
        }
        self.index.insert(route.clone(), id);
        id
    }

    /// A node that somebody holds an id of: it is not forgotten while it has a connection, waits, or is being looked at.
    pub(super) fn node(&self, id: RouteId) -> &Node {
        self.nodes[id as usize].as_ref().expect("a Route that is referred to is remembered")
    }

    pub(super) fn node_mut(&mut self, id: RouteId) -> &mut Node {
        self.nodes[id as usize].as_mut().expect("a Route that is referred to is remembered")
    }

    pub(super) fn of_site<'a>(&'a self, site: &SiteName) -> impl Iterator<Item = (&'a Route, RouteId)> + use<'a> {
        let (first, site) = (Route { site: site.clone(), source: SourceName::new("") }, site.clone());
        self.index.range(first..).take_while(move |(route, _)| route.site == site).map(|(route, id)| (route, *id))
    }

    pub(super) fn park(&mut self, id: RouteId, place: Place, ticket: Option<u64>, shared: Option<usize>, until: Option<Timestamp>) {
        let node = self.node_mut(id);
        node.shared = shared;
        let before = node.waits.replace(Waits { place, ticket, until });
        self.set_timer(id, before.and_then(|waits| waits.until), until);
    }

    pub(super) fn unpark(&mut self, id: RouteId) {
        let before = self.node_mut(id).waits.take();
        self.set_timer(id, before.and_then(|waits| waits.until), None);
    }

    /// It was called from its line, and is remembered as long as that is good.
    pub(super) fn unpark_called(&mut self, id: RouteId, until: Timestamp) {
        self.unpark(id);
        self.node_mut(id).called_until = until;
    }

    /// It may be worth asking again.
    pub(super) fn wake(&mut self, id: RouteId) {
        let node = self.node_mut(id);
        if node.waits.is_some() && !node.ready {
            node.ready = true;
            self.ready.push_back(id);
        }
    }

    pub(super) fn wake_due(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(waits) = &mut self.node_mut(id).waits {
                waits.until = None;
            }
            self.wake(id);
        }
    }

    /// Who is ready and still waits; who was let go meanwhile is passed over, and perhaps forgotten.
    pub(super) fn next_ready(&mut self, now: Timestamp) -> Option<RouteId> {
        while let Some(id) = self.ready.pop_front() {
            let node = self.node_mut(id);
            node.ready = false;
            if node.waits.is_some() {
                return Some(id);
            }
            self.rest_or_forget(id, now);
        }
        None
    }

    pub(super) fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        if self.ready.is_empty() { self.timers.first().map(|(at, _)| *at) } else { Some(now) }
    }

    /// It has a connection.
    pub(super) fn in_use(&mut self, id: RouteId) {
        if let Some(at) = self.node_mut(id).idle_until.take() {
            self.idle.remove(&(at, id));
        }
    }

    /// Forgets a Route that nobody uses and that holds nothing worth keeping, or remembers when that will be so.
    pub(super) fn rest_or_forget(&mut self, id: RouteId, now: Timestamp) {
        self.in_use(id);
        let node = self.node_mut(id);
        if node.connections > 0 || node.waits.is_some() || node.ready {
            return;
        }
        let learned = if node.window.has_learned() { now.after(KEEP) } else { now };
        let rested = node.window.rested_at().map_or(now, |at| at.after(KEEP));
        let until = learned.max(rested).max(node.bucket.settled_at()).max(node.called_until);
        if until <= now {
            self.forget(id);
            return;
        }
        node.idle_until = Some(until);
        self.idle.insert((until, id));
        if self.idle.len() > IDLE_ROUTES_MAX
            && let Some((_, id)) = self.idle.pop_first()
        {
            self.forget(id);
        }
    }

    /// Forgets some whose time has come.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEPT_AT_ONCE {
            match self.idle.first().copied() {
                Some((at, id)) if at <= now => {
                    self.idle.pop_first();
                    self.forget(id);
                }
                _ => return,
            }
        }
    }

    fn forget(&mut self, id: RouteId) {
        if let Some(node) = self.nodes.get_mut(id as usize).and_then(Option::take) {
            self.index.remove(&node.route);
            self.free.push(id);
        }
    }

    fn set_timer(&mut self, id: RouteId, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before == after {
            return;
        }
        if let Some(at) = before {
            self.timers.remove(&(at, id));
        }
        if let Some(at) = after {
            self.timers.insert((at, id));
        }
    }
}
