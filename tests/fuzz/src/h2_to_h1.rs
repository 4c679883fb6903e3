//! What an HTTP/2 stack hands on is refused, or written as one HTTP/1.1 head that means the same.
//!
//! The input is text: `:method`, `:scheme`, `:authority`, `:path` and fields, each a name, a blank and a value, one a
//! line; a line `.` says that the stream ends with the head. Values may hold what HTTP/2 can carry.

use super::request_head::{check_host, read_all, write};
use super::strict;
use flipgate::message::{BodyLength, Limits, Method, RequestHead, ResponseHead, ResponseWrite, Scan, Spare};
use http::header::{HeaderMap, HeaderName, HeaderValue};

pub fn check(raw: &[u8]) {
    let stream = Stream::of(raw);
    if let Some(parts) = stream.request() {
        check_request(&parts, stream.ended);
    }
    if let Some(parts) = stream.answer() {
        for to in [Method::Get, Method::Head] {
            check_answer(&parts, stream.ended, to);
        }
    }
}

#[derive(Default)]
struct Stream<'a> {
    method: &'a [u8],
    scheme: &'a [u8],
    authority: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    status: &'a [u8],
    fields: HeaderMap,
    ended: bool,
}

impl<'a> Stream<'a> {
    fn of(raw: &'a [u8]) -> Self {
        let mut stream = Stream { method: b"GET", scheme: b"https", ..Stream::default() };
        for line in raw.split(|b| *b == b'\n') {
            let (name, value) = match line.iter().position(|b| *b == b' ') {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (line, &b""[..]),
            };
            match name {
                b"." => stream.ended = true,
                b":method" => stream.method = value,
                b":scheme" => stream.scheme = value,
                b":authority" => stream.authority = Some(value),
                b":path" => stream.path = Some(value),
                b":status" => stream.status = value,
                _ => {
                    if let (Ok(name), Ok(value)) =
                        (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
                    {
                        let _ = stream.fields.try_append(name, value);
                    }
                }
            }
        }
        stream
    }

    fn request(&self) -> Option<http::request::Parts> {
        let mut uri = http::uri::Builder::new();
        if let Some(authority) = self.authority {
            uri = uri.authority(authority);
            if self.path.is_some() {
                uri = uri.scheme(self.scheme);
            }
        }
        if let Some(path) = self.path {
            uri = uri.path_and_query(path);
        }
        let request = http::Request::builder().method(self.method).uri(uri.build().ok()?);
        let (mut parts, ()) = request.version(http::Version::HTTP_2).body(()).ok()?.into_parts();
        parts.headers = self.fields.clone();
        Some(parts)
    }

    fn answer(&self) -> Option<http::response::Parts> {
        let status = http::StatusCode::from_bytes(self.status).ok()?;
        let (mut parts, ()) = http::Response::builder().status(status).body(()).ok()?.into_parts();
        parts.headers = self.fields.clone();
        Some(parts)
    }
}

fn check_request(parts: &http::request::Parts, ended: bool) {
    let read = RequestHead::from_http(parts, None, ended, &mut Spare::default(), &Limits::default());
    let Ok(mut head) = read else { return };
    head.fields.remove_hop_by_hop();
    let out = write(&head);
    let shown = out.escape_ascii();
    if head.method_kind == Method::Connect {
        return;
    }
    let again = read_all(&out);
    assert_eq!(write(&again), out);
    assert_eq!(
        (again.method(), again.target(), again.host(), again.body),
        (head.method(), head.target(), head.host(), head.body),
        "{shown}"
    );
    assert_eq!(head.method(), parts.method.as_str());
    let authority = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    let host = parts.headers.get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    check_host(head.host(), &authority.or(host).expect("one of them"));

    let sent = strict::head(&out).unwrap_or_else(|why| panic!("{why}: {shown}"));
    assert_eq!(sent.framing(), Ok(Some(head.body).filter(|body| *body != BodyLength::None)), "{shown}");
    assert!(!ended || matches!(head.body, BodyLength::None | BodyLength::Known(0)), "{shown}");
    assert_eq!(sent.all("host").len(), 1);
    check_fields(&parts.headers, &sent);
}

/// Nothing is there that did not come, and nothing that came is lost but what belongs to a hop.
fn check_fields(came: &HeaderMap, sent: &strict::Head<'_>) {
    const OWN: [&str; 8] =
        ["host", "content-length", "transfer-encoding", "expect", "te", "trailer", "connection", "cookie"];
    for (name, value) in &sent.fields {
        let name = std::str::from_utf8(name).expect("a token");
        if !OWN.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            assert!(came.get_all(name).iter().any(|own| own.as_bytes() == *value), "{name} never came");
        }
    }
    for name in came.keys().map(HeaderName::as_str) {
        let hop = ["proxy-authorization", "proxy-authenticate", "via", "max-forwards"].contains(&name);
        if !hop && !OWN.contains(&name) && !name.contains('_') {
            let values: Vec<&[u8]> = came.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            assert_eq!(sent.all(name), values, "{name}");
        }
    }
    let crumbs: Vec<&[u8]> = came.get_all("cookie").iter().map(HeaderValue::as_bytes).collect();
    let cookies = sent.all("cookie");
    assert_eq!(cookies.len(), usize::from(!crumbs.is_empty()));
    let some: Vec<&[u8]> = crumbs.into_iter().filter(|crumb| !crumb.is_empty()).collect();
    assert_eq!(cookies.concat(), some.join(&b"; "[..]));
}

fn check_answer(parts: &http::response::Parts, ended: bool, to: Method) {
    let read = ResponseHead::from_http(parts, ended, to, &mut Spare::default(), &Limits::default());
    let Ok(mut head) = read else { return };
    head.fields.remove_hop_by_hop();
    let mut out = Vec::new();
    let options =
        ResponseWrite { body: head.body, close: false, keep_alive_10: false, upgrade: None, date: None };
    head.write_http1(&mut out, &options);
    let sent = strict::head(&out).unwrap_or_else(|why| panic!("{why}: {}", out.escape_ascii()));
    assert_eq!(sent.length, out.len());
    sent.framing().unwrap_or_else(|why| panic!("{why}: {}", out.escape_ascii()));
    let (mut scan, mut spare) = (Scan::default(), Spare::default());
    let again = ResponseHead::read(&mut out.clone(), &mut scan, &mut spare, &strict::roomy(), to);
    let again = again.expect("what is written is valid").expect("and complete");
    let same = match (head.body, again.body) {
        // Written as `Content-Length: 0`.
        (BodyLength::None, BodyLength::Known(0)) => true,
        (sent, read) => sent == read,
    };
    assert!(again.status == head.status && same, "{:?} became {:?}", head.body, again.body);
}
