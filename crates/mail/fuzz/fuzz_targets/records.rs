//! See `checks::records`. Run with `cargo xtask fuzz records SECONDS`.
#![no_main]

#[allow(dead_code)]
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::records(octets));
