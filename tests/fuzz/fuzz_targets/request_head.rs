//! A request head has one verdict however it is cut, and what is sent on reads the same again.
#![no_main]

use flipgate::message::{Limits, RequestHead, RequestWrite, Scan, Spare};
use libfuzzer_sys::fuzz_target;

fn read(raw: &[u8], step: usize) -> Result<Option<RequestHead>, ()> {
    let (mut buffer, mut scan, mut spare, limits) =
        (Vec::new(), Scan::default(), Spare::default(), Limits::default());
    for piece in raw.chunks(step) {
        buffer.extend_from_slice(piece);
        if let Some(head) = RequestHead::read(&mut buffer, &mut scan, &mut spare, &limits).map_err(drop)? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn write(head: &RequestHead) -> Vec<u8> {
    let mut out = Vec::new();
    let options =
        RequestWrite { host: None, body: head.body, upgrade: None, trailers: false, expect_continue: false };
    head.write_http1(&mut out, &options);
    out
}

fuzz_target!(|raw: &[u8]| {
    let whole = read(raw, raw.len().max(1));
    let slow = read(raw, 1);
    match (whole, slow) {
        (Ok(Some(mut whole)), Ok(Some(slow))) => {
            assert_eq!(write(&whole), write(&slow));
            whole.fields.remove_hop_by_hop();
            let out = write(&whole);
            if !whole.host().is_empty() {
                let again = read(&out, out.len()).expect("what is written is valid").expect("and complete");
                assert_eq!(write(&again), out);
                assert_eq!(
                    (again.target(), again.host(), again.body),
                    (whole.target(), whole.host(), whole.body)
                );
            }
        }
        (whole, slow) => {
            assert_eq!(whole.is_err(), slow.is_err());
            assert_eq!(whole.is_ok_and(|head| head.is_some()), slow.is_ok_and(|head| head.is_some()));
        }
    }
});
