//! From the schedule's window to workers, as far as permits go.

use std::time::Duration;

use postrider_core::retry;
use postrider_core::shape::{Hold, HoldReason, Permit, Route};
use postrider_model::doors::{LendLimit, Left};
use postrider_model::policy::{Provider, Source};
use postrider_model::{Group, Parcel, SiteName, Timestamp, limits};
use tokio::sync::mpsc;

use super::Dispatcher;
use super::site::WorkerState;
use crate::deliver::{Feedback, Note, Worker, WorkerId};

/// Parcels a worker may have at hand: the one under way, and one so that it need not wait for us.
const PARCELS_PER_WORKER: u32 = 2;

/// A hold that lasts longer than this sends the Site's window back to the spool.
const HOLD_IN_WINDOW_MAX: Duration = Duration::from_secs(5);

impl Dispatcher {
    pub(super) fn serve_dirty(&mut self, now: Timestamp) {
        while let Some(site) = self.dirty.pop_first() {
            if !self.draining {
                self.serve(&site, now);
            }
            self.forget_if_idle(&site);
        }
    }

    fn serve(&mut self, site: &SiteName, now: Timestamp) {
        let Some(state) = self.sites.get_mut(site) else { return };
        state.hold = None;
        let provider = self.snapshot.provider_for(site).clone();
        loop {
            self.refill(site, &provider, now);
            if self.schedule.waiting(site) == 0 {
                return;
            }
            let worker = match self.worker_for(site, &provider, now) {
                Ok(worker) => worker,
                Err(hold) => return self.hold(site, hold, now),
            };
            let Some(state) = self.workers.get(&worker) else { return };
            let route = state.route.clone();
            if let Err(hold) = self.shape.message(&route, &provider, now, 1) {
                return self.hold(site, hold, now);
            }
            let Some(parcel) = self.schedule.next(site) else { return };
            self.send(worker, parcel);
        }
    }

    /// Lends what the Site's window has room for. What has expired does not enter the window.
    fn refill(&mut self, site: &SiteName, provider: &Provider, now: Timestamp) {
        let room = self.schedule.room(site);
        let Some(state) = self.sites.get_mut(site) else { return };
        if !state.claimed || room == 0 {
            return;
        }
        let recipients = (provider.recipients_per_message_max as usize).clamp(1, limits::PARCEL_RECIPIENTS_MAX);
        let lent = self.doors.spool.lend(&Group::Site(site.clone()), now, LendLimit { parcels: room, recipients_per_parcel: recipients });
        state.claimed = lent.left == Left::Due;
        let retry = &self.snapshot.retry;
        let (expired, fresh): (Vec<Parcel>, Vec<Parcel>) =
            lent.parcels.into_iter().partition(|parcel| retry::expired(retry, parcel.arrived_at, parcel.deadline, false, now));
        for parcel in fresh {
            self.schedule.push(site, parcel);
        }
        self.expire(expired);
    }

    /// An idle worker; or a new one, if permits allow; or one with room at hand.
    fn worker_for(&mut self, site: &SiteName, provider: &Provider, now: Timestamp) -> Result<WorkerId, Hold> {
        if let Some(idle) = self.least_busy(site, provider).filter(|(_, outstanding)| *outstanding == 0) {
            return Ok(idle.0);
        }
        match self.permit(site, provider, now) {
            Ok((route, source, permit)) => Ok(self.hire(site, route, source, permit)),
            Err(hold) => match self.least_busy(site, provider) {
                Some((worker, outstanding)) if outstanding < PARCELS_PER_WORKER && !hold.stops_open_connections() => Ok(worker),
                _ => Err(hold),
            },
        }
    }

    fn least_busy(&self, site: &SiteName, provider: &Provider) -> Option<(WorkerId, u32)> {
        let workers = self.sites.get(site)?.workers.iter();
        let usable = workers.filter_map(|id| self.workers.get(id).map(|worker| (*id, worker)));
        let usable = usable.filter(|(_, worker)| worker.jobs.is_some() && worker.sent < provider.messages_per_connection_max);
        usable.map(|(id, worker)| (id, worker.outstanding)).min_by_key(|(id, outstanding)| (*outstanding, *id))
    }

    /// Permits for one more connection, from the first Source that gets them.
    fn permit(&mut self, site: &SiteName, provider: &Provider, now: Timestamp) -> Result<(Route, Source, Permit), Hold> {
        let sources = self.snapshot.sources.len();
        let turn = self.sites.get_mut(site).map_or(0, |state| {
            state.turn = (state.turn + 1) % sources.max(1);
            state.turn
        });
        let mut first_hold = None;
        for step in 0..sources {
            let source = self.snapshot.sources[(turn + step) % sources].clone();
            let route = Route { source: source.name.clone(), site: site.clone() };
            match self.shape.connection(&route, provider, now) {
                Ok(permit) => return Ok((route, source, permit)),
                Err(hold) => first_hold = first_hold.or(Some(hold)),
            }
        }
        Err(first_hold.unwrap_or_else(|| Hold { reason: HoldReason::NoSource, since: now, until: None }))
    }

    fn hire(&mut self, site: &SiteName, route: Route, source: Source, permit: Permit) -> WorkerId {
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        let (jobs_to, jobs) = mpsc::unbounded_channel();
        let Some(state) = self.sites.get_mut(site) else { unreachable!("a Site that is served is known") };
        state.workers.insert(id);
        let worker = Worker {
            id,
            doors: self.doors.clone(),
            snapshot: self.snapshot.clone(),
            site: site.clone(),
            source,
            hop: state.hop.clone(),
            jobs,
            notes: self.notes_to.clone(),
        };
        tokio::spawn(worker.run());
        self.workers.insert(id, WorkerState { route, permit: Some(permit), jobs: Some(jobs_to), outstanding: 0, sent: 0 });
        id
    }

    fn send(&mut self, worker: WorkerId, parcel: Parcel) {
        let Some(state) = self.workers.get_mut(&worker) else { return };
        let Some(jobs) = &state.jobs else { return };
        match jobs.send(parcel) {
            Ok(()) => {
                state.outstanding += 1;
                state.sent += 1;
            }
            // It is just ending; its last note is on the way.
            Err(mpsc::error::SendError(parcel)) => {
                state.jobs = None;
                let site = state.route.site.clone();
                self.schedule.push(&site, parcel);
            }
        }
    }

    fn hold(&mut self, site: &SiteName, hold: Hold, now: Timestamp) {
        if hold.reason == HoldReason::Total {
            self.starve(site);
        }
        if let Some(until) = hold.until {
            if until.since(now) > HOLD_IN_WINDOW_MAX {
                self.send_back(site, until);
            } else {
                self.later.insert((until.max(now.after(Duration::from_millis(1))), site.clone()));
            }
        }
        if let Some(state) = self.sites.get_mut(site) {
            state.hold = Some(hold);
        }
    }

    /// A long hold: the window goes back to the spool, which tells us when it is over.
    fn send_back(&mut self, site: &SiteName, until: Timestamp) {
        for parcel in self.schedule.drain(site) {
            self.doors.spool.hand_back(parcel.message, parcel.loan, Some(until));
        }
        if let Some(state) = self.sites.get_mut(site) {
            state.claimed = false;
            self.doors.spool.release(&Group::Site(site.clone()), until);
        }
    }

    /// All connections are in use: the Site waits in line, and an idle connection of another Site is let go for it.
    fn starve(&mut self, site: &SiteName) {
        let Some(state) = self.sites.get_mut(site) else { return };
        if !state.starved {
            state.starved = true;
            self.starved.push_back(site.clone());
        }
        let idle = self.workers.values_mut().find(|worker| worker.outstanding == 0 && worker.jobs.is_some() && worker.route.site != *site);
        if let Some(worker) = idle {
            worker.jobs = None;
        }
    }

    pub(super) fn note(&mut self, note: Note) {
        match note {
            Note::Settled { worker, feedback, why } => {
                let Some(state) = self.workers.get_mut(&worker) else { return };
                state.outstanding = state.outstanding.saturating_sub(1);
                let route = state.route.clone();
                self.feedback(&route, feedback, why);
                self.dirty.insert(route.site);
            }
            Note::Closed { worker, returned } => self.closed(worker, returned),
        }
    }

    fn feedback(&mut self, route: &Route, feedback: Feedback, why: Option<String>) {
        let now = self.doors.clock.now();
        let provider = self.snapshot.provider_for(&route.site).clone();
        match feedback {
            Feedback::Succeeded => self.shape.succeeded(route, &provider, now),
            Feedback::Failed => self.shape.failed(route, &provider, now),
            Feedback::Advice(action) => self.shape.advise(route, &provider, action, now),
            Feedback::Neutral => {}
        }
        if let (Some(state), Some(why)) = (self.sites.get_mut(&route.site), why) {
            state.last_trouble = Some(why);
        }
    }

    fn closed(&mut self, id: WorkerId, returned: Vec<Parcel>) {
        let Some(mut worker) = self.workers.remove(&id) else { return };
        if let Some(permit) = worker.permit.take() {
            self.shape.closed(permit, self.doors.clock.now());
        }
        let site = worker.route.site;
        for parcel in returned {
            self.schedule.push(&site, parcel);
        }
        if let Some(state) = self.sites.get_mut(&site) {
            state.workers.remove(&id);
        }
        self.dirty.insert(site);
        if let Some(next) = self.starved.pop_front() {
            if let Some(state) = self.sites.get_mut(&next) {
                state.starved = false;
            }
            self.dirty.insert(next);
        }
    }

    /// A Site without workers, window, or hosts placed at it is forgotten; `shape` keeps what must outlive that.
    fn forget_if_idle(&mut self, site: &SiteName) {
        let Some(state) = self.sites.get(site) else { return };
        let busy = !state.workers.is_empty() || state.claimed || state.starved || state.hosts > 0;
        if !busy && self.schedule.waiting(site) == 0 {
            self.sites.remove(site);
        }
    }
}
