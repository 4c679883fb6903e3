//! The head of an answer has one verdict however it is cut, and what is sent on reads the same again.
#![no_main]

use flipgate::message::{Limits, Method, ResponseHead, ResponseWrite, Scan, Spare};
use libfuzzer_sys::fuzz_target;

fn read(raw: &[u8], step: usize, to: Method) -> Result<Option<ResponseHead>, ()> {
    let (mut buffer, mut scan, mut spare, limits) =
        (Vec::new(), Scan::default(), Spare::default(), Limits::default());
    for piece in raw.chunks(step) {
        buffer.extend_from_slice(piece);
        if let Some(head) =
            ResponseHead::read(&mut buffer, &mut scan, &mut spare, &limits, to).map_err(drop)?
        {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn write(head: &ResponseHead) -> Vec<u8> {
    let mut out = Vec::new();
    let options =
        ResponseWrite { body: head.body, close: false, keep_alive_10: false, upgrade: None, date: None };
    head.write_http1(&mut out, &options);
    out
}

fuzz_target!(|raw: &[u8]| {
    for to in [Method::Get, Method::Head] {
        match (read(raw, raw.len().max(1), to), read(raw, 1, to)) {
            (Ok(Some(mut whole)), Ok(Some(slow))) => {
                assert_eq!(write(&whole), write(&slow));
                whole.fields.remove_hop_by_hop();
                let out = write(&whole);
                let again =
                    read(&out, out.len(), to).expect("what is written is valid").expect("and complete");
                assert_eq!((again.status, again.body), (whole.status, whole.body));
            }
            (whole, slow) => {
                assert_eq!(whole.is_err(), slow.is_err());
                assert_eq!(whole.is_ok_and(|head| head.is_some()), slow.is_ok_and(|head| head.is_some()));
            }
        }
    }
});
