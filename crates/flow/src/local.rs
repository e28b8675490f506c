//! Into a Maildir: one recipient after the other, each with its own head.

use postrider_core::local;
use postrider_mail::encode::Takes;
use postrider_model::doors::{MailboxTrouble, SpoolTrouble};
use postrider_model::policy::Snapshot;
use postrider_model::{BodyType, Content, Message, Parcel, Phase};
use postrider_smtp::Reply;

use crate::prepared::Prepared;
use crate::receive::reply;
use crate::recode::{self, NOT_ENCODABLE, Recoded};
use crate::{Doors, parted, render};

/// Delivers a parcel's recipients; what became of each, in the words that a server would use.
pub(crate) async fn deliver(
    doors: &Doors,
    snapshot: &Snapshot,
    template: &str,
    message: &Message,
    parcel: &Parcel,
    prepared: Option<&Prepared>,
) -> Vec<(Phase, Reply)> {
    let mut told = Vec::with_capacity(parcel.deliveries.len());
    let putting = Putting { doors, snapshot, message, prepared };
    for lent in &parcel.deliveries {
        told.push(putting.deliver_one(template, lent.index).await);
    }
    told
}

/// What one delivery is made from.
struct Putting<'a> {
    doors: &'a Doors,
    snapshot: &'a Snapshot,
    message: &'a Message,
    prepared: Option<&'a Prepared>,
}

impl Putting<'_> {
    async fn deliver_one(&self, template: &str, index: u32) -> (Phase, Reply) {
        let Self { doors, snapshot, message, prepared } = self;
        let mailbox = &message.recipients[index as usize].mailbox;
        let Some(folder) = local::folder(&snapshot.routing, template, mailbox) else {
            return (Phase::Recipient, reply(550, (5, 1, 1), "no such user here"));
        };
        let mut head = format!("Return-Path: {}\r\nDelivered-To: {mailbox}\r\n", message.envelope.reverse_path).into_bytes();
        head.extend(render::head(snapshot, message));
        if let Some(prepared) = prepared {
            head.extend(prepared.added(doors, snapshot, message, index));
        }
        let Some(mailboxes) = &doors.mailboxes else {
            return (Phase::Local, reply(451, (4, 3, 5), "this relay has no mailboxes"));
        };
        let (head, content) = match self.readable(head).await {
            Ok(Some(readable)) => readable,
            Ok(None) => {
                return (Phase::Content, reply(554, (5, 6, 1), &format!("binary content that cannot be encoded: {NOT_ENCODABLE}")));
            }
            Err(trouble) => {
                doors.log.alarm(Some(message.id), &format!("cannot read an accepted message: {trouble}"));
                return (Phase::Local, reply(451, (4, 3, 0), "local error in processing"));
            }
        };
        let name = format!("{}.{}_{index}.{}", message.arrival.at.seconds(), message.id, snapshot.host_name);
        let answer = match mailboxes.deliver(&folder, &name, head, content).await {
            Ok(()) => reply(250, (2, 0, 0), &format!("delivered to {folder}")),
            Err(trouble) => refusal(doors, message, &trouble),
        };
        (Phase::EndOfData, answer)
    }

    /// Content of lines: a file has no other, and would not tell a CR LF from an LF. None for a binary content that cannot be encoded.
    async fn readable(&self, head: Vec<u8>) -> Result<Option<(Vec<u8>, Content)>, SpoolTrouble> {
        let content = self.content().await?;
        if self.message.envelope.body != BodyType::BinaryMime {
            return Ok(Some((head, content)));
        }
        if recode::measure(Takes::EightBit, &head, content).await?.is_none() {
            return Ok(None);
        }
        let again = self.content().await?;
        Ok(Some((Vec::new(), Content::Streamed(Box::new(Recoded::new(Takes::EightBit, &head, again))))))
    }

    /// The content as it is put, from its start.
    async fn content(&self) -> Result<Content, SpoolTrouble> {
        let content = parted::open(self.doors, self.message).await?;
        match self.prepared {
            Some(prepared) => Ok(prepared.content(content).await?.0),
            None => Ok(content),
        }
    }
}

/// All of it may pass: a full mailbox is emptied, a wrong owner corrected.
fn refusal(doors: &Doors, message: &Message, trouble: &MailboxTrouble) -> Reply {
    match trouble {
        MailboxTrouble::Full(why) => reply(452, (4, 2, 2), &format!("mailbox full: {why}")),
        MailboxTrouble::Denied(why) | MailboxTrouble::Io(why) => {
            doors.log.alarm(Some(message.id), &format!("a mailbox cannot be written: {why}; the mail waits"));
            reply(451, (4, 2, 0), &format!("mailbox cannot be written: {why}"))
        }
        MailboxTrouble::Content(trouble) => {
            doors.log.alarm(Some(message.id), &format!("cannot read an accepted message: {trouble}"));
            reply(451, (4, 3, 0), "local error in processing")
        }
    }
}
