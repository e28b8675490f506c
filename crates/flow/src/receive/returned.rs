//! Mail that comes back to a return path of ours (`core::prepare`): failures that a server tells after it took the mail.
//!
//! **Promises.** Only who holds a token that we made may write there; anybody else hears 550 at RCPT, before a word of content, so nothing is bounced to a stranger.
//! What comes goes on to who sent the message, as long as we know the message, and then to the domain's `bounces_to`, or the postmaster; from nobody, so that
//! nothing answers it. Where nobody is named the postmaster it is refused, rather than taken and lost. The registry's or the spool's silence is a 451.

use postrider_core::admit;
use postrider_core::local::{self, Resolved};
use postrider_model::MessageId;
use postrider_model::doors::SpoolTrouble;
use postrider_model::policy::ReturnPath;
use postrider_smtp::parameters::RecipientParameters;
use postrider_smtp::server::Verdict;
use postrider_smtp::{ForwardPath, Host, Mailbox, Reply};

use super::{Reception, Session, reply};
use crate::checking::Word;

impl Session<'_> {
    /// The word about a recipient at a return path of ours; `None` for any other.
    pub(super) async fn returned(&mut self, path: &ForwardPath, parameters: &RecipientParameters) -> Option<Verdict> {
        let mailbox = path.mailbox()?;
        let Host::Domain(domain) = mailbox.host() else { return None };
        let said = format!("RCPT TO:{path}");
        let later = |why: &str| reply(451, (4, 3, 0), why);
        let return_path = match self.reception.doors.registry.return_path(domain).await {
            Ok(found) => found?,
            Err(_) => return Some(self.refuse(&said, later("the registry does not answer, try again later"))),
        };
        // RFC 5321 §4.5.1, RFC 2142 §4: there is somebody to talk to at every domain.
        if admit::is_role(mailbox) {
            return Some(match admit::postmaster(&self.reception.rules) {
                Ok(end) => self.take_end(&said, mailbox, end, parameters, false).await,
                Err(refusal) => self.refuse(&said, refusal.reply()),
            });
        }
        let others = self.transaction.as_ref().is_some_and(|transaction| !transaction.returned && !transaction.recipients.is_empty());
        let name = domain.to_ascii().to_ascii_lowercase();
        let known = self.reception.doors.tokens.as_ref().and_then(|keys| keys.returned(mailbox.local_part(), &name));
        let delivery = match admit::returned(known, others) {
            Ok(delivery) => delivery,
            Err(refusal) => return Some(self.refuse(&said, refusal.reply())),
        };
        match end_of(self.reception, MessageId(delivery.message), &return_path).await {
            Ok(Ok(end)) => Some(self.take_end(&said, mailbox, end, parameters, true).await),
            Ok(Err(refusal)) => Some(self.refuse(&said, refusal.reply())),
            Err(_) => Some(self.refuse(&said, later("local error in processing, try again later"))),
        }
    }

    async fn take_end(&mut self, said: &str, named: &Mailbox, end: Mailbox, parameters: &RecipientParameters, returned: bool) -> Verdict {
        let ends = match self.ends(end) {
            Ok(ends) => ends,
            Err(reply) => return self.refuse(said, reply),
        };
        if let Word::Refuse(reply) = self.judged_recipient(named, parameters).await {
            return self.refuse(&format!("milter: {said}"), reply);
        }
        if let Err(reply) = self.take_recipient(ends, parameters.clone()) {
            return self.refuse(said, reply);
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.returned |= returned;
        }
        Verdict::Accept
    }

    /// Whether other mail may ride with what comes back: it is sent from nobody, and other mail is not.
    pub(super) fn rides_with_returned(&self) -> Option<Reply> {
        let returned = self.transaction.as_ref().is_some_and(|transaction| transaction.returned);
        returned.then(|| admit::Refusal::OneKindAtATime.reply())
    }
}

/// Who has what comes back for this message.
async fn end_of(
    reception: &Reception,
    message: MessageId,
    return_path: &ReturnPath,
) -> Result<Result<Mailbox, admit::Refusal>, SpoolTrouble> {
    let doors = &reception.doors;
    let sender = match doors.spool.open(message).await {
        Ok(opened) => opened.message.envelope.reverse_path.mailbox().cloned(),
        Err(SpoolTrouble::NoSuchMessage) => None,
        Err(trouble) => return Err(trouble),
    };
    let postmaster = || admit::postmaster(&reception.rules);
    let Some(end) = sender.or_else(|| return_path.bounces_to.clone()) else { return Ok(postmaster()) };
    // A way that would lead back here ends with the postmaster.
    let leads_back = match end.host() {
        Host::Domain(domain) => !matches!(doors.registry.return_path(domain).await, Ok(None)),
        Host::Literal(_) => false,
    };
    let is_nobody = matches!(local::resolve(&reception.snapshot.routing, &end), Resolved::Unknown);
    Ok(if leads_back || is_nobody { postmaster() } else { Ok(end) })
}
