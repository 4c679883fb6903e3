//! The promises of this room, as data.

mod body;
mod convert;
mod fields;
mod property;
mod request;
mod response;

use super::*;

/// Reads a request that must be complete.
fn read_request(raw: &[u8]) -> Result<RequestHead, HeadError> {
    let mut buffer = raw.to_vec();
    RequestHead::read(&mut buffer, &mut Scan::default(), &mut Spare::default(), &Limits::default())
        .map(|head| head.unwrap_or_else(|| panic!("incomplete: {}", raw.escape_ascii())))
}

/// Reads an answer that must be complete.
fn read_response(raw: &[u8], to: Method) -> Result<ResponseHead, HeadError> {
    let mut buffer = raw.to_vec();
    ResponseHead::read(&mut buffer, &mut Scan::default(), &mut Spare::default(), &Limits::default(), to)
        .map(|head| head.unwrap_or_else(|| panic!("incomplete: {}", raw.escape_ascii())))
}

/// The fields as `name: value` lines, for comparison.
fn lines(fields: &Fields) -> Vec<String> {
    fields.iter().map(|field| format!("{}: {}", field.name, field.value.escape_ascii())).collect()
}

/// What a server gets when a request is sent on as it came.
fn forward(head: &RequestHead) -> Vec<u8> {
    let options = RequestWrite {
        host: None,
        body: head.body,
        upgrade: None,
        trailers: false,
        expect_continue: head.expect_continue,
    };
    let mut out = Vec::new();
    head.write_http1(&mut out, &options);
    out
}

/// What a client gets when an answer is sent on as it came.
fn answer(head: &ResponseHead) -> Vec<u8> {
    let options =
        ResponseWrite { body: head.body, close: false, keep_alive_10: false, upgrade: None, date: None };
    let mut out = Vec::new();
    head.write_http1(&mut out, &options);
    out
}
