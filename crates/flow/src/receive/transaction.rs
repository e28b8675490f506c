//! A transaction in the making: from MAIL to the end of data.

use postrider_mail::HeaderWatch;
use postrider_model::BodyType;
use postrider_model::doors::{SpoolTrouble, Staging};
use postrider_smtp::{Mailbox, ReversePath};

use super::Pace;

/// What MAIL opened.
pub(crate) struct Transaction {
    pub(crate) reverse_path: ReversePath,
    pub(crate) size: Option<u64>,
    pub(crate) eight_bit_declared: bool,
    pub(crate) smtputf8: bool,
    pub(crate) recipients: Vec<Mailbox>,
    pub(crate) staging: Option<Box<dyn Staging>>,
    pub(crate) trouble: Option<SpoolTrouble>,
    pub(crate) watch: HeaderWatch,
    pub(crate) pace: Pace,
}

impl Transaction {
    pub(crate) fn new(reverse_path: ReversePath, size: Option<u64>, eight_bit_declared: bool, smtputf8: bool) -> Self {
        Self {
            reverse_path,
            size,
            eight_bit_declared,
            smtputf8,
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

    /// What the content needs of the next hop: declared, or found.
    pub(crate) fn body(&self) -> BodyType {
        let found = self.watch.facts();
        if self.eight_bit_declared || found.header_8bit || found.body_8bit { BodyType::EightBitMime } else { BodyType::SevenBit }
    }
}
