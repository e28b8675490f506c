//! From groups with due mail to Sites: claims and probes.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::route::table::{self, ByHost, Way};
use postrider_core::route::{self, MxPlan};
use postrider_model::doors::DnsTrouble;
use postrider_model::policy::{Rule, Snapshot, Target, site_of};
use postrider_model::{Diagnosis, Group, Phase, Reason, SiteName, Timestamp, Trouble, limits};
use postrider_smtp::{Domain, Host};

use super::site::{Placement, SiteState};
use super::{Dispatcher, Errand};
use crate::connect::{Hop, NextHop};

/// The shortest time a placement is believed, so that a time to live of zero does not make a look-up for each message.
const PLACEMENT_MIN: Duration = Duration::from_secs(5);

/// The longest, so that a change of the DNS is seen within an hour whatever the record says.
pub(super) const PLACEMENT_MAX: Duration = Duration::from_secs(3600);

/// Groups claimed in one round.
const CLAIMS_PER_ROUND: usize = 64;

/// How long a host waits for a place among the probes before it is claimed again.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// When a claim for a Site that nobody knows is looked at again.
const FORGOTTEN_PAUSE: Duration = Duration::from_secs(60);

/// What a look-up of a host gave.
pub(crate) enum Probed {
    /// Its Site.
    Placed(Arc<MxPlan>),
    /// It has none, or nobody knows.
    Unplaced(Trouble),
}

impl Dispatcher {
    /// Claims groups with due mail: a Site's is served in this round; a host's is looked up first.
    pub(super) fn claim(&mut self, now: Timestamp) {
        for group in self.doors.spool.ready(now, CLAIMS_PER_ROUND) {
            match group {
                Group::Site(site) => self.claimed(site),
                // A host waits for a place among the probes; Sites that are known do not wait with it.
                Group::Host(host) if self.probing >= limits::PROBES_MAX => {
                    self.doors.spool.release(&Group::Host(host), now.after(PROBE_PAUSE));
                }
                Group::Host(host) => self.locate(host, now),
            }
        }
    }

    fn claimed(&mut self, site: SiteName) {
        match self.sites.get_mut(&site) {
            Some(state) => {
                state.claimed = true;
                self.dirty.insert(site);
            }
            // A Site is known as long as a host is placed there, so this is a fault of ours; the mail comes again.
            None => self.doors.spool.release(&Group::Site(site), self.doors.clock.now().after(FORGOTTEN_PAUSE)),
        }
    }

    /// Where all mail of a host goes, if that is one place: its rules ask for nothing but the host, and no stream may have a word in it.
    fn way_for_all<'a>(&self, snapshot: &'a Snapshot, host: &Host) -> Option<Way<'a>> {
        match table::by_host(&snapshot.routing, host) {
            ByHost::Depends => None,
            ByHost::All(way) => Some(way).filter(|way| self.pools == 0 || !way.is_open_to_pools()),
        }
    }

    fn locate(&mut self, host: Host, now: Timestamp) {
        let snapshot = self.snapshot.clone();
        let Some(Way { target, rule }) = self.way_for_all(&snapshot, &host) else {
            return self.sort(host, now);
        };
        match (target.site(), NextHop::of(target), target) {
            (_, _, Target::Reject(text)) => {
                let reason = Reason::Trouble(Trouble::Operator(text.as_str().into()));
                let diagnosis = Diagnosis { at: now, phase: Phase::Route, reason, remote: None, address: None };
                self.settle_unsent(Group::Host(host), diagnosis);
            }
            (Some(site), Some(next), _) => {
                self.place(host, site_of(rule, None, site), Hop::by(rule, None, next), PLACEMENT_MAX, now);
            }
            _ => self.look_up(host, rule, now),
        }
    }

    fn look_up(&mut self, host: Host, rule: Option<&Rule>, now: Timestamp) {
        match &host {
            Host::Literal(address) => {
                let site = site_of(rule, None, route::literal_site(*address));
                self.place(host.clone(), site, Hop::by(rule, None, NextHop::Address(*address)), PLACEMENT_MAX, now);
            }
            Host::Domain(domain) => {
                self.probing += 1;
                let (doors, host, domain) = (self.doors.clone(), host.clone(), domain.clone());
                let own = self.own_names();
                self.errands.spawn(async move {
                    let probed = probe(&doors, &domain, &own).await;
                    Errand::Probed(host, probed)
                });
            }
        }
    }

    pub(super) fn own_names(&self) -> Vec<Domain> {
        let names = std::iter::once(self.snapshot.host_name.as_str()).chain(self.snapshot.sources.iter().map(|s| s.ehlo_name.as_str()));
        names.filter_map(|name| Domain::parse(name).ok()).collect()
    }

    pub(super) fn probed(&mut self, host: Host, probed: Probed) {
        self.probing -= 1;
        let now = self.doors.clock.now();
        match probed {
            Probed::Placed(plan) => {
                let snapshot = self.snapshot.clone();
                let Some(Way { target: Target::Mx, rule }) = self.way_for_all(&snapshot, &host) else {
                    // The rules, or the pools of streams, have changed meanwhile.
                    return self.doors.spool.release(&Group::Host(host), now);
                };
                let (site, ttl) = (site_of(rule, None, plan.site.clone()), plan.ttl);
                self.place(host, site, Hop::by(rule, None, NextHop::Mx(plan)), ttl, now);
            }
            Probed::Unplaced(trouble) => {
                let diagnosis = Diagnosis { at: now, phase: Phase::Route, reason: Reason::Trouble(trouble), remote: None, address: None };
                self.settle_unsent(Group::Host(host), diagnosis);
            }
        }
    }

    fn place(&mut self, host: Host, site: SiteName, hop: Hop, ttl: Duration, now: Timestamp) {
        self.forget_host(&host);
        self.doors.spool.place(&host, &site);
        self.place_some(&host, &site, hop, ttl, now);
    }

    /// Some mail of a host goes there, as long as that may be believed of all places of the host.
    pub(super) fn place_some(&mut self, host: &Host, site: &SiteName, hop: Hop, ttl: Duration, now: Timestamp) {
        let expires = now.after(ttl.clamp(PLACEMENT_MIN, PLACEMENT_MAX));
        let placement = self.hosts.entry(host.clone()).or_insert(Placement { sites: Vec::new(), expires });
        self.expiries.remove(&(placement.expires, host.clone()));
        placement.expires = placement.expires.min(expires);
        self.expiries.insert((placement.expires, host.clone()));
        let fresh = !placement.sites.contains(site);
        if fresh {
            placement.sites.push(site.clone());
        }
        let provider = || Arc::new(self.snapshot.provider_for(site).clone());
        let state = self.sites.entry(site.clone()).or_insert_with(|| SiteState::new(hop.clone(), provider()));
        state.hop = hop;
        state.hosts += usize::from(fresh);
    }

    /// Forgets where a host belongs, on our side.
    fn forget_host(&mut self, host: &Host) {
        let Some(placement) = self.hosts.remove(host) else { return };
        self.expiries.remove(&(placement.expires, host.clone()));
        for site in placement.sites {
            if let Some(state) = self.sites.get_mut(&site) {
                state.hosts -= 1;
                self.dirty.insert(site);
            }
        }
    }

    /// The rules may have changed.
    pub(super) fn follow_rules(&mut self, before: &Snapshot, now: Timestamp) {
        if before.routing != self.snapshot.routing {
            self.route_anew(now);
        }
    }

    /// Streams may name other pools by now. Nothing is sent without a waking of ours, and each begins with this look.
    pub(super) fn follow_pools(&mut self, now: Timestamp) {
        let pools = self.doors.registry.pools();
        if pools != self.pools {
            self.pools = pools;
            self.route_anew(now);
        }
    }

    /// All mail is asked about anew, what is in the window, too. Attempts under way end as they began.
    fn route_anew(&mut self, now: Timestamp) {
        self.missing_pools.clear();
        for site in self.sites.keys().cloned().collect::<Vec<_>>() {
            self.send_back(&site, None, now);
        }
        for host in self.hosts.keys().cloned().collect::<Vec<_>>() {
            self.forget_host(&host);
            self.doors.spool.displace(&host);
        }
    }

    /// What we know of these hosts is too old: their mail waits for a new look-up.
    pub(super) fn expire_placements(&mut self, now: Timestamp) {
        while let Some((at, host)) = self.expiries.first().cloned() {
            if at > now {
                break;
            }
            self.forget_host(&host);
            self.doors.spool.displace(&host);
        }
    }
}

/// Looks a domain's Site up. Failure is kept apart from absence.
pub(super) async fn probe(doors: &crate::Doors, domain: &Domain, own: &[Domain]) -> Probed {
    let answer = doors.resolver.mx(domain).await;
    let answer = match &answer {
        Err(DnsTrouble::Failed(why)) => return Probed::Unplaced(Trouble::DnsFailed(domain.as_str().into(), why.as_str().into())),
        other => other.as_ref(),
    };
    match route::hosts(domain, answer, own) {
        Ok(plan) => Probed::Placed(Arc::new(plan)),
        Err(trouble) => Probed::Unplaced(trouble.trouble(domain)),
    }
}
