#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| postrider_edge::checks::socks(input));
