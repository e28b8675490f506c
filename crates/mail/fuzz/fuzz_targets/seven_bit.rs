//! See `checks::seven_bit`. Run with `cargo xtask fuzz seven_bit SECONDS`.
#![no_main]

#[allow(dead_code)]
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::seven_bit(octets));
