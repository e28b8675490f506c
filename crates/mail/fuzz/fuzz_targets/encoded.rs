//! See `checks::encoded`. Run with `cargo xtask fuzz encoded SECONDS`.
#![no_main]

#[allow(dead_code)]
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::encoded(octets));
