//! Mail of one host that goes different ways: each mail is asked about, and diverted to its Site.
//!
//! A batch at a time, as everything that opens messages. What was sorted waits at its Site like any other mail; it is asked about anew when the host's placement has
//! expired, after a reload that changed the rules, and after a restart.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::route;
use postrider_core::route::table::{self, Way};
use postrider_model::doors::{Left, LendLimit};
use postrider_model::policy::{Snapshot, Target};
use postrider_model::{Diagnosis, Group, Parcel, Phase, Reason, SiteName, Timestamp, Trouble, limits};
use postrider_smtp::{Domain, Host};

use super::claim::{PLACEMENT_MAX, Probed, probe};
use super::{Dispatcher, Errand, settle_one};
use crate::Doors;
use crate::connect::{Hop, NextHop};
use crate::held::Held;

/// Parcels of one batch.
const BATCH: usize = 50;

/// When a host whose mail could not be lent is looked at again.
const FORGOTTEN_PAUSE: Duration = Duration::from_secs(60);

/// A mail, and where it goes.
pub(crate) struct Sorted {
    parcel: Held,
    site: SiteName,
    hop: Hop,
    ttl: Duration,
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
        let (doors, snapshot, own) = (self.doors.clone(), self.snapshot.clone(), self.own_names());
        let held: Vec<Held> = lent.parcels.into_iter().map(|parcel| Held::new(&doors, parcel)).collect();
        self.errands.spawn(async move {
            let sorted = sort_all(&doors, &snapshot, &host, held, &own).await;
            Errand::Sorted { host, sorted, more, by: snapshot }
        });
    }

    pub(super) fn sorted(&mut self, host: Host, sorted: Vec<Sorted>, more: bool, by: &Snapshot) {
        self.probing -= 1;
        let now = self.doors.clock.now();
        if by.routing != self.snapshot.routing {
            // The rules have changed meanwhile: it is asked about again.
            sorted.into_iter().for_each(|Sorted { parcel, .. }| parcel.hand_back(None));
            return self.doors.spool.release(&Group::Host(host), now);
        }
        for Sorted { parcel, site, hop, ttl } in sorted {
            self.place_some(&host, &site, hop, ttl, now);
            let parcel: Parcel = parcel.release();
            self.doors.spool.divert(parcel.message, parcel.loan, &site);
        }
        if more && !self.draining {
            self.sort(host, now);
        }
    }
}

/// Where each goes. What goes nowhere is settled here.
async fn sort_all(doors: &Doors, snapshot: &Snapshot, host: &Host, parcels: Vec<Held>, own: &[Domain]) -> Vec<Sorted> {
    let mut exchangers: Option<Result<(SiteName, NextHop, Duration), Trouble>> = None;
    let mut sorted = Vec::with_capacity(parcels.len());
    for parcel in parcels {
        let Some(Way { target, rule }) = way_of(doors, snapshot, host, parcel.parcel()).await else {
            // It cannot be read. Who holds it says so when it is asked for again.
            drop(parcel);
            continue;
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
                let site = rule.map_or(site.clone(), |rule| rule.site(site));
                sorted.push(Sorted { parcel, site, hop: Hop::by(rule, next), ttl });
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
