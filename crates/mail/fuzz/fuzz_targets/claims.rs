//! See `checks::claims`. Run with `cargo xtask fuzz claims SECONDS`.
#![no_main]

#[allow(dead_code)]
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::claims(octets));
