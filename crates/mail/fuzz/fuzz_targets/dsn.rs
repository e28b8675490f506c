//! See `checks::dsn`. Run with `cargo +nightly fuzz run dsn` in this folder's parent.
#![no_main]

#[allow(dead_code)]
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::dsn(octets));
