//! From the schedule's window to workers, as far as permits go.

use std::time::Duration;

use postrider_core::retry::{self, Life};
use postrider_core::shape::{Hold, HoldReason, Permit, Route};
use postrider_model::doors::{Left, LendLimit, Suspended};
use postrider_model::policy::{Provider, Source};
use postrider_model::{Group, Parcel, SiteName, Timestamp, limits};
use tokio::sync::mpsc;

use super::Dispatcher;
use super::site::WorkerState;
use crate::connect::NextHop;
use crate::deliver::{Feedback, Note, Worker, WorkerId};

/// Parcels a worker may have at hand: the one under way, and one so that it need not wait for us.
const PARCELS_PER_WORKER: u32 = 2;

/// Whether a hold also stops messages on connections that are open, and not only further connections.
fn stops_open_connections(reason: &HoldReason) -> bool {
    match reason {
        HoldReason::Resting { .. } | HoldReason::AdvisedRest { .. } | HoldReason::MessageRate { .. } | HoldReason::Slowed { .. } => true,
        HoldReason::Quota { .. } => true,
        // Connections of what is suspended were let go already; those from another Source go on.
        HoldReason::OneConnection { .. }
        | HoldReason::Connections { .. }
        | HoldReason::Window { .. }
        | HoldReason::Total { .. }
        | HoldReason::Line { .. }
        | HoldReason::Share { .. }
        | HoldReason::Unproven
        | HoldReason::ConnectionRate { .. }
        | HoldReason::Suspended { .. }
        | HoldReason::SourceDown { .. }
        | HoldReason::UsedUp { .. } => false,
    }
}

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
        if let Some(hold) = self.suspended_site(site, now) {
            return self.stand_still(site, hold, now);
        }
        let Some(state) = self.sites.get_mut(site) else { return };
        if let NextHop::SmartHosts(hosts) = &state.hop.next
            && let Some(hold) = self.quotas.hold(hosts, 1, now)
        {
            // It is the same hold as before, since then.
            let since = state.hold.as_ref().filter(|before| before.reason == hold.reason).map_or(hold.since, |before| before.since);
            // A limit may last for a day: what has no more time must be told meanwhile.
            let provider = state.provider.clone();
            self.refill(site, &provider, now);
            return self.hold(site, Hold { since, ..hold }, now);
        }
        state.hold = None;
        let provider = state.provider.clone();
        loop {
            self.refill(site, &provider, now);
            if self.schedule.waiting(site) == 0 {
                return self.decline(site, now);
            }
            let worker = match self.worker_for(site, &provider, now) {
                Ok(worker) => worker,
                Err(hold) => return self.hold(site, hold, now),
            };
            match self.let_go(worker, &provider, now) {
                Ok(()) => {}
                Err(Hold { reason: HoldReason::UsedUp { .. }, .. }) => continue,
                Err(hold) => return self.hold(site, hold, now),
            }
            let Some(parcel) = self.schedule.next(site) else { return };
            self.send(worker, parcel);
        }
    }

    /// The permit for one more message on a worker's connection. A worker whose connection is used up is let go.
    fn let_go(&mut self, worker: WorkerId, provider: &Provider, now: Timestamp) -> Result<(), Hold> {
        let Some(WorkerState { permit: Some(permit), jobs, .. }) = self.workers.get_mut(&worker) else { return Ok(()) };
        let answer = self.shape.message(permit, provider, now);
        if let Err(Hold { reason: HoldReason::UsedUp { .. }, .. }) = &answer {
            *jobs = None;
        }
        answer
    }

    /// The Site has no mail: its place in every line goes to others.
    pub(super) fn decline(&mut self, site: &SiteName, now: Timestamp) {
        for source in &self.snapshot.sources {
            self.shape.decline(&Route { site: site.clone(), source: source.name.clone() }, now);
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
            lent.parcels.into_iter().partition(|parcel| retry::expired(retry, &Life::of(parcel), now));
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
                Some((worker, outstanding)) if outstanding < PARCELS_PER_WORKER && !stops_open_connections(&hold.reason) => Ok(worker),
                _ => Err(hold),
            },
        }
    }

    fn least_busy(&self, site: &SiteName, provider: &Provider) -> Option<(WorkerId, u32)> {
        let workers = self.sites.get(site)?.workers.iter();
        let usable = workers.filter_map(|id| self.workers.get(id).map(|worker| (*id, worker)));
        let messages_max = provider.messages_per_connection_max.max(1);
        let usable = usable
            .filter(|(_, worker)| worker.jobs.is_some() && worker.permit.as_ref().is_some_and(|permit| permit.messages() < messages_max));
        usable.map(|(id, worker)| (id, worker.outstanding)).min_by_key(|(id, outstanding)| (*outstanding, *id))
    }

    /// Permits for one more connection, from the first Source that gets them.
    fn permit(&mut self, site: &SiteName, provider: &Provider, now: Timestamp) -> Result<(Route, Source, Permit), Hold> {
        let (mut first_hold, mut suspended, mut down) = (None, None, None);
        for source in self.sources_for(site) {
            let route = Route { source: source.name.clone(), site: site.clone() };
            if let Some(hold) = self.suspensions.hold(&Suspended::Source(source.name.clone()), now) {
                suspended = suspended.or(Some(hold));
                continue;
            }
            if let Some(hold) = self.outages.hold(&source.name, now) {
                down = Some(hold).into_iter().chain(down).min_by_key(|hold| hold.until);
                continue;
            }
            match self.shape.connection(&route, provider, now) {
                Ok(permit) => return Ok((route, source, permit)),
                Err(hold) => first_hold = first_hold.or(Some(hold)),
            }
        }
        // A Snapshot without a Source is not valid; nothing can be sent from nowhere.
        Err(first_hold.or(down).or(suspended).unwrap_or(Hold { reason: HoldReason::Total { max: 0 }, since: now, until: None }))
    }

    /// The Sources of a Site in the order of asking: the next one's turn first; by weight, where its rule names a pool.
    fn sources_for(&mut self, site: &SiteName) -> Vec<Source> {
        let all = &self.snapshot.sources;
        let Some(state) = self.sites.get_mut(site) else { return Vec::new() };
        state.turn = state.turn.wrapping_add(1);
        match &state.hop.pool {
            Some(pool) => {
                let names = pool.order(state.turn).into_iter();
                names.filter_map(|name| all.iter().find(|source| source.name == name).cloned()).collect()
            }
            None => {
                let first = state.turn % all.len().max(1);
                all[first..].iter().chain(&all[..first]).cloned().collect()
            }
        }
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
            provider: state.provider.clone(),
            source,
            hop: state.hop.clone(),
            quotas: self.quotas.clone(),
            jobs,
            notes: self.notes_to.clone(),
            draining: self.draining_to.clone(),
        };
        tokio::spawn(worker.run());
        self.workers.insert(id, WorkerState { route, permit: Some(permit), jobs: Some(jobs_to), outstanding: 0 });
        id
    }

    fn send(&mut self, worker: WorkerId, parcel: Parcel) {
        let Some(state) = self.workers.get_mut(&worker) else { return };
        let Some(jobs) = &state.jobs else { return };
        match jobs.send(parcel) {
            Ok(()) => state.outstanding += 1,
            // It is just ending; its last note is on the way.
            Err(mpsc::error::SendError(parcel)) => {
                state.jobs = None;
                let site = state.route.site.clone();
                self.schedule.push(&site, parcel);
            }
        }
    }

    /// A short hold is waited for where the mail is; `shape` tells when it ends.
    fn hold(&mut self, site: &SiteName, hold: Hold, now: Timestamp) {
        if matches!(hold.reason, HoldReason::Suspended { .. }) {
            return self.stand_still(site, hold, now);
        }
        if matches!(hold.reason, HoldReason::Total { .. } | HoldReason::Line { .. }) {
            self.let_an_idle_one_go(site);
        }
        match (&hold.reason, hold.until) {
            (HoldReason::Quota { .. }, Some(until)) => self.send_back_in_time(site, until, now),
            (HoldReason::SourceDown { .. }, Some(until)) => self.send_back(site, Some(until), now),
            (_, Some(until)) if until.since(now) > HOLD_IN_WINDOW_MAX => self.send_back(site, Some(until), now),
            _ => {}
        }
        if let Some(state) = self.sites.get_mut(site) {
            state.hold = Some(hold);
        }
    }

    /// A long hold: the window goes back to the spool, which tells us when it is over; at once, when nothing is said.
    pub(super) fn send_back(&mut self, site: &SiteName, until: Option<Timestamp>, now: Timestamp) {
        for parcel in self.schedule.drain(site) {
            self.doors.spool.hand_back(parcel.message, parcel.loan, until);
        }
        if let Some(state) = self.sites.get_mut(site) {
            state.claimed = false;
            self.doors.spool.release(&Group::Site(site.clone()), until.unwrap_or(now));
        }
        self.decline(site, now);
    }

    /// As [`Self::send_back`], for a hold that may outlast the mail: each comes back when its time is over, and is ended then.
    fn send_back_in_time(&mut self, site: &SiteName, until: Timestamp, now: Timestamp) {
        let snapshot = self.snapshot.clone();
        let (mut ended, mut wake) = (Vec::new(), until);
        for parcel in self.schedule.drain(site) {
            let last = retry::last_instant(&snapshot.retry, &Life::of(&parcel));
            if last <= now {
                ended.push(parcel);
                // There may be more of them than the window holds.
                wake = now;
            } else {
                wake = wake.min(last);
                self.doors.spool.hand_back(parcel.message, parcel.loan, Some(until.min(last)));
            }
        }
        // A group that is not ours to ask for has its time already: it may be sooner than this one.
        if let Some(state) = self.sites.get_mut(site).filter(|state| state.claimed) {
            state.claimed = false;
            self.doors.spool.release(&Group::Site(site.clone()), wake);
        }
        self.decline(site, now);
        self.expire(ended);
    }

    /// All connections are in use: an idle one of another Site ends, so that who waits in line gets its place.
    fn let_an_idle_one_go(&mut self, site: &SiteName) {
        let idle = self.workers.values_mut().find(|worker| worker.outstanding == 0 && worker.jobs.is_some() && worker.route.site != *site);
        if let Some(worker) = idle {
            worker.jobs = None;
        }
    }

    /// Sites whose hold has ended, by the word of `shape`, in its order.
    pub(super) fn wake_held(&mut self, now: Timestamp) {
        while let Some(route) = self.shape.awake(now) {
            if self.sites.get(&route.site).is_some_and(|state| state.claimed) || self.schedule.waiting(&route.site) > 0 {
                self.serve(&route.site, now);
            } else {
                self.shape.decline(&route, now);
            }
        }
    }

    pub(super) fn note(&mut self, note: Note) {
        match note {
            Note::Settled { worker, feedback, why } => self.settled(worker, feedback, why),
            Note::SourceDown { worker, why } => self.source_is_down(worker, &why),
            Note::Closed { worker, returned } => self.closed(worker, returned),
        }
    }

    /// The proxy of a Source is no use: others are asked, and mail that has no other waits. Nothing is said of the Site.
    fn source_is_down(&mut self, worker: WorkerId, why: &str) {
        let Some(WorkerState { route, .. }) = self.workers.get(&worker) else { return };
        let (source, site) = (route.source.clone(), route.site.clone());
        if self.outages.failed(&source, why, self.doors.clock.now()) {
            self.doors
                .log
                .alarm(None, &format!("source {source} cannot be used: {why}; its mail goes by other sources of its route, or waits"));
        }
        self.dirty.insert(site);
    }

    fn settled(&mut self, worker: WorkerId, feedback: Feedback, why: Option<String>) {
        let now = self.doors.clock.now();
        let Some(state) = self.workers.get_mut(&worker) else { return };
        state.outstanding = state.outstanding.saturating_sub(1);
        let site = state.route.site.clone();
        if feedback != Feedback::Neutral {
            self.outages.worked(&state.route.source);
        }
        if let (Some(permit), Some(known)) = (&state.permit, self.sites.get(&site)) {
            match feedback {
                Feedback::Succeeded => self.shape.succeeded(permit, &known.provider),
                Feedback::Failed => self.shape.failed(permit, &known.provider, now),
                Feedback::Advice(action) => self.shape.advise(permit, action, now),
                Feedback::Neutral => {}
            }
            if self.shape.should_yield(permit, now) {
                state.jobs = None;
            }
        }
        if let (Some(site), Some(why)) = (self.sites.get_mut(&site), why) {
            site.last_trouble = Some(why);
        }
        self.dirty.insert(site);
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
    }

    /// A Site without workers, window, or hosts placed at it is forgotten; `shape` keeps what must outlive that.
    fn forget_if_idle(&mut self, site: &SiteName) {
        let Some(state) = self.sites.get(site) else { return };
        let busy = !state.workers.is_empty() || state.claimed || state.hosts > 0;
        if !busy && self.schedule.waiting(site) == 0 {
            self.sites.remove(site);
        }
    }
}
