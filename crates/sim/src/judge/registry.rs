//! C10: what the registry guards is guarded while it does not answer, too.

use std::collections::BTreeMap;

use postrider_mail::Fields;

use super::Found;
use super::evidence::Evidence;
use crate::world::registry::{BOUND_TENANT, HOME, SIGNED_TENANT};
use crate::world::{Offered, Verdict};

pub(super) fn check(evidence: &Evidence, found: &mut Found) {
    for (_, offered) in evidence.offered() {
        let Offered { token, tenant, reverse_path, verdict, .. } = offered;
        if *verdict == Verdict::Refused(535) {
            found.say("C10", format!("{tenant} has the right secret, and was told at {token} that it is wrong"));
        }
        let foreign = tenant == BOUND_TENANT && !reverse_path.ends_with(&format!("@{HOME}"));
        if foreign && matches!(verdict, Verdict::Positive(_)) {
            found.say("C10", format!("{token} of {tenant} was taken from <{reverse_path}>, which is not its own"));
        }
    }
    let tenants: BTreeMap<&str, &str> = evidence.offered().map(|(_, offered)| (offered.token.as_str(), offered.tenant.as_str())).collect();
    for told in &evidence.told {
        let tenant = told.taken.token.as_deref().and_then(|token| tenants.get(token));
        let is_signed = || Fields::of(&told.taken.content).any(|field| field.is("DKIM-Signature"));
        if tenant.is_some_and(|tenant| *tenant == SIGNED_TENANT) && !is_signed() {
            found.say("C10", format!("{:?} was sent unsigned at {}", told.taken.token, Evidence::clock(told.taken.at)));
        }
    }
}
