//! What a person does reaches the dispatcher: suspensions, recalls, and loans of chosen deliveries.
//!
//! A tenant that is suspended is paused in the spool, so that its mail costs nothing however much it is. A Site or a Source that is suspended holds as
//! any other hold does, and its mail waits in the spool with the dates it has.

use std::collections::{BTreeMap, BTreeSet};

use postrider_core::shape::{Hold, HoldReason};
use postrider_model::doors::Suspended;
use postrider_model::{Group, MessageId, Parcel, SiteName, Timestamp};

use super::Dispatcher;
use crate::held::Held;

impl Dispatcher {
    /// Some suspensions are over by now.
    pub(super) fn end_suspensions(&mut self, now: Timestamp) {
        if self.suspension_ends.is_some_and(|at| at <= now) {
            self.apply_suspensions(now);
        }
    }

    /// What is suspended has changed: workers of it end with their present work, what waited for its turn goes back, and what is not suspended any
    /// more is looked at again.
    pub(super) fn apply_suspensions(&mut self, now: Timestamp) {
        let tenants = self.suspensions.tenants(now);
        self.doors.spool.pause(&tenants);
        self.recall(|parcel| tenants.contains(&parcel.tenant));
        for worker in self.workers.values_mut() {
            let route = [Suspended::Site(worker.route.site.clone()), Suspended::Source(worker.route.source.clone())];
            if route.iter().any(|what| self.suspensions.hold(what, now).is_some()) {
                worker.jobs = None;
            }
        }
        for (name, site) in &mut self.sites {
            if site.hold.as_ref().is_some_and(|hold| matches!(hold.reason, HoldReason::Suspended { .. })) {
                site.hold = None;
                if !site.claimed {
                    self.doors.spool.release(&Group::Site(name.clone()), now);
                }
            }
        }
        self.dirty.extend(self.sites.keys().cloned());
        self.suspension_ends = self.suspensions.next_end(now);
    }

    pub(super) fn suspended_site(&self, site: &SiteName, now: Timestamp) -> Option<Hold> {
        self.suspensions.hold(&Suspended::Site(site.clone()), now)
    }

    /// A suspension: the window goes back with the dates it has, and the Site is not asked for before the end.
    pub(super) fn stand_still(&mut self, site: &SiteName, hold: Hold, now: Timestamp) {
        for parcel in self.schedule.drain(site) {
            self.doors.spool.hand_back(parcel.message, parcel.loan, None);
        }
        if let Some(state) = self.sites.get_mut(site) {
            state.claimed = false;
            // Said although nothing may be claimed: what was handed back is due, and would be lent again at once.
            self.doors.spool.release(&Group::Site(site.clone()), hold.until.unwrap_or(Timestamp::NEVER));
            state.hold = Some(hold);
        }
        self.decline(site, now);
    }

    /// Gives the spool back those of the parcels that wait for their turn.
    pub(super) fn recall(&mut self, which: impl Fn(&Parcel) -> bool) {
        let sites: Vec<SiteName> = self.schedule.sites().map(|(site, _)| site.clone()).collect();
        for site in sites {
            self.recall_from(&site, &which);
        }
    }

    fn recall_from(&mut self, site: &SiteName, which: impl Fn(&Parcel) -> bool) {
        for parcel in self.schedule.drain(site) {
            if which(&parcel) {
                self.doors.spool.hand_back(parcel.message, parcel.loan, None);
            } else {
                self.schedule.push(site, parcel);
            }
        }
        self.dirty.insert(site.clone());
    }

    /// Lends chosen deliveries that no worker has. Nobody else is lent them between the recall and the loan, because only the dispatcher lends.
    pub(super) fn lend_to_hand(&mut self, named: &BTreeMap<MessageId, Vec<u32>>) -> Vec<Held> {
        let sites: BTreeSet<SiteName> = named.keys().flat_map(|message| self.schedule.sites_of(*message)).collect();
        for site in sites {
            self.recall_from(&site, |parcel| named.contains_key(&parcel.message));
        }
        let spool = self.doors.spool.clone();
        let parcels = named.iter().filter_map(|(message, indices)| spool.lend_these(*message, indices));
        parcels.map(|parcel| Held::new(&self.doors, parcel)).collect()
    }
}
