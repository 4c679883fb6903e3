//! The head of an answer has one verdict however it is cut; one that is taken can be read in one way only; and what is
//! sent on reads the same again.

use super::strict;
use flipgate::message::{BodyLength, Limits, Method, ResponseHead, ResponseWrite, Scan, Spare};

pub fn check(raw: &[u8]) {
    for to in [Method::Get, Method::Head] {
        let limits = Limits::default();
        let whole = read(raw, raw.len().max(1), &limits, to);
        for step in [1, 7] {
            let slow = read(raw, step, &limits, to);
            match (&whole, &slow) {
                (Ok(Some((whole, end))), Ok(Some((slow, slow_end)))) => {
                    assert_eq!((write(whole), *end), (write(slow), *slow_end));
                }
                _ => {
                    assert_eq!(whole.is_err(), slow.is_err());
                    assert_eq!(matches!(whole, Ok(Some(_))), matches!(slow, Ok(Some(_))));
                }
            }
        }
        if let Ok(Some((head, end))) = whole {
            check_taken(head, &raw[..end], to);
        }
    }
}

/// The head, and where in `raw` it ends.
fn read(raw: &[u8], step: usize, limits: &Limits, to: Method) -> Result<Option<(ResponseHead, usize)>, ()> {
    let (mut buffer, mut scan, mut spare) = (Vec::new(), Scan::default(), Spare::default());
    let mut given = 0;
    for piece in raw.chunks(step) {
        buffer.extend_from_slice(piece);
        given += piece.len();
        let read = ResponseHead::read(&mut buffer, &mut scan, &mut spare, limits, to);
        if let Some(head) = read.map_err(drop)? {
            assert_eq!(buffer, raw[given - buffer.len()..given], "what follows a head stays as it is");
            return Ok(Some((head, given - buffer.len())));
        }
    }
    Ok(None)
}

/// Reads what must be one whole head.
fn read_all(raw: &[u8], to: Method) -> ResponseHead {
    let (head, end) =
        read(raw, raw.len(), &strict::roomy(), to).expect("what is written is valid").expect("and complete");
    assert_eq!(end, raw.len());
    head
}

fn write(head: &ResponseHead) -> Vec<u8> {
    let mut out = Vec::new();
    let options =
        ResponseWrite { body: head.body, close: false, keep_alive_10: false, upgrade: None, date: None };
    head.write_http1(&mut out, &options);
    out
}

fn check_taken(mut head: ResponseHead, raw: &[u8], to: Method) {
    let shown = raw.escape_ascii();
    let came = strict::head(raw).unwrap_or_else(|why| panic!("{why}: {shown}"));
    assert_eq!(came.length, raw.len(), "{shown}");
    let framing = came.framing().unwrap_or_else(|why| panic!("{why}: {shown}"));
    let bodiless = to == Method::Head || matches!(head.status, 100..=199 | 204 | 304);
    let body = if bodiless { BodyLength::None } else { framing.unwrap_or(BodyLength::UntilClose) };
    assert_eq!(head.body, body, "{shown}");

    head.fields.remove_hop_by_hop();
    let out = write(&head);
    let again = read_all(&out, to);
    // An end of the connection is said as such; the rest of the framing is the same.
    assert_eq!((again.status, again.body), (head.status, head.body));
    let mut sent = strict::head(&out).expect("valid");
    sent.fields.retain(|field| *field != (b"Connection".as_slice(), b"close".as_slice()));
    came.check_sent(&sent);
    check_http2(&head, to);
}

/// Over HTTP/2 it is the same answer.
fn check_http2(head: &ResponseHead, to: Method) {
    if head.status > 599 || head.status == 101 {
        return;
    }
    let (parts, ()) = head.to_http().into_parts();
    let ended = matches!(head.body, BodyLength::None | BodyLength::Known(0));
    let again = ResponseHead::from_http(&parts, ended, to, &mut Spare::default(), &strict::roomy());
    let again = again.unwrap_or_else(|error| panic!("{error:?}: {parts:?}"));
    let body = match head.body {
        BodyLength::UntilClose => BodyLength::Chunked,
        other => other,
    };
    assert_eq!((again.status, again.body), (head.status, body));
}
