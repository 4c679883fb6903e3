use super::HeadProblem as P;
use super::*;

/// Reads the head whole and byte by byte; both must come to the same verdict.
#[track_caller]
fn check(raw: impl AsRef<[u8]>, expected: Result<(), P>) {
    let raw = raw.as_ref();
    let whole = read_request(raw).map(drop).map_err(|error| error.reason);
    assert_eq!(whole, expected, "whole: {}", raw.get(..200.min(raw.len())).unwrap().escape_ascii());
    let (mut buffer, mut scan, mut spare) = (Vec::new(), Scan::default(), Spare::default());
    let mut slow = Ok(None);
    for b in raw {
        buffer.push(*b);
        slow = RequestHead::read(&mut buffer, &mut scan, &mut spare, &Limits::default());
        if !matches!(slow, Ok(None)) {
            break;
        }
    }
    let slow = slow.map(|head| drop(head.expect("incomplete"))).map_err(|error| error.reason);
    assert_eq!(slow, expected, "slow: {}", raw.get(..200.min(raw.len())).unwrap().escape_ascii());
}

/// A request whose fields besides `Host` are `fields`, each with its CRLF.
#[track_caller]
fn check_fields(fields: &str, expected: Result<(), P>) {
    check(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), expected);
    check(format!("POST / HTTP/1.1\r\n{fields}Host: a\r\n\r\n"), expected);
}

#[test]
fn lengths_that_disagree_are_refused() {
    let both = "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n";
    check_fields(both, Err(P::BothLengths));
    check_fields("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", Err(P::BothLengths));
    check_fields("Content-Length: 5\r\nContent-Length: 10\r\n", Err(P::ContentLengthRepeated));
    check_fields("Content-Length: 5\r\nContent-Length: 5\r\n", Err(P::ContentLengthRepeated));
    check_fields("content-length: 5\r\nX: y\r\nCONTENT-LENGTH: 5\r\n", Err(P::ContentLengthRepeated));
    check_fields("Content-Length: 5, 5\r\n", Err(P::ContentLengthRepeated));
    check_fields("Content-Length: 5, 10\r\n", Err(P::ContentLengthRepeated));
    check_fields("content-length: \r\ncontent-length: 59\r\n", Err(P::ContentLength));
    check_fields("content-length:\r\n", Err(P::ContentLength));
}

#[test]
fn a_length_is_decimal_digits() {
    for bad in [
        "+5",
        "-5",
        "-0",
        "0x5",
        "5_0",
        "5 0",
        "5.0",
        "5e0",
        "0 5",
        "\"5\"",
        "5;",
        "5\u{b2}",
        "18446744073709551616",
        "1000000000000000000000000000000000000000",
    ] {
        check_fields(&format!("Content-Length: {bad}\r\n"), Err(P::ContentLength));
    }
    for (good, length) in [("0", 0), ("0005", 5), ("5 \t", 5), ("18446744073709551615", u64::MAX)] {
        check_fields(&format!("Content-Length: {good}\r\n"), Ok(()));
        let head =
            read_request(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {good}\r\n\r\n").as_bytes());
        let head = head.unwrap();
        assert_eq!(head.body, BodyLength::Known(length));
        let out = String::from_utf8(forward(&head)).unwrap();
        assert!(out.ends_with(&format!("\r\nContent-Length: {length}\r\n\r\n")), "{out}");
    }
}

#[test]
fn only_chunked_is_a_transfer_coding() {
    for bad in [
        "xchunked",
        "chunked, identity",
        "identity, chunked",
        "chunked, chunked",
        ",chunked",
        "chunked,",
        "chunked;a=b",
        "\"chunked\"",
        "",
        "chunk",
        "identity",
        "gzip, chunked",
        "gzip",
        "chunked\u{85}",
        "\u{a0}chunked",
    ] {
        check_fields(&format!("Transfer-Encoding: {bad}\r\n"), Err(P::TransferEncoding));
    }
    check_fields("Transfer-Encoding: \x0bchunked\r\n", Err(P::FieldValue));
    check_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(P::TransferEncoding));
    check_fields("Transfer-Encoding: chunked\r\n", Ok(()));
    check_fields("transfer-encoding:\t CHUNKED \r\n", Ok(()));
    check(
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        Err(P::TransferEncodingVersion),
    );
}

#[test]
fn names_are_tokens_at_the_start_of_a_line() {
    let names = [
        "Transfer-Encoding ",
        "Transfer-Encoding\t",
        "Transfer-Encoding\x0b",
        "Transfer-Encoding\0",
        " Transfer-Encoding",
        "\tTransfer-Encoding",
        "Transfer Encoding",
        "Content-Length ",
        " Content-Length",
        "Content\tLength",
        "",
        "X(",
        "X\"",
        "X@",
        "\x7fX",
    ];
    for name in names {
        check_fields(&format!("{name}: x\r\n"), Err(P::FieldName));
        for lead in [b"\x85".as_slice(), b"\xa0"] {
            check(
                [b"GET / HTTP/1.1\r\nHost: a\r\n", name.as_bytes(), lead, b": x\r\n\r\n"].concat(),
                Err(P::FieldName),
            );
        }
    }
    check_fields("no colon\r\n", Err(P::FieldName));
    check_fields("nocolon\r\n", Err(P::FieldName));
    check("GET / HTTP/1.1Host: a\r\n\r\n", Err(P::BareCarriageReturn));
    check("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Err(P::FieldName));
}

#[test]
fn underscore_aliases_are_refused_or_dropped() {
    for name in ["Transfer_Encoding", "content_length", "CONTENT_LENGTH", "transfer_encoding"] {
        check_fields(&format!("{name}: 5\r\n"), Err(P::FieldAlias));
    }
    let raw = b"GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1\r\nx-forwarded_proto: 2\r\nX_Forwarded_Anything: 3\r\n\
        X_Real_IP: 4\r\nKeep_Alive: 5\r\nproxy_connection: 6\r\nX_Forwarded-Host: 7\r\nX_Request_Id: 8\r\n\
        snake_case: kept\r\nContent_Type: kept\r\nx_other: kept\r\n\r\n";
    let head = read_request(raw).unwrap();
    assert_eq!(lines(&head.fields), ["Host: a", "snake_case: kept", "Content_Type: kept", "x_other: kept"]);
}

#[test]
fn values_have_no_controls_and_no_folds() {
    for bad in ["a\r\n b", "a\r\n\tb", "a\r\n  "] {
        check_fields(&format!("X: {bad}\r\n"), Err(P::FieldName));
    }
    for control in (0_u8..32).chain([127]).filter(|b| !matches!(b, b'\t' | b'\n' | b'\r')) {
        let raw = [b"GET / HTTP/1.1\r\nHost: a\r\nX: a".as_slice(), &[control], b"b\r\n\r\n"].concat();
        check(raw, Err(P::FieldValue));
    }
    check_fields("X: a\rb\r\n", Err(P::FieldValue));
    check_fields("X: a\r\r\n", Err(P::FieldValue));
    check_fields("X: a\tb\r\nY: \u{e9}\r\nZ:\r\n", Ok(()));
    check(b"GET / HTTP/1.1\r\nHost: a\r\nX: \x80\xff\r\n\r\n", Ok(()));
}

#[test]
fn every_line_ends_with_crlf() {
    for raw in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\n",
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.0\r\n\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        check(raw, Err(P::BareLineFeed));
    }
    check("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(P::BareCarriageReturn));
    check("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", Err(P::BareCarriageReturn));
    check("GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n", Err(P::BareCarriageReturn));
}

#[test]
fn request_lines_are_exact() {
    for (line, problem) in [
        ("GET  / HTTP/1.1", P::Target),
        ("GET /  HTTP/1.1", P::RequestLine),
        ("GET\t/ HTTP/1.1", P::Method),
        ("GET /\tHTTP/1.1", P::Target),
        ("GET /\x0bHTTP/1.1", P::Target),
        (" GET / HTTP/1.1", P::Method),
        ("GET / HTTP/1.1 ", P::BareCarriageReturn),
        ("GET /", P::Target),
        ("GET", P::Method),
        ("GET / ", P::RequestLine),
        ("GET HTTP/1.1", P::Target),
        ("GET / x HTTP/1.1", P::RequestLine),
        ("G(T / HTTP/1.1", P::Method),
        ("G\u{e9}T / HTTP/1.1", P::Method),
        ("\x16\x03\x01\x02 / HTTP/1.1", P::Method),
        ("GET / HTTP/1.2", P::Version),
        ("GET / HTTP/2.0", P::Version),
        ("GET / HTTP/1.10", P::BareCarriageReturn),
        ("GET / http/1.1", P::RequestLine),
        ("GET / HTTP/0.9", P::Version),
        ("GET / HTTP/11", P::RequestLine),
        ("GET / ICE/1.0", P::RequestLine),
        ("PRI * HTTP/2.0", P::Version),
    ] {
        check(format!("{line}\r\nHost: a\r\n\r\n"), Err(problem));
    }
    check(format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(32)), Ok(()));
    check(format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(33)), Err(P::MethodTooLong));
    check(format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(65536)), Err(P::MethodTooLong));
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    check(format!("\r\n{get}"), Ok(()));
    check(format!("\r\n\r\n{get}"), Ok(()));
    check(format!("\r\n\r\n\r\n{get}"), Err(P::LeadingLines));
    check(format!("{}{get}", "\r\n".repeat(1000)), Err(P::LeadingLines));
}

#[test]
fn a_bad_beginning_is_refused_before_its_end() {
    for (raw, problem) in [
        (b"\x16\x03\x01".as_slice(), P::Method),
        (b"GET /\r\n", P::Target),
        (b"GET / HTTP/1.1\n", P::BareLineFeed),
        (b"GET / HTTP/3.0\r\n", P::Version),
        (b"GET / HTTP/1.1\r\nHost: a\n", P::BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost : a\r\n", P::FieldName),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n", P::FieldName),
        (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n", P::FieldValue),
    ] {
        let mut buffer = raw.to_vec();
        let read =
            RequestHead::read(&mut buffer, &mut Scan::default(), &mut Spare::default(), &Limits::default());
        assert_eq!(read.map(|_| ()).map_err(|error| error.reason), Err(problem), "{}", raw.escape_ascii());
    }
}

#[test]
fn targets_have_one_form_a_method() {
    for bad in [
        "*",
        "foo",
        "a:80",
        "/a#f",
        "#",
        "/a\\b",
        "/\u{e9}",
        "/\x7f",
        "/%00",
        "/a%00?x",
        "http:/a/",
        "ftp://a/",
        "http://",
        "http:///x",
        "http://u@a/",
        "http://a:99999/",
        "http://a#f",
        "//",
        "?a",
    ] {
        let problem = if bad == "//" { Ok(()) } else { Err(P::Target) };
        check(format!("GET {bad} HTTP/1.1\r\nHost: a\r\n\r\n"), problem);
    }
    check(b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Err(P::Target));
    check(b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", Err(P::Target));
    check("OPTIONS */x HTTP/1.1\r\nHost: a\r\n\r\n", Err(P::Target));
    check("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Ok(()));
    check("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Ok(()));
    check("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", Err(P::Target));
    check("CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", Err(P::Target));
    check("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(()));
}

#[test]
fn the_target_is_kept_byte_for_byte() {
    for (sent, target, path, query) in [
        ("/", "/", "/", None),
        ("/a/../b/./c//d", "/a/../b/./c//d", "/a/../b/./c//d", None),
        ("/public/..%2fadmin", "/public/..%2fadmin", "/public/..%2fadmin", None),
        ("/%2e%2e/Admin%2F", "/%2e%2e/Admin%2F", "/%2e%2e/Admin%2F", None),
        ("/a?b?c=%00", "/a?b?c=%00", "/a", Some("b?c=%00")),
        ("/a?", "/a?", "/a", Some("")),
        ("/{x}|\"y\"^[z]", "/{x}|\"y\"^[z]", "/{x}|\"y\"^[z]", None),
        ("http://a", "/", "/", None),
        ("HTTPS://a/x?y", "/x?y", "/x", Some("y")),
        ("http://a?y", "/?y", "/", Some("y")),
    ] {
        let head = read_request(format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        assert_eq!((head.target(), head.path(), head.query()), (target, path, query), "{sent}");
    }
    let head = read_request(b"OPTIONS http://a HTTP/1.1\r\nHost: b\r\n\r\n").unwrap();
    assert_eq!((head.target(), head.host()), ("*", "a"));
}

#[test]
fn the_host_is_one_and_valid() {
    check("GET / HTTP/1.1\r\n\r\n", Err(P::HostMissing));
    check("GET http://b/ HTTP/1.1\r\n\r\n", Err(P::HostMissing));
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Err(P::HostRepeated));
    check("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", Err(P::HostRepeated));
    check("GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n", Err(P::Host));
    for bad in [
        "",
        "a, b",
        "a,b",
        "a@b",
        "a/b",
        "a b",
        "a:99999",
        "a:65536",
        "a:x",
        "a:",
        "a:080000",
        ":80",
        "a:80:80",
        ".",
        "..",
        ".a",
        "a..b",
        "a..",
        "http://a",
        "[::1",
        "::1",
        "[a]",
        "[::1]x",
        "[::1]:x",
        "[::1%25eth0]",
        "a\\b",
        "a%41",
        "a?b",
        "a#b",
        "\u{e9}",
        "a\tb",
        "[]",
        "[1.2.3.4]",
        "<a>",
        "a;b",
        "*",
    ] {
        check(format!("GET / HTTP/1.1\r\nHost: {bad}\r\n\r\n"), Err(P::Host));
    }
    check(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(256)), Err(P::Host));
    for (sent, host) in [
        ("a.example", "a.example"),
        ("A.Example:443", "a.example"),
        ("a.example.", "a.example"),
        ("A.EXAMPLE.:65535", "a.example"),
        ("a:0", "a"),
        ("127.0.0.1:8080", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ("under_score-1", "under_score-1"),
    ] {
        let head = read_request(format!("GET / HTTP/1.1\r\nHost: {sent}\r\n\r\n").as_bytes()).unwrap();
        assert_eq!((head.host(), head.authority()), (host, sent));
    }
    let head = read_request(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((head.host(), head.authority(), head.keep_alive), ("", "", false));
}

#[test]
fn an_absolute_target_decides_the_host() {
    let head = read_request(b"GET http://B:81/x HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((head.host(), head.authority(), head.target()), ("b", "B:81", "/x"));
    assert_eq!(head.fields.get("host"), Some(b"B:81".as_slice()));
    assert_eq!(forward(&head), b"GET /x HTTP/1.1\r\nHost: B:81\r\nX: y\r\n\r\n");
}

#[test]
fn limits_have_their_status() {
    let check = |raw: String, status: u16| {
        let error = read_request(raw.as_bytes()).unwrap_err();
        assert_eq!(error.status, status, "{:?}", error.reason);
        self::check(raw, Err(error.reason));
    };
    let fields = |count: usize| "X: y\r\n".repeat(count);
    check(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(16 * 1024)), 414);
    check(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(64 * 1024)), 414);
    check(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(64 * 1024)), 431);
    check(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(256 * 1024)), 431);
    check(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(100)), 431);
    check(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(10_000)), 431);
    self::check(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(99)), Ok(()));
    self::check(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(16 * 1024 - 1)), Ok(()));
    let raw = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(500));
    let limits = Limits { fields: 501, ..Limits::default() };
    let read = RequestHead::read(&mut raw.into_bytes(), &mut Scan::default(), &mut Spare::default(), &limits);
    assert_eq!(read.unwrap().unwrap().fields.len(), 501);
}

#[test]
fn connection_options_are_understood() {
    for (version, connection, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, ,CLOSE\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let raw = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
        assert_eq!(read_request(raw.as_bytes()).unwrap().keep_alive, keep_alive, "{raw}");
    }
    check_fields("Connection: content-length\r\n", Err(P::ConnectionOption));
    check_fields(&format!("Connection: {}\r\n", "x,".repeat(32)), Ok(()));
    check_fields(&format!("Connection: {}\r\n", "x,".repeat(33)), Err(P::ConnectionOption));
    check_fields(&format!("Connection: {}\r\n", ",".repeat(60_000)), Ok(()));
    check_fields("Connection: close, Transfer-Encoding\r\n", Err(P::ConnectionOption));
    check_fields("Connection: close\r\nConnection: transfer_encoding\r\n", Err(P::ConnectionOption));
}

#[test]
fn expectations_are_one() {
    let expects = |raw: &str| read_request(raw.as_bytes()).map(|head| head.expect_continue);
    let host = "HTTP/1.1\r\nHost: a\r\n";
    assert_eq!(expects(&format!("PUT / {host}Content-Length: 1\r\nExpect: 100-Continue\r\n\r\n")), Ok(true));
    assert_eq!(
        expects(&format!("PUT / {host}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")),
        Ok(true)
    );
    assert_eq!(expects(&format!("GET / {host}Expect: 100-continue\r\n\r\n")), Ok(false));
    assert_eq!(expects("PUT / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"), Ok(false));
    for bad in ["y 100-continue", "100-continue, x", "", "200-ok"] {
        let error = expects(&format!("PUT / {host}Content-Length: 1\r\nExpect: {bad}\r\n\r\n")).unwrap_err();
        assert_eq!(error.status, 417);
    }
    check_fields("Expect: 100-continue\r\nExpect: 100-continue\r\n", Err(P::Expectation));
}

#[test]
fn upgrades_need_field_and_option() {
    for (fields, token) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", Some("websocket")),
        ("Connection: keep-alive, upgrade\r\nUpgrade: foo, bar/1\r\n", Some("foo, bar/1")),
        ("Upgrade: websocket\r\n", None),
        ("Connection: upgrade\r\n", None),
        ("Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", None),
        ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n", Some("h2c")),
    ] {
        let mut head = read_request(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).unwrap();
        head.fields.remove_hop_by_hop();
        assert_eq!(lines(&head.fields), ["Host: a"]);
        assert_eq!((head.upgrade_token(), head.upgrade), (token, token.is_some()), "{fields}");
    }
}

#[test]
fn what_follows_a_head_stays() {
    let mut buffer =
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: b\r\n\r\n"
            .to_vec();
    let (mut scan, mut spare, limits) = (Scan::default(), Spare::default(), Limits::default());
    let first = RequestHead::read(&mut buffer, &mut scan, &mut spare, &limits).unwrap().unwrap();
    assert_eq!((first.method(), first.method_kind, first.target()), ("POST", Method::Post, "/1"));
    assert!(buffer.starts_with(b"abcGET"));
    buffer.drain(..3);
    let second = RequestHead::read(&mut buffer, &mut scan, &mut spare, &limits).unwrap().unwrap();
    assert_eq!((second.target(), second.host(), buffer.len()), ("/2", "b", 0));
    first.recycle(&mut spare);
    second.recycle(&mut spare);
    assert!(RequestHead::read(&mut buffer, &mut scan, &mut spare, &limits).unwrap().is_none());
}

#[test]
fn requests_are_written_anew() {
    let raw = b"POST /x?y HTTP/1.1\r\nhost:  A:80 \r\nUser-AGENT:curl\r\nX-A: 1\r\nConnection: close, x-b\r\nX-B: 2\r\n\
        TE: trailers\r\nContent-Length: 0003\r\nx-a:\t2\r\nTrailer: X\r\nKeep-Alive: 5\r\nAuthorization: z\r\n\
        Proxy-Authorization: q\r\nExpect: 100-continue\r\n\r\n";
    let mut head = read_request(raw).unwrap();
    head.fields.remove_hop_by_hop();
    assert!(head.trailers_accepted);
    let fields = "User-AGENT: curl\r\nX-A: 1\r\nx-a: 2\r\n";
    assert_eq!(
        String::from_utf8(forward(&head)).unwrap(),
        format!(
            "POST /x?y HTTP/1.1\r\nHost: A:80\r\n{fields}Authorization: z\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
    );
    head.set_target("/new").unwrap();
    let options = RequestWrite {
        host: Some("other"),
        body: BodyLength::Chunked,
        upgrade: Some("websocket"),
        trailers: true,
        expect_continue: false,
    };
    let mut out = Vec::new();
    head.write_http1(&mut out, &options);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!(
            "POST /new HTTP/1.1\r\nHost: other\r\n{fields}Trailer: X\r\nAuthorization: z\r\nTransfer-Encoding: chunked\r\n\
             Upgrade: websocket\r\nTE: trailers\r\nConnection: Upgrade, TE\r\n\r\n"
        )
    );
}

#[test]
fn new_targets_are_checked() {
    let mut head = read_request(b"GET /old?q HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    for bad in ["", "x", "*", "/a b", "/a\r\n", "/#", "/\u{e9}", "http://b/"] {
        assert_eq!(head.set_target(bad), Err(InvalidTarget), "{bad:?}");
    }
    assert_eq!(head.target(), "/old?q");
    head.set_target("/new?x=1&y&=&&z=a=b").unwrap();
    assert_eq!((head.path(), head.query()), ("/new", Some("x=1&y&=&&z=a=b")));
    assert_eq!(head.query_pairs().collect::<Vec<_>>(), [("x", "1"), ("y", ""), ("", ""), ("z", "a=b")]);
}

#[test]
fn cookies_are_pairs() {
    let raw = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1; b=2;c\r\ncookie: d=\"4=5\"; \xff=x; \r\n\r\n";
    let head = read_request(raw).unwrap();
    assert_eq!(head.cookies().collect::<Vec<_>>(), [("a", "1"), ("b", "2"), ("c", ""), ("d", "\"4=5\"")]);
}
