//! What domains say of their mail in TXT records: keys (RFC 6376 §3.6.1, RFC 8463 §4.2), who may send (RFC 7208 §4.6), and what to do with mail that nobody
//! vouches for (RFC 7489 §6.3).
//!
//! **Promises.** A record is any octets; reading one is linear in them, and bounded in tags and terms. What is wrong is said in words for the person who wrote it.
//!
//! **Never** asks the DNS, and never says what follows from a record: that is a decision.

mod dmarc;
mod key;
mod spf;
pub(crate) mod tags;

pub use dmarc::{DmarcPolicy, DmarcRecord, DmarcTrouble, is_dmarc};
pub use key::{KeyRecord, KeyRecordTrouble};
pub use spf::{MacroFacts, Mechanism, Qualifier, SpfRecord, SpfTrouble, TERMS_MAX, Term, expand, is_spf};
pub use tags::{TAGS_MAX, TagTrouble, Tags};

#[cfg(test)]
mod tests;
