//! The binary: configuration, command line, wiring.
mod config;
fn main() {}
