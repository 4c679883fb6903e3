#![no_main]

libfuzzer_sys::fuzz_target!(|raw: &[u8]| flipgate_fuzz::directory::check(raw));
