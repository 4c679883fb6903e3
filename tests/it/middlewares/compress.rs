//! `compress`, with curl's decoders.

use super::way::{Got, PROTOCOLS, Way};
use crate::support::{Connection, Recorder, shared};
use serde_json::json;
use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

/// Lines that compress well.
fn page(lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|n| format!("{n} a line of the page {}\n", n * n % 1009).into_bytes()).collect()
}

fn text(stream: &mut TcpStream, more: &str, body: &[u8], is_head: bool) -> bool {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let body = if is_head { &[] } else { body };
    stream.write_all(head.as_bytes()).is_ok() && stream.write_all(body).is_ok()
}

/// What a path asks for is what is answered.
fn server() -> Recorder {
    Recorder::with(|seen, stream| {
        let is_head = seen.line.starts_with("HEAD ");
        let path = seen.line.split(' ').nth(1).unwrap_or_default();
        match path {
            "/small" => text(stream, "", &page(10), is_head),
            "/tagged" if seen.has("if-none-match") => stream
                .write_all(b"HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nVary: Accept-Encoding\r\n\r\n")
                .is_ok(),
            "/tagged" => text(stream, "ETag: \"v1\"\r\nAccept-Ranges: bytes\r\nVary: Origin\r\n", &page(900), is_head),
            "/kept" => text(stream, "Cache-Control: public, no-transform\r\n", &page(900), is_head),
            "/encoded" => text(stream, "Content-Encoding: x-own\r\n", &page(900), is_head),
            "/part" => stream
                .write_all(
                    b"HTTP/1.1 206 Partial Content\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-3/9000\r\nContent-Length: 4\r\n\r\npart",
                )
                .is_ok(),
            "/none" => stream.write_all(b"HTTP/1.1 204 No Content\r\nContent-Type: text/plain\r\n\r\n").is_ok(),
            "/image" => stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 4\r\n\r\n\x89PNG")
                .is_ok(),
            "/chunked" => {
                let head =
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
                let mut fits = stream.write_all(head).is_ok();
                for chunk in page(20_000).chunks(7_001) {
                    fits &= write!(stream, "{:x}\r\n", chunk.len()).is_ok()
                        && stream.write_all(chunk).is_ok()
                        && stream.write_all(b"\r\n").is_ok();
                }
                fits && stream.write_all(b"0\r\n\r\n").is_ok()
            }
            "/broken" => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 90000\r\n\r\n");
                let _ = stream.write_all(&page(900));
                false
            }
            _ => text(stream, "", &page(9_000), is_head),
        }
    })
}

fn is_plain(got: &Got) -> bool {
    got.field("content-encoding").is_empty()
}

#[test]
fn bodies_get_smaller_and_stay_the_same() {
    let _machine = shared();
    let server = server();
    let way = Way::new(server.address(), &[("a", "compress", json!({}))]);
    for protocol in PROTOCOLS {
        for coding in ["gzip", "br", "zstd"] {
            let ask = format!("Accept-Encoding: {coding}");
            for (path, lines) in [("/", 9_000), ("/chunked", 20_000)] {
                let raw = way.curl(&[protocol, "-H", &ask], path);
                assert_eq!(raw.field("content-encoding"), coding, "{protocol} {path}");
                assert_eq!(raw.field("vary"), "Accept-Encoding");
                assert_eq!(raw.field("content-length"), "");
                assert!(raw.body.len() * 3 < page(lines).len(), "{coding} {path}: {}", raw.body.len());
                let got = way.curl(&[protocol, "-H", &ask, "--compressed"], path);
                assert!(got.body == page(lines), "{protocol} {coding} {path}: {} bytes", got.body.len());
            }
        }
        // The client chooses; among equals the first of ours.
        let got = way.curl(&[protocol, "-H", "Accept-Encoding: gzip, br, zstd"], "/");
        assert_eq!(got.field("content-encoding"), "zstd");
        let got = way.curl(&[protocol, "-H", "Accept-Encoding: gzip;q=1, br;q=0.5"], "/");
        assert_eq!(got.field("content-encoding"), "gzip");
        let got = way.curl(&[protocol], "/");
        assert!(is_plain(&got) && got.body == page(9_000) && got.field("vary") == "Accept-Encoding");
        for path in ["/small", "/kept", "/encoded", "/part", "/none", "/image"] {
            let got = way.curl(&[protocol, "-H", "Accept-Encoding: gzip"], path);
            let expected = if path == "/encoded" { "x-own" } else { "" };
            assert_eq!(
                (got.field("content-encoding"), got.field("vary")),
                (expected, ""),
                "{protocol} {path}"
            );
        }
        let got =
            way.curl(&[protocol, "-H", "Accept-Encoding: gzip", "-H", "Cache-Control: no-transform"], "/");
        assert!(is_plain(&got));
    }
}

#[test]
fn heads_tell_of_the_body_that_is_sent() {
    let _machine = shared();
    let server = server();
    let way = Way::new(server.address(), &[("a", "compress", json!({"Algorithms": ["gzip"]}))]);
    for protocol in PROTOCOLS {
        let get = way.curl(&[protocol, "-H", "Accept-Encoding: gzip"], "/tagged");
        let head = way.curl(&[protocol, "-I", "-H", "Accept-Encoding: gzip"], "/tagged");
        for got in [&get, &head] {
            assert_eq!(got.field("etag"), "W/\"v1\"", "{protocol}");
            assert_eq!(got.field("vary"), "Origin | Accept-Encoding");
            assert_eq!((got.field("content-encoding"), got.field("accept-ranges")), ("gzip", ""));
            assert_eq!(got.field("content-length"), "");
        }
        let head = way.curl(&[protocol, "-I"], "/tagged");
        assert_eq!(head.field("content-length"), page(900).len().to_string());
        assert_eq!((head.field("etag"), head.field("accept-ranges")), ("\"v1\"", "bytes"));
        let fresh = ["-H", "Accept-Encoding: gzip", "-H", "If-None-Match: W/\"v1\""];
        let got = way.curl(&[[protocol].as_slice(), &fresh].concat(), "/tagged");
        assert_eq!((got.status, got.field("etag")), (304, "W/\"v1\""), "{protocol}");
        let got = way.curl(&[protocol, "-H", "If-None-Match: \"v1\""], "/tagged");
        assert_eq!((got.status, got.field("etag")), (304, "\"v1\""));
    }
}

#[test]
fn old_clients_and_connections_that_go_on() {
    let _machine = shared();
    let server = server();
    let way = Way::new(server.address(), &[("a", "compress", json!({}))]);
    let got = way.curl(&["--http1.0", "-H", "Accept-Encoding: gzip", "--compressed"], "/");
    assert!(got.body == page(9_000) && got.field("transfer-encoding").is_empty());
    // What was encoded leaves both connections in order.
    let mut connection = Connection::open(way.address());
    for _ in 0..3 {
        connection.send(b"GET / HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: gzip\r\n\r\n");
        let answer = connection.answer();
        assert_eq!((answer.status, answer.field("content-encoding")), (200, Some("gzip")));
        assert_eq!(answer.body[..2], [0x1F, 0x8B]);
    }
    // What was broken off does not look whole.
    connection.send(b"GET /broken HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: gzip\r\n\r\n");
    assert!(connection.try_answer(false).is_err());
}

/// Every event is there before the next one is sent.
#[test]
fn events_are_not_held_back() {
    let _machine = shared();
    let (next, events) = mpsc::channel::<()>();
    let events = std::sync::Mutex::new(events);
    let server = Recorder::with(move |_, stream| {
        let head =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut fits = stream.write_all(head).is_ok();
        for n in 0..5 {
            fits &= write!(stream, "8\r\ndata: {n}\n\r\n").is_ok();
            if events.lock().unwrap().recv_timeout(Duration::from_secs(10)).is_err() {
                return false;
            }
        }
        fits && stream.write_all(b"0\r\n\r\n").is_ok()
    });
    let spec = json!({"Types": ["text/event-stream"], "Algorithms": ["gzip"]});
    let way = Way::new(server.address(), &[("a", "compress", spec)]);
    let mut connection = Connection::open(way.address());
    connection.set_silence_max(Duration::from_secs(5));
    connection.send(b"GET / HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = connection.head().unwrap();
    assert_eq!(head.field("content-encoding"), Some("gzip"));
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    for n in 0..5 {
        let wanted = format!("data: {n}\n");
        while !String::from_utf8_lossy(decoder.get_ref()).contains(&wanted) {
            decoder.write_all(&connection.chunk().unwrap().unwrap()).unwrap();
            decoder.flush().unwrap();
        }
        next.send(()).unwrap();
    }
    while let Some(chunk) = connection.chunk().unwrap() {
        decoder.write_all(&chunk).unwrap();
    }
    assert_eq!(decoder.finish().unwrap(), b"data: 0\ndata: 1\ndata: 2\ndata: 3\ndata: 4\n");
}

/// Answers of the proxy's own go as they are, and are not called anything else.
#[test]
fn own_answers_are_not_compressed() {
    let _machine = shared();
    let server = Recorder::answering(
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
    );
    let text = String::from_utf8(page(900)).unwrap();
    let own = json!({"Status": 200, "ContentType": "text/html", "Body": text});
    let page = json!({"ContentType": "text/html", "Body": text, "Intercept": true});
    let replies = Way::new(server.address(), &[("a", "compress", json!({})), ("b", "respond", own)]);
    let pages = Way::with(server.address(), &[("a", "compress", json!({}))], &[], |directory| {
        let settings = json!({"ErrorPages": {"404": page}});
        let frontend =
            json!({"Type": "http", "BackendId": "a", "Route": "PathPrefix(`/`)", "Settings": settings});
        directory.put("frontends/a/frontend", &frontend);
    });
    for (way, status) in [(&replies, 200), (&pages, 404)] {
        for protocol in PROTOCOLS {
            let got = way.curl(&[protocol, "-H", "Accept-Encoding: gzip, br, zstd"], "/");
            assert_eq!((got.status, got.field("vary")), (status, "Accept-Encoding"), "{protocol}");
            assert!(is_plain(&got) && got.text() == text, "{protocol} {status}: {:?}", got.fields);
        }
    }
}
