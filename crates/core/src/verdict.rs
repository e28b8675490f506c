//! What becomes of a stranger's mail, by what was found out about it, and what is told of it?
//!
//! **Promises.** Nothing is refused but where policy says so, and then only what the domain in From asks to be refused, or what hides whom it is from. What the DNS
//! did not tell refuses for now at most. SPF and DKIM alone refuse nothing: mail that was forwarded fails the first, mail of lists the second.

use postrider_mail::records::DmarcPolicy as Policy;
use postrider_mail::results::Finding;
use postrider_mail::{arc, dkim, spf};
use postrider_smtp::{Domain, EnhancedStatus, Reply};

use crate::dmarc::{self, Author};

/// Everything that was found out about one message.
#[derive(Debug, Clone)]
pub struct Verdicts {
    /// Whether its client may use its sender's domain.
    pub spf: spf::Verdict,
    /// Its sender, as SPF saw it.
    pub sender: Sender,
    /// Its signatures, as far as they were tried.
    pub dkim: Vec<dkim::Verdict>,
    /// How many more it has.
    pub untried: usize,
    /// Its chain.
    pub arc: arc::Verdict,
    /// Whether it is from whom it says.
    pub dmarc: dmarc::Verdict,
    /// Whom it says it is from.
    pub author: Author,
}

/// Whom SPF was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// The reverse-path.
    MailFrom(String),
    /// The word of HELO, where the reverse-path is null.
    Hello(String),
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consequence {
    /// It is taken.
    Take,
    /// It is taken, and its domain asked to be wary of it.
    TakeWarily,
    /// It is refused.
    Refuse(Reply),
}

/// What follows. `enforces` is policy's word that domains are to be followed.
pub fn consequence(verdicts: &Verdicts, enforces: bool) -> Consequence {
    use dmarc::Outcome::{Fail, None as Silent, Pass, PermError, TempError};
    let refusal = |code, status, text: String| Consequence::Refuse(Reply::new(code, Some(status), text));
    let (status, later) = (EnhancedStatus::new(5, 7, 1), EnhancedStatus::new(4, 7, 1));
    if enforces && verdicts.author == Author::Several {
        return refusal(550, status, "From must name one domain, once: nobody can say whose mail this is".to_owned());
    }
    let domain = match &verdicts.author {
        Author::Domain(domain) => domain.as_str(),
        Author::Nobody | Author::Several => "",
    };
    match (verdicts.dmarc.outcome, verdicts.dmarc.policy) {
        (Fail, Some(Policy::Reject)) if enforces => {
            refusal(550, status, format!("rejected by the DMARC policy of {domain}: neither SPF nor DKIM vouch for it"))
        }
        (TempError, Some(Policy::Reject) | None) if enforces => {
            refusal(451, later, format!("the DNS of {domain} did not answer, so DMARC could not be checked; try again later"))
        }
        (Fail, Some(Policy::Reject | Policy::Quarantine)) => Consequence::TakeWarily,
        (Fail, Some(Policy::None) | None) | (TempError | Silent | Pass | PermError, _) => Consequence::Take,
    }
}

/// What is told in Authentication-Results.
pub fn findings(verdicts: &Verdicts, client: &str) -> Vec<Finding> {
    let mut findings = Vec::with_capacity(4 + verdicts.dkim.len());
    let property = match &verdicts.sender {
        Sender::MailFrom(path) => ("smtp.mailfrom", path.clone()),
        Sender::Hello(name) => ("smtp.helo", name.clone()),
    };
    findings.push(Finding {
        method: "spf",
        result: verdicts.spf.outcome.word(),
        reason: verdicts.spf.reason.clone(),
        properties: vec![property],
    });
    for signature in &verdicts.dkim {
        let (domain, selector) = (signature.domain.as_deref().map(a_labels), signature.selector.as_deref().map(a_labels));
        let named = [("header.d", domain), ("header.s", selector), ("header.b", signature.beginning.clone())];
        findings.push(Finding {
            method: "dkim",
            result: signature.outcome.word(),
            reason: signature.reason.map(Into::into),
            properties: named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        });
    }
    if verdicts.untried > 0 {
        let reason = Some(format!("{} more signatures were not tried", verdicts.untried));
        findings.push(Finding { method: "dkim", result: dkim::Outcome::Neutral.word(), reason, properties: Vec::new() });
    } else if verdicts.dkim.is_empty() {
        findings.push(Finding { method: "dkim", result: "none", reason: None, properties: Vec::new() });
    }
    let mut properties = Vec::new();
    if let Author::Domain(domain) = &verdicts.author {
        properties.push(("header.from", domain.clone()));
    }
    properties.extend(verdicts.dmarc.policy.map(|policy| ("policy.dmarc", policy.word().to_owned())));
    let reason = verdicts.dmarc.reason.map(Into::into);
    findings.push(Finding { method: "dmarc", result: verdicts.dmarc.outcome.word(), reason, properties });
    if verdicts.arc.outcome != arc::Outcome::None {
        findings.push(Finding {
            method: "arc",
            result: verdicts.arc.outcome.word(),
            reason: verdicts.arc.reason.map(Into::into),
            properties: vec![("smtp.remote-ip", client.to_owned())],
        });
    }
    findings
}

/// A name as it may stand in a field of ASCII.
fn a_labels(name: &str) -> String {
    Domain::parse(name).map_or_else(|_| name.to_owned(), |domain| domain.to_ascii().into_owned())
}

/// The same in one line, for the mail log.
pub fn summary(verdicts: &Verdicts) -> String {
    let mut words = vec![format!("spf={}", verdicts.spf.outcome.word())];
    if verdicts.dkim.is_empty() {
        words.push("dkim=none".to_owned());
    }
    for signature in &verdicts.dkim {
        words.push(format!("dkim={}:{}", signature.outcome.word(), signature.domain.as_deref().unwrap_or("?")));
    }
    let from = match &verdicts.author {
        Author::Domain(domain) => domain.as_str(),
        Author::Nobody => "nobody",
        Author::Several => "several",
    };
    words.push(format!("dmarc={}:{from}", verdicts.dmarc.outcome.word()));
    words.extend(verdicts.dmarc.policy.map(|policy| format!("policy={}", policy.word())));
    if verdicts.arc.outcome != arc::Outcome::None {
        words.push(format!("arc={}:{}", verdicts.arc.outcome.word(), verdicts.arc.sealer.as_deref().unwrap_or("?")));
    }
    words.join(" ")
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
