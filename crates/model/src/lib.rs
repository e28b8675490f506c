//! Words and doors: the types every room shares, and the traits through which the relay touches the world.
//!
//! Nothing here decides, moves, or waits. Types are parsed once at the border and are valid ever after; traits are small and
//! object-safe, and a stage takes exactly the doors it needs (ARCHITECTURE.md, "Doors").

#![forbid(unsafe_code)]

pub mod contract;
pub mod doors;
pub mod event;
pub mod id;
pub mod limits;
pub mod message;
pub mod names;
pub mod outcome;
pub mod parcel;
pub mod policy;
pub mod time;

pub use event::{Event, EventKind, Notice};
pub use id::{DeliveryId, MessageId};
pub use message::{Arrival, BodyType, Content, ContentSource, Envelope, Mend, Message, Priority, Protocol, Recipient, ReportWishes, Role};
pub use names::{CredentialName, ProviderName, SiteName, SourceName, StreamName, TenantName, valid_name};
pub use outcome::{AttemptFacts, Diagnosis, Outcome, Phase, Reason, TlsFacts, Trouble};
pub use parcel::{Group, LentDelivery, Loan, Parcel, Report, Settlement};
pub use time::Timestamp;

/// A boxed future at a door. One allocation per message is the price of doors that can be replaced.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;
