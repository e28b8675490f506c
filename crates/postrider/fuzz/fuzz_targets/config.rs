#![no_main]
#[path = "../checks.rs"]
mod checks;
// The binary has no library, so its module is compiled in here.
#[allow(dead_code, unused_imports)]
#[path = "../../src/config/mod.rs"]
mod config;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::config(input));
