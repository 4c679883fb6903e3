//! Requests that are refused: an error, `Connection: close`, the connection closed, and not a byte at any server.

use super::Scene;
use crate::support::{Connection, shared};

/// A request and the statuses it may be refused with.
struct Case {
    id: &'static str,
    bytes: Vec<u8>,
    statuses: &'static [u16],
}

const BAD: &[u16] = &[400];

fn raw(id: &'static str, bytes: impl AsRef<[u8]>) -> Case {
    Case { id, bytes: bytes.as_ref().to_vec(), statuses: BAD }
}

fn with_status(id: &'static str, bytes: impl AsRef<[u8]>, statuses: &'static [u16]) -> Case {
    Case { id, bytes: bytes.as_ref().to_vec(), statuses }
}

/// A POST with these bytes between the Host line and the empty line.
fn lines(id: &'static str, lines: impl AsRef<[u8]>) -> Case {
    let mut bytes = b"POST / HTTP/1.1\r\nHost: a.example\r\n".to_vec();
    bytes.extend_from_slice(lines.as_ref());
    bytes.extend_from_slice(b"\r\n\r\nhello");
    Case { id, bytes, statuses: BAD }
}

/// A GET with this request line.
fn line(id: &'static str, line: impl AsRef<[u8]>) -> Case {
    let mut bytes = line.as_ref().to_vec();
    bytes.extend_from_slice(b"\r\nHost: a.example\r\n\r\n");
    Case { id, bytes, statuses: BAD }
}

fn host(id: &'static str, host: &str) -> Case {
    raw(id, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

fn lengths_and_codings() -> Vec<Case> {
    let mut cases = vec![
        raw(
            "H01",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        ),
        raw(
            "H02",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
        ),
        lines("H03", "Content-Length: 5\r\nContent-Length: 10"),
        lines("H03", "Content-Length: 5, 10"),
        lines("H04", "Content-Length: 5\r\nContent-Length: 5"),
        lines("H04", "Content-Length: 5, 5"),
        lines("H05", "content-length: \r\ncontent-length: 5"),
        lines("H05", "content-length:"),
        lines("H09", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        raw("H10", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        lines("S02", "Connection: content-length\r\nContent-Length: 5"),
        lines("S02", "Connection: transfer-encoding\r\nTransfer-Encoding: chunked"),
    ];
    let lengths = [
        "+5",
        "-5",
        "-0",
        "0x5",
        "5_0",
        "5 0",
        "5.0",
        "5e0",
        "0 5",
        "18446744073709551616",
        "1234567890123456789012345678901234567890",
    ];
    cases.extend(lengths.map(|length| lines("H06", format!("Content-Length: {length}"))));
    let codings: [&[u8]; 11] = [
        b"xchunked",
        b"chunked, identity",
        b"identity, chunked",
        b"chunked, chunked",
        b",chunked",
        b"chunked;a=b",
        b"\"chunked\"",
        b"",
        b"chunk",
        b"\x0bchunked",
        b"chunked\x85",
    ];
    for coding in codings {
        let case = lines("H08", [b"Transfer-Encoding: ", coding].concat());
        cases.push(Case { statuses: &[400, 501], ..case });
    }
    cases
}

fn fields() -> Vec<Case> {
    let mut cases = vec![
        lines("H12", "Transfer_Encoding: chunked"),
        lines("H12", "Content_Length: 5"),
        lines("H13", "X: a\r\n b"),
        lines("H13", "X: a\r\n\tb"),
        lines("H14", ": x"),
        lines("H14", "no colon"),
        lines("H14", "X"),
        lines("H16", "X: a\nY: b"),
        raw("H16", "GET / HTTP/1.1\nHost: a.example\r\n\r\n"),
        raw("H16", "GET / HTTP/1.1\r\nHost: a.example\n\r\n"),
        raw("H16", "GET / HTTP/1.1\r\nHost: a.example\r\n\n"),
        raw("H16", "GET / HTTP/1.1\nHost: a.example\n\n"),
    ];
    for byte in [b' ', b'\t', 0x0b, 0, 0x85, 0xa0] {
        for name in ["Transfer-Encoding", "Content-Length"] {
            let value = if name == "Content-Length" { "5" } else { "chunked" };
            cases.push(lines("H11", [name.as_bytes(), &[byte], b": ", value.as_bytes()].concat()));
            cases.push(lines("H11", [&[byte], name.as_bytes(), b": ", value.as_bytes()].concat()));
        }
    }
    let controls = (0..0x20_u8).chain([0x7f]).filter(|byte| !matches!(byte, b'\t' | b'\n'));
    cases.extend(controls.map(|byte| lines("H15", [b"X: a", [byte].as_slice(), b"b"].concat())));
    cases
}

fn request_lines() -> Vec<Case> {
    let mut cases = vec![
        with_status(
            "H30",
            "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            &[400, 405, 501],
        ),
        line("H32", "GET * HTTP/1.1"),
        line("H32", "GET foo HTTP/1.1"),
        line("H32", "GET a:80 HTTP/1.1"),
        line("H32", "GET /a#f HTTP/1.1"),
        line("H32", "OPTIONS */x HTTP/1.1"),
        raw("H33", "GET / HTTP/1.1\r\n\r\n"),
        raw("H33", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        raw("H33", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        raw("H36", " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        raw("H36", "\r\n".repeat(1_000) + "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        line("H36", "GET  / HTTP/1.1"),
        line("H36", "GET /  HTTP/1.1"),
        line("H36", "GET\t/\tHTTP/1.1"),
        line("H36", "GET\x0b/ HTTP/1.1"),
        line("H36", "GET / HTTP/1.1 "),
        line("H37", b"GET /\x80 HTTP/1.1"),
        line("H37", b"GET /\x00 HTTP/1.1"),
        line("H37", b"GET /\x7f HTTP/1.1"),
        line("H37", "GET /%00 HTTP/1.1"),
        with_status("H39", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(65_536)), &[414, 431]),
        with_status("H39", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(65_536)), &[431]),
        with_status(
            "H39",
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                format!("X: {}\r\n", "x".repeat(8_000)).repeat(32)
            ),
            &[431],
        ),
        with_status("H39", format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(65_536)), &[400, 431, 501]),
    ];
    for count in [101, 1_000, 10_000] {
        let fields = "A: b\r\n".repeat(count);
        cases.push(with_status("H39", format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), &[431]));
    }
    let hosts =
        ["a, b", "a@b", "a/b", "a b", "a:99999", "a:x", "", "a:", "[::1", "a\u{e9}", "a..b", "a:80:80"];
    cases.extend(hosts.map(|name| host("H33", name)));
    let versions =
        ["HTTP/1.2", "HTTP/2.0", "HTTP/1.10", "http/1.1", "HTTP/0.9", "ICE/1.0", "HTTP/1", "HTTP/11"];
    for version in versions {
        let case = line("H35", format!("GET / {version}"));
        cases.push(Case { statuses: &[400, 505], ..case });
    }
    cases.push(with_status("H35", "GET /\r\n\r\n", &[400, 505]));
    cases.push(with_status("H35", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 505]));
    cases
}

fn check(cases: Vec<Case>) {
    let _machine = shared();
    let scene = Scene::new();
    let mut wrong = Vec::new();
    for case in &cases {
        if let Err(what) = refuses(&scene, case) {
            let start = &case.bytes[..case.bytes.len().min(160)];
            wrong.push(format!("{} {}\n    {what}", case.id, start.escape_ascii()));
        }
    }
    // The server works, so that silence there means something.
    assert_eq!(scene.ask(super::get_with("")).text(), "seen");
    assert!(
        wrong.is_empty(),
        "{} of {} not refused as they should be:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

fn refuses(scene: &Scene, case: &Case) -> Result<(), String> {
    let connections = scene.server.connections();
    let mut connection: Connection = scene.connect();
    // A refusal may come, and the connection close, before everything is sent.
    let _ = connection.try_send(&case.bytes);
    let answer = connection.try_answer(false).map_err(|error| format!("no answer: {error}"))?;
    if !case.statuses.contains(&answer.status) {
        return Err(format!("answered {}, not {:?}", answer.status, case.statuses));
    }
    if !answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        return Err("no `Connection: close`".to_owned());
    }
    let rest = connection.rest();
    if !rest.is_empty() {
        return Err(format!("more than one answer: {}", rest.escape_ascii()));
    }
    let seen = scene.server.take();
    if !seen.is_empty() || scene.server.connections() != connections {
        return Err(format!("the server saw {seen:?}"));
    }
    Ok(())
}

#[test]
fn ambiguous_lengths_and_codings_are_refused() {
    check(lengths_and_codings());
}

#[test]
fn malformed_fields_are_refused() {
    check(fields());
}

#[test]
fn malformed_request_lines_and_hosts_are_refused() {
    check(request_lines());
}
