//! What a person has suspended: Sites, tenants and Sources from, to and for which nothing is sent.
//!
//! **Promises.** A suspension holds from the instant it is known until its end, or until it is not among those given any more. Each gives a [`Hold`], so
//! that whoever asks why mail waits hears the person's own reason.
//!
//! **Never** keeps them: whoever gives them does.

use std::collections::BTreeMap;

use postrider_model::doors::{Suspended, Suspension};
use postrider_model::{TenantName, Timestamp};

use crate::shape::{Hold, HoldReason};

/// All suspensions, by what they suspend.
#[derive(Debug, Clone, Default)]
pub struct Suspensions(BTreeMap<Suspended, Suspension>);

impl Suspensions {
    /// Exactly these; of two of one thing the later given.
    pub fn new(all: Vec<Suspension>) -> Self {
        Self(all.into_iter().map(|suspension| (suspension.what.clone(), suspension)).collect())
    }

    /// What holds it at `now`, when it is suspended.
    pub fn hold(&self, what: &Suspended, now: Timestamp) -> Option<Hold> {
        let Suspension { what, since, until, reason } = self.0.get(what).filter(|suspension| is_in_force(suspension, now))?;
        Some(Hold { reason: HoldReason::Suspended { what: what.clone(), why: reason.clone() }, since: *since, until: *until })
    }

    /// The tenants that are suspended at `now`.
    pub fn tenants(&self, now: Timestamp) -> Vec<TenantName> {
        let in_force = self.0.values().filter(|suspension| is_in_force(suspension, now));
        let tenants = in_force.filter_map(|suspension| match &suspension.what {
            Suspended::Tenant(tenant) => Some(tenant.clone()),
            Suspended::Site(_) | Suspended::Source(_) => None,
        });
        tenants.collect()
    }

    /// When the next of those in force at `now` ends by itself.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.values().filter(|suspension| is_in_force(suspension, now)).filter_map(|suspension| suspension.until).min()
    }
}

fn is_in_force(suspension: &Suspension, now: Timestamp) -> bool {
    suspension.until.is_none_or(|until| until > now)
}

#[cfg(test)]
mod tests {
    use postrider_model::SiteName;

    use super::*;

    #[test]
    fn each_holds_until_its_end() {
        let at = Timestamp::from_millis;
        let tenant = Suspended::Tenant(TenantName::new("shop"));
        let site = Suspended::Site(SiteName::new("mx.example"));
        let suspension = |what: &Suspended, until: Option<u64>, why: &str| Suspension {
            what: what.clone(),
            since: at(5),
            until: until.map(at),
            reason: why.into(),
        };
        let all = Suspensions::new(vec![suspension(&tenant, Some(20), "late bill"), suspension(&site, None, "")]);
        let hold = all.hold(&tenant, at(19)).unwrap();
        assert_eq!(
            (hold.to_string().as_str(), hold.since, hold.until),
            ("tenant shop is suspended by hand: late bill", at(5), Some(at(20)))
        );
        assert_eq!(all.hold(&site, at(19)).unwrap().to_string(), "site mx.example is suspended by hand");
        assert_eq!((all.tenants(at(19)).len(), all.next_end(at(19))), (1, Some(at(20))));
        assert_eq!((all.hold(&tenant, at(20)), all.tenants(at(20)), all.next_end(at(20))), (None, vec![], None));
        assert_eq!(all.hold(&site, at(20)).unwrap().until, None);
        assert_eq!(all.hold(&Suspended::Tenant(TenantName::new("other")), at(1)), None);
    }
}
