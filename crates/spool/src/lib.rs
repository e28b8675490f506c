//! Custody on disk: one append-only log of recycled segments, written by one committer with group commit.
//!
//! **Promises.** docs/custody.md, all of it: `accept` returns after stable storage; a settlement never outlives, and is never outlived by, what it
//! settles; a crash at any instant loses nothing acknowledged and raises nothing ended; after a failed sync nothing is acknowledged or lent.
//!
//! **Never** touches a file but through [`disk::Disk`], never decides what mail is sent when, never resolves a name.
//!
//! **Does badly.** A file per content above 256 KiB costs two syncs of its own. Memory holds about 200 octets for each waiting message. A
//! date given by `hand_back` is forgotten by a restart, on purpose (docs/custody.md, Dates). Many alterations by hand keep dead segments until older
//! ones are free, or compaction has emptied those.
//!
//! The way of a message: `staging` → `frame` (encoded and hashed by the session) → `handoff` → `log` (the committer places, writes, syncs) →
//! `core` (memory follows, everybody is told) → `index` (claims and loans) → `reader` → `frame` again, for its settlement. Beside it `keeper` frees and
//! compacts, and at a start `recover` makes the index anew.

#![forbid(unsafe_code)]
#![allow(unexpected_cfgs, reason = "cfg(loom) is set by hand, to check the hand-off")]

#[doc(hidden)]
mod alteration;
pub mod checks;
mod codec;
mod compact;
mod copy;
mod core;
mod desk;
pub mod disk;
mod engine;
mod events;
mod footer;
mod forms;
mod frame;
mod hand;
mod handoff;
mod hold;
mod index;
pub mod inspect;
mod journal;
mod keeper;
mod log;
mod look;
mod notice;
pub mod offload;
mod options;
mod reader;
mod record;
mod recover;
mod ring;
mod segment;
mod slots;
mod staging;
mod stored;
mod sync;
mod walk;
mod wishes;

pub use engine::EmbeddedSpool;
pub use journal::JournalLimits;
pub use options::{Mode, Options, SEGMENT_OCTETS};
