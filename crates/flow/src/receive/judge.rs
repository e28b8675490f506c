//! What the judges of mail hear of a session.

use postrider_core::local::{self, Resolved};
use postrider_core::{archive, plan};
use postrider_model::doors::{SpoolTrouble, Staged};
use postrider_model::policy::Snapshot;
use postrider_model::{BodyType, MessageId, Recipient, Role};
use postrider_smtp::parameters::{Body, MailParameters, Notify, RecipientParameters};
use postrider_smtp::{Mailbox, Reply, ReversePath};

use super::Session;
use crate::Doors;
use crate::checking::{Checked, Client, Judges, Judging, Papers, Word};
use crate::render::Lacking;
use crate::submit::{Submission, new_id, push_once};

/// What becomes of a message that was judged.
pub(crate) enum Conclusion {
    /// It is taken.
    Take(Box<Submission>, Staged),
    /// It is thrown away, and nobody is told.
    Discard(MessageId),
    /// It is refused.
    Refuse(Reply),
}

impl Session<'_> {
    /// The judges hear of a transaction.
    pub(super) async fn judged_mail(&mut self, path: &ReversePath, parameters: &MailParameters) -> Word {
        let is_stranger = self.is_stranger();
        let Some(judges) = &mut self.judges else { return Word::Go };
        let principal = self.principal.as_ref().unwrap_or(&self.reception.limits.relay_principal);
        let user = principal.credential.as_ref().map(|credential| credential.as_str());
        let client = Client {
            listener: &self.reception.settings.name,
            address: Some(self.peer.remote),
            dialled: Some(self.peer.local),
            hello: &self.hello,
            tls: self.tls.as_ref().map(|tls| (&*tls.version, &*tls.cipher)),
            proof: self.mechanism.zip(user),
            is_stranger,
        };
        judges.mail(&client, &principal.stream, path, &said_of_mail(parameters)).await
    }

    /// Whether its mail is a stranger's, to be verified.
    fn is_stranger(&self) -> bool {
        let settings = &self.reception.settings;
        let client = self.peer.remote.ip().to_canonical();
        settings.role == Role::Relay && !settings.not_verified.iter().any(|network| network.contains(&client))
    }

    /// The judges hear of a recipient.
    pub(super) async fn judged_recipient(&mut self, mailbox: &Mailbox, parameters: &RecipientParameters) -> Word {
        let Some(judges) = &mut self.judges else { return Word::Go };
        let notify = parameters.notify.map(|notify| format!("NOTIFY={}", wanted(notify)));
        let said: Vec<String> = notify.into_iter().collect();
        judges.recipient(&format!("<{mailbox}>"), mailbox, &said).await
    }

    /// The judges hear that content is about to come.
    pub(super) async fn judged_data(&mut self) -> Word {
        match &mut self.judges {
            Some(judges) => judges.data().await,
            None => Word::Go,
        }
    }

    /// The judges hear that the transaction is void.
    pub(super) async fn judged_no_more(&mut self) {
        if let Some(judges) = &mut self.judges {
            judges.abort().await;
        }
    }

    /// The judges are left.
    pub(super) async fn part(&mut self) {
        if let Some(judges) = &mut self.judges {
            judges.part().await;
        }
    }

    /// The judges see the content. A yes is not said before they have spoken.
    pub(super) async fn judged_content(
        &mut self,
        submission: Submission,
        staged: Staged,
        returned: bool,
    ) -> Result<Conclusion, SpoolTrouble> {
        let octets_max = self.reception.limits.message_octets_max;
        let concluded = match &mut self.judges {
            Some(judges) => judge(&self.reception.doors, judges, submission, staged, Terms { octets_max, returned }).await?,
            None => Conclusion::Take(Box::new(submission), staged),
        };
        Ok(concluded.with_copies(&self.reception.snapshot, &self.reception.settings.name))
    }
}

impl Conclusion {
    /// With the blind copies that archives get; what becomes of them nobody is told.
    pub(crate) fn with_copies(mut self, snapshot: &Snapshot, listener: &str) -> Self {
        if let Conclusion::Take(submission, _) = &mut self {
            let Submission { principal, envelope, recipients, .. } = &mut **submission;
            let archives = archive::copies(&snapshot.checking.archives, listener, &principal.stream, &envelope.reverse_path, recipients);
            for mailbox in archives {
                let ends = match local::resolve(&snapshot.routing, mailbox) {
                    Resolved::To(ends) => ends,
                    // An unknown name of ours is refused when the configuration is read.
                    Resolved::Foreign | Resolved::Unknown => vec![mailbox.clone()],
                };
                let never = Some(Notify { success: false, failure: false, delay: false });
                ends.into_iter().for_each(|end| push_once(recipients, Recipient { notify: never, ..Recipient::new(end) }));
            }
        }
        self
    }
}

/// On what terms a submission is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// A message's limit.
    pub(crate) octets_max: u64,
    /// It comes back to a return path of ours.
    pub(crate) returned: bool,
}

/// Lets the judges see a whole submission, and takes over what they changed.
pub(crate) async fn judge(
    doors: &Doors,
    judges: &mut Judges,
    mut submission: Submission,
    staged: Staged,
    Terms { octets_max, returned }: Terms,
) -> Result<Conclusion, SpoolTrouble> {
    let id = new_id(doors);
    let reverse_path = submission.envelope.reverse_path.clone();
    let papers = Papers { reverse_path, recipients: std::mem::take(&mut submission.recipients) };
    let facts = std::mem::take(&mut submission.facts);
    let is_ours = matches!(submission.role, Role::Submission | Role::Local);
    // Judges see what is sent: a signature is to cover the fields that we add to what clients of ours left out (RFC 6409 §8).
    let mut lacking = Vec::new();
    let mend = plan::mend(submission.role, &facts);
    Lacking { envelope: &submission.envelope, id, at: id.accepted_at() }.complete(judges.snapshot(), mend, &mut lacking);
    let content = Judging { id, staged, facts, is_ours, returned, lacking: &lacking, octets_max };
    let taken = match judges.content(content, papers).await? {
        Checked::Taken(taken) => taken,
        Checked::Discarded => return Ok(Conclusion::Discard(id)),
        Checked::Refused(reply) => return Ok(Conclusion::Refuse(reply)),
    };
    let eight_bit = taken.facts.header_8bit || taken.facts.body_8bit;
    submission.envelope.body = match submission.envelope.body {
        // What is no lines stays so: nobody may send it as if it were.
        BodyType::BinaryMime => BodyType::BinaryMime,
        BodyType::SevenBit | BodyType::EightBitMime if eight_bit => BodyType::EightBitMime,
        BodyType::SevenBit | BodyType::EightBitMime => BodyType::SevenBit,
    };
    submission.envelope.reverse_path = taken.papers.reverse_path;
    submission.recipients = taken.papers.recipients;
    (submission.id, submission.held, submission.facts) = (Some(id), taken.hold, taken.facts);
    Ok(Conclusion::Take(Box::new(submission), taken.staged))
}

/// The parameters of MAIL that a milter may want to know.
fn said_of_mail(parameters: &MailParameters) -> Vec<String> {
    let mut said = Vec::new();
    said.extend(parameters.size.map(|octets| format!("SIZE={octets}")));
    said.extend(parameters.body.map(|body| {
        let word = match body {
            Body::SevenBit => "7BIT",
            Body::EightBitMime => "8BITMIME",
            Body::BinaryMime => "BINARYMIME",
        };
        format!("BODY={word}")
    }));
    said.extend(parameters.smtputf8.then(|| "SMTPUTF8".to_owned()));
    said
}

fn wanted(notify: Notify) -> String {
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let words: Vec<&str> = words.into_iter().filter(|(wanted, _)| *wanted).map(|(_, word)| word).collect();
    if words.is_empty() { "NEVER".to_owned() } else { words.join(",") }
}
