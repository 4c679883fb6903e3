//! A request head has one verdict however it is cut; one that is taken can be read in one way only; and what is sent on
//! reads the same again.

use super::strict;
use flipgate::message::{BodyLength, Known, Limits, Method, RequestHead, RequestWrite, Scan, Spare};

pub fn check(raw: &[u8]) {
    let limits = Limits::default();
    let whole = read(raw, raw.len().max(1), &limits);
    for step in [1, 7] {
        let slow = read(raw, step, &limits);
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
        check_one_meaning(&head, &raw[..end]);
        check_sent(head, &raw[..end]);
    }
}

/// The head, and where in `raw` it ends.
fn read(raw: &[u8], step: usize, limits: &Limits) -> Result<Option<(RequestHead, usize)>, ()> {
    let (mut buffer, mut scan, mut spare) = (Vec::new(), Scan::default(), Spare::default());
    let mut given = 0;
    for piece in raw.chunks(step) {
        buffer.extend_from_slice(piece);
        given += piece.len();
        if let Some(head) = RequestHead::read(&mut buffer, &mut scan, &mut spare, limits).map_err(drop)? {
            assert_eq!(buffer, raw[given - buffer.len()..given], "what follows a head stays as it is");
            return Ok(Some((head, given - buffer.len())));
        }
    }
    Ok(None)
}

/// Reads what must be one whole head.
pub(super) fn read_all(raw: &[u8]) -> RequestHead {
    let (head, end) =
        read(raw, raw.len(), &strict::roomy()).expect("what is written is valid").expect("and complete");
    assert_eq!(end, raw.len());
    head
}

/// As a server gets it.
pub(super) fn write(head: &RequestHead) -> Vec<u8> {
    let mut out = Vec::new();
    let options = RequestWrite {
        host: None,
        body: head.body,
        upgrade: None,
        trailers: false,
        expect_continue: head.expect_continue,
    };
    head.write_http1(&mut out, &options);
    out
}

/// What the library made of a head is what the naive reader makes of it, and that one is not in doubt.
fn check_one_meaning(head: &RequestHead, raw: &[u8]) {
    let shown = raw.escape_ascii();
    let mut text = raw;
    while let [b'\r', b'\n', rest @ ..] = text {
        text = rest;
    }
    let naive = strict::head(text).unwrap_or_else(|why| panic!("{why}: {shown}"));
    assert_eq!(naive.length, text.len(), "{shown}");
    let (method, target, minor) =
        strict::request_line(naive.line).unwrap_or_else(|why| panic!("{why}: {shown}"));
    assert_eq!(method, head.method().as_bytes());
    let framing = naive.framing().unwrap_or_else(|why| panic!("{why}: {shown}"));
    assert_eq!(head.body, framing.unwrap_or(BodyLength::None), "{shown}");
    assert!(minor == 1 || framing != Some(BodyLength::Chunked), "chunks in HTTP/1.0: {shown}");
    let hosts = naive.all("host");
    assert!(hosts.len() == 1 || (minor == 0 && hosts.is_empty()), "{} hosts: {shown}", hosts.len());

    // An authority within the target goes before the field.
    let authority = match target.iter().position(|b| *b == b':') {
        _ if head.method_kind == Method::Connect => Some(target),
        Some(colon) if !target.starts_with(b"/") && target.get(colon..colon + 3) == Some(b"://") => {
            target[colon + 3..].split(|b| matches!(b, b'/' | b'?')).next()
        }
        _ => hosts.first().copied(),
    };
    let authority = authority.unwrap_or_default();
    assert_eq!(head.authority().as_bytes(), authority, "{shown}");
    check_host(head.host(), &String::from_utf8_lossy(authority));
    assert!(head.method_kind == Method::Connect || head.target().starts_with('/') || head.target() == "*");
    assert!(target.ends_with(head.target().as_bytes()) || head.target().len() <= target.len(), "{shown}");
}

/// A host is what stands before the port, in lower case, and nothing else can be read into it.
pub(super) fn check_host(host: &str, authority: &str) {
    let name = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or_default(),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    assert_eq!(host, name.to_ascii_lowercase());
    assert!(host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b)), "{host}");
}

/// What goes on says the same, and nothing that is for this hop alone.
fn check_sent(mut head: RequestHead, raw: &[u8]) {
    let named: Vec<String> = head
        .fields
        .known_all(Known::Connection)
        .flat_map(|value| value.split(|b| *b == b','))
        .map(|option| String::from_utf8_lossy(option).trim_matches([' ', '\t']).to_owned())
        .collect();
    head.fields.remove_hop_by_hop();
    if head.host().is_empty() {
        return;
    }
    let out = write(&head);
    let again = read_all(&out);
    assert_eq!(write(&again), out);
    assert_eq!(
        (again.method(), again.target(), again.host(), again.body),
        (head.method(), head.target(), head.host(), head.body)
    );
    let start = raw.iter().position(|b| !b"\r\n".contains(b)).unwrap_or_default();
    let (came, sent) = (strict::head(&raw[start..]).expect("as before"), strict::head(&out).expect("valid"));
    came.check_sent(&sent);
    for name in named.iter().filter(|name| Known::of(name) == Known::Other) {
        let stays = ["close", "keep-alive"].contains(&&*name.to_ascii_lowercase());
        assert!(stays || sent.all(name).is_empty(), "{name} was named by Connection");
    }
    check_http2(&head);
}

/// Over HTTP/2 it is the same request.
fn check_http2(head: &RequestHead) {
    if head.method_kind == Method::Connect {
        return;
    }
    let Ok(request) = head.to_http("https", None, head.body, false) else { return };
    let (parts, ()) = request.into_parts();
    let ended = matches!(head.body, BodyLength::None | BodyLength::Known(0));
    let again = RequestHead::from_http(&parts, None, ended, &mut Spare::default(), &strict::roomy());
    let again = again.unwrap_or_else(|error| panic!("{error:?}: {parts:?}"));
    assert_eq!(
        (again.method(), again.target(), again.host(), again.body),
        (head.method(), head.target(), head.host(), head.body)
    );
}
