//! gRPC's health protocol, as far as a check needs it: one call with one small message each way.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>; the messages' wire form is protobuf's, behind the
//! five bytes of gRPC's own framing.

use super::{Answer, CheckFailure};
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;

/// `Check` of the service `Health`.
pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";

/// Names of `ServingStatus`.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// `HealthCheckRequest{service: 1}`.
pub(super) fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0A);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

pub(super) fn judge(answer: &Answer) -> Result<(), CheckFailure> {
    if !answer.status.is_success() {
        return Err(CheckFailure::Status(answer.status));
    }
    // A call that fails at once has its status among the headers.
    let status = |headers: &HeaderMap| headers.get("grpc-status").cloned();
    let code = answer.trailers.as_ref().and_then(status).or_else(|| status(&answer.headers));
    match code.as_ref().map(|code| code.as_bytes()) {
        Some(b"0") => {}
        Some(code) => return Err(CheckFailure::Grpc(String::from_utf8_lossy(code).into_owned())),
        None => return Err(CheckFailure::Grpc("missing".to_owned())),
    }
    let status = serving_status(&answer.body).ok_or(CheckFailure::Message)?;
    match usize::try_from(status).ok().and_then(|status| STATUSES.get(status)) {
        Some(&"SERVING") => Ok(()),
        Some(name) => Err(CheckFailure::NotServing(name)),
        None => Err(CheckFailure::NotServing("a status that is not known")),
    }
}

/// `HealthCheckResponse{status: 1}`; fields that are not known are passed over.
fn serving_status(framed: &[u8]) -> Option<u64> {
    let (prefix, rest) = framed.split_first_chunk::<5>()?;
    let [0, length @ ..] = prefix else { return None };
    let mut message = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let mut status = 0;
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = take_varint(&mut message)?,
            (_, 0) => drop(take_varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn put_varint(out: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        out.put_u8((number as u8) | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn the_question_is_framed() {
        assert_eq!(&*question(""), [0, 0, 0, 0, 0]);
        assert_eq!(&*question("ab"), [0, 0, 0, 0, 4, 0x0A, 2, b'a', b'b']);
        let long = "x".repeat(300);
        assert_eq!(question(&long)[..8], [0, 0, 0, 1, 47, 0x0A, 0xAC, 2]);
    }

    #[test]
    fn answers_are_judged() {
        let check = |code: Option<&str>, body: &[u8], expected: Result<(), &str>| {
            let mut headers = HeaderMap::new();
            if let Some(code) = code {
                headers.insert("grpc-status", code.parse().unwrap());
            }
            let (status, trailers) = (StatusCode::OK, Some(headers));
            let answer = Answer { status, headers: HeaderMap::new(), body: body.to_vec(), trailers };
            let judged = judge(&answer).map_err(|failure| failure.to_string());
            assert_eq!(judged, expected.map_err(str::to_owned), "{code:?} {body:?}");
        };
        let none = "the answer is no message of gRPC's health protocol";
        check(Some("0"), &[0, 0, 0, 0, 2, 8, 1], Ok(()));
        check(Some("0"), &[0, 0, 0, 0, 6, 0x12, 2, 9, 9, 8, 1], Ok(()));
        check(Some("0"), &[0, 0, 0, 0, 2, 8, 2], Err("answered NOT_SERVING"));
        check(Some("0"), &[0, 0, 0, 0, 0], Err("answered UNKNOWN"));
        check(Some("0"), &[0, 0, 0, 0, 2, 8, 9], Err("answered a status that is not known"));
        check(Some("5"), &[], Err("gRPC status 5"));
        check(None, &[0, 0, 0, 0, 2, 8, 1], Err("gRPC status missing"));
        for body in [
            &[][..],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 9, 8, 1],
            &[0, 0, 0, 0, 2, 8, 0x81],
            &[0, 0, 0, 0, 3, 0x12, 200, 1],
        ] {
            check(Some("0"), body, Err(none));
        }
    }
}
