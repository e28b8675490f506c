//! Mail of one host that goes different ways: each mail is asked about, and diverted to its Site.
//!
//! A batch at a time, as everything that opens messages. What was sorted waits at its Site like any other mail; it is asked about anew when the host's placement has
//! expired, after a reload that changed the rules, and after a restart.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::route;
use postrider_core::route::table::{self, Way};
use postrider_model::doors::{Left, LendLimit};
use postrider_model::policy::{Snapshot, Target, site_of};
use postrider_model::{Diagnosis, Group, Parcel, Phase, Reason, SiteName, Timestamp, Trouble, limits};
use postrider_smtp::{Domain, Host};

use super::claim::{PLACEMENT_MAX, Probed, probe};
use super::{Dispatcher, Errand, settle_one};
use crate::Doors;
use crate::connect::{Hop, NextHop};
use crate::held::Held;
use crate::pools::{self, Wanting};

/// Parcels of one batch.
const BATCH: usize = 50;

/// Missing pools that are told, until the rules change.
const MISSING_TOLD_MAX: usize = 1_000;

/// When a pool that is not there is looked for once more before its mail is deferred.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// When a host whose mail could not be lent is looked at again.
const FORGOTTEN_PAUSE: Duration = Duration::from_secs(60);

/// A mail, and where it goes.
pub(crate) struct Sorted {
    parcel: Held,
    site: SiteName,
    hop: Hop,
    ttl: Duration,
}

/// A batch that was asked about.
#[derive(Default)]
pub(crate) struct SortedBatch {
    placed: Vec<Sorted>,
    /// Mail of which nobody can say from where it is sent.
    wanting: Vec<(Held, Wanting)>,
}

/// By what a batch was sorted.
#[derive(Clone)]
pub(crate) struct Rules {
    snapshot: Arc<Snapshot>,
    pools: u64,
}

impl Dispatcher {
    /// Asks about what is due in a host's claimed group.
    pub(super) fn sort(&mut self, host: Host, now: Timestamp) {
        let group = Group::Host(host.clone());
        let limit = LendLimit { parcels: BATCH, recipients_per_parcel: limits::PARCEL_RECIPIENTS_MAX };
        let lent = self.doors.spool.lend(&group, now, limit);
        if lent.parcels.is_empty() {
            if lent.left == Left::Due {
                self.doors.spool.release(&group, now.after(FORGOTTEN_PAUSE));
            }
            return;
        }
        self.probing += 1;
        let more = lent.left == Left::Due;
        let (doors, own) = (self.doors.clone(), self.own_names());
        let by = Rules { snapshot: self.snapshot.clone(), pools: self.pools };
        let held: Vec<Held> = lent.parcels.into_iter().map(|parcel| Held::new(&doors, parcel)).collect();
        self.errands.spawn(async move {
            let sorted = sort_all(&doors, &by, &host, held, &own).await;
            Errand::Sorted { host, sorted, more, by }
        });
    }

    pub(super) fn sorted(&mut self, host: Host, sorted: SortedBatch, more: bool, by: &Rules) {
        self.probing -= 1;
        let now = self.doors.clock.now();
        self.follow_pools(now);
        if by.snapshot.routing != self.snapshot.routing || by.pools != self.pools {
            // The rules have changed meanwhile: it is asked about again.
            let placed = sorted.placed.into_iter().map(|Sorted { parcel, .. }| parcel);
            placed.chain(sorted.wanting.into_iter().map(|(parcel, _)| parcel)).for_each(|parcel| parcel.hand_back(None));
            return self.doors.spool.release(&Group::Host(host), now);
        }
        for (parcel, wanting) in sorted.wanting {
            self.wait_for(parcel, &wanting, now);
        }
        for Sorted { parcel, site, hop, ttl } in sorted.placed {
            self.place_some(&host, &site, hop, ttl, now);
            let parcel: Parcel = parcel.release();
            self.doors.spool.divert(parcel.message, parcel.loan, &site);
        }
        if more && !self.draining {
            self.sort(host, now);
        }
    }
}

impl Dispatcher {
    /// Mail that nobody can say of from where it is sent is deferred, and somebody is told. A reload brings the pools and the streams of the file a moment apart, so a pool that was
    /// there just now is looked for once more.
    fn wait_for(&mut self, parcel: Held, wanting: &Wanting, now: Timestamp) {
        if let Some((pool, remedy)) = wanting.remedy() {
            match self.missing_pools.get(&pool).copied() {
                None if self.missing_pools.len() < MISSING_TOLD_MAX => {
                    self.missing_pools.insert(pool, false);
                    return parcel.hand_back(Some(now.after(LOOK_AGAIN)));
                }
                Some(false) => {
                    self.missing_pools.insert(pool, true);
                    self.doors.log.alarm(None, &remedy);
                }
                Some(true) | None => {}
            }
        }
        let reason = Reason::Trouble(wanting.trouble());
        let diagnosis = Diagnosis { at: now, phase: Phase::Route, reason, remote: None, address: None };
        self.settle_batch(vec![parcel.release()], diagnosis, None);
    }
}

/// Where each goes. What goes nowhere is settled here.
async fn sort_all(doors: &Doors, by: &Rules, host: &Host, parcels: Vec<Held>, own: &[Domain]) -> SortedBatch {
    let snapshot = &*by.snapshot;
    let mut exchangers: Option<Result<(SiteName, NextHop, Duration), Trouble>> = None;
    let mut sorted = SortedBatch::default();
    for parcel in parcels {
        let Some(way @ Way { target, rule }) = way_of(doors, snapshot, host, parcel.parcel()).await else {
            // It cannot be read. Who holds it says so when it is asked for again.
            drop(parcel);
            continue;
        };
        let pool = match pools::of(doors, snapshot, by.pools, &way, (&parcel.parcel().tenant, &parcel.parcel().stream)).await {
            Ok(pool) => pool,
            Err(wanting) => {
                sorted.wanting.push((parcel, wanting));
                continue;
            }
        };
        let place = match (target.site(), NextHop::of(target), target) {
            (_, _, Target::Reject(text)) => Err(Trouble::Operator(text.as_str().into())),
            (Some(site), Some(next), _) => Ok((site, next, PLACEMENT_MAX)),
            _ => {
                if exchangers.is_none() {
                    exchangers = Some(look_up(doors, host, own).await);
                }
                exchangers.clone().unwrap_or_else(|| Err(Trouble::Internal("a look-up without an answer".into())))
            }
        };
        match place {
            Ok((site, next, ttl)) => {
                let (site, hop) = (site_of(rule, pool.as_deref(), site), Hop::by(rule, pool.as_ref(), next));
                sorted.placed.push(Sorted { parcel, site, hop, ttl });
            }
            Err(trouble) => {
                let at = doors.clock.now();
                let diagnosis = Diagnosis { at, phase: Phase::Route, reason: Reason::Trouble(trouble), remote: None, address: None };
                settle_one(doors, snapshot, parcel, &diagnosis).await;
            }
        }
    }
    sorted
}

async fn way_of<'a>(doors: &Doors, snapshot: &'a Snapshot, host: &Host, parcel: &Parcel) -> Option<Way<'a>> {
    let mail = table::Mail { message: Some(parcel.message), tenant: &parcel.tenant, stream: &parcel.stream, sender: None };
    if let Some(way) = table::by_mail(&snapshot.routing, host, &mail) {
        return Some(way);
    }
    match doors.spool.open(parcel.message).await {
        Ok(opened) => {
            let sender = Some(&opened.message.envelope.reverse_path);
            table::by_mail(&snapshot.routing, host, &table::Mail { sender, ..mail })
        }
        Err(trouble) => {
            doors.log.alarm(Some(parcel.message), &format!("cannot read an accepted message: {trouble}"));
            None
        }
    }
}

async fn look_up(doors: &Doors, host: &Host, own: &[Domain]) -> Result<(SiteName, NextHop, Duration), Trouble> {
    match host {
        Host::Literal(address) => Ok((route::literal_site(*address), NextHop::Address(*address), PLACEMENT_MAX)),
        Host::Domain(domain) => match probe(doors, domain, own).await {
            Probed::Placed(plan) => Ok((plan.site.clone(), NextHop::Mx(Arc::clone(&plan)), plan.ttl)),
            Probed::Unplaced(trouble) => Err(trouble),
        },
    }
}
