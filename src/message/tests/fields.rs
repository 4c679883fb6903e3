use super::*;

fn head(fields: &str) -> RequestHead {
    read_request(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).unwrap()
}

#[test]
fn every_known_name_is_known_in_any_case() {
    for known in Known::ALL {
        let name = known.name();
        assert_eq!(Known::of(name), *known);
        assert_eq!(Known::of(&name.to_lowercase()), *known);
        assert_eq!(Known::of(&name.to_uppercase()), *known);
        assert_eq!(Known::of(&format!("{name}x")), Known::Other);
        let changed = format!("{}~", name.get(..name.len() - 1).unwrap());
        assert_eq!(Known::of(&changed), Known::Other);
    }
    for other in
        ["", "x", "accept", "x-forwarded-prefix", "content-language", "user-agent", "x-frame-options"]
    {
        assert_eq!(Known::of(other), Known::Other);
    }
}

#[test]
fn edits_keep_order_and_case() {
    let mut fields = head("X-A: 1\r\nx-b: 2\r\nX-a: 3\r\nVia: v\r\n").fields;
    assert_eq!(fields.get("x-A"), Some(b"1".as_slice()));
    assert_eq!(fields.get_all("X-A").count(), 2);
    fields.set("x-A", b"new").unwrap();
    fields.set("via", b"w").unwrap();
    fields.add("X-B", b"4").unwrap();
    fields.set("X-C", b"").unwrap();
    fields.set_with("X-Forwarded-For", |out| out.extend_from_slice(b"10.0.0.1"));
    let expected =
        ["Host: a", "x-A: new", "x-b: 2", "via: w", "X-B: 4", "X-C: ", "X-Forwarded-For: 10.0.0.1"];
    assert_eq!(lines(&fields), expected);
    assert!(fields.contains(Known::XForwardedFor));
    fields.remove("X-b");
    fields.remove_known(Known::Via);
    assert_eq!(lines(&fields), ["Host: a", "x-A: new", "X-C: ", "X-Forwarded-For: 10.0.0.1"]);
    assert_eq!((fields.known(Known::Via), fields.contains(Known::Via), fields.len()), (None, false, 4));
}

#[test]
fn fields_that_cannot_be_sent_are_refused() {
    let mut fields = head("X-A: 1\r\n").fields;
    for (name, value) in [
        ("", b"x".as_slice()),
        ("a b", b"x"),
        ("a:", b"x"),
        ("a\r\nb", b"x"),
        ("X-A", b"a\r\nB: c"),
        ("X-A", b"a\0"),
        ("X-A", b"a\x7f"),
        ("X-A", b" a"),
        ("X-A", b"a\t"),
    ] {
        assert_eq!(fields.set(name, value), Err(InvalidField));
        assert_eq!(fields.add(name, value), Err(InvalidField));
    }
    assert_eq!(lines(&fields), ["Host: a", "X-A: 1"]);
    fields.set_with("X-A", |out| out.extend_from_slice(b"a\r\nB: c"));
    assert_eq!(lines(&fields), ["Host: a"]);
}

#[test]
fn what_belongs_to_a_connection_ends_here() {
    for (sent, kept) in [
        ("Connection: close, X-A ,x-b\r\nX-A: 1\r\nX-C: 2\r\nx-B: 3\r\nX-a: 4\r\n", vec!["X-C: 2"]),
        ("Connection: X-A\r\nConnection: X-B\r\nX-A: 1\r\nX-B: 2\r\n", vec![]),
        (
            "connection: close, X-Forwarded-For, X-Forwarded-Proto, X-Real-IP, Host, Cookie, Authorization\r\n\
             X-Forwarded-For: 1\r\nX-Forwarded-Proto: 2\r\nX-Real-IP: 3\r\nCookie: 4\r\nAuthorization: 5\r\n",
            vec!["X-Forwarded-For: 1", "X-Forwarded-Proto: 2", "X-Real-IP: 3"],
        ),
        (
            "Keep-Alive: 1\r\nProxy-Connection: x\r\nTE: gzip\r\nUpgrade: x\r\nHTTP2-Settings: x\r\n\
             Proxy-Authorization: x\r\nProxy-Authenticate: x\r\nX: y\r\n",
            vec!["X: y"],
        ),
        ("Connection: connection, keep-alive, te\r\nTE: trailers\r\n", vec![]),
    ] {
        let mut fields = head(sent).fields;
        fields.remove_hop_by_hop();
        let expected: Vec<&str> = ["Host: a"].into_iter().chain(kept).collect();
        assert_eq!(lines(&fields), expected, "{sent}");
    }
}

#[test]
fn what_a_trailer_may_not_be() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Host",
        "X-Forwarded-For",
        "x-forwarded-prefix",
        "X_Forwarded_For",
        "Authorization",
        "Set-Cookie",
        "Cookie",
        "Trailer",
        "TE",
        "Connection",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Cache-Control",
        "X-Real-IP",
        "content_length",
        "If-Match",
        "Range",
        "Age",
        "WWW-Authenticate",
    ] {
        assert!(forbidden_trailer(name), "{name}");
    }
    for name in ["grpc-status", "grpc-message", "Server-Timing", "Digest", "X-Checksum", "ETag"] {
        assert!(!forbidden_trailer(name), "{name}");
    }
}
