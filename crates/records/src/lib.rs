//! What is kept in SQL: the registry of who may send, and who is not written to any more.
//!
//! **Promises.** A change is on stable storage when it is told, whole or not at all, and counted: whoever holds something in memory asks for the count
//! ([`Book::version`]) and knows whether it is still true. Secrets of credentials stand here as SHA-256 only (they are 260 random bits), private keys sealed under a key that
//! stands elsewhere ([`seal`]). Both engines pass the same suite.
//!
//! **Never** decides what a client may do: it says what is written, and `core` judges. Never sees the spool: mail waits there whatever happens here.
//!
//! **Does badly.** PostgreSQL is spoken to without TLS.

#![forbid(unsafe_code)]

mod book;
pub mod db;
mod registry;
mod schema;
pub mod seal;
mod suppressions;
mod words;

pub use book::{
    Book, CredentialRecord, CredentialState, DomainRecord, Found, KeyRecord, KeyState, Made, NewCredential, Scope, StreamRecord,
    TenantRecord, TenantState, number_of_pools,
};
pub use registry::{Own, RegistryOptions, SqlRegistry};
pub use suppressions::{FINGERPRINTS_MAX, SqlSuppressions};
pub use words::{Worded, read_word};

/// SHA-256.
pub(crate) fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, octets).as_ref());
    out
}
