//! C1: what was acknowledged is delivered or told, whole; what was not is not sent.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, told};
use postrider_mail::Fields;
use postrider_mail::encode::{Recoder, Takes};
use postrider_model::{MessageId, Timestamp};

use super::evidence::{Copy, Evidence};
use super::returns::{Report, lost_reports, reports};
use crate::world::book::Outcome;
use crate::world::clients::Wish;
use crate::world::registry::SIGNED_TENANT;
use crate::world::{Cause, Fact, Offered, RETURN_PATH, TOKENS_TENANT, Verdict, token_keys};

pub(super) fn check(evidence: &Evidence, found: &mut Found) {
    let copies = evidence.copies();
    let told = reports(evidence);
    let reports_lost = lost_reports(evidence);
    let lost: BTreeSet<String> = reports_lost.keys().cloned().collect();
    let mut untold: BTreeMap<&str, BTreeSet<MessageId>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    let crashes = evidence.crashes();
    let [bounced, surely, silenced] = bounced_in_log(evidence, &crashes);
    let mut known = BTreeSet::new();
    for (at, offered) in evidence.offered() {
        known.insert(offered.token.clone());
        let of = |recipient: &String| copies.get(&(offered.token.clone(), recipient.clone())).map_or(&[][..], Vec::as_slice);
        if let Some(strangers) = &evidence.strangers {
            told::verdict(strangers, evidence, offered, found);
        }
        match &offered.verdict {
            Verdict::Positive(id) => {
                if let Some(id) = id.filter(|id| !ids.insert(*id)) {
                    found.say("C1", format!("{} was acknowledged as {id}, as another mail was", offered.token));
                }
                for recipient in &offered.recipients {
                    let in_log = |bounced: &Bounced| id.is_some_and(|id| bounced.contains(&(id, recipient.clone())));
                    let (logged, surely, silenced) = (in_log(&bounced), in_log(&surely), in_log(&silenced));
                    let case = Case { offered, recipient, copies: of(recipient), told: &told, lost: &lost, logged, surely, silenced };
                    if case.check(evidence, &crashes, found)
                        && let Some(id) = id
                    {
                        untold.entry(&offered.reverse_path).or_default().insert(*id);
                    }
                }
            }
            Verdict::Broken | Verdict::Refused(_) => {
                let sent = copies.range((offered.token.clone(), String::new())..).take_while(|((token, _), _)| *token == offered.token);
                for ((token, recipient), copies) in sent {
                    // A refusal that a failing disk caused may come after the record was written (docs/custody.md, the table of crashes).
                    let excused = matches!(offered.verdict, Verdict::Refused(_)) && evidence.forgotten(at, &crashes);
                    if !excused {
                        found.say("C1", format!("{token} was {:?} and yet sent to {recipient}: {copies:?}", offered.verdict));
                    }
                }
            }
            Verdict::Unknown => {}
        }
    }
    for (token, recipient) in copies.keys().filter(|(token, _)| !known.contains(token)) {
        found.say("C1", format!("nobody ever handed in {token}, sent to {recipient}"));
    }
    // Each report is about one message, so each message whose bounce nobody was told of has a lost report of its own.
    for (reverse_path, messages) in untold {
        let reports = reports_lost.get(reverse_path).map_or(0, BTreeSet::len);
        if messages.len() > reports {
            found
                .say("C1", format!("{} messages of <{reverse_path}> bounced untold, and only {reports} reports were lost", messages.len()));
        }
    }
    contents(evidence, found);
    without_cause(evidence, found);
}

/// What a provider says to a transaction with a recipient `spam…`: it bounces for the others, too.
const SPAM: &str = "we do not want this";

/// A bounce needs somebody who said "never", or the give-up time.
fn without_cause(evidence: &Evidence, found: &mut Found) {
    for (at, fact) in &evidence.facts {
        let Fact::Attempted { message, recipient, report: false, outcome: Outcome::Bounced, why, cause, .. } = fact else { continue };
        if *cause == Cause::Silence {
            continue;
        }
        let Some((local, domain)) = recipient.split_once('@') else { continue };
        let innocent = local.starts_with("user") && evidence.patient_domains.contains(domain) && !why.ends_with(SPAM);
        if innocent && (at.since(message.accepted_at()).as_millis() as u64) < evidence.give_up_ms {
            found.say("C1", format!("{message} to {recipient} bounced at {} without cause: {why}", Evidence::clock(*at)));
        }
    }
}

/// One recipient of an acknowledged message.
struct Case<'a> {
    offered: &'a Offered,
    recipient: &'a String,
    copies: &'a [Copy],
    told: &'a [Report],
    lost: &'a BTreeSet<String>,
    /// The mail log says that it bounced.
    logged: bool,
    /// It says so, and no crash can have undone it.
    surely: bool,
    /// It bounced because the recipient wants no mail of this stream: nobody is told.
    silenced: bool,
}

impl Case<'_> {
    /// Whether it bounced, its sender is owed a report, and none came.
    fn check(&self, evidence: &Evidence, crashes: &[Timestamp], found: &mut Found) -> bool {
        let Offered { token, reverse_path, .. } = self.offered;
        let recipient = self.recipient;
        let told = self.told.iter().any(|report| report.token == *token && report.failed.contains(recipient));
        let wants_silence = self.silenced || evidence.wish(self.offered) == Wish::Silence;
        let silent = reverse_path.is_empty() || wants_silence || self.lost.contains(reverse_path);
        let bounced = told || self.logged && silent;
        let waits = evidence.left.as_ref().is_none_or(|left| !left.is_empty());
        if self.copies.is_empty() && !bounced && !waits {
            let log = if self.logged { "the log says it bounced, and no report came" } else { "the log knows no bounce" };
            found.say("C1", format!("{token} to {recipient} was acknowledged, and neither delivered nor told: {log}"));
        }
        // Delivered and bounced at once is explained only by a reply that the relay never had, or forgot.
        let sure = self.copies.iter().filter_map(|copy| copy.confirmed).find(|at| !evidence.forgotten(*at, crashes));
        if let Some(at) = sure
            && (told || self.surely)
        {
            found.say("C1", format!("{token} to {recipient} was delivered at {} and yet bounced", Evidence::clock(at)));
        }
        self.copies.is_empty() && self.logged && !told && !reverse_path.is_empty() && !wants_silence && !waits
    }
}

type Bounced = BTreeSet<(MessageId, String)>;

/// (message, recipient) that the mail log calls bounced: all, those that the relay cannot have forgotten again in a crash, and those who want no such mail.
fn bounced_in_log(evidence: &Evidence, crashes: &[Timestamp]) -> [Bounced; 3] {
    let (mut all, mut surely, mut silenced) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (at, fact) in &evidence.facts {
        if let Fact::Attempted { message, recipient, outcome: Outcome::Bounced, cause, .. } = fact {
            all.insert((*message, recipient.clone()));
            if *cause == Cause::Silence {
                silenced.insert((*message, recipient.clone()));
            }
            if !evidence.forgotten(*at, crashes) {
                surely.insert((*message, recipient.clone()));
            }
        }
    }
    [all, surely, silenced]
}

/// Only trace fields stand before what was handed in, and it arrives at those it was for.
fn contents(evidence: &Evidence, found: &mut Found) {
    let offered: BTreeMap<&str, &Offered> = evidence.offered().map(|(_, offered)| (offered.token.as_str(), offered)).collect();
    for told in &evidence.told {
        let taken = &told.taken;
        let Some(offered) = taken.token.as_deref().and_then(|token| offered.get(token)) else { continue };
        let token = &offered.token;
        let Some(content) = evidence.content(offered) else { continue };
        // A provider that takes seven bits only is given another encoding of the same.
        let encoded = |content: &[u8]| {
            let ours = if evidence.strangers.is_some() { 2 } else { 1 };
            let head = Fields::of(&taken.content).take(ours).flat_map(|field| field.whole.to_vec()).collect::<Vec<_>>();
            let (mut seven, mut out) = (Recoder::to(Takes::SevenBit), Vec::new());
            seven.feed(&[&head, content].concat(), &mut out);
            seven.finish(&mut out);
            out
        };
        if !content.is_ascii() && taken.content.is_ascii() && taken.content == encoded(&content) {
            continue;
        }
        match taken.content.strip_suffix(content.as_slice()) {
            // Whether it is signed is C10.
            Some(head) if offered.tenant == SIGNED_TENANT && is_trace(&without_signatures(head)) => {}
            Some(head) if is_trace(head) && evidence.strangers.is_none() => {}
            Some(head) if is_told(head) && evidence.strangers.is_some() => {
                evidence.strangers.iter().for_each(|strangers| told::head(strangers, evidence, offered, head, found));
            }
            Some(head) => found.say("C1", format!("{token} arrived with a strange head: {:?}", String::from_utf8_lossy(head))),
            None => found.say("C1", format!("{token} arrived changed: {} octets, not {}", taken.content.len(), content.len())),
        }
        if offered.tenant == TOKENS_TENANT && !offered.reverse_path.is_empty() {
            if !names_its_recipient(&taken.reverse_path, &taken.recipients, offered) {
                found.say("C1", format!("{token} arrived with reverse-path <{}>, which is no token of its recipient", taken.reverse_path));
            }
        } else if taken.reverse_path != offered.reverse_path {
            found.say("C1", format!("{token} arrived with reverse-path <{}>, not <{}>", taken.reverse_path, offered.reverse_path));
        }
        let certain = matches!(offered.verdict, Verdict::Positive(_));
        for recipient in taken.recipients.iter().filter(|r| certain && !offered.recipients.contains(r)) {
            found.say("C1", format!("{token} was sent to {recipient}, for whom it was not taken"));
        }
    }
}

/// A head without its signatures.
fn without_signatures(head: &[u8]) -> Vec<u8> {
    Fields::of(head).filter(|field| !field.is("DKIM-Signature")).flat_map(|field| field.whole.to_vec()).collect()
}

/// One Received field, and what was found out about a stranger.
fn is_told(head: &[u8]) -> bool {
    let fields: Vec<_> = Fields::of(head).collect();
    let [trace, told] = &fields[..] else { return false };
    is_trace(trace.whole) && told.is("Authentication-Results") && [trace.whole, told.whole].concat() == head
}

/// Whether a return path's token stands for the one recipient of its transaction.
fn names_its_recipient(path: &str, recipients: &[String], offered: &Offered) -> bool {
    let token = path.strip_suffix(RETURN_PATH).and_then(|front| front.strip_suffix('@'));
    let delivery = token.and_then(|token| token_keys().returned(token, RETURN_PATH));
    let named = delivery.and_then(|delivery| offered.recipients.get(delivery.index as usize));
    // A client that never heard its 250 to a recipient does not count it; the relay may.
    let certain = matches!(offered.verdict, Verdict::Positive(_));
    delivery.is_some() && recipients.len() == 1 && (!certain || named == recipients.first())
}

/// One Received field, perhaps folded.
fn is_trace(head: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(head) else { return false };
    text.starts_with("Received:")
        && text.ends_with("\r\n")
        && text.trim_end_matches("\r\n").split("\r\n").skip(1).all(|line| line.starts_with([' ', '\t']))
}
