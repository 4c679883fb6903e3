//! A chunked body has the same data and the same end however it is cut.
#![no_main]

use flipgate::message::{BodyDecoder, BodyLength, Decoded, Limits};
use libfuzzer_sys::fuzz_target;

/// The data, and where the body ends; `None`: cut short. Malformed bodies differ in how much came before.
fn decode(raw: &[u8], step: usize) -> Result<(Vec<u8>, Option<usize>), ()> {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, &Limits::default());
    let (mut data, mut at, mut end) = (Vec::new(), 0, 0);
    loop {
        match decoder.decode(&raw[at..end]).map_err(drop)? {
            Decoded::Data { skip, length } => {
                data.extend_from_slice(&raw[at + skip..at + skip + length]);
                at += skip + length;
            }
            Decoded::NeedMore { skip } => {
                at += skip;
                if end == raw.len() {
                    return Ok((data, None));
                }
                end = raw.len().min(end + step);
            }
            Decoded::End { skip, .. } => return Ok((data, Some(at + skip))),
        }
    }
}

fuzz_target!(|raw: &[u8]| {
    let whole = decode(raw, raw.len().max(1));
    assert_eq!(whole, decode(raw, 1));
    assert_eq!(whole, decode(raw, 7));
});
