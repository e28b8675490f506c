//! The dispatcher: one task that owns the schedule, the permits and the workers.
//!
//! It is woken by the spool (mail became due), by workers (a parcel was settled, a connection ended), by probes (a host's Site is known), by time (a hold ends), and
//! by commands. After each waking it looks only at Sites something happened to. Nothing polls: a Site that may not send now leaves the date of its hold behind.
//!
//! Mail goes from the spool into the schedule's bounded window, from there to a worker. What leaves the window without an attempt goes back to the spool,
//! which writes nothing.

mod claim;
mod command;
mod hand;
mod serve;
mod site;
mod sort;
mod unsent;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use postrider_core::outage::Outages;
use postrider_core::schedule::Schedule;
use postrider_core::shape::Shape;
use postrider_core::suspend::Suspensions;
use postrider_model::policy::Snapshot;
use postrider_model::{SiteName, Timestamp};
use postrider_smtp::Host;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(crate) use command::{Command, SiteFacts};
pub(crate) use unsent::{expired, settle_one};

use crate::Doors;
use crate::deliver::{Note, WorkerId};
use crate::ending::Ending;
use crate::quotas::Quotas;
use claim::Probed;
use site::{Placement, SiteState, WorkerState};
use sort::{Rules, SortedBatch};

/// Notes handled before the sites they touched are served: enough to make use of one waking, few enough to keep workers busy.
const NOTES_PER_ROUND: usize = 64;

/// The dispatcher's own state. Ordered maps throughout, so that the same events give the same decisions.
pub(crate) struct Dispatcher {
    doors: Doors,
    snapshot: Arc<Snapshot>,
    quotas: Arc<Quotas>,
    schedule: Schedule,
    shape: Shape,
    sites: BTreeMap<SiteName, SiteState>,
    hosts: BTreeMap<Host, Placement>,
    workers: BTreeMap<WorkerId, WorkerState>,
    next_worker: u64,
    /// Sites something happened to.
    dirty: BTreeSet<SiteName>,
    /// When what we know of a host's Site is too old.
    expiries: BTreeSet<(Timestamp, Host)>,
    notes: mpsc::UnboundedReceiver<Note>,
    notes_to: mpsc::UnboundedSender<Note>,
    /// Look-ups, and settlements without an attempt, under way.
    errands: JoinSet<Errand>,
    probing: usize,
    /// What a person suspended, and when the next of it ends.
    suspensions: Suspensions,
    suspension_ends: Option<Timestamp>,
    /// Sources whose proxy is down.
    outages: Outages,
    /// Which pools streams name, by the number that the registry gives.
    pools: u64,
    /// Pools that streams name and the configuration has not, and whether somebody was told.
    missing_pools: BTreeMap<Box<str>, bool>,
    draining: bool,
    /// Tells workers that still connect to let be.
    draining_to: Ending,
}

/// What an errand brings back.
pub(crate) enum Errand {
    /// A host's Site was looked up.
    Probed(Host, Probed),
    /// A batch of a host's mail was asked about, each mail for itself; there may be more.
    Sorted { host: Host, sorted: SortedBatch, more: bool, by: Rules },
    /// A batch of mail was settled without an attempt; the group may hold more.
    Unsent(Option<(postrider_model::Group, postrider_model::Diagnosis)>),
}

impl Dispatcher {
    pub(crate) fn new(doors: Doors, snapshot: Arc<Snapshot>, quotas: Arc<Quotas>) -> Self {
        let (notes_to, notes) = mpsc::unbounded_channel();
        let pools = doors.registry.pools();
        Self {
            schedule: Schedule::new(postrider_core::schedule::Limits::default()),
            shape: Shape::new(snapshot.connections_out_max),
            doors,
            snapshot,
            quotas,
            sites: BTreeMap::new(),
            hosts: BTreeMap::new(),
            workers: BTreeMap::new(),
            next_worker: 0,
            dirty: BTreeSet::new(),
            expiries: BTreeSet::new(),
            notes,
            notes_to,
            errands: JoinSet::new(),
            probing: 0,
            suspensions: Suspensions::default(),
            suspension_ends: None,
            outages: Outages::default(),
            pools,
            missing_pools: BTreeMap::new(),
            draining: false,
            draining_to: Ending::default(),
        }
    }

    /// Runs until it was told to drain and every worker has ended.
    pub(crate) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut drained = None;
        // What was suspended before the start is known before the first look.
        while let Ok(command) = commands.try_recv() {
            drained = self.command(command).or(drained);
        }
        loop {
            let now = self.doors.clock.now();
            self.end_suspensions(now);
            self.follow_pools(now);
            self.expire_placements(now);
            if !self.draining {
                self.claim(now);
            }
            self.serve_dirty(now);
            if !self.draining {
                self.wake_held(now);
            }
            if self.draining && self.workers.is_empty() && self.errands.is_empty() {
                break;
            }
            let pause = self.next_wake(now).map(|at| at.since(now).max(Duration::from_millis(1)));
            tokio::select! { biased;
                Some(command) = commands.recv() => {
                    if let Some(answer) = self.command(command) { drained = Some(answer); }
                }
                Some(note) = self.notes.recv() => self.take_notes(note),
                Some(errand) = self.errands.join_next(), if !self.errands.is_empty() => self.errand_done(errand),
                () = self.doors.spool.wait(), if !self.draining => {}
                () = pause_for(pause) => {}
            }
        }
        for parcel in self.sites.keys().flat_map(|site| self.schedule.drain(site)).collect::<Vec<_>>() {
            self.doors.spool.hand_back(parcel.message, parcel.loan, None);
        }
        if let Some(answer) = drained {
            let _ = answer.send(());
        }
    }

    fn take_notes(&mut self, first: Note) {
        self.note(first);
        for _ in 1..NOTES_PER_ROUND {
            let Ok(note) = self.notes.try_recv() else { break };
            self.note(note);
        }
    }

    fn errand_done(&mut self, errand: Result<Errand, tokio::task::JoinError>) {
        match errand {
            Ok(Errand::Probed(host, probed)) => self.probed(host, probed),
            Ok(Errand::Sorted { host, sorted, more, by }) => self.sorted(host, sorted, more, &by),
            Ok(Errand::Unsent(more)) => {
                if let Some((group, diagnosis)) = more {
                    self.settle_unsent(group, diagnosis);
                }
            }
            // The errand's guard handed its loans back; the group is claimed again when they are due.
            Err(error) => self.doors.log.alarm(None, &format!("a look-up or a settlement ended by a fault of ours: {error}")),
        }
    }

    fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        let held = if self.draining { None } else { self.shape.next_change(now) };
        let expiry = self.expiries.first().map(|(at, _)| *at);
        let due = if self.draining { None } else { self.doors.spool.next_due() };
        [held, expiry, due, self.suspension_ends].into_iter().flatten().min().map(|at| at.max(now))
    }
}

async fn pause_for(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}
