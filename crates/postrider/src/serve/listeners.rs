//! The listening sockets, and what a reload makes of them.
//!
//! **Promises.** Every socket that a configuration asks for anew is bound before anything changes, so a port in use leaves all as it was. A listener
//! whose address stays keeps its socket, whatever else changes about it, and misses no client. One that is gone takes nobody more; its sessions go on.
//!
//! **Does badly.** Two listeners that trade addresses, or one that takes the wildcard address over another's port, need a restart: both cannot be bound at once.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use postrider_edge::{TcpListenerDoor, TcpNet};
use postrider_flow::{Listening, Relay};
use postrider_http::wire;
use postrider_model::Role;
use postrider_model::doors::Listener;

use super::bind_trouble;
use super::handed::Handed;
use crate::config::ListenerConfig;

/// All listeners of a relay.
pub struct Listeners {
    all: Mutex<Vec<Open>>,
    /// Who must know where we listen.
    net: OnceLock<Arc<TcpNet>>,
}

/// A bound socket, under the configuration it serves.
struct Open {
    config: ListenerConfig,
    socket: Arc<dyn Listener>,
    /// None: nobody takes clients from it yet.
    taking: Option<Listening>,
}

/// What a reload will do. Dropping it lets the new sockets go.
pub struct Change {
    wanted: Vec<(ListenerConfig, Option<Arc<dyn Listener>>)>,
}

impl Listeners {
    /// Binds every socket; nobody is taken yet. A port in use is the usual trouble, and costs nothing this early.
    /// What a service manager handed over is taken instead of bound.
    pub fn bind(wanted: &[ListenerConfig], handed: &mut Handed) -> anyhow::Result<Self> {
        let open = |config: &ListenerConfig| {
            let socket = match handed.give(config) {
                Some(given) => Arc::new(TcpListenerDoor::over(given).map_err(|trouble| bind_trouble(config, &trouble))?),
                None => socket(config)?,
            };
            Ok(Open { config: config.clone(), socket, taking: None })
        };
        Ok(Self { all: Mutex::new(wanted.iter().map(open).collect::<anyhow::Result<_>>()?), net: OnceLock::new() })
    }

    /// Tells the net where we listen, now and after each reload, so that it finds a way that leads back to us.
    pub fn tell(&self, net: &Arc<TcpNet>) {
        self.tell_addresses(self.net.get_or_init(|| net.clone()));
    }

    fn tell_addresses(&self, net: &TcpNet) {
        net.set_listening(self.bound().into_iter().map(|(_, address)| address).collect());
    }

    /// Takes clients from every socket.
    pub fn start(&self, relay: &Arc<Relay>) {
        for open in self.lock().iter_mut().filter(|open| open.taking.is_none()) {
            open.taking = Some(relay.listen(open.socket.clone(), open.config.settings.clone()));
        }
    }

    /// Binds what is new among these.
    pub fn change(&self, wanted: &[ListenerConfig]) -> anyhow::Result<Change> {
        let open = self.lock();
        let mut change = Change { wanted: Vec::new() };
        for config in wanted {
            let kept = open.iter().any(|open| same_socket(&open.config, config));
            change.wanted.push((config.clone(), if kept { None } else { Some(socket(config)?) }));
        }
        Ok(change)
    }

    /// Makes the change. Says what is different now, a line each.
    pub fn make(&self, relay: &Arc<Relay>, change: Change) -> Vec<String> {
        let mut all = self.lock();
        let mut before = std::mem::take(&mut *all);
        let mut said = Vec::new();
        for (config, bound) in change.wanted {
            let kept = before.iter().position(|open| same_socket(&open.config, &config)).map(|place| before.swap_remove(place));
            let (name, settings) = (&config.settings.name, config.settings.clone());
            let open = match (kept, bound) {
                (Some(open), _) if open.config == config => open,
                (Some(mut open), _) => {
                    said.push(format!("listener {name} on {} changed", open.socket.address()));
                    open.let_go();
                    let taking = Some(relay.listen(open.socket.clone(), settings));
                    Open { taking, socket: open.socket, config }
                }
                (None, Some(socket)) => {
                    said.push(format!("now listening on {} ({name})", socket.address()));
                    Open { taking: Some(relay.listen(socket.clone(), settings)), socket, config }
                }
                // `change` saw a socket for it, and nobody else changes the list.
                (None, None) => continue,
            };
            all.push(open);
        }
        drop(all);
        if let Some(net) = self.net.get() {
            self.tell_addresses(net);
        }
        for mut gone in before {
            said.push(format!("no longer listening on {} ({})", gone.socket.address(), gone.config.settings.name));
            gone.let_go();
        }
        said
    }

    /// Each with the address where it really listens.
    pub fn bound(&self) -> Vec<(ListenerConfig, SocketAddr)> {
        self.lock().iter().map(|open| (open.config.clone(), open.socket.address())).collect()
    }

    /// For `status`.
    pub fn views(&self) -> Vec<wire::ListenerView> {
        self.bound().iter().map(|(config, address)| view(config, *address)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Open>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn let_go(&mut self) {
        if let Some(taking) = self.taking.take() {
            taking.close();
        }
    }
}

fn socket(config: &ListenerConfig) -> anyhow::Result<Arc<dyn Listener>> {
    let bound = TcpListenerDoor::bind(config.address).map_err(|trouble| bind_trouble(config, &trouble))?;
    Ok(Arc::new(bound))
}

/// Whether one socket can serve both. Port 0 is another port each time, so there the name decides.
fn same_socket(one: &ListenerConfig, other: &ListenerConfig) -> bool {
    one.address == other.address && (one.address.port() != 0 || one.settings.name == other.settings.name)
}

fn view(config: &ListenerConfig, address: SocketAddr) -> wire::ListenerView {
    let settings = &config.settings;
    let tls = match (settings.implicit_tls, settings.starttls) {
        (true, _) => "implicit",
        (false, true) => "starttls",
        (false, false) => "none",
    };
    wire::ListenerView {
        name: settings.name.clone(),
        address: address.to_string(),
        role: if settings.role == Role::Submission { "submission" } else { "relay" }.to_owned(),
        tls: tls.to_owned(),
    }
}
