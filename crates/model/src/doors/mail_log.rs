//! One greppable line per acceptance, per attempt, and per refusal.

use std::net::IpAddr;

use postrider_smtp::Reply;

use super::Suppression;
use crate::{AttemptFacts, Message, MessageId, Outcome};

/// What a judge of content said.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// Which: `milter:` or `rule:` and its name, or `verify`.
    pub judge: &'a str,
    /// What.
    pub judgement: Judgement,
    /// Of whose mail.
    pub peer: Option<IpAddr>,
    /// Of which message, when it has an id already.
    pub message: Option<MessageId>,
    /// More words; foreign ones, to be escaped.
    pub text: &'a str,
}

/// A judgement, as far as those who count are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// Nothing was found.
    Passed,
    /// Taken, and what was found out about it is told.
    Verified,
    /// The message was changed.
    Changed,
    /// Refused for good.
    Rejected,
    /// Refused for now.
    TempFailed,
    /// Taken, and thrown away.
    Discarded,
    /// Taken, and held.
    Held,
    /// Taken, and to be looked at.
    Warned,
    /// There was no judgement: the judge failed.
    Failed,
}

impl Judgement {
    /// Its word, in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Judgement::Passed => "passed",
            Judgement::Verified => "verified",
            Judgement::Changed => "changed",
            Judgement::Rejected => "rejected",
            Judgement::TempFailed => "tempfailed",
            Judgement::Discarded => "discarded",
            Judgement::Held => "held",
            Judgement::Warned => "warned",
            Judgement::Failed => "failed",
        }
    }
}

/// Where the relay says what it does with mail. Called on the way, so it must not block: it formats and hands over.
pub trait MailLog: Send + Sync {
    /// Custody began.
    fn accepted(&self, message: &Message);

    /// An attempt (or a decision without one) gave an outcome for the recipient at `index`.
    fn attempted(&self, message: &Message, index: u32, attempt: Option<&AttemptFacts>, outcome: &Outcome);

    /// A client was refused something; `what` names the command and its argument, as the client gave it (to be escaped).
    fn refused(&self, peer: IpAddr, what: &str, reply: &Reply);

    /// A judge of content spoke. What merely passed is counted, and makes no line.
    fn judged(&self, judged: &Judged<'_>);

    /// An address is not written to any more; `peer` is who said so, when it came by the web. One that only counts makes no line.
    fn suppressed(&self, _suppression: &Suppression, _peer: Option<IpAddr>) {}

    /// Something an operator should see: an alarm, with the message it concerns when there is one.
    fn alarm(&self, message: Option<MessageId>, text: &str);
}
