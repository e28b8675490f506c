//! The registry on its engines.

mod common;
mod faults;
mod suite;
mod suppressions;
