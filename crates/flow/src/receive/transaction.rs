//! A transaction in the making: from MAIL to the end of data.

use postrider_mail::HeaderWatch;
use postrider_model::doors::{SpoolTrouble, Staging};
use postrider_model::{BodyType, Envelope, Recipient};
use postrider_smtp::ReversePath;
use postrider_smtp::data::Decoder;
use postrider_smtp::parameters::{Body, MailParameters};

use super::Pace;
use crate::recode::{is_binary, look_at};

/// What MAIL opened.
pub(crate) struct Transaction {
    pub(crate) reverse_path: ReversePath,
    pub(crate) parameters: MailParameters,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) staging: Option<Box<dyn Staging>>,
    pub(crate) trouble: Option<SpoolTrouble>,
    pub(crate) watch: HeaderWatch,
    pub(crate) pace: Pace,
    /// Its recipients are return paths of ours.
    pub(crate) returned: bool,
    /// Looks whether what was declared binary is; nothing that was not declared so can be.
    binary: Option<Decoder>,
}

/// A line beyond it makes content binary: it could not go on as text (RFC 5321 §4.5.3.1.6).
const TEXT_LINE_OCTETS_MAX: usize = 998;

impl Transaction {
    /// A transaction whose content is looked at by this watch.
    pub(crate) fn new(reverse_path: ReversePath, parameters: MailParameters, watch: HeaderWatch) -> Self {
        let binary = (parameters.body == Some(Body::BinaryMime)).then(|| Decoder::for_chunks(TEXT_LINE_OCTETS_MAX));
        Self {
            reverse_path,
            parameters,
            recipients: Vec::new(),
            staging: None,
            trouble: None,
            watch,
            pace: Pace::new(),
            returned: false,
            binary,
        }
    }

    /// Takes a slice of content. Returns whether the staging must be drained first.
    pub(crate) fn append(&mut self, octets: &[u8]) -> bool {
        self.watch.feed(octets);
        if let Some(decoder) = &mut self.binary {
            look_at(decoder, octets);
        }
        self.staging.as_mut().is_some_and(|staging| staging.append(octets))
    }

    /// The envelope, with what the content was found to need of the next hop. What was declared may be more than it holds, and would then have it
    /// re-encoded (BODY=8BITMIME), or bounced before a next hop without SMTPUTF8, for nothing: some client libraries declare both for whatever they send.
    pub(crate) fn envelope(&self) -> Envelope {
        let (found, declared) = (self.watch.facts(), &self.parameters);
        let eight_bit = found.header_8bit || found.body_8bit;
        let binary = self.binary.as_ref().is_some_and(is_binary);
        // What comes back goes on from nobody: nothing is ever to answer it (RFC 5321 §6.1).
        let reverse_path = if self.returned { ReversePath::Null } else { self.reverse_path.clone() };
        let body = match (binary, eight_bit) {
            (true, _) => BodyType::BinaryMime,
            (false, true) => BodyType::EightBitMime,
            (false, false) => BodyType::SevenBit,
        };
        Envelope {
            ret: declared.ret,
            envid: declared.envid.as_deref().map(Into::into),
            deliver_by: declared.deliver_by,
            mt_priority: declared.priority,
            ..Envelope::new(reverse_path, body, declared.smtputf8 && (found.header_8bit || !self.addresses_are_ascii()))
        }
    }

    fn addresses_are_ascii(&self) -> bool {
        self.reverse_path.is_ascii() && self.recipients.iter().all(|recipient| recipient.mailbox.is_ascii())
    }
}

#[cfg(test)]
mod tests {
    use postrider_smtp::Mailbox;

    use super::*;

    #[test]
    fn only_what_is_needed_is_asked_of_the_next_hop() {
        let plain = "Subject: x\r\n\r\nx\r\n";
        for (declared, from, to, content, smtputf8, body) in [
            (true, "a@b.example", "c@d.example", plain, false, BodyType::SevenBit),
            (true, "ä@b.example", "c@d.example", plain, true, BodyType::SevenBit),
            (true, "a@b.example", "ç@d.example", plain, true, BodyType::SevenBit),
            (true, "a@b.example", "c@d.example", "Subject: ü\r\n\r\nx\r\n", true, BodyType::EightBitMime),
            (true, "a@b.example", "c@d.example", "Subject: x\r\n\r\nü\r\n", false, BodyType::EightBitMime),
            (false, "a@b.example", "c@d.example", "Subject: ü\r\n\r\nx\r\n", false, BodyType::EightBitMime),
        ] {
            let parameters = MailParameters { smtputf8: declared, ..MailParameters::default() };
            let mut transaction = Transaction::new(ReversePath::Mailbox(Mailbox::parse(from).unwrap()), parameters, HeaderWatch::new());
            transaction.recipients.push(Recipient::new(Mailbox::parse(to).unwrap()));
            transaction.append(content.as_bytes());
            let envelope = transaction.envelope();
            assert_eq!((envelope.smtputf8, envelope.body), (smtputf8, body), "{from} {to} {content:?}");
        }
    }
}
