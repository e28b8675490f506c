//! See `checks::header_watch`. Run with `cargo xtask fuzz header_watch SECONDS`.
#![no_main]

#[allow(dead_code)]
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::header_watch(octets));
