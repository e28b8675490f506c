//! Permits: may a connection be opened, may a message be sent, now?
//!
//! **Promises.** For each Route (Source and Site; Sites of the same hosts count together), and for each Source at a provider whose Sites share: never more connections than the policy, the concurrency
//! window ([`window`]) and the relay as a whole allow; never more connections or messages in a time than the rates say ([`gcra`]); no
//! connection while it rests. A permit is taken from all that covers it, or from none. Every refusal says what holds, since when, and
//! until when, if time alone ends it. While a Route without a connection waits for one of the relay's, no other gets more than its equal part, so that a
//! slow Site does not gather what all need; and while half of them are in use, a Route that has not finished a transaction has one. Who is refused is told by [`Shape::awake`] when it is worth asking again, in the order of asking: where many Sites share
//! what is scarce, none of them starves.
//!
//! **Never** reads a clock, opens anything, or keeps policy: the provider's rules are given with each call, so a reload reaches every Route at once.
//!
//! **Does badly.** Rates and rests are forgotten by a restart. More than [`IDLE_ROUTES_MAX`] Routes without a connection are not remembered;
//! those go first whose memory would have ended first. A connection may be opened for a message whose rate another connection uses up meanwhile.
//!
//! **Costs.** A message costs no search. A connection costs a look-up by name and the logarithm of what waits.

mod bucket;
mod gcra;
mod hold;
mod line;
mod routes;
mod shared;
mod window;

use postrider_model::policy::{Provider, RuleAction};
use postrider_model::{SiteName, SourceName, Timestamp};

pub use hold::{Hold, HoldReason};

use bucket::{Bucket, held};
use line::{Line, RouteId};
use routes::{Place, Routes};
use shared::{AllShared, Together};

pub use routes::IDLE_ROUTES_MAX;

/// From where, to where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// To the hosts of this Site. First, so that the Routes of a Site stand together.
    pub site: SiteName,
    /// From this address of ours.
    pub source: SourceName,
}

/// The right to one connection. It must come back by [`Shape::closed`], whatever became of the connection.
#[must_use = "a permit that is lost is a connection that is never counted out"]
#[derive(Debug)]
pub struct Permit {
    route: RouteId,
    shared: Option<usize>,
    messages: u32,
}

impl Permit {
    /// Messages that were let go on this connection.
    pub fn messages(&self) -> u32 {
        self.messages
    }
}

/// How a Site stands, over all Sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Connections open.
    pub connections: u32,
    /// How many there may be now.
    pub window: u32,
    /// What would hold a further connection, when it would from every Source that was used.
    pub held: Option<Hold>,
}

/// All permits and what they were given for.
#[derive(Debug)]
pub struct Shape {
    connections: u32,
    connections_max: u32,
    /// Routes with a connection.
    routes_in_use: u32,
    opened_at: Timestamp,
    routes: Routes,
    shared: AllShared,
    /// Who waits for one of the relay's connections.
    line: Line,
}

impl Shape {
    /// No connection, and at most so many over all Sites.
    pub fn new(connections_max: u32) -> Self {
        Self {
            connections: 0,
            connections_max,
            routes_in_use: 0,
            opened_at: Timestamp::default(),
            routes: Routes::default(),
            shared: AllShared::default(),
            line: Line::default(),
        }
    }

    /// After a reload: how many connections there may be over all Sites. Those open stay.
    pub fn set_connections_max(&mut self, connections_max: u32) {
        self.connections_max = connections_max;
    }

    /// Connections open, over all Sites.
    pub fn connections(&self) -> u32 {
        self.connections
    }

    /// May a connection be opened? A refused Route will be told by [`Shape::awake`]; who has no use for it any more says [`Shape::decline`].
    pub fn connection(&mut self, route: &Route, provider: &Provider, now: Timestamp) -> Result<Permit, Hold> {
        self.routes.sweep(now);
        let shared = self.share(route, provider, now);
        let id = self.routes.find_or_insert(route);
        if shared.is_none() {
            self.routes.node_mut(id).joined = None;
        }
        match self.check(id, shared, provider, now) {
            Ok(()) => Ok(self.open(id, shared, provider, now)),
            Err((hold, place)) => {
                self.park(id, hold.until, place, shared, now);
                Err(hold)
            }
        }
    }

    /// May a message be sent on this connection? A message is counted here, and nowhere else.
    pub fn message(&mut self, permit: &mut Permit, provider: &Provider, now: Timestamp) -> Result<(), Hold> {
        let messages = provider.messages_per_connection_max.max(1);
        if permit.messages >= messages {
            return Err(Hold { reason: HoldReason::UsedUp { messages }, since: now, until: Some(now) });
        }
        let bucket = self.bucket(permit.route, permit.shared);
        if let Err(hold) = bucket.check_rest(provider, now).and_then(|()| bucket.check_message_rate(provider, now)) {
            self.park(permit.route, hold.until, Place::Own, permit.shared, now);
            return Err(hold);
        }
        self.bucket_mut(permit.route, permit.shared).count_message(provider, now);
        permit.messages += 1;
        Ok(())
    }

    /// The session worked: greeting and handshake went well, and a transaction ended, however it ended. Once for each transaction.
    pub fn succeeded(&mut self, permit: &Permit, provider: &Provider) {
        let node = self.routes.node_mut(permit.route);
        if node.window.success(provider, node.connections) {
            self.routes.wake(permit.route);
        }
    }

    /// No connection, no greeting, or no handshake, at any host of the Site. Once for each permit.
    pub fn failed(&mut self, permit: &Permit, provider: &Provider, now: Timestamp) {
        self.routes.node_mut(permit.route).window.failure(provider, now);
    }

    /// A rule of the provider matched a reply in this session.
    pub fn advise(&mut self, permit: &Permit, action: RuleAction, now: Timestamp) {
        self.bucket_mut(permit.route, permit.shared).advise(action, now);
    }

    /// Whether this connection should end after its message, because its Route has more than its part and another that has none waits.
    pub fn should_yield(&self, permit: &Permit, now: Timestamp) -> bool {
        self.fair_share(permit.route, now).is_some_and(|share| self.routes.node(permit.route).connections > share)
    }

    /// The connection is closed, or never came to be.
    pub fn closed(&mut self, permit: Permit, now: Timestamp) {
        let bucket = self.bucket_mut(permit.route, permit.shared);
        bucket.connections = bucket.connections.saturating_sub(1);
        self.connections = self.connections.saturating_sub(1);
        let node = self.routes.node_mut(permit.route);
        node.connections = node.connections.saturating_sub(1);
        self.routes_in_use -= u32::from(node.connections == 0);
        if node.waits_for_own() {
            self.routes.wake(permit.route);
        }
        self.routes.rest_or_forget(permit.route, now);
    }

    /// The next Route that was held and may be let go now. Ask until there is none. A Route that comes here and does not ask again for a
    /// connection keeps what it was called for from the others for a second, unless it declines.
    pub fn awake(&mut self, now: Timestamp) -> Option<Route> {
        self.routes.sweep(now);
        self.routes.wake_due(now);
        if let Some(id) = self.routes.next_ready(now) {
            self.unpark(id);
            return Some(self.told(id, now));
        }
        let free = self.connections_max.saturating_sub(self.connections);
        let mut called = None;
        for number in self.shared.numbers_waited_for() {
            called = self.shared.get_mut(number).and_then(|shared| shared.line.call(shared.bucket.free(shared.connections_max, now), now));
            if called.is_some() {
                break;
            }
        }
        let (id, until) = called.or_else(|| self.line.call(free, now))?;
        self.routes.unpark_called(id, until);
        Some(self.told(id, now))
    }

    /// The Route has no mail any more: it leaves every line.
    pub fn decline(&mut self, route: &Route, now: Timestamp) {
        if let Some(id) = self.routes.find(route) {
            self.unpark(id);
            self.routes.rest_or_forget(id, now);
        }
    }

    /// When [`Shape::awake`] may have an answer, if nothing else happens; `None` when nobody is held by time.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let free = self.connections_max.saturating_sub(self.connections);
        let shared_lines = self.shared.waited_for().map(|s| (&s.line, s.bucket.free(s.connections_max, now), s.bucket.free_at(now)));
        let lines = shared_lines.chain([(&self.line, free, None)]).filter(|(line, ..)| !line.is_empty());
        let calls = lines.flat_map(|(line, free, free_at)| {
            let call = if line.would_call(free, now) { Some(now) } else { line.next_change() };
            [call, free_at].into_iter().flatten()
        });
        calls.chain(self.routes.next_wake(now)).min().map(|at| at.max(now))
    }

    /// How a Site stands.
    pub fn view(&self, site: &SiteName, provider: &Provider, now: Timestamp) -> View {
        let mut view = View { connections: 0, window: 0, held: None };
        let mut free = false;
        for (route, id) in self.routes.of_site(site) {
            let node = self.routes.node(id);
            view.connections += node.connections;
            view.window += node.window.size(provider);
            let shared = self.shared_with(route, provider);
            match self.check(id, shared, provider, now) {
                Ok(()) => free = true,
                Err((hold, _)) => keep_earliest(&mut view.held, hold),
            }
        }
        if view.window == 0 {
            view.window = provider.window_initial.clamp(1, provider.connections_max.max(1));
            let total = (self.connections >= self.connections_max).then(|| self.total());
            return View { held: total, ..view };
        }
        if free { View { held: None, ..view } } else { view }
    }

    /// How many Routes are remembered.
    pub fn remembered(&self) -> usize {
        self.routes.len()
    }

    /// The one place that refuses connections. Says, with the hold, where the Route must wait.
    fn check(&self, id: RouteId, shared: Option<usize>, provider: &Provider, now: Timestamp) -> Result<(), (Hold, Place)> {
        let own = |hold| (hold, Place::Own);
        let node = self.routes.node(id);
        if let Some((rest, rests)) = node.window.resting(now) {
            return Err(own(held(HoldReason::Resting { rests }, rest.since, rest.until)));
        }
        let bucket = self.bucket(id, shared);
        bucket.check_rest(provider, now).map_err(own)?;
        let window = node.window.size(provider);
        let free = bucket.free(provider.connections_max, now);
        if free == 0 {
            return Err((bucket.full(provider, now), if shared.is_some() { Place::Shared } else { Place::Own }));
        }
        if node.connections >= window {
            let reason = HoldReason::Window { used: node.connections, window };
            return Err(own(Hold { reason, since: node.bucket.opened_at.max(bucket.opened_at), until: None }));
        }
        bucket.check_connection_rate(provider, now).map_err(own)?;
        bucket.check_message_rate(provider, now).map_err(own)?;
        if let Some(shared) = shared.and_then(|shared| self.shared.get(shared))
            && !shared.line.lets(id, node.ticket(Place::Shared), free, now)
        {
            let reason = HoldReason::Line { shared: Some(provider.name.clone()) };
            return Err((Hold { reason, since: now, until: None }, Place::Shared));
        }
        if let Some(share) = self.fair_share(id, now).filter(|share| node.connections >= *share) {
            // It asks again when one of its own messages is done, and needs no place in the line.
            let reason = HoldReason::Share { used: node.connections, share };
            return Err(own(Hold { reason, since: now, until: None }));
        }
        // Who has not finished a transaction yet may be one that answers late, and would hold for minutes what others need.
        if self.is_scarce() && node.connections > 0 && !node.window.is_proven() {
            let reason = HoldReason::Unproven;
            return Err(own(Hold { reason, since: now, until: None }));
        }
        let free = self.connections_max.saturating_sub(self.connections);
        if free == 0 {
            return Err((self.total(), Place::Total));
        }
        if !self.line.lets(id, node.ticket(Place::Total), free, now) {
            return Err((Hold { reason: HoldReason::Line { shared: None }, since: now, until: None }, Place::Total));
        }
        Ok(())
    }

    /// A Route's part of the relay's connections while another that has none waits for one (max-min fairness, in whole connections); at least one.
    fn fair_share(&self, id: RouteId, now: Timestamp) -> Option<u32> {
        let poor = u32::try_from(self.line.poor_but(id, now)).unwrap_or(u32::MAX);
        (poor > 0).then(|| (self.connections_max / self.routes_in_use.saturating_add(poor)).max(1))
    }

    /// Whether half of the relay's connections are in use.
    fn is_scarce(&self) -> bool {
        self.connections >= self.connections_max.div_ceil(2)
    }

    fn total(&self) -> Hold {
        Hold { reason: HoldReason::Total { max: self.connections_max }, since: self.opened_at, until: None }
    }

    fn open(&mut self, id: RouteId, shared: Option<usize>, provider: &Provider, now: Timestamp) -> Permit {
        self.unpark(id);
        self.bucket_mut(id, shared).open(provider, now);
        let node = self.routes.node_mut(id);
        self.routes_in_use += u32::from(node.connections == 0);
        node.connections += 1;
        node.bucket.opened_at = now;
        self.connections += 1;
        self.opened_at = now;
        self.routes.in_use(id);
        Permit { route: id, shared, messages: 0 }
    }

    /// A held Route waits: for time, at its own door, or in a line, where it keeps its place.
    fn park(&mut self, id: RouteId, until: Option<Timestamp>, place: Place, shared: Option<usize>, now: Timestamp) {
        let node = self.routes.node(id);
        let ticket = node.ticket(place).filter(|_| node.shared == shared);
        if ticket.is_none() {
            self.unpark(id);
        }
        let ticket = match (place, ticket, shared) {
            (_, Some(ticket), _) => Some(ticket),
            (Place::Own, ..) => None,
            (Place::Shared, _, Some(index)) => {
                self.shared.lined(index);
                self.shared.get_mut(index).map(|shared| shared.line.join(id, false))
            }
            (Place::Shared, _, None) => None,
            (Place::Total, ..) => Some(self.line.join(id, self.routes.node(id).connections == 0)),
        };
        // What time gives to a whole line, the line hands on in its order.
        let until = until.filter(|_| place == Place::Own);
        self.routes.park(id, place, ticket, shared, until);
        self.routes.rest_or_forget(id, now);
    }

    /// Takes a Route out of every line.
    fn unpark(&mut self, id: RouteId) {
        let node = self.routes.node(id);
        let (in_shared, in_total) = (node.ticket(Place::Shared), node.ticket(Place::Total));
        if let Some(shared) = node.shared.and_then(|index| self.shared.get_mut(index)) {
            shared.line.leave(id, in_shared);
        }
        self.line.leave(id, in_total);
        self.routes.unpark(id);
    }

    /// The Route that is told to ask again; nobody waits for it any more.
    fn told(&mut self, id: RouteId, now: Timestamp) -> Route {
        let route = self.routes.node(id).route.clone();
        self.routes.rest_or_forget(id, now);
        route
    }

    /// What a Route fills together with others, where it does.
    fn shared_with(&self, route: &Route, provider: &Provider) -> Option<usize> {
        if provider.shared {
            return self.shared.find(&Together::Provider(provider.name.clone(), route.source.clone()));
        }
        if !self.shared.has_hosts() {
            return None;
        }
        self.shared.find(&Together::Hosts(route.site.hosts().into(), route.source.clone()))
    }

    /// As [`Shape::shared_with`], made where it has to be.
    fn share(&mut self, route: &Route, provider: &Provider, now: Timestamp) -> Option<usize> {
        let known = self.shared_with(route, provider);
        let hosts = route.site.hosts();
        let number = match known {
            Some(number) => number,
            None if provider.shared => self.shared.make(Together::Provider(provider.name.clone(), route.source.clone())),
            None if hosts == route.site.as_str() => return None,
            None => {
                for (hosts, source) in self.shared.sweep(now) {
                    if let Some(whole) = self.routes.find(&Route { site: SiteName::new(&hosts), source }) {
                        self.routes.node_mut(whole).joined = None;
                    }
                }
                let number = self.shared.make(Together::Hosts(hosts.into(), route.source.clone()));
                self.join(number, &Route { site: SiteName::new(hosts), source: route.source.clone() });
                number
            }
        };
        self.shared.seen(number, provider);
        Some(number)
    }

    /// The Site that is the hosts alone has counted for itself until now.
    fn join(&mut self, number: usize, whole: &Route) {
        if let (Some(id), Some(shared)) = (self.routes.find(whole), self.shared.get_mut(number)) {
            let node = self.routes.node_mut(id);
            shared.bucket = std::mem::take(&mut node.bucket);
            node.joined = Some(number);
        }
    }

    fn bucket(&self, id: RouteId, shared: Option<usize>) -> &Bucket {
        let node = self.routes.node(id);
        shared.or(node.joined).and_then(|number| self.shared.get(number)).map_or(&node.bucket, |shared| &shared.bucket)
    }

    fn bucket_mut(&mut self, id: RouteId, shared: Option<usize>) -> &mut Bucket {
        match shared.or(self.routes.node(id).joined).and_then(|number| self.shared.get_mut(number)) {
            Some(shared) => &mut shared.bucket,
            None => &mut self.routes.node_mut(id).bucket,
        }
    }
}

/// Of the holds of several Sources, the one that ends first is what the Site waits for.
fn keep_earliest(kept: &mut Option<Hold>, hold: Hold) {
    let end = |hold: &Hold| hold.until.unwrap_or(Timestamp::NEVER);
    if kept.as_ref().is_none_or(|kept| end(&hold) < end(kept)) {
        *kept = Some(hold);
    }
}

#[cfg(test)]
mod tests;
