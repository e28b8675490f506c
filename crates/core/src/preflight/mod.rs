//! What large mailbox providers demand of mail, judged before it is taken: against the signature, the return path and the Sources that it will really have.
//!
//! **Promises.** Each [`Rule`] names who demands it, and its breach says what was found and what to do. What the stream's preparing will mend is no breach but
//! [`Verdict::Mended`]. Only what is known is judged: a DNS that did not answer breaks no rule. What a provider merely advises, or demands of bulk mail alone, never refuses
//! other mail.
//!
//! **Never** asks the DNS or the registry, and never mends: the one is asked before, the other is done at each attempt (`prepare`).
//!
//! **Does badly.** Complaint rates, volumes and TLS show only when mail is sent.

mod header;
pub mod reuse;
mod rules;

use postrider_mail::suffix;
use postrider_model::policy::{StreamClass, Strictness};
use postrider_smtp::{Domain, EnhancedStatus, Reply};

pub use rules::Rule;

/// Letters of a reply's text.
const REPLY_LETTERS_MAX: usize = 480;

/// What is known of a message, and of the mail that it will be.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// What kind of mail it is.
    pub class: StreamClass,
    /// The header, as it came; `None`: it is longer than anybody reads.
    pub header: Option<&'a [u8]>,
    /// Octets in all.
    pub content_octets: u64,
    /// What is put in order when it is sent.
    pub mended: Mended,
    /// The domain of the author.
    pub from: Option<Domain>,
    /// The domains that will sign, the author's and others'.
    pub signers: Vec<Domain>,
    /// The domain of the reverse-path that it will have; `None` is the null reverse-path.
    pub return_path: Option<Domain>,
    /// Its Message-ID was another message's.
    pub reused: bool,
    /// What the DNS was found to serve.
    pub served: Served,
}

/// What is put in order when the message is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mended {
    /// Date is added.
    pub date: bool,
    /// From is added.
    pub from: bool,
    /// Message-ID is added.
    pub message_id: bool,
    /// MIME-Version is added.
    pub mime_version: bool,
    /// A one-click link of ours is added.
    pub one_click: bool,
    /// Feedback-ID is added.
    pub feedback_id: bool,
    /// Of fields that say the same, the first stays.
    pub doubles: bool,
    /// Lines that are too long are folded at their blanks.
    pub folds: bool,
}

/// What was found in the DNS: a sentence with its remedy, where something is wrong. What is not known is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// The author's domain has no policy that receivers can follow.
    pub dmarc: Option<Wrong>,
    /// The relay may not send with the return path.
    pub spf: Option<Wrong>,
    /// No key that will sign is served.
    pub keys: Option<Wrong>,
    /// No Source that may be used has its names.
    pub sources: Option<Wrong>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What.
    pub said: String,
    /// What to do: the record to paste.
    pub remedy: String,
}

/// What becomes of a breach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is mended when the message is sent.
    Mended,
    /// It is told.
    Warned,
    /// The message is not taken.
    Refused,
}

/// A rule that the message breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub rule: Rule,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What was found.
    pub said: String,
    /// What to do.
    pub remedy: String,
}

impl Breach {
    /// One line: the rule, who demands it, what was found, what to do.
    pub fn sentence(&self) -> String {
        format!("rule {} ({}): {}; {}", self.rule.word(), self.rule.providers(), self.said, self.remedy)
    }

    /// The reply to a client whose message is not taken for it. The log has all of it; here it is cut to what one line holds (RFC 5321 §4.5.3.1.5).
    pub fn reply(&self) -> Reply {
        let (code, subject, detail) = self.rule.status();
        let mut text: String = self.sentence().chars().map(|letter| if letter.is_ascii() { letter } else { '?' }).collect();
        if text.len() > REPLY_LETTERS_MAX {
            text.truncate(REPLY_LETTERS_MAX);
            text.push_str("...");
        }
        Reply::new(code, Some(EnhancedStatus::new(5, subject, detail)), text)
    }
}

/// Every rule that a message breaks, the gravest first. Nothing where nobody looks.
pub fn judge(facts: &Facts<'_>, strictness: Strictness) -> Vec<Breach> {
    if strictness == Strictness::Off {
        return Vec::new();
    }
    let mut breaches = Vec::new();
    let mut breach = |rule: Rule, mended: bool, said: String, remedy: String| {
        let refuses = strictness == Strictness::Refuse && rule.is_demanded(facts.class);
        let verdict = match (mended, refuses) {
            (true, _) => Verdict::Mended,
            (false, true) => Verdict::Refused,
            (false, false) => Verdict::Warned,
        };
        breaches.push(Breach { rule, verdict, said, remedy });
    };
    header::judge(facts, &mut breach);
    of_trust(facts, &mut breach);
    breaches.sort_by_key(|breach| std::cmp::Reverse(breach.verdict));
    breaches
}

/// Signature, return path and Sources.
fn of_trust(facts: &Facts<'_>, breach: &mut impl FnMut(Rule, bool, String, String)) {
    let Some(from) = &facts.from else { return };
    let name = from.to_ascii();
    let add = || format!("add the domain and publish its records: postrider domain add {name}");
    if facts.signers.is_empty() {
        breach(Rule::Signed, false, format!("no key signs for {name}"), add());
    }
    let signed = facts.signers.iter().any(|signer| is_aligned(signer, from));
    let returns = facts.return_path.as_ref().is_some_and(|path| is_aligned(path, from));
    if !signed && !returns {
        let said = match (&facts.return_path, facts.signers.first()) {
            (Some(path), Some(signer)) => {
                format!("From is of {name}, the signature of {}, and the return path of {}", signer.to_ascii(), path.to_ascii())
            }
            (Some(path), None) => format!("From is of {name}, and the return path of {}", path.to_ascii()),
            (None, Some(signer)) => format!("From is of {name}, and the signature of {}", signer.to_ascii()),
            (None, None) => format!("nothing vouches for {name}: no signature, no return path"),
        };
        breach(Rule::Alignment, false, said, add());
    }
    let Served { dmarc, spf, keys, sources } = &facts.served;
    for (rule, wrong) in [(Rule::KeyServed, keys), (Rule::Spf, spf), (Rule::Dmarc, dmarc), (Rule::Ptr, sources)] {
        if let Some(Wrong { said, remedy }) = wrong {
            breach(rule, false, said.clone(), remedy.clone());
        }
    }
}

/// Whether receivers count a domain as the author's: it is of the same organisation (RFC 7489 §3.1, relaxed).
fn is_aligned(one: &Domain, other: &Domain) -> bool {
    suffix::are_of_one(&one.to_ascii(), &other.to_ascii())
}

#[cfg(test)]
mod tests;
