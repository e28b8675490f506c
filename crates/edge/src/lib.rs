//! The real world behind the doors: clock, entropy, wires, TLS, DNS, mailboxes.
//!
//! **Promises.** Each module implements a door of `postrider_model::doors` and turns every trouble of the world into that door's typed enum. Nothing here
//! knows a decision: no retry, no order of preference, no fall-back from TLS to clear text.
//!
//! **Never** consulted by the simulator: what stands here is checked on loopback.

#![forbid(unsafe_code)]

#[doc(hidden)]
pub mod checks;
pub mod clock;
pub mod entropy;
pub mod maildir;
pub mod net;
pub mod notebook;
pub mod offload;
mod proxy;
pub mod resolver;
pub mod tls;

pub use clock::SystemClock;
pub use entropy::SystemEntropy;
pub use maildir::Maildirs;
pub use net::{TcpConnection, TcpListenerDoor, TcpNet};
pub use notebook::FileNotebook;
pub use offload::Workshop;
pub use resolver::{DnsResolver, ResolverSettings};
pub use tls::{ClientTls, ServerTls, TlsSetupTrouble, roots_in};
