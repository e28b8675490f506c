//! See `checks::header_watch`. Run with `cargo +nightly fuzz run header_watch` in this folder's parent.
#![no_main]

#[allow(dead_code)]
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::header_watch(octets));
