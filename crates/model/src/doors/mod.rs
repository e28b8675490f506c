//! Doors: the traits through which the relay touches time, chance, names, wires and disks.
//!
//! All are object-safe and small. Production implements them in `edge`, `spool` and `http`; the simulator in `sim`.

mod choice;
mod desk;
mod hand;
mod keeping;
mod mail_log;
mod mailboxes;
mod net;
mod offload;
mod registry;
mod resolver;
mod spool;
mod suppressions;

pub use choice::{Alteration, DeliveryState, OnHold, QueueFilter, SenderFilter};
pub use desk::{
    AGE_MINUTES, Ages, DeliveryView, HeldFile, Hold, Insight, Journal, JournalTrouble, QueueCount, QueueShape, SYNC_TIME_BOUNDS_US,
    ShapeBy, Shown, SiteView, SpoolDesk, SpoolHealth, SyncTimes, Waiting, Walked,
};
pub use hand::{End, Ended, Hand, Suspended, Suspension};
pub use keeping::{Keeping, KeepingTrouble};
pub use mail_log::{Judged, Judgement, MailLog};
pub use mailboxes::{MailboxTrouble, Mailboxes, Notebook};
pub use net::{Connection, Listener, Net, NetTrouble, Peer, Secured, ShownCertificate, TlsDemand};
pub use offload::{InPlace, Job, Offload};
pub use registry::{Allowances, Principal, Registry, RegistryTrouble, Secret, Signer};
pub use resolver::{AddressAnswer, AliasAnswer, DnsTrouble, MxAnswer, MxRecord, PointerAnswer, Resolver, TextAnswer, pointer_name};
pub use spool::{Left, LendLimit, Lent, Opened, Receipt, Spool, SpoolTrouble, Staged, Staging};
pub use suppressions::{
    SuppressedMailbox, Suppressing, Suppression, SuppressionCause, SuppressionFilter, SuppressionKey, SuppressionTrouble, Suppressions,
};

use crate::Timestamp;

/// The time. Pauses and time limits go through tokio's timers, which the simulator pauses with the same clock.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Chance.
pub trait Entropy: Send + Sync {
    /// Fills the buffer with octets nobody can guess.
    fn fill(&self, octets: &mut [u8]);

    /// A number below `bound` (zero when `bound` is zero), for choices that need no secrecy.
    fn below(&self, bound: u64) -> u64 {
        let mut octets = [0; 8];
        self.fill(&mut octets);
        u64::from_le_bytes(octets).checked_rem(bound).unwrap_or(0)
    }
}
