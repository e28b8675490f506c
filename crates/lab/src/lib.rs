//! Mailbox providers and a DNS to test against, as pure machines.
//!
//! **Promises.** A [`Provider`] speaks the receiver's side of SMTP with a [`Personality`]: honest, greylisting, throttling, tarpitting, full, lying,
//! dripping, hostile, silent, and mixtures. It is written apart from the relay's own machines, so that neither covers the other's mistakes. What it
//! took, refused and counted stands in its [`Ledger`]; what the client did wrong stands there as a complaint. [`Zones`] is a DNS as data, with weather.
//!
//! **Never** reads a clock, sleeps, or touches a socket: `now` is an argument, pauses are returned as [`Action`]s. Chance is seeded.
//!
//! **Does badly.** No TLS: after STARTTLS the machine only forgets what it heard, and its driver may secure the connection or not.
//!
//! **RFCs.** 5321, 1870, 2920, 3207, 3463, 6152, 6531 as far as a relay needs a receiver; 7505 in the zones.

#![forbid(unsafe_code)]

pub mod chance;
pub mod ledger;
pub mod personality;
pub mod provider;
mod reply;
mod session;
pub mod throttle;
pub mod zone;

pub use chance::Chance;
pub use ledger::{Ledger, Refused, Taken};
pub use personality::{Fault, FaultKind, Hostile, Moment, Offers, Pace, Personality, Space};
pub use provider::{Action, Provider, SessionId};
pub use throttle::{Manner, Throttle};
pub use zone::{DnsWeather, MxData, Zones};
