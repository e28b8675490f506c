//! The simulated world and its judge.
//!
//! **Promises.** The production rooms smtp, mail, model, core, flow and spool run whole, in one thread, with time paused, against mailbox providers of `lab`, a
//! DNS with weather, breaking wires, and a disk that loses, tears, fills up and fails. A crash can fall on any disk operation; the next life begins on
//! what the disk durably holds. One seed is one run, and the same seed gives the same run, to the last fact.
//!
//! **Judges** from outside only (ARCHITECTURE.md, "The simulator"): by what clients were told, by the ledgers of the providers, by the mail log and the journal,
//! and by what is left in the spool in the end. See [`judge`] for C1 to C8.
//!
//! **Never** sleeps, opens a socket or a file, or reads the real clock.
//!
//! **Does badly.** A sync takes no time, so nothing happens while it is under way; only that of smart hosts' counts is waited for. TLS is a word in the scenario, not a handshake. What more than
//! one thread can do (the committer's hand-off) is checked with loom, in `spool`.

#![forbid(unsafe_code)]

pub mod coverage;
pub mod judge;
pub mod life;
pub mod scenario;
pub mod world;

pub use judge::Violation;
pub use life::{Report, run};
pub use scenario::Scenario;
