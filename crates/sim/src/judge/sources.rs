//! C1: mail of a stream with a pool comes from the addresses of that pool, by the word of the provider that took it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use postrider_model::Timestamp;

use super::Found;
use super::evidence::Evidence;
use crate::world::Fact;

/// How long an attempt may be under way that began under another pool.
const UNDER_WAY_MS: u64 = 60_000;

/// From which addresses mail of a stream may come from an instant on; `None`: from any.
type Change<'a> = (Timestamp, Option<&'a [IpAddr]>);

pub(super) fn check(evidence: &Evidence, found: &mut Found) {
    let mut pools: BTreeMap<&str, Vec<Change<'_>>> = BTreeMap::new();
    for (at, fact) in &evidence.facts {
        if let Fact::Pooled(stream, addresses) = fact {
            pools.entry(stream).or_default().push((*at, addresses.as_deref()));
        }
    }
    if pools.is_empty() {
        return;
    }
    let streams: BTreeMap<&str, &str> = evidence
        .offered()
        .filter_map(|(_, offered)| Some((offered.token.as_str(), evidence.users.get(offered.mail.0)?.as_str())))
        .collect();
    for taken in evidence.told.iter().map(|told| &told.taken) {
        let stream = taken.token.as_deref().and_then(|token| streams.get(token));
        let Some(changes) = stream.and_then(|stream| pools.get(stream)) else { continue };
        if !allowed(changes, taken.at).any(|addresses| addresses.is_none_or(|addresses| addresses.contains(&taken.peer))) {
            let at = Evidence::clock(taken.at);
            found.say("C1", format!("mail of {} came from {} at {at}, which is not of its pool", stream.unwrap_or(&""), taken.peer));
        }
    }
}

/// What was said last, and what was said before as long as it may still be under way; before the first word all is allowed.
fn allowed<'a>(changes: &'a [Change<'a>], now: Timestamp) -> impl Iterator<Item = Option<&'a [IpAddr]>> {
    let said = changes.partition_point(|(at, _)| *at <= now);
    // The last of them that rules for so long that nothing is under way from before it.
    let settled = changes[..said].iter().rposition(|(at, _)| at.millis() + UNDER_WAY_MS <= now.millis());
    let before = settled.is_none().then_some(None);
    before.into_iter().chain(changes[settled.unwrap_or(0)..said].iter().map(|(_, addresses)| *addresses))
}
