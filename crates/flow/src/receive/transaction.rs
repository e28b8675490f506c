//! A transaction in the making: from MAIL to the end of data.

use postrider_mail::HeaderWatch;
use postrider_model::doors::{SpoolTrouble, Staging};
use postrider_model::{BodyType, Envelope, Recipient};
use postrider_smtp::ReversePath;
use postrider_smtp::parameters::MailParameters;

use super::Pace;

/// What MAIL opened.
pub(crate) struct Transaction {
    pub(crate) reverse_path: ReversePath,
    pub(crate) parameters: MailParameters,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) staging: Option<Box<dyn Staging>>,
    pub(crate) trouble: Option<SpoolTrouble>,
    pub(crate) watch: HeaderWatch,
    pub(crate) pace: Pace,
}

impl Transaction {
    pub(crate) fn new(reverse_path: ReversePath, parameters: MailParameters) -> Self {
        Self {
            reverse_path,
            parameters,
            recipients: Vec::new(),
            staging: None,
            trouble: None,
            watch: HeaderWatch::new(),
            pace: Pace::new(),
        }
    }

    /// Takes a slice of content. Returns whether the staging must be drained first.
    pub(crate) fn append(&mut self, octets: &[u8]) -> bool {
        self.watch.feed(octets);
        self.staging.as_mut().is_some_and(|staging| staging.append(octets))
    }

    /// The envelope, with what the content was found to need of the next hop. What was declared (BODY=8BITMIME) may be more than it holds, and would then
    /// have it re-encoded for nothing.
    pub(crate) fn envelope(&self) -> Envelope {
        let (found, declared) = (self.watch.facts(), &self.parameters);
        let eight_bit = found.header_8bit || found.body_8bit;
        let body = if eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit };
        Envelope {
            ret: declared.ret,
            envid: declared.envid.as_deref().map(Into::into),
            deliver_by: declared.deliver_by,
            mt_priority: declared.priority,
            ..Envelope::new(self.reverse_path.clone(), body, declared.smtputf8)
        }
    }
}
