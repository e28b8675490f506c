//! The binary: configuration, command line, wiring.
mod config;
mod mail_log;
fn main() {}
