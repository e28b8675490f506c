//! The mailbox providers, each driven by one task for each connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_lab::{Action, Provider, SessionId, Zones};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::book::Fact;
use super::net::Reach;
use super::pipe::End;
use super::{World, lock};
use crate::scenario::ProviderPlan;

/// A provider in the world.
pub struct Remote {
    pub(crate) plan: ProviderPlan,
    /// Its machine, with its ledger.
    pub provider: Provider,
    /// How it can be reached now.
    pub reach: Reach,
    /// Sessions by the number of their connection.
    sessions: std::collections::BTreeMap<u64, SessionId>,
}

impl Remote {
    pub(crate) fn new(plan: &ProviderPlan, zones: &mut Zones, seed: u64) -> Self {
        plan.publish(zones);
        Self {
            provider: Provider::new(plan.personality.clone(), seed),
            plan: plan.clone(),
            reach: Reach::Up,
            sessions: std::collections::BTreeMap::new(),
        }
    }
}

/// Serves one connection of the relay.
pub(crate) async fn serve(world: Arc<World>, number: usize, connection: u64, source: IpAddr, mut end: End) {
    let now = world.now();
    let (id, actions) = {
        let mut remotes = lock(&world.remotes);
        let remote = &mut remotes[number];
        let (id, actions) = remote.provider.connect(source, now);
        remote.sessions.insert(connection, id);
        (id, actions)
    };
    let mut open = perform(&mut end, number, actions).await;
    let mut buffer = vec![0; 16 * 1024];
    while open {
        let Ok(octets) = end.read(&mut buffer).await else { break };
        if octets == 0 {
            break;
        }
        let actions = feed(&world, number, id, &buffer[..octets]);
        open = perform(&mut end, number, actions).await;
    }
    let mut remotes = lock(&world.remotes);
    remotes[number].sessions.remove(&connection);
    remotes[number].provider.closed(id);
}

/// Feeds a provider, and notes what it took.
fn feed(world: &World, number: usize, id: SessionId, octets: &[u8]) -> Vec<Action> {
    let now = world.now();
    let mut remotes = lock(&world.remotes);
    let provider = &mut remotes[number].provider;
    let before = provider.ledger.taken.len();
    let actions = provider.feed(id, octets, now);
    let taken: Vec<_> = (before..provider.ledger.taken.len()).map(|nth| (nth, provider.ledger.taken[nth].token.clone())).collect();
    drop(remotes);
    for (nth, token) in taken {
        world.note(Fact::Taken { remote: number, nth, token });
    }
    actions
}

/// Does what the machine says. False when the connection is over.
async fn perform(end: &mut End, number: usize, actions: Vec<Action>) -> bool {
    for action in actions {
        match action {
            Action::Write(octets) => {
                if end.write_all(&octets).await.is_err() {
                    return false;
                }
            }
            Action::Pause(pause) => tokio::time::sleep(pause).await,
            Action::Confirmed(nth) => end.mark(number, nth),
            Action::Repeat(octets) => loop {
                if end.write_all(&octets).await.is_err() {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            },
            Action::Secure => {}
            Action::Close => {
                let _ = end.shutdown().await;
                return false;
            }
        }
    }
    true
}

impl World {
    /// The relay is gone: its connections end. Of what was on the way to a remote, the net still brings it all, or nothing.
    pub(crate) fn cut_remotes(&self) {
        let cut = lock(&self.net).cut();
        for (connection, number, link) in cut {
            let octets = link.on_the_way(true);
            let arrives = lock(&self.chance).percent(60);
            self.note(Fact::Closed { connection });
            let session = lock(&self.remotes)[number].sessions.remove(&connection);
            let Some(id) = session else { continue };
            if arrives && !octets.is_empty() {
                // Replies go nowhere: what is taken here was never confirmed.
                let _ = feed(self, number, id, &octets);
            }
            lock(&self.remotes)[number].provider.closed(id);
        }
        // Sessions whose connection the relay had let go before, and that were still speaking.
        for remote in lock(&self.remotes).iter_mut() {
            for (_, id) in std::mem::take(&mut remote.sessions) {
                remote.provider.closed(id);
            }
        }
    }
}
