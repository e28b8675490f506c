//! The stages in motion: plain async recipes over doors, and the drivers of the machines.
//!
//! `receive` talks to clients, `submit` takes custody, `dispatch` owns the schedule, `deliver` talks to next hops. Data goes forward
//! only (ARCHITECTURE.md, "The one way through"). No socket, file, clock or random number is touched here but through a door;
//! tokio is used for tasks, timers and channels, which the simulator pauses and orders.

#![forbid(unsafe_code)]

mod allowed;
mod checking;
mod connect;
mod deliver;
mod dispatch;
mod ending;
mod generic;
mod hand;
mod held;
mod insight;
mod keep;
mod local;
mod outgoing;
mod owned;
mod parted;
mod patience;
mod pools;
mod preflight;
mod prepared;
mod quotas;
mod race;
mod receive;
mod recode;
mod relay;
mod render;
mod returns;
mod session_out;
mod settings;
mod sign;
mod silence;
mod submit;
mod suppressed;
mod survey;

pub use relay::{Listening, Relay, SubmitTrouble};
pub use settings::{Doors, ListenerSettings, ReceiveLimits};
pub use silence::Silence;
pub use survey::survey;
