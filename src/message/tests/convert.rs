use super::HeadProblem as P;
use super::*;

fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> http::request::Parts {
    let mut request = http::Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn from(method: &str, uri: &str, fields: &[(&str, &str)], end: bool) -> Result<RequestHead, HeadError> {
    let parts = parts(method, uri, fields);
    RequestHead::from_http(&parts, None, end, &mut Spare::default(), &Limits::default())
}

#[track_caller]
fn refused(method: &str, uri: &str, fields: &[(&str, &str)], problem: P) {
    assert_eq!(
        from(method, uri, fields, true).map(drop).map_err(|error| error.reason),
        Err(problem),
        "{fields:?}"
    );
}

#[test]
fn requests_of_http2_come_as_heads() {
    let fields = [
        ("cookie", "a=1"),
        ("x-a", "1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("cookie", ""),
        ("x-a", "2"),
        ("cookie", "c=3"),
        ("cookie", ""),
    ];
    let head = from("GET", "https://A.example:443/p?q", &fields, true).unwrap();
    assert_eq!((head.method(), head.target(), head.path(), head.query()), ("GET", "/p?q", "/p", Some("q")));
    assert_eq!((head.host(), head.authority(), head.version), ("a.example", "A.example:443", Version::H2));
    assert!(head.trailers_accepted && head.keep_alive);
    assert_eq!(head.body, BodyLength::None);
    assert_eq!(
        forward(&head),
        b"GET /p?q HTTP/1.1\r\nHost: A.example:443\r\ncookie: a=1; b=2; c=3\r\nx-a: 1\r\nx-a: 2\r\n\r\n"
    );
}

#[test]
fn bodies_of_http2_have_their_length() {
    for (fields, end, body) in [
        (vec![], true, BodyLength::None),
        (vec![], false, BodyLength::Chunked),
        (vec![("content-length", "5")], false, BodyLength::Known(5)),
        (vec![("content-length", "0")], true, BodyLength::Known(0)),
    ] {
        let waiting = [&fields[..], &[("expect", "100-continue")]].concat();
        let head = from("POST", "https://a/", &waiting, end).unwrap();
        let has_body = matches!(body, BodyLength::Chunked | BodyLength::Known(1..));
        assert_eq!((head.body, head.expect_continue), (body, has_body));
    }
    assert!(
        !from("POST", "https://a/", &[("content-length", "0"), ("expect", "100-continue")], false)
            .unwrap()
            .expect_continue
    );
    refused("POST", "https://a/", &[("content-length", "5")], P::ContentLength);
    refused("POST", "https://a/", &[("content-length", "x")], P::ContentLength);
    refused(
        "POST",
        "https://a/",
        &[("content-length", "5"), ("content-length", "5")],
        P::ContentLengthRepeated,
    );
}

#[test]
fn malformed_requests_of_http2_are_refused() {
    for name in
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings"]
    {
        refused("GET", "https://a/", &[(name, "x")], P::ConnectionField);
    }
    refused("GET", "https://a/", &[("te", "gzip")], P::ConnectionField);
    refused("GET", "https://a/", &[("host", "b")], P::HostRepeated);
    refused("GET", "https://a/", &[("host", "a"), ("host", "a")], P::HostRepeated);
    refused("GET", "/", &[], P::HostMissing);
    refused("GET", "/", &[("host", "a b")], P::Host);
    refused("GET", "https://u@a/", &[], P::Host);
    refused("GET", "https://a/\\", &[], P::Target);
    refused(&"A".repeat(33), "https://a/", &[], P::MethodTooLong);
    refused("GET", "https://a/%00", &[], P::Target);
    refused("GET", "*", &[("host", "a")], P::Target);
    refused("GET", "https://a/", &[("x", " y")], P::FieldValue);
    refused("GET", "https://a/", &[("x", "y\t")], P::FieldValue);
    refused("GET", "https://a/", &[("content_length", "1")], P::FieldAlias);
    refused("GET", "https://a/", &[("expect", "x")], P::Expectation);
    refused("GET", "https://a/", &vec![("x", "y"); 101], P::TooManyFields);
    refused("GET", "https://a/", &[("x", &"y".repeat(70_000))], P::HeadTooLong);
    refused("GET", "https://a/", &vec![("cookie", &*"y".repeat(10_000)); 7], P::HeadTooLong);
    refused("GET", &format!("https://a/{}", "y".repeat(17_000)), &[], P::TargetTooLong);
    let head = from("GET", "https://a/", &[("host", "A"), ("x_forwarded_for", "1")], true).unwrap();
    assert_eq!(lines(&head.fields), ["host: a"]);
    assert_eq!(from("GET", "/", &[("host", "a")], true).unwrap().host(), "a");
    assert_eq!(from("OPTIONS", "*", &[("host", "a")], true).unwrap().target(), "*");
}

#[test]
fn answers_go_to_http2() {
    let raw = b"HTTP/1.1 200 OK\r\nContent-Length: 05\r\nConnection: close\r\nKeep-Alive: 1\r\nSet-Cookie: a\r\nSET-COOKIE: b\r\nX: \xff\r\n\r\n";
    let out = read_response(raw, Method::Get).unwrap().to_http();
    assert_eq!(out.status(), 200);
    let fields: Vec<_> =
        out.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(
        fields,
        [("set-cookie", b"a".as_slice()), ("set-cookie", b"b"), ("x", b"\xff"), ("content-length", b"5")]
    );
    let out = read_response(b"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", Method::Get).unwrap().to_http();
    assert!(out.headers().is_empty());
    let out = read_response(b"HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\n", Method::Head).unwrap().to_http();
    assert_eq!(out.headers()["content-length"], "5");
}

#[test]
fn requests_go_to_http2() {
    let raw = b"PUT /a?b HTTP/1.1\r\nHost: a:81\r\nConnection: close\r\nContent-Length: 5\r\nX: y\r\nTE: gzip\r\n\r\n";
    let head = read_request(raw).unwrap();
    let out = head.to_http("http", None, head.body, true).unwrap();
    assert_eq!((out.method().as_str(), out.uri().to_string().as_str()), ("PUT", "http://a:81/a?b"));
    let fields: Vec<_> =
        out.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(fields, [("x", b"y".as_slice()), ("content-length", b"5"), ("te", b"trailers")]);
}

#[test]
fn answers_of_http2_come_as_heads() {
    let from = |status: u16, fields: &[(&str, &str)], end: bool, to: Method| {
        let mut response = http::Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let parts = response.body(()).unwrap().into_parts().0;
        ResponseHead::from_http(&parts, end, to, &mut Spare::default(), &Limits::default())
            .map(|head| (head.body, String::from_utf8(answer(&head)).unwrap()))
            .map_err(|error| error.reason)
    };
    let length = [("content-length", "5")];
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    assert_eq!(from(200, &[], false, Method::Get), Ok((BodyLength::Chunked, chunked)));
    let known = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_owned();
    assert_eq!(from(200, &length, false, Method::Get), Ok((BodyLength::Known(5), known.clone())));
    assert_eq!(from(200, &length, true, Method::Head), Ok((BodyLength::None, known)));
    assert_eq!(from(200, &length, true, Method::Get), Err(P::ContentLength));
    assert_eq!(from(200, &[("connection", "close")], true, Method::Get), Err(P::ConnectionField));
}

#[test]
fn requests_of_another_http1_stack_come_as_heads() {
    let from = |version, fields: &[(&str, &str)], end| {
        let mut parts = parts("POST", "/", fields);
        parts.version = version;
        let known = if end { Some(0) } else { None };
        RequestHead::from_http(&parts, known, end, &mut Spare::default(), &Limits::default()).unwrap()
    };
    let of_connection = [
        ("host", "a.example"),
        ("connection", "x-a, upgrade"),
        ("upgrade", "websocket"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip, trailers"),
        ("x-a", "1"),
        ("x-b", "2"),
    ];
    let mut head = from(http::Version::HTTP_11, &of_connection, true);
    assert_eq!((head.version, head.upgrade, head.trailers_accepted), (Version::H11, true, true));
    assert_eq!(head.upgrade_token(), Some("websocket"));
    head.fields.remove_hop_by_hop();
    let left = head.fields.iter().map(|field| field.name.to_owned()).collect::<Vec<_>>();
    assert_eq!(left, ["host", "x-b"]);

    let both = [("host", "a.example"), ("transfer-encoding", "chunked"), ("content-length", "3")];
    let head = from(http::Version::HTTP_11, &both, false);
    assert_eq!(head.body, BodyLength::Chunked, "the coding was undone, and overrode the length");
    assert!(!head.fields.contains(Known::ContentLength) && !head.fields.contains(Known::TransferEncoding));

    let old =
        [("host", "a.example"), ("expect", "100-continue"), ("connection", "upgrade"), ("upgrade", "x")];
    let head = from(http::Version::HTTP_10, &old, false);
    assert_eq!((head.version, head.upgrade, head.expect_continue), (Version::H10, false, false));
}
