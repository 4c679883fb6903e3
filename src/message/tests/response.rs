use super::HeadProblem as P;
use super::*;

#[track_caller]
fn check(raw: impl AsRef<[u8]>, to: Method, expected: Result<(BodyLength, bool), P>) {
    let raw = raw.as_ref();
    let verdict = |head: ResponseHead| (head.body, head.keep_alive);
    let whole = read_response(raw, to).map(verdict).map_err(|error| error.reason);
    assert_eq!(whole, expected, "whole: {}", raw.get(..200.min(raw.len())).unwrap().escape_ascii());
    let (mut buffer, mut scan, mut spare) = (Vec::new(), Scan::default(), Spare::default());
    let mut slow = Ok(None);
    for b in raw {
        buffer.push(*b);
        slow = ResponseHead::read(&mut buffer, &mut scan, &mut spare, &Limits::default(), to);
        if !matches!(slow, Ok(None)) {
            break;
        }
    }
    let slow = slow.map(|head| verdict(head.expect("incomplete"))).map_err(|error| error.reason);
    assert_eq!(slow, expected, "slow: {}", raw.get(..200.min(raw.len())).unwrap().escape_ascii());
}

#[test]
fn bodies_end_where_the_rfc_says() {
    use BodyLength::{Chunked, Known, None, UntilClose};
    for (raw, to, body, keep_alive) in [
        ("HTTP/1.1 200 OK\r\n\r\n", Method::Get, UntilClose, false),
        ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Method::Get, Known(0), true),
        ("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", Method::Get, Known(0), true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", Method::Get, Known(7), true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", Method::Head, None, true),
        ("HTTP/1.1 200 OK\r\n\r\n", Method::Head, None, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Get, Chunked, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Head, None, true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Method::Get, None, true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Method::Get, None, true),
        ("HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Get, None, true),
        ("HTTP/1.1 100 Continue\r\n\r\n", Method::Post, None, true),
        ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", Method::Get, None, true),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", Method::Get, Known(1), false),
        ("HTTP/1.0 200 OK\r\n\r\n", Method::Get, UntilClose, false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", Method::Get, Known(1), false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n",
            Method::Get,
            Known(1),
            true,
        ),
        ("HTTP/1.1 599 Odd\r\nContent-Length: 1\r\n\r\n", Method::Get, Known(1), true),
    ] {
        check(raw, to, Ok((body, keep_alive)));
    }
}

#[test]
fn faulty_answers_are_refused() {
    for (raw, problem) in [
        ("HTTP/1.1 99 x\r\n\r\n", P::StatusLine),
        ("HTTP/1.1 099 x\r\n\r\n", P::StatusLine),
        ("HTTP/1.1 600 x\r\n\r\n", P::StatusLine),
        ("HTTP/1.1 2000 x\r\n\r\n", P::StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", P::StatusLine),
        ("HTTP/1.1 200 a\x01\r\n\r\n", P::StatusLine),
        ("HTTP/1.1 200 a\rb\r\n\r\n", P::StatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", P::StatusLine),
        ("HTTP/1.2 200 OK\r\n\r\n", P::Version),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", P::StatusLine),
        ("<html>hello\r\n\r\n", P::StatusLine),
        ("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", P::BareLineFeed),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n", P::BareLineFeed),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", P::FieldName),
        ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", P::FieldName),
        ("HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n", P::FieldValue),
        ("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", P::FieldValue),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", P::BothLengths),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", P::ContentLengthRepeated),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", P::ContentLengthRepeated),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", P::ContentLength),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", P::TransferEncoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", P::TransferEncoding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", P::TransferEncodingVersion),
        ("HTTP/1.1 200 OK\r\nTransfer_Encoding: chunked\r\n\r\n", P::FieldAlias),
    ] {
        check(raw, Method::Get, Err(problem));
    }
    check(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(70_000)), Method::Get, Err(P::HeadTooLong));
    check(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101)), Method::Get, Err(P::TooManyFields));
    assert_eq!(read_response(b"HTTP/1.1 99 x\r\n\r\n", Method::Get).unwrap_err().status, 502);
}

#[test]
fn answers_are_written_anew() {
    for (raw, to, sent) in [
        (
            "HTTP/1.0 200 Fine\r\nset-cookie:a\r\nSet-Cookie: b\r\nServer: x\r\nContent-Length: 03\r\nKeep-Alive: 1\r\n\r\n",
            Method::Get,
            "HTTP/1.1 200 Fine\r\nset-cookie: a\r\nSet-Cookie: b\r\nServer: x\r\nContent-Length: 3\r\n\r\n",
        ),
        ("HTTP/1.1 404\r\n\r\n", Method::Get, "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n"),
        (
            "HTTP/1.1 499\r\nContent-Length: 0\r\n\r\n",
            Method::Get,
            "HTTP/1.1 499 \r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            Method::Head,
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Head, "HTTP/1.1 200 OK\r\n\r\n"),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            Method::Get,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            Method::Get,
            "HTTP/1.1 204 No Content\r\n\r\n",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
            Method::Get,
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::Get,
            "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
    ] {
        let head = read_response(raw.as_bytes(), to).unwrap();
        assert_eq!(String::from_utf8(answer(&head)).unwrap(), sent);
    }
}

#[test]
fn own_answers_are_framed() {
    let check = |status: u16, to: Method, options: ResponseWrite<'_>, sent: &str| {
        let mut head = ResponseHead::new(status, &mut Spare::default());
        head.answer_to(to);
        let mut out = Vec::new();
        head.write_http1(&mut out, &options);
        assert_eq!(String::from_utf8(out).unwrap(), sent);
    };
    let date = b"Tue, 15 Nov 1994 08:12:31 GMT";
    let plain = ResponseWrite {
        body: BodyLength::None,
        close: false,
        keep_alive_10: false,
        upgrade: None,
        date: None,
    };
    let known = ResponseWrite { body: BodyLength::Known(4), ..plain };
    check(404, Method::Get, plain, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    check(404, Method::Get, known, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n");
    check(404, Method::Head, known, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n");
    check(100, Method::Post, plain, "HTTP/1.1 100 Continue\r\n\r\n");
    let close = ResponseWrite { close: true, date: Some(date), ..known };
    check(
        400,
        Method::Get,
        close,
        "HTTP/1.1 400 Bad Request\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 4\r\nConnection: close\r\n\r\n",
    );
    let old = ResponseWrite { keep_alive_10: true, ..known };
    check(200, Method::Get, old, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\n");
    let upgrade = ResponseWrite { upgrade: Some("websocket"), ..plain };
    check(
        101,
        Method::Get,
        upgrade,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    );
}

#[test]
fn interim_answers_come_one_by_one() {
    let mut buffer = b"HTTP/1.1 103 a\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec();
    let (mut scan, mut spare, limits) = (Scan::default(), Spare::default(), Limits::default());
    let mut read =
        || ResponseHead::read(&mut buffer, &mut scan, &mut spare, &limits, Method::Get).unwrap().unwrap();
    let (interim, last) = (read(), read());
    assert!(interim.is_interim() && !last.is_interim());
    assert_eq!((interim.status, last.status, buffer.as_slice()), (103, 200, b"hi".as_slice()));
}

#[test]
fn an_upgrade_is_a_101_with_both_fields() {
    for (raw, token) in [
        ("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", Some("websocket")),
        ("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", None),
        ("HTTP/1.1 200 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", None),
    ] {
        assert_eq!(read_response(raw.as_bytes(), Method::Get).unwrap().upgrade_token(), token);
    }
}
