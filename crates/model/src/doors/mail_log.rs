//! One greppable line per acceptance, per attempt, and per refusal.

use std::net::IpAddr;

use postrider_smtp::Reply;

use crate::{AttemptFacts, Message, MessageId, Outcome};

/// Where the relay says what it does with mail. Called on the way, so it must not block: it formats and hands over.
pub trait MailLog: Send + Sync {
    /// Custody began.
    fn accepted(&self, message: &Message);

    /// An attempt (or a decision without one) gave an outcome for the recipient at `index`.
    fn attempted(&self, message: &Message, index: u32, attempt: Option<&AttemptFacts>, outcome: &Outcome);

    /// A client was refused something; `what` names the command and its argument, as the client gave it (to be escaped).
    fn refused(&self, peer: IpAddr, what: &str, reply: &Reply);

    /// Something an operator should see: an alarm, with the message it concerns when there is one.
    fn alarm(&self, message: Option<MessageId>, text: &str);
}
