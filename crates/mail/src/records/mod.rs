//! What domains say of their mail in TXT records: keys (RFC 6376 §3.6.1, RFC 8463 §4.2), and what to do with mail that nobody
//! vouches for (RFC 7489 §6.3).
//!
//! **Promises.** A record is any octets; reading one is linear in them, and bounded in tags. What is wrong is said in words for the person who wrote it.
//!
//! **Never** asks the DNS, and never says what follows from a record: that is a decision.

mod dmarc;
mod key;
pub(crate) mod tags;

pub use dmarc::{DmarcPolicy, DmarcRecord, DmarcTrouble, is_dmarc};
pub use key::{KeyRecord, KeyRecordTrouble};
pub use tags::{TAGS_MAX, TagTrouble, Tags};

#[cfg(test)]
mod tests;
