//! How much a tenant or a credential may send.

/// Bounds; `None` is no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Messages.
    pub messages: Rates,
    /// Recipients, over all messages.
    pub recipients: Rates,
    /// Recipients of one message.
    pub recipients_per_message: Option<u32>,
    /// Octets of one message.
    pub message_octets: Option<u64>,
    /// What becomes of mail beyond a rate.
    pub beyond: Beyond,
}

/// Bounds in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// In a second.
    pub per_second: Option<u32>,
    /// In any hour.
    pub per_hour: Option<u32>,
    /// In any 24 hours.
    pub per_day: Option<u32>,
}

/// What becomes of mail beyond a rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beyond {
    /// It is taken, and waits until there is room.
    #[default]
    Queue,
    /// It is refused for now (450): the client tries again.
    Refuse,
}

impl Rates {
    /// Whether there is none.
    pub fn are_unbounded(&self) -> bool {
        self.per_second.is_none() && self.per_hour.is_none() && self.per_day.is_none()
    }
}
