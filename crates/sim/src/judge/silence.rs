//! C9: who asked for silence has it, and it is told once.

use std::collections::{BTreeMap, BTreeSet};

use postrider_model::{MessageId, Timestamp};

use super::Found;
use super::evidence::Evidence;
use crate::world::book::{JournalEvent, who};
use crate::world::registry::stream_of;
use crate::world::{Cause, EPOCH_MS, Fact, Offered, Verdict};

/// How long an attempt that began before the word may go on, where nothing says when it began.
const ATTEMPT_MS: u64 = 3_600_000;

pub(super) fn check(evidence: &Evidence, found: &mut Found) {
    if !evidence.unsubscribers.is_empty() {
        written_to(evidence, found);
        told(evidence, found);
    }
    without_word(evidence, found);
}

/// Whose mail a transaction was, to one recipient.
fn whose(evidence: &Evidence, offered: &Offered, recipient: &str) -> u64 {
    let user = evidence.users.get(offered.mail.0).map_or("", String::as_str);
    let (tenant, stream) = stream_of(user);
    who(tenant, stream, recipient)
}

/// Nobody who has silence is written to, by the word of the mail log and of the ledgers.
fn written_to(evidence: &Evidence, found: &mut Found) {
    let mut silent: BTreeMap<u64, Timestamp> = BTreeMap::new();
    for (at, fact) in &evidence.facts {
        if let Fact::Silenced { user, mailbox } = fact {
            let (tenant, stream) = stream_of(user);
            silent.entry(who(tenant, stream, mailbox)).or_insert(*at);
        }
    }
    let ids: BTreeMap<MessageId, &Offered> = evidence
        .offered()
        .filter_map(|(_, offered)| if let Verdict::Positive(Some(id)) = offered.verdict { Some((id, offered)) } else { None })
        .collect();
    for (_, fact) in &evidence.facts {
        let Fact::Attempted { message, recipient, began: Some(began), cause, .. } = fact else { continue };
        // Trouble came before anybody was named: of the wire, or of the book itself.
        if *cause == Cause::Trouble {
            continue;
        }
        let Some(offered) = ids.get(message) else { continue };
        if let Some(since) = silent.get(&whose(evidence, offered, recipient)).filter(|since| began > since) {
            let (began, since) = (Evidence::clock(*began), Evidence::clock(*since));
            found.say("C9", format!("{message} to {recipient}, who has silence since {since}, was attempted at {began}"));
        }
    }
    let offered: BTreeMap<&str, &Offered> = evidence.offered().map(|(_, offered)| (offered.token.as_str(), offered)).collect();
    for told in &evidence.told {
        let Some(offered) = told.taken.token.as_deref().and_then(|token| offered.get(token)) else { continue };
        for recipient in &told.taken.recipients {
            let since = silent.get(&whose(evidence, offered, recipient));
            if since.is_some_and(|since| told.taken.at.millis() > since.millis() + ATTEMPT_MS) {
                found.say("C9", format!("{} was sent to {recipient}, who had silence for long", offered.token));
            }
        }
    }
}

/// Each answered word is in the journal; more than once only for a crash between that and the mark.
fn told(evidence: &Evidence, found: &mut Found) {
    let crashes = evidence.crashes().len() + evidence.facts.iter().filter(|(_, fact)| matches!(fact, Fact::LifeEnded(_))).count();
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, fact) in &evidence.facts {
        if let Fact::Journal { event: JournalEvent::Suppressed { who }, .. } = fact {
            *counts.entry(*who).or_default() += 1;
        }
    }
    let answered: BTreeSet<&str> = evidence
        .facts
        .iter()
        .filter_map(|(_, fact)| if let Fact::Silenced { mailbox, .. } = fact { Some(mailbox.as_str()) } else { None })
        .collect();
    for one in &evidence.unsubscribers {
        let count = counts.get(&one.who()).copied().unwrap_or(0);
        if answered.contains(one.mailbox.as_str()) && count == 0 && evidence.journal {
            found.say("C9", format!("<{}> was told that it has silence, and the journal knows nothing of it", one.mailbox));
        }
        if count > 1 + crashes {
            found.say("C9", format!("<{}> asked for silence, and the journal tells it {count} times", one.mailbox));
        }
    }
}

/// Nobody is passed over who has not asked for it.
fn without_word(evidence: &Evidence, found: &mut Found) {
    for (at, fact) in &evidence.facts {
        let Fact::Attempted { message, recipient, cause: Cause::Silence, .. } = fact else { continue };
        let ms = at.millis() - EPOCH_MS;
        if !evidence.unsubscribers.iter().any(|one| one.mailbox == *recipient && one.not_before_ms <= ms) {
            found.say("C9", format!("{message} was not sent to {recipient}, who never asked for silence"));
        }
    }
}
