//! What others ask of the dispatcher.

use std::collections::BTreeMap;
use std::sync::Arc;

use postrider_core::shape::Hold;
use postrider_core::suspend::Suspensions;
use postrider_model::doors::{SiteView, Waiting};
use postrider_model::policy::Snapshot;
use postrider_model::{MessageId, SiteName};
use tokio::sync::oneshot;

use super::Dispatcher;
use super::site::SiteState;
use crate::held::Held;

/// A question or an order.
pub(crate) enum Command {
    /// A new Snapshot rules from now on; connections made under the old one end with their present work.
    Reload(Arc<Snapshot>),
    /// Lend nothing more, let workers end, and say when they have.
    Drain(oneshot::Sender<()>),
    /// How many parcels stand before this message in the schedule.
    Position(MessageId, oneshot::Sender<Option<u64>>),
    /// From now on exactly these are suspended.
    Suspend(Suspensions),
    /// What is suspended.
    Suspended(oneshot::Sender<Suspensions>),
    /// Give the spool back what only waits for its turn.
    Recall(oneshot::Sender<()>),
    /// Lend these deliveries to whoever asks, those that wait for their turn, too.
    Lend(BTreeMap<MessageId, Vec<u32>>, oneshot::Sender<Vec<Held>>),
    /// Every Site, or one.
    Sites(Option<SiteName>, oneshot::Sender<Vec<SiteFacts>>),
    /// How many connections out there are.
    Connections(oneshot::Sender<u64>),
}

/// What is known of a Site.
pub(crate) struct SiteFacts {
    pub(crate) view: SiteView,
    pub(crate) hold: Option<Hold>,
}

impl Dispatcher {
    /// Obeys. Gives the answer's sender back when the answer must wait for the end.
    pub(super) fn command(&mut self, command: Command) -> Option<oneshot::Sender<()>> {
        match command {
            Command::Reload(snapshot) => {
                self.shape.set_connections_max(snapshot.connections_out_max);
                // Its proxy may be another now.
                self.outages.forget();
                let before = std::mem::replace(&mut self.snapshot, snapshot);
                self.follow_rules(&before, self.doors.clock.now());
                for (name, site) in &mut self.sites {
                    site.provider = Arc::new(self.snapshot.provider_for(name).clone());
                }
                for worker in self.workers.values_mut() {
                    worker.jobs = None;
                }
                self.dirty.extend(self.sites.keys().cloned());
                None
            }
            Command::Drain(answer) => {
                self.draining = true;
                self.draining_to.say();
                for worker in self.workers.values_mut() {
                    worker.jobs = None;
                }
                Some(answer)
            }
            Command::Suspend(suspensions) => {
                self.suspensions = suspensions;
                self.apply_suspensions(self.doors.clock.now());
                None
            }
            Command::Suspended(answer) => {
                let _ = answer.send(self.suspensions.clone());
                None
            }
            Command::Recall(answer) => {
                self.recall(|_| true);
                let _ = answer.send(());
                None
            }
            Command::Lend(named, answer) => {
                let _ = answer.send(self.lend_to_hand(&named));
                None
            }
            Command::Position(message, answer) => {
                let _ = answer.send(self.schedule.position(message).map(|ahead| ahead as u64));
                None
            }
            Command::Connections(answer) => {
                let _ = answer.send(self.workers.len() as u64);
                None
            }
            Command::Sites(wanted, answer) => {
                let names = self.sites.keys().filter(|name| wanted.as_ref().is_none_or(|w| w == *name));
                let _ = answer.send(names.map(|name| self.facts(name)).collect());
                None
            }
        }
    }

    fn facts(&self, name: &SiteName) -> SiteFacts {
        let state = self.sites.get(name);
        let now = self.doors.clock.now();
        let hold = state.and_then(|state| state.hold.clone()).filter(|hold| hold.until.is_none_or(|until| until > now));
        let provider = self.snapshot.provider_for(name);
        let shape = self.shape.view(name, provider, now);
        let hold = hold.or(shape.held);
        let view = SiteView {
            site: name.clone(),
            provider: provider.name.to_string(),
            connections: shape.connections,
            window: shape.window,
            waiting: self.schedule.waiting(name) as u64,
            held: hold.as_ref().map(postrider_core::explain::held_site).map(|held| with_trouble(held, state)),
        };
        SiteFacts { view, hold }
    }
}

/// A hold is better understood with the words that led to it.
fn with_trouble(mut held: Waiting, state: Option<&SiteState>) -> Waiting {
    if let Some(trouble) = state.and_then(|state| state.last_trouble.as_deref()) {
        held.reason = format!("{} (last trouble: {trouble})", held.reason);
    }
    held
}
