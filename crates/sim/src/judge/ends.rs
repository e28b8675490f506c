//! C1, seen from the relay's own word: custody ends once, in time, for a reason, at the right place, and is visible until then. C4: not before it is due.

use std::collections::{BTreeMap, BTreeSet};

use postrider_core::retry::LAST_ATTEMPT_GRACE;
use postrider_model::{MessageId, Timestamp};

use super::Found;
use super::evidence::Evidence;
use crate::world::book::{JournalEvent, Outcome};
use crate::world::{Cause, Fact, Verdict};

/// How late an attempt may begin beyond the grace: it was asked for in time, and waited for room to settle.
const LATE_MS: u64 = 60_000;

pub(super) fn check(evidence: &Evidence, found: &mut Found) {
    ended(evidence, found);
    in_time(evidence, found);
    causes(evidence, found);
    homes(evidence, found);
    sound(evidence, found);
    for (at, fact) in &evidence.facts {
        if let Fact::Invisible { message, index } = fact {
            found.say("C1", format!("{message}/{index} waits at {}, and explain knows nothing of it", Evidence::clock(*at)));
        }
    }
}

/// Whatever custody began of, by a 250 or by the journal, has an end for each recipient: reports, and mail whose client never heard its 250, too.
fn ended(evidence: &Evidence, found: &mut Found) {
    if evidence.left.as_ref().is_none_or(|left| !left.is_empty()) {
        return; // C7 has said so.
    }
    let mut begun: BTreeMap<MessageId, usize> = BTreeMap::new();
    let (mut logged, mut recorded) = (BTreeSet::new(), BTreeSet::new());
    for (_, fact) in &evidence.facts {
        match fact {
            Fact::Journal { event: JournalEvent::Accepted { message, recipients, .. }, .. } => {
                begun.insert(*message, *recipients);
            }
            Fact::Journal { event: JournalEvent::Settled { delivery, outcome: Outcome::Delivered | Outcome::Bounced }, .. } => {
                recorded.insert((delivery.message, delivery.index));
            }
            Fact::Attempted { message, index, outcome: Outcome::Delivered | Outcome::Bounced, .. } => {
                logged.insert((*message, *index));
            }
            _ => {}
        }
    }
    for (_, offered) in evidence.offered() {
        if let Verdict::Positive(Some(id)) = offered.verdict {
            begun.entry(id).or_insert(offered.recipients.len());
        }
    }
    for (message, recipients) in begun {
        for index in 0..recipients as u32 {
            if !logged.contains(&(message, index)) {
                found.say("C1", format!("custody of {message}/{index} began, and the log knows no end of it"));
            } else if evidence.journal && !recorded.contains(&(message, index)) {
                found.say("C1", format!("custody of {message}/{index} began, and the journal has no end of it"));
            }
        }
    }
}

/// Due dates before the give-up time, attempts not long behind it, and none before its due date.
fn in_time(evidence: &Evidence, found: &mut Found) {
    let crashes = evidence.crashes();
    let grace_ms = LAST_ATTEMPT_GRACE.as_millis() as u64 + LATE_MS;
    let mut dues: BTreeMap<(MessageId, u32), (Timestamp, Timestamp)> = BTreeMap::new();
    let (holds_ms, hold_max_ms) = (evidence.holds_ms(), evidence.hold_max_ms());
    for (at, fact) in &evidence.facts {
        let Fact::Attempted { message, index, outcome, began, .. } = fact else { continue };
        let (accepted_ms, hold_ms) = (message.accepted_at().millis(), holds_ms.get(message));
        let released = accepted_ms + hold_ms.copied().unwrap_or(0);
        let give_up = accepted_ms + hold_ms.copied().unwrap_or(hold_max_ms) + evidence.give_up_ms;
        let what = format!("{message}/{index}");
        if let Some(began) = began.filter(|began| began.millis() < released) {
            found.say("C4", format!("{what} was attempted at {}, before its hold ended", Evidence::clock(began)));
        }
        if let Outcome::Deferred(due) = outcome
            && due.millis() > give_up
        {
            found.say("C1", format!("{what} is put off until {}, behind its give-up time", Evidence::clock(*due)));
        }
        if let Some(began) = began
            && began.millis() > give_up + grace_ms
        {
            found.say("C1", format!("{what} was attempted at {}, long behind its give-up time", Evidence::clock(*began)));
        }
        let now = began.unwrap_or(*at);
        if let Some((noted, due)) = dues.remove(&(*message, *index))
            && now < due
            && !evidence.forgotten(noted, &crashes)
        {
            found.say("C4", format!("{what} was attempted at {}, and due at {}", Evidence::clock(now), Evidence::clock(due)));
        }
        if let Outcome::Deferred(due) = outcome {
            dues.insert((*message, *index), (*at, *due));
        }
    }
}

/// A bounce before the give-up time has somebody who said "never" of this mail, or a domain that takes none.
fn causes(evidence: &Evidence, found: &mut Found) {
    let real: BTreeSet<&String> = evidence.homes.iter().flatten().collect();
    for (at, fact) in &evidence.facts {
        let Fact::Attempted { message, index, recipient, outcome: Outcome::Bounced, why, cause, .. } = fact else { continue };
        if at.since(message.accepted_at()).as_millis() as u64 >= evidence.give_up_ms {
            continue;
        }
        let domain = recipient.rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default();
        let good = match cause {
            Cause::Reply { code, before_mail } => (500..600).contains(code) && !before_mail,
            Cause::Absent => evidence.dns_lies || !real.contains(&domain),
            // Whether there was a word is C9.
            Cause::Silence => true,
            Cause::None | Cause::Late | Cause::Trouble => false,
        };
        if !good {
            let at = Evidence::clock(*at);
            found.say("C1", format!("{message}/{index} to {recipient} bounced at {at} for something that passes: {cause:?}, {why}"));
        }
    }
}

/// Mail is taken where its recipients' domain says.
fn homes(evidence: &Evidence, found: &mut Found) {
    for told in &evidence.told {
        for recipient in &told.taken.recipients {
            let host = recipient.rsplit_once('@').map(|(_, host)| host).unwrap_or_default();
            if evidence.homes.get(told.remote).is_some_and(|homes| !homes.contains(host)) {
                found.say("C1", format!("mail for {recipient} went to remote {}, which is not its host", told.remote));
            }
        }
    }
}

/// From the failed sync that poisoned a life until its end, nothing is acknowledged.
fn sound(evidence: &Evidence, found: &mut Found) {
    /// What was durable before may be told a moment later.
    const TOLD_MS: u64 = 5;
    let mut failed = None;
    let mut since = Vec::new();
    for (at, fact) in &evidence.facts {
        match fact {
            Fact::SyncFailed { poisons: true } => (failed, since) = (Some(*at), Vec::new()),
            Fact::Accepted(id) if failed.is_some_and(|failed: Timestamp| at.millis() > failed.millis() + TOLD_MS) => since.push((*at, id)),
            Fact::LifeEnded(how) => {
                failed = None;
                for (at, id) in std::mem::take(&mut since).into_iter().filter(|_| how.starts_with("poisoned")) {
                    found.say("C1", format!("{id} was acknowledged at {}, after a sync had failed", Evidence::clock(at)));
                }
            }
            _ => {}
        }
    }
}
