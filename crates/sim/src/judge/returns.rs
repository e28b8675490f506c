//! C5: reports, to those who are owed one and to nobody else.

use std::collections::{BTreeMap, BTreeSet};

use postrider_lab::ledger::field;
use postrider_model::MessageId;

use super::Found;
use super::evidence::{Copy, Evidence};
use crate::world::Fact;
use crate::world::book::{JournalEvent, Outcome};
use crate::world::clients::Wish;

/// A report as a provider took it.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) message_id: String,
    /// The token of the message it quotes; empty when it quotes none of ours.
    pub(super) token: String,
    /// The recipients it says have failed.
    pub(super) failed: Vec<String>,
    /// Those it says are delayed, or were taken by the next hop.
    pub(super) other_news: Vec<String>,
    /// To whom it went.
    pub(super) to: Vec<String>,
    pub(super) copy: Copy,
}

/// All reports that providers took: mail from the null reverse-path that carries no token of its own.
pub(super) fn reports(evidence: &Evidence) -> Vec<Report> {
    let null = evidence.told.iter().filter(|told| told.taken.reverse_path.is_empty() && told.taken.token.is_none());
    let read = null.map(|told| {
        let text = String::from_utf8_lossy(&told.taken.content);
        let values = |name: &str| text.lines().filter_map(|line| line.strip_prefix(name)).map(|v| v.trim().to_owned()).collect::<Vec<_>>();
        let recipients = values("Final-Recipient:").into_iter().filter_map(|v| v.split_once(';').map(|(_, v)| v.trim().to_owned()));
        // Where a report says no action, it is a failure's.
        let actions = values("Action:").into_iter().chain(std::iter::repeat("failed".to_owned()));
        let (failed, others): (Vec<_>, Vec<_>) = recipients.zip(actions).partition(|(_, action)| action == "failed");
        let names = |of: Vec<(String, String)>| of.into_iter().map(|(recipient, _)| recipient).collect();
        Report {
            message_id: field(&told.taken.content, "Message-ID").unwrap_or_default().to_owned(),
            token: values("X-Token:").pop().unwrap_or_default(),
            failed: names(failed),
            other_news: names(others),
            to: told.taken.recipients.clone(),
            copy: Copy { at: told.taken.at, confirmed: told.confirmed },
        }
    });
    read.collect()
}

/// Reports that could not be delivered, by the mail log, for each reverse-path they were for.
pub(super) fn lost_reports(evidence: &Evidence) -> BTreeMap<String, BTreeSet<MessageId>> {
    let mut lost: BTreeMap<String, BTreeSet<MessageId>> = BTreeMap::new();
    for (_, fact) in &evidence.facts {
        if let Fact::Attempted { report: true, outcome: Outcome::Bounced, recipient, message, .. } = fact {
            lost.entry(recipient.clone()).or_default().insert(*message);
        }
    }
    lost
}

pub(super) fn check(evidence: &Evidence, found: &mut Found) {
    let offered: BTreeMap<_, _> = evidence.offered().map(|(_, offered)| (offered.token.clone(), offered)).collect();
    let mut tellers: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for report in reports(evidence) {
        let id = &report.message_id;
        let Some(offered) = offered.get(&report.token) else {
            found.say("C5", format!("report {id} is about nothing that was handed in (token {:?})", report.token));
            continue;
        };
        if offered.reverse_path.is_empty() {
            found.say("C5", format!("report {id} about {}, which has a null reverse-path", report.token));
        } else if report.to != [offered.reverse_path.clone()] {
            found.say("C5", format!("report {id} about {} went to {:?}, not to <{}>", report.token, report.to, offered.reverse_path));
        }
        if report.failed.is_empty() && report.other_news.is_empty() {
            found.say("C5", format!("report {id} names no recipient"));
        }
        let wish = evidence.wish(offered);
        if wish == Wish::Silence {
            found.say("C5", format!("report {id} about {}, whose sender asked for silence", report.token));
        }
        if wish != Wish::AllNews && !report.other_news.is_empty() {
            found.say("C5", format!("report {id} tells of {:?} what its sender did not ask for", report.other_news));
        }
        for recipient in report.failed {
            tellers.entry((report.token.clone(), recipient)).or_default().insert(id.clone());
        }
    }
    for ((token, recipient), ids) in tellers.into_iter().filter(|(_, ids)| ids.len() > 1) {
        found.say("C5", format!("the failure of {token} to {recipient} was told in {} reports: {ids:?}", ids.len()));
    }
    let mut reports_accepted = BTreeSet::new();
    for (_, fact) in &evidence.facts {
        match fact {
            Fact::Attempted { report: true, reverse_path, message, .. } if !reverse_path.is_empty() => {
                found.say("C5", format!("report {message} has the reverse-path <{reverse_path}>"));
            }
            Fact::Journal { event: JournalEvent::Accepted { message, reports_on: Some(on), .. }, .. } => {
                if reports_accepted.contains(on) {
                    found.say("C5", format!("report {message} is about the report {on}"));
                }
                reports_accepted.insert(*message);
            }
            _ => {}
        }
    }
}
