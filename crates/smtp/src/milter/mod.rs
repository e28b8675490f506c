//! The MTA's side of the milter protocol, versions 2 to 6 (Sendmail's `libmilter/mfdef.h`, which is its only specification).
//!
//! **Promises.** A [`Session`] is one connection to one milter: octets in, [`Answer`]s out. It says only what was agreed, knows for which command an answer
//! is owed, and takes changes of the message only where they may stand: behind the end of the body, and of the kinds that were agreed. Whatever the
//! octets, it neither panics nor holds more than one packet; what it cannot understand is [`Rubbish`], after which the connection is of no use.
//! What a milter says is made harmless here: replies are clean, header values hold no line end that is not a fold.
//!
//! **Never** waits, dials or decides what a failure means; the driver has the clock, and policy the choice.
//!
//! **Does badly.** Replies for refused recipients (`SMFIP_RCPT_REJ`) and bodies in pieces above 64 KiB (`SMFIP_MDS`) are not offered.

mod answer;
mod command;
mod session;
mod terms;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Change, Field, Verdict};
pub use command::{BODY_OCTETS_MAX, Command, Stage};
pub use session::{Rubbish, Said, Session};
pub use terms::{Actions, Steps, Terms};

/// Octets of one packet of a milter's, its length word not counted. libmilter sends at most 64 KiB; a value that grew under its hands may be a little more.
pub const PACKET_OCTETS_MAX: usize = 128 * 1024;
