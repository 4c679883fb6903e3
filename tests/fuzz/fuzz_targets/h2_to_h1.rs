#![no_main]

libfuzzer_sys::fuzz_target!(|raw: &[u8]| flipgate_fuzz::h2_to_h1::check(raw));
