//! The content: header fields, trace, reports.
//!
//! **Promises.** Everything here works on raw octets and plain arguments. A field is a span over what came, never printed anew; what this room writes
//! (trace fields, reports) holds no line break, control character or parenthesis that an argument brought along, whatever the argument.
//!
//! **Never.** No clock, no async, no input or output, no randomness. No parser panics, whatever the octets; memory is bounded by limits
//! written beside each buffer; work is linear in the octets given.
//!
//! **RFCs.** 5322 (message format), 5321 §4.4 (trace), 3848 and 6531 §4.3 (protocol words), 3464, 3834, 6522 and 6533 (reports),
//! 6376, 7208 and 7489 (records of domains).

#![forbid(unsafe_code)]

pub mod addresses;
pub mod arc;
pub mod claims;
pub mod date;
pub mod dkim;
pub mod dmarc;
pub mod dsn;
pub mod edit;
pub mod encode;
pub mod encoded;
pub mod fold;
pub mod header;
pub mod lookup;
mod mailboxes;
pub mod mend;
pub mod records;
pub mod results;
pub mod spf;
pub mod suffix;
mod text;
pub mod token;
pub mod trace;
mod watch;
pub mod words;

pub use dsn::{Action, RecipientReport, Report, Words};
pub use header::{Field, Fields};
pub use mailboxes::mailboxes;
pub use trace::{Received, With};
pub use watch::{HeaderFacts, HeaderWatch};
