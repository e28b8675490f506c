//! What is sent: the stored content as this next hop gets it, with our head before it and our signatures before that.
//!
//! **Promises.** The stages have one order: the empty line where a header lacks one (`parted`), what the stream has taken away (`prepared`), other addresses (`generic`), another encoding (`recode`), signatures (`sign`); so a signature covers what arrives. A
//! content that is not in memory is read once more for each stage that must see all of it first, and never held.

use postrider_core::plan::Form;
use postrider_mail::dkim::Signable;
use postrider_mail::encode::Takes;
use postrider_model::doors::SpoolTrouble;
use postrider_model::{BodyType, Content, Message, Trouble};

use crate::Doors;
use crate::generic::Generic;
use crate::parted;
use crate::prepared::Prepared;
use crate::recode::{self, Recoded};
use crate::sign;

/// What is sent.
pub(crate) struct Outgoing {
    /// Its size, as far as it is known.
    pub(crate) octets: u64,
    pub(crate) head: Vec<u8>,
    pub(crate) content: Content,
}

/// What it is made from.
pub(crate) struct Making<'a> {
    pub(crate) doors: &'a Doors,
    pub(crate) message: &'a Message,
    /// The fields that we put in front.
    pub(crate) head: Vec<u8>,
    pub(crate) form: Form,
    /// What the stream asks for.
    pub(crate) prepared: Option<&'a Prepared>,
    /// The map of other addresses, where there is one for this next hop.
    pub(crate) generic: Option<Generic<'a>>,
}

impl Making<'_> {
    /// Makes it. Only one error says that the message itself cannot go.
    pub(crate) async fn outgoing(&self, content: Content) -> Result<Outgoing, Trouble> {
        let mut outgoing = self.unsigned(content).await?;
        if !sign::concerns(self.doors, self.message.arrival.role) {
            return Ok(outgoing);
        }
        let known = self.message.body_hash.filter(|_| self.encoded_for().is_none());
        let mut signable = known.map_or_else(Signable::new, Signable::of_known_body);
        let mut header_is_over = signable.feed(&outgoing.head);
        if let Content::Held(octets) = &outgoing.content {
            signable.feed(octets);
        } else {
            match self.unsigned(self.opened().await?).await?.content {
                Content::Held(octets) => _ = signable.feed(&octets),
                Content::Streamed(mut source) => {
                    while !(header_is_over && known.is_some())
                        && let Some(chunk) = source.next().await.map_err(fault)?
                    {
                        header_is_over = signable.feed(&chunk);
                    }
                }
            }
        }
        let mut front = sign::signatures(self.doors, self.message, signable).await?;
        outgoing.octets += front.len() as u64;
        front.append(&mut outgoing.head);
        outgoing.head = front;
        Ok(outgoing)
    }

    async fn unsigned(&self, content: Content) -> Result<Outgoing, Trouble> {
        let (mut head, mut octets) = (self.head.clone(), self.message.content_octets);
        octets += u64::from(self.message.mend.empty_line) * 2;
        if let Some(generic) = self.generic {
            head = generic.header(&head).unwrap_or(head);
        }
        let (content, grown) = self.changed(content).await.map_err(fault)?;
        octets = octets.saturating_add_signed(grown) + head.len() as u64;
        let Some(takes) = self.encoded_for() else { return Ok(Outgoing { octets, head, content }) };
        if self.message.envelope.body != BodyType::BinaryMime {
            let content = Content::Streamed(Box::new(Recoded::new(takes, &head, content)));
            return Ok(Outgoing { octets, head: Vec::new(), content });
        }
        let measured = recode::measure(takes, &head, content).await.map_err(fault)?;
        let octets = measured.ok_or_else(|| Trouble::Binary(recode::NOT_ENCODABLE.into()))?;
        let (again, _) = self.changed(self.opened().await?).await.map_err(fault)?;
        Ok(Outgoing { octets, head: Vec::new(), content: Content::Streamed(Box::new(Recoded::new(takes, &head, again))) })
    }

    /// How its body is written anew, where it does not leave as it is stored.
    fn encoded_for(&self) -> Option<Takes> {
        self.prepared.and_then(Prepared::encoded_for).or(self.form.encoded_for)
    }

    /// The content with its header as it leaves, and by how many octets it grew, the empty line not counted.
    async fn changed(&self, content: Content) -> Result<(Content, i64), SpoolTrouble> {
        let (mut content, mut grown) = (parted::parted(self.message, content).await?, 0);
        if let Some(prepared) = self.prepared {
            let by;
            (content, by) = prepared.content(content).await?;
            grown += by;
        }
        if let Some(generic) = self.generic {
            let by;
            (content, by) = generic.content(content).await?;
            grown += by;
        }
        Ok((content, grown))
    }

    /// The stored content once more from its start.
    async fn opened(&self) -> Result<Content, Trouble> {
        Ok(self.doors.spool.open(self.message.id).await.map_err(fault)?.content)
    }
}

fn fault(trouble: SpoolTrouble) -> Trouble {
    Trouble::Internal(trouble.to_string().into())
}
