#![no_main]

libfuzzer_sys::fuzz_target!(|raw: &[u8]| flipgate::proxy::check_meter(raw));
