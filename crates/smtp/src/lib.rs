//! The protocol: octets in, events and octets out.
//!
//! **Promises.** Everything SMTP knows lives here and nothing else does: the words of the envelope ([`Mailbox`], [`ReversePath`],
//! [`ForwardPath`]), of replies ([`Reply`], [`EnhancedStatus`]), the grammar of commands and extensions, the encoding of content on the wire,
//! and the two machines, [`server::Server`] and [`client::Client`]. A word is parsed once, at the border; whoever holds the type may rely on it.
//!
//! **Never.** No clock, no async, no input or output, no randomness, no logging. No parser panics, whatever the octets; memory is bounded
//! by limits written beside each buffer.
//!
//! **RFCs.** 5321 (SMTP), 1870 (SIZE), 2034 and 3463 (enhanced status codes), 2920 (PIPELINING), 3030 (CHUNKING), 3207 (STARTTLS),
//! 2852 (DELIVERBY), 3461 (DSN parameters), 4616 and 4954 (AUTH), 4865 (FUTURERELEASE), 6152 (8BITMIME), 6531 (SMTPUTF8), 6710 (MT-PRIORITY),
//! 9422 (LIMITS).

#![forbid(unsafe_code)]

pub mod address;
pub mod client;
pub mod command;
pub mod data;
pub mod extension;
pub mod line;
pub mod milter;
pub mod parameters;
pub mod path;
pub mod reply;
pub mod sasl;
pub mod server;
pub mod status;
pub mod wishes;
pub mod xclient;

pub use address::{AddressTrouble, Domain, Host, Mailbox};
pub use path::{ForwardPath, ReversePath};
pub use reply::Reply;
pub use status::EnhancedStatus;
