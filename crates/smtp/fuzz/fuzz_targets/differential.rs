#![no_main]
#[path = "../differential.rs"]
mod differential;

libfuzzer_sys::fuzz_target!(|input: &[u8]| differential::check(input));
