//! Signatures of a domain over a message (RFC 6376, RFC 8301, RFC 8463): relaxed/relaxed, SHA-256, RSA and Ed25519.
//!
//! **Promises.** A body is hashed while it goes by, in any split, in constant memory ([`BodyHash`]); several signatures share the hash. What is signed is what
//! [`Signable`] was fed with, octet for octet. A signature names every field of [`fields`] that the message has, each as often as it has it, and those that
//! must be there once more than that, so that none can be added. The field that is written is folded, and holds nothing that an argument brought along
//! but domain and selector, which are names.
//!
//! Signatures of others are verified by what is known of the DNS ([`Claim`]): in either canonicalisation, RSA from 1024 bits on, and no more of them than
//! [`SIGNATURES_MAX`]. A verdict holds no octets of theirs but names and base64.
//!
//! **Never** says which domain signs, reads a key from a disk, or asks the DNS.
//!
//! **Does badly.** We sign neither in the `simple` form nor with `l=`: the first breaks on the way, the second lets text be added; so a signature of
//! others that leaves a part of the body out does not pass.

mod body;
mod key;
mod record;
mod sign;
pub(crate) mod verify;

pub use body::{BodyHash, Canonical};
pub use key::{Algorithm, KeyTrouble, SigningKey};
pub(crate) use sign::relaxed;
pub use sign::{HEADER_OCTETS_MAX, Signable, Signature, fields, is_signable};
pub use verify::{BodyHashes, Claim, Hashed, Outcome, Rows, SIGNATURES_MAX, Verdict, claims};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod verify_tests;
