//! Signatures of a domain over a message (RFC 6376, RFC 8301, RFC 8463): relaxed/relaxed, SHA-256, RSA and Ed25519.
//!
//! **Promises.** A body is hashed while it goes by, in any split, in constant memory ([`BodyHash`]); several signatures share the hash. What is signed is what
//! [`Signable`] was fed with, octet for octet. A signature names every field of [`fields`] that the message has, each as often as it has it, and those that
//! must be there once more than that, so that none can be added. The field that is written is folded, and holds nothing that an argument brought along
//! but domain and selector, which are names.
//!
//! **Never** says which domain signs, reads a key from a disk, or verifies: verdicts over what strangers sign are another library's.
//!
//! **Does badly.** There is no `simple` canonicalisation and no `l=`: the first breaks on the way, the second lets text be added.

mod body;
mod key;
mod sign;

pub use body::BodyHash;
pub use key::{Algorithm, KeyTrouble, SigningKey};
pub use sign::{Signable, Signature, fields};

#[cfg(test)]
mod tests;
