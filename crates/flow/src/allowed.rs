//! Allowances: how much tenants and credentials have sent, and what becomes of mail beyond that (`core::allowance`).
//!
//! **Promises.** A message is counted once, where it is accepted, against its tenant and its credential; both have to have room. What waits for room is taken into custody at
//! once and sent when there is; what is refused is refused for now. A braked credential goes at [`BRAKED_PER_SECOND`].
//!
//! **Does badly.** Counts are kept from time to time by whoever runs the relay ([`Meters::changed`]): a crash forgets those since, and lets as many more through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use postrider_core::allowance::{Meter, Reached};
use postrider_model::Timestamp;
use postrider_model::doors::{Allowances, Principal};
use postrider_model::policy::{Allowance, Beyond};
use postrider_smtp::Reply;

use crate::receive::reply;

/// Messages in a second that a braked credential gets through.
const BRAKED_PER_SECOND: u32 = 1;

/// What was counted, by holder: `tenant NAME`, `key USER`.
#[derive(Default)]
pub(crate) struct Meters(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    meters: BTreeMap<String, Meter>,
    changed: BTreeSet<String>,
}

/// What becomes of a message that has no room now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waits {
    /// When there is room.
    pub(crate) until: Timestamp,
    /// Which limit it met.
    pub(crate) why: String,
}

impl Meters {
    /// Counts a message to so many. `Ok(Some)`: it has to wait. `Err`: it is refused, and not counted.
    pub(crate) fn take(&self, principal: &Principal, recipients: usize, now: Timestamp) -> Result<Option<Waits>, Reply> {
        let Some(allowances) = &principal.allowances else { return Ok(None) };
        let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
        let holders = holders(principal, allowances);
        let mut counted = self.counted();
        let (mut at, mut met): (Timestamp, Option<Reached>) = (now, None);
        // What one holder lets through later, the other may not: until both do. Each round moves it on, and two are enough but for a narrow miss.
        for _ in 0..8 {
            let before = at;
            for (holder, allowance) in &holders {
                let room = counted.meters.get(holder).map_or(Ok(()), |meter| meter.room(allowance, recipients, at));
                if let Err(reached) = room {
                    if allowance.beyond == Beyond::Refuse {
                        return Err(refusal(&reached));
                    }
                    at = reached.until;
                    met.get_or_insert(reached);
                }
            }
            if at == before {
                break;
            }
        }
        for (holder, allowance) in holders {
            counted.meters.entry(holder.clone()).or_default().take(&allowance, recipients, now, at);
            counted.changed.insert(holder);
        }
        Ok(met.map(|reached| Waits { until: at, why: allowances.braked.as_deref().map_or_else(|| reached.to_string(), braked) }))
    }

    /// Takes over what was kept.
    pub(crate) fn load(&self, kept: impl IntoIterator<Item = (String, String)>) {
        self.counted().meters.extend(kept.into_iter().map(|(holder, text)| (holder, Meter::parse(&text))));
    }

    /// What is worth keeping of the holders that changed since the last question; an empty text is to be forgotten.
    pub(crate) fn changed(&self, now: Timestamp) -> Vec<(String, String)> {
        let mut counted = self.counted();
        let changed = std::mem::take(&mut counted.changed);
        let texts: Vec<(String, String)> = changed
            .into_iter()
            .filter_map(|holder| {
                let text = counted.meters.get(&holder)?.text(now);
                Some((holder, text))
            })
            .collect();
        counted.meters.retain(|holder, meter| texts.iter().any(|(changed, _)| changed == holder) || !meter.text(now).is_empty());
        texts
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is counted, and against what. Whoever has no rates is not counted.
fn holders(principal: &Principal, allowances: &Allowances) -> Vec<(String, Allowance)> {
    let mut holders = Vec::with_capacity(2);
    let bounded = |allowance: &Allowance| !(allowance.messages.are_unbounded() && allowance.recipients.are_unbounded());
    if bounded(&allowances.tenant) {
        holders.push((format!("tenant {}", principal.tenant), allowances.tenant.clone()));
    }
    let mut own = allowances.credential.clone();
    if allowances.braked.is_some() {
        own.messages.per_second = Some(own.messages.per_second.map_or(BRAKED_PER_SECOND, |max| max.min(BRAKED_PER_SECOND)));
        // What was accepted before a person has looked waits; it is not lost.
        own.beyond = Beyond::Queue;
    }
    if let Some(user) = principal.credential.as_ref().filter(|_| bounded(&own)) {
        holders.push((format!("key {user}"), own));
    }
    holders
}

fn braked(why: &str) -> String {
    format!("its key is braked: {why}")
}

fn refusal(reached: &Reached) -> Reply {
    reply(450, (4, 7, 1), &format!("{reached}; there is room at {}", reached.until))
}

/// Whether one more recipient may be named.
pub(crate) fn recipient(principal: &Principal, named: usize) -> Result<(), Reply> {
    let Some(max) = least(principal, |allowance| allowance.recipients_per_message.map(u64::from)) else { return Ok(()) };
    // RFC 5321 §4.5.3.1.10: the rest comes in another transaction.
    if named as u64 >= max { Err(reply(452, (4, 5, 3), &format!("too many recipients: {max} a message are allowed"))) } else { Ok(()) }
}

/// Whether a message may have so many octets.
pub(crate) fn size(principal: &Principal, octets: u64) -> Result<(), Reply> {
    let Some(max) = least(principal, |allowance| allowance.message_octets) else { return Ok(()) };
    if octets > max { Err(reply(552, (5, 3, 4), &format!("the message has {octets} octets, and {max} are allowed"))) } else { Ok(()) }
}

fn least(principal: &Principal, bound: impl Fn(&Allowance) -> Option<u64>) -> Option<u64> {
    let allowances = principal.allowances.as_ref()?;
    [&allowances.tenant, &allowances.credential].into_iter().filter_map(bound).min()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use postrider_model::policy::Rates;

    use super::*;

    fn principal(tenant: Allowance, credential: Allowance, braked: Option<&str>) -> Principal {
        let allowances = Allowances { tenant, credential, braked: braked.map(Into::into) };
        Principal {
            tenant: "shop".into(),
            stream: "bulk".into(),
            credential: Some("pk".into()),
            priority: Default::default(),
            own_domains_only: false,
            give_up_after: None,
            allowances: Some(Arc::new(allowances)),
        }
    }

    fn hourly(max: u32, beyond: Beyond) -> Allowance {
        Allowance { messages: Rates { per_hour: Some(max), ..Rates::default() }, beyond, ..Allowance::default() }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis((480_000 * 3_600 + seconds) * 1_000)
    }

    /// After how many seconds each of so many messages goes, or the code of its refusal.
    fn sent(meters: &Meters, principal: &Principal, count: usize) -> Vec<u64> {
        let sent = (0..count).map(|_| match meters.take(principal, 1, at(0)) {
            Ok(None) => 0,
            Ok(Some(waits)) => waits.until.since(at(0)).as_secs(),
            Err(reply) => u64::from(reply.code()),
        });
        sent.collect()
    }

    #[test]
    fn tenant_and_credential_both_have_to_have_room() {
        let none = Allowance::default;
        for (tenant, credential, braked, went) in [
            (none(), none(), None, [0, 0, 0, 0]),
            (hourly(2, Beyond::Queue), none(), None, [0, 0, 3_600, 3_600]),
            (none(), hourly(1, Beyond::Queue), None, [0, 3_600, 7_200, 10_800]),
            (hourly(2, Beyond::Refuse), none(), None, [0, 0, 450, 450]),
            // What waits counts as sent.
            (hourly(3, Beyond::Refuse), hourly(1, Beyond::Queue), None, [0, 3_600, 7_200, 450]),
            (hourly(2, Beyond::Queue), hourly(3, Beyond::Refuse), None, [0, 0, 3_600, 3_600]),
            (none(), none(), Some("too much"), [0, 1, 2, 3]),
            (none(), hourly(2, Beyond::Refuse), Some("too much"), [0, 1, 3_600, 3_601]),
        ] {
            let principal = principal(tenant, credential, braked);
            assert_eq!(sent(&Meters::default(), &principal, 4), went, "{principal:?}");
        }
        let slow = principal(none(), none(), Some("ten times as much as ever"));
        let meters = Meters::default();
        sent(&meters, &slow, 1);
        assert_eq!(meters.take(&slow, 1, at(0)).unwrap().unwrap().why, "its key is braked: ten times as much as ever");
    }

    #[test]
    fn counts_outlive_the_relay() {
        let (meters, principal) = (Meters::default(), principal(hourly(2, Beyond::Refuse), Allowance::default(), None));
        assert_eq!(sent(&meters, &principal, 2), [0, 0]);
        let kept = meters.changed(at(1));
        assert_eq!(kept.len(), 1);
        assert!(meters.changed(at(2)).is_empty(), "nothing happened since");
        let next = Meters::default();
        next.load(kept);
        assert_eq!(sent(&next, &principal, 1), [450]);
    }

    #[test]
    fn a_message_has_bounds_of_its_own() {
        let bounded = Allowance { recipients_per_message: Some(2), message_octets: Some(100), ..Allowance::default() };
        let wider = Allowance { recipients_per_message: Some(9), ..Allowance::default() };
        let principal = principal(wider, bounded, None);
        assert!(recipient(&principal, 1).is_ok() && recipient(&principal, 2).is_err_and(|reply| reply.code() == 452));
        assert!(size(&principal, 100).is_ok() && size(&principal, 101).is_err_and(|reply| reply.code() == 552));
    }
}
