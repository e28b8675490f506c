#![no_main]
#[path = "../differential.rs"]
mod differential;

libfuzzer_sys::fuzz_target!(|content: &[u8]| differential::check(content));
