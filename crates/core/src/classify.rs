//! What a reply, or trouble, makes of a delivery, and whose fault it is (RFC 5321 §4.2, §4.3.2).
//!
//! **Promises.** Only what is named here bounces: a permanent reply to MAIL, RCPT, DATA or the end of data; the eight kinds of
//! [`Trouble`] that say "never"; and what a provider's rule declares permanent. Everything else waits: dropped connections, silence,
//! 421 in every phase, failing DNS, replies nobody can make sense of, and 5yz before MAIL, which speaks of the host and not of the mail
//! (another host may take it). 552 to RCPT is read as 452 (RFC 5321 §4.5.3.1.10).
//! A provider's rules win over all of this; the first rule that matches a negative reply decides.
//!
//! **Never** looks at the clock, the number of attempts, or other replies: when to give up is the business of `retry`.
//!
//! **Blame** says how far the fault reaches, and so what the sender of the mail goes on doing:
//!
//! | blame | this recipient | others of the transaction | this connection | other hosts | the Site's window |
//! |---|---|---|---|---|---|
//! | `Recipient` | judged | go on | goes on | – | success |
//! | `Message` | judged | the same | goes on after RSET | – | success |
//! | `Connection` | judged | the same | ends | a new one may work | success once there was a greeting |
//! | `Host` | judged | the same | ends | are tried | failure when none is left |
//! | `Site` | judged | the same | ends | are not tried | failure, or what `advice` says |

use postrider_model::policy::{Provider, ReplyRule, RuleAction};
use postrider_model::{Phase, Trouble};
use postrider_smtp::Reply;

/// What becomes of the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The next hop took it.
    Delivered,
    /// It is tried again.
    Defer,
    /// It ends here, and its sender is told.
    Bounce,
}

/// How far the fault reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blame {
    /// This recipient alone.
    Recipient,
    /// This transaction: the reverse-path or the content.
    Message,
    /// This connection.
    Connection,
    /// This host; another of the Site may do better.
    Host,
    /// The whole Site, as seen from this Source; or, without a connection, the domain.
    Site,
}

/// The judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// What becomes of the delivery.
    pub fate: Fate,
    /// How far the fault reaches. `Recipient` where there is none.
    pub blame: Blame,
    /// The action of the provider's rule that matched, for `shape`.
    pub advice: Option<RuleAction>,
}

impl Judgement {
    const fn new(fate: Fate, blame: Blame) -> Self {
        Self { fate, blame, advice: None }
    }
}

/// Judges a reply that came in this phase.
///
/// A positive reply to the end of data is a delivery. A positive reply anywhere else does not end a delivery, so nobody should ask;
/// who does learns that it waits.
pub fn classify_reply(provider: &Provider, phase: Phase, reply: &Reply) -> Judgement {
    let natural = natural(phase, reply);
    let negative = reply.is_transient() || reply.is_permanent();
    let Some(action) = negative.then(|| rule_for(provider, reply)).flatten() else { return natural };
    let (fate, blame) = match action {
        RuleAction::Rest(_) | RuleAction::Slow(..) | RuleAction::OneConnection(_) => (Fate::Defer, Blame::Site),
        RuleAction::Defer => (Fate::Defer, natural.blame),
        RuleAction::Bounce => (Fate::Bounce, natural.blame),
    };
    Judgement { fate, blame, advice: Some(action) }
}

/// Judges trouble. Matched without a wildcard arm: what is new must be judged before it compiles.
pub fn classify_trouble(trouble: &Trouble) -> Judgement {
    let (fate, blame) = match trouble {
        Trouble::NoSuchDomain(_) | Trouble::NullMx(_) | Trouble::NoMailHost(_) | Trouble::Loop(_) => (Fate::Bounce, Blame::Site),
        Trouble::Expired
        | Trouble::Unsupported(_)
        | Trouble::TooLarge(_)
        | Trouble::Binary(_)
        | Trouble::Unsignable(_)
        | Trouble::Operator(_)
        | Trouble::Suppressed(_) => (Fate::Bounce, Blame::Message),
        Trouble::DnsFailed(..) => (Fate::Defer, Blame::Site),
        Trouble::ConnectFailed(_) | Trouble::Tls(_) => (Fate::Defer, Blame::Host),
        Trouble::Dropped(_) | Trouble::Silent(_) | Trouble::Protocol(_) | Trouble::Ambiguous(_) => (Fate::Defer, Blame::Connection),
        Trouble::Internal(_) => (Fate::Defer, Blame::Message),
    };
    Judgement::new(fate, blame)
}

/// The judgement without a provider's rules.
fn natural(phase: Phase, reply: &Reply) -> Judgement {
    let (fate, blame) = match (reply.code(), phase) {
        (200..=299, Phase::EndOfData) => (Fate::Delivered, Blame::Recipient),
        // RFC 5321 §3.8: 421 says that the server closes, whatever it answers. Before MAIL, another host may be up.
        (421, phase) if before_mail(phase) => (Fate::Defer, Blame::Host),
        (421, _) => (Fate::Defer, Blame::Connection),
        (400..=599, phase) if before_mail(phase) => (Fate::Defer, Blame::Host),
        // RFC 5321 §4.5.3.1.10: old servers say 552 for "too many recipients".
        (552, Phase::Recipient) => (Fate::Defer, Blame::Recipient),
        (400..=499, Phase::Recipient) => (Fate::Defer, Blame::Recipient),
        (500..=599, Phase::Recipient) => (Fate::Bounce, Blame::Recipient),
        (400..=499, Phase::Mail | Phase::Data | Phase::Content | Phase::EndOfData) => (Fate::Defer, Blame::Message),
        (500..=599, Phase::Mail | Phase::Data | Phase::Content | Phase::EndOfData) => (Fate::Bounce, Blame::Message),
        // A 2yz or 3yz where it cannot be: the two sides have lost count, and the next reply would be read for the wrong command.
        _ => (Fate::Defer, Blame::Connection),
    };
    Judgement::new(fate, blame)
}

/// Phases in which the peer has not seen anything of the mail.
fn before_mail(phase: Phase) -> bool {
    match phase {
        Phase::Route | Phase::Connect | Phase::Greeting | Phase::Hello | Phase::StartTls | Phase::Auth => true,
        Phase::Mail | Phase::Recipient | Phase::Data | Phase::Content | Phase::EndOfData | Phase::Local => false,
    }
}

fn rule_for(provider: &Provider, reply: &Reply) -> Option<RuleAction> {
    if provider.rules.is_empty() {
        return None;
    }
    let text = reply.text().to_lowercase();
    provider.rules.iter().find(|rule| matches(rule, reply, &text)).map(|rule| rule.action)
}

fn matches(rule: &ReplyRule, reply: &Reply, text: &str) -> bool {
    let code = match rule.code {
        0 => true,
        1..=9 => reply.code() / 100 == rule.code,
        10..=99 => reply.code() / 10 == rule.code,
        whole => reply.code() == whole,
    };
    let status = || match (&rule.status, reply.status()) {
        (None, _) => true,
        (Some(wanted), Some(said)) => said.to_string() == *wanted,
        (Some(_), None) => false,
    };
    code && status() && text.contains(rule.contains.as_str())
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
