//! The wires: who can be reached, how far away it is, and which connections break.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postrider_lab::Chance;
use postrider_model::doors::{Connection, Listener, Net, NetTrouble, Peer, Secured, TlsDemand};
use postrider_model::{BoxFuture, TlsFacts};
use tokio::sync::Notify;

use super::book::Fact;
use super::pipe::{self, End, Link};
use super::remotes::{self, Remote};
use super::{World, lock};
use crate::scenario::Scenario;

/// How a remote can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// It can.
    #[default]
    Up,
    /// Its host refuses connections.
    Refuses,
    /// Nothing comes back.
    Black,
    /// The net says that there is no way.
    Unreachable,
}

/// The wires' state.
pub struct NetState {
    by_address: BTreeMap<IpAddr, usize>,
    /// Connections of the relay to remotes that are open: the remote, and what is on the way.
    pub(crate) open: BTreeMap<u64, (usize, Arc<Link>)>,
    next: u64,
    /// In so many of a hundred connections something breaks, while the weather is bad.
    pub breaks_percent: u8,
    /// Hosts with which no TLS handshake succeeds.
    pub tls_breaks: Vec<String>,
    chance: Chance,
    listener: Arc<Backlog>,
    /// Connections that broke in the midst of something.
    broken: Arc<AtomicU64>,
    /// What was felt of the wires, by name.
    felt: BTreeSet<&'static str>,
}

/// Clients that wait to be accepted.
#[derive(Default)]
struct Backlog {
    queue: Mutex<VecDeque<(End, Peer)>>,
    bell: Notify,
}

impl NetState {
    pub(crate) fn new(scenario: &Scenario, remotes: &[Remote]) -> Self {
        let mut by_address = BTreeMap::new();
        for (number, remote) in remotes.iter().enumerate() {
            by_address.extend(remote.plan.addresses().map(|address| (address, number)));
        }
        Self {
            by_address,
            open: BTreeMap::new(),
            next: 0,
            breaks_percent: 0,
            tls_breaks: scenario.tls_breaks.clone(),
            chance: Chance::new(scenario.seed ^ 0x7a7a),
            listener: Arc::default(),
            broken: Arc::default(),
            felt: BTreeSet::new(),
        }
    }

    /// What was felt of the wires so far, by name.
    pub(crate) fn felt(&self) -> BTreeSet<&'static str> {
        let broken = (self.broken.load(Ordering::Relaxed) > 0).then_some("connections break");
        self.felt.iter().copied().chain(broken).collect()
    }

    /// Nobody is connected any more; gives what was on the way to each remote.
    pub(crate) fn cut(&mut self) -> Vec<(u64, usize, Arc<Link>)> {
        self.listener = Arc::default();
        std::mem::take(&mut self.open).into_iter().map(|(number, (remote, link))| (number, remote, link)).collect()
    }
}

/// The relay's wires.
pub struct SimNet(pub Arc<World>);

/// The relay's listening socket.
pub struct SimListener {
    world: Arc<World>,
    backlog: Arc<Backlog>,
}

/// Where the relay listens.
pub fn relay_address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 25], 587))
}

impl World {
    /// A listening socket for a new life.
    pub fn listener(self: &Arc<Self>) -> Arc<SimListener> {
        let backlog = lock(&self.net).listener.clone();
        Arc::new(SimListener { world: self.clone(), backlog })
    }

    /// A client's connection to the relay.
    pub(crate) fn dial_relay(self: &Arc<Self>, from: IpAddr) -> End {
        let mut net = lock(&self.net);
        let percent = net.breaks_percent;
        let breaks = if net.chance.percent(percent) { Some((net.chance.between(1, 4_000), net.broken.clone())) } else { None };
        let (near, far) = pipe::connection(Duration::from_millis(2), breaks);
        let peer = Peer { remote: SocketAddr::new(from, 40_000), local: relay_address() };
        let far = far.of_relay(self.clone(), None);
        lock(&net.listener.queue).push_back((far, peer));
        net.listener.bell.notify_one();
        near
    }

    /// The relay let a connection go.
    pub(crate) fn closed(&self, connection: u64) {
        let known = lock(&self.net).open.remove(&connection).is_some();
        if known {
            self.note(Fact::Closed { connection });
        }
    }
}

impl Listener for SimListener {
    fn accept(&self) -> BoxFuture<'_, Result<(Box<dyn Connection>, Peer), NetTrouble>> {
        Box::pin(async {
            loop {
                if self.world.switch().is_dead() {
                    std::future::pending::<()>().await;
                }
                if let Some((end, peer)) = lock(&self.backlog.queue).pop_front() {
                    return Ok((Box::new(end) as Box<dyn Connection>, peer));
                }
                self.backlog.bell.notified().await;
            }
        })
    }

    fn address(&self) -> SocketAddr {
        relay_address()
    }
}

impl SimNet {
    async fn dial_now(&self, from: Option<IpAddr>, to: SocketAddr, timeout: Duration) -> Result<Box<dyn Connection>, NetTrouble> {
        let world = &self.0;
        let remote = lock(&world.net).by_address.get(&to.ip()).copied();
        let Some(number) = remote else {
            tokio::time::sleep(timeout).await;
            return Err(NetTrouble::TimedOut);
        };
        let (reach, latency) = {
            let remotes = lock(&world.remotes);
            (remotes[number].reach, remotes[number].plan.latency)
        };
        tokio::time::sleep(if reach == Reach::Black { timeout } else { latency.min(timeout) }).await;
        let felt = match reach {
            Reach::Up => None,
            Reach::Black => Some("hosts do not answer"),
            Reach::Refuses => Some("hosts refuse connections"),
            Reach::Unreachable => Some("hosts cannot be reached"),
        };
        lock(&world.net).felt.extend(felt);
        match reach {
            Reach::Black => return Err(NetTrouble::TimedOut),
            Reach::Refuses => return Err(NetTrouble::Refused),
            Reach::Unreachable => return Err(NetTrouble::Unreachable("no route to host".into())),
            Reach::Up if world.switch().is_dead() => return std::future::pending().await,
            Reach::Up => {}
        }
        let source = from.unwrap_or(IpAddr::from([192, 0, 2, 25]));
        let (near, far, connection) = {
            let mut net = lock(&world.net);
            let percent = net.breaks_percent;
            let breaks = if net.chance.percent(percent) { Some((net.chance.between(1, 3_000), net.broken.clone())) } else { None };
            let (near, far) = pipe::connection(latency, breaks);
            let connection = net.next;
            net.next += 1;
            net.open.insert(connection, (number, near.link()));
            (near, far, connection)
        };
        world.note(Fact::Opened { remote: number, source, connection });
        tokio::spawn(remotes::serve(world.clone(), number, connection, source, far));
        Ok(Box::new(near.of_relay(world.clone(), Some(connection))))
    }
}

impl Net for SimNet {
    fn dial(&self, from: Option<IpAddr>, to: SocketAddr, timeout: Duration) -> BoxFuture<'_, Result<Box<dyn Connection>, NetTrouble>> {
        Box::pin(self.dial_now(from, to, timeout))
    }

    fn secure(&self, connection: Box<dyn Connection>, name: &str, _: TlsDemand) -> BoxFuture<'_, Result<Secured, NetTrouble>> {
        let breaks = {
            let mut net = lock(&self.0.net);
            let breaks = net.tls_breaks.iter().any(|host| host == name);
            net.felt.insert(if breaks { "TLS handshakes fail" } else { "TLS is used" });
            breaks
        };
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(3)).await;
            if breaks {
                return Err(NetTrouble::Tls("handshake failure".into()));
            }
            Ok(Secured { connection, facts: facts(), certificate: None })
        })
    }

    fn accept_secure(&self, connection: Box<dyn Connection>) -> BoxFuture<'_, Result<Secured, NetTrouble>> {
        Box::pin(std::future::ready(Ok(Secured { connection, facts: facts(), certificate: None })))
    }
}

fn facts() -> TlsFacts {
    TlsFacts { version: "TLSv1.3".into(), cipher: "TLS_AES_128_GCM_SHA256".into(), trusted: false }
}
