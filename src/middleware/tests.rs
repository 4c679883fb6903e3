//! What chains make of requests: one line of data each.

mod limits;

use super::*;
use crate::message::BodyLength;
use crate::message::{Limits, Method, RequestWrite, ResponseWrite, Scan, Spare};
use crate::model::{Object, ObjectKey, Strictness};
use proptest::prelude::*;

fn step(id: &str, json: &str) -> Arc<Step> {
    let key = ObjectKey::parse(&format!("middlewares/{id}")).unwrap();
    let parsed = Object::parse(&key, json.as_bytes(), Strictness::Written);
    match parsed.object {
        Some(Object::Middleware(middleware)) => Step::compile(middleware.into(), None),
        _ => panic!("{json}: {:?}", parsed.findings),
    }
}

fn of(kind: &str, spec: &str) -> Chain {
    Chain::compile(&[step("m", &format!(r#"{{"Type":"{kind}","Middleware":{spec}}}"#))])
}

fn rewrite(regexp: &str, replacement: &str, redirect: bool) -> Chain {
    let spec = serde_json::json!({ "Regexp": regexp, "Replacement": replacement, "Redirect": redirect });
    of("rewrite", &spec.to_string())
}

pub(super) fn read(head: &str) -> Option<RequestHead> {
    let mut buffer = head.as_bytes().to_vec();
    RequestHead::read(&mut buffer, &mut Scan::default(), &mut Spare::default(), &Limits::default())
        .ok()
        .flatten()
}

/// What becomes of a GET of `url`: the target and host that go on, or the answer.
fn run(chain: &Chain, url: &str, parameters: &[(&str, &str)]) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut request = match authority {
        "" => read(&format!("GET {target} HTTP/1.0\r\n\r\n")),
        _ => read(&format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n")),
    }?;
    let find = |name: &str| parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let mut visit = Visit::default();
    let context = RequestContext { scheme, client: None, now: Instant::now(), params: &find };
    let verdict = chain.on_request(&mut visit, &mut request, &context);
    Some(match (verdict, visit.host()) {
        (Verdict::Continue, None) => request.target().to_owned(),
        (Verdict::Continue, Some(host)) => format!("{host} {}", request.target()),
        (Verdict::Reply(reply), _) => match reply.fields.first() {
            Some((_, location)) => format!("{} {location}", reply.status),
            None => reply.status.to_string(),
        },
        (Verdict::Ask(Ask::Service(ask)), _) => format!("ask {}{}", ask.backend, ask.path),
        (Verdict::Ask(Ask::Password(_)), _) => "ask".to_owned(),
    })
}

fn plain() -> RequestContext<'static> {
    RequestContext { scheme: "http", client: None, now: Instant::now(), params: &|_| None }
}

#[track_caller]
fn check(chain: &Chain, url: &str, expected: &str) {
    assert_eq!(run(chain, url, &[]).as_deref(), Some(expected), "{url}");
}

#[test]
fn an_empty_chain_changes_nothing() {
    check(&Chain::empty(), "http://a/x?y", "/x?y");
    assert!(Chain::compile(&[]).is_empty());
    assert_eq!(size_of::<Chain>(), 8);
}

#[test]
fn rewrites_may_be_of_the_path_alone() {
    let of_path = |regexp: &str, replacement: &str, redirect: bool| {
        let spec = serde_json::json!({
            "Regexp": regexp, "Replacement": replacement, "Redirect": redirect, "PathOnly": true,
        });
        of("rewrite", &spec.to_string())
    };
    let strip = of_path("^/api(/|$)(.*)$", "/$2", false);
    check(&strip, "http://shop/api", "/");
    check(&strip, "http://shop/api?a=/api/b", "/?a=/api/b");
    check(&strip, "http://shop/api/x/y?a=b", "/x/y?a=b");
    check(&strip, "http://shop/apix?a=b", "/apix?a=b");
    check(&of_path("^.*$", "/new?v=1", false), "http://shop/old?a=b", "/new?v=1&a=b");
    check(&of_path("^/(.*)$", "$1", false), "http://shop/x?a", "/x?a");
    // What the client asks for stays a path, also where it looks like another host.
    check(&of_path("^/a(.*)$", "$1", false), "http://shop/ahttp://evil/x", "/http://evil/x");
    check(&of_path("^/a(.*)$", "/b$1", true), "http://shop/a/x?y", "302 http://shop/b/x?y");
}

#[test]
fn rewrites_see_the_whole_url() {
    let strip = rewrite("^http://shop/api(.*)$", "http://shop$1", false);
    // The client's text must not touch the host, although it would begin with a slash here.
    check(&strip, "http://shop/api/x?y=1", "/x?y=1");
    check(&strip, "http://shop/api", "/");
    check(&strip, "http://shop/api?x", "/?x");
    check(&strip, "http://shop/apish", "400");
    check(&strip, "http://shop/other", "/other");
    check(&strip, "https://shop/api/x", "/api/x");

    check(&rewrite("/old/", "/new/", false), "http://a/old/x", "/new/x");
    check(&rewrite("^http://a(:\\d+)?/(?P<rest>.*)$", "/v2/${rest}", false), "http://a:8080/x", "/v2/x");
    check(&rewrite("^https?://[^/]+/(.*)$", "/$1", false), "https://a//evil/x", "//evil/x");
    check(&rewrite("o", "0", false), "http://host/foo/o", "h0st /f00/0");
    check(&rewrite("x*", "-", false), "http://a/x", "400");
    check(
        &rewrite("^http://a/(\\w+)/(.*)$", "http://$1.b.example/$2", false),
        "http://a/t1/x",
        "t1.b.example /x",
    );
    check(
        &rewrite("^http://a/([^/]+)/(.*)$", "http://$1.b.example/$2", false),
        "http://a/evil.example/x",
        "400",
    );
    check(&rewrite("^http://(.*)$", "https://$1", false), "http://a:81/x", "/x");
    check(&rewrite("^http://a/", "http://b:81/", false), "http://a/x", "b:81 /x");
    check(&rewrite("^http:///", "http:///v1/", false), "http:///x", "/v1/x");
    check(&rewrite("^http:///", "http:///v1/", true), "http:///x", "400");
    check(&rewrite("^http://a", "", false), "http://a/x", "/x");
    check(&rewrite(".*", "nonsense", false), "http://a/x", "400");
    check(&rewrite(".*", "ftp://a/", false), "http://a/x", "400");
    check(&rewrite(".*", "", false), "http://a/x", "400");
    check(&rewrite(".*", "http://a@b/", false), "http://a/x", "400");
    check(&rewrite("nothing", "http://b/", false), "http://a/x", "/x");
    // Text that looks like a template or a reference is data.
    check(
        &rewrite("^http://a/(.*)$", "http://a/v1/$1", false),
        "http://a/{{.Request}}/$1",
        "/v1/{{.Request}}/$1",
    );
    check(&rewrite("/x", "/$$1", false), "http://a/x", "/$1");
    check(&rewrite("(z)?/x$", "/y$1", false), "http://a/x", "/y");
    check(&rewrite("[/]x", "/%0d%0a", false), "http://a/x", "/%0d%0a");
}

#[test]
fn long_captures_are_bounded() {
    let long = "a".repeat(16_000);
    let url = format!("http://a/{long}");
    check(&rewrite("^http://a/(.*)$", "http://a/$1", false), &url, &format!("/{long}"));
    check(&rewrite("^http://a/(.*)$", "http://a/b/$1?c", false), &url, &format!("/b/{long}?c"));
    check(&rewrite("^http://a/(.*)$", "http://a/$1$1", false), &url, "414");
    check(&rewrite("a", "$0$0$0", false), &url, "414");
    check(&of("redirect", r#"{"Scheme":"https"}"#), &url, &format!("302 https://a/{long}"));
    let long_host = format!(r#"{{"Host":"b","Path":"/<p>/{}"}}"#, "c".repeat(1000));
    let parameters = [("p", long.as_str())];
    assert_eq!(run(&of("redirect", &long_host), &url, &parameters).as_deref(), Some("414"));
}

#[test]
fn rewrites_that_redirect_stay_on_their_host() {
    let open = rewrite("^http://shop/old(.*)$", "https://shop.example$1", true);
    check(&open, "http://shop/old/x?y", "302 https://shop.example/x?y");
    check(&open, "http://shop/old", "302 https://shop.example/");
    check(&open, "http://shop/old//evil.example", "302 https://shop.example//evil.example");
    check(&open, "http://shop/old.evil.example/", "400");
    check(&open, "http://shop/old@evil.example/", "400");
    check(&open, "http://shop/old:80/", "400");
    check(&open, "http://shop/oldx", "400");
    let path = rewrite("^http://shop/go/(.*)$", "/$1", true);
    check(&path, "http://shop/go//evil.example/x", "302 http://shop//evil.example/x");
    check(&path, "http://shop/go/%0d%0aSet-Cookie:x", "302 http://shop/%0d%0aSet-Cookie:x");
    let any = rewrite("^http://shop/go/(.*)$", "$1", true);
    check(&any, "http://shop/go/http://evil.example/x", "400");
    check(&any, "http://shop/go//evil.example/x", "302 http://shop/evil.example/x");
    check(&rewrite("^http://(.*)$", "https://$1", true), "http://shop:8080/x", "302 https://shop:8080/x");
    check(&rewrite("^(.*)/$", "$1", true), "http://shop/a/", "302 http://shop/a");
    // A redirect to where the request is already lets it pass.
    check(&rewrite("^(.*)$", "$1", true), "http://shop/a", "/a");
    check(&rewrite("^http://shop(:80)?/", "http://SHOP:80/", true), "http://shop/a", "/a");
}

#[test]
fn redirects_change_what_they_name() {
    let https = of("redirect", r#"{"Scheme":"https"}"#);
    check(&https, "http://shop/x?y=1", "302 https://shop/x?y=1");
    check(&https, "http://shop:8080/x", "302 https://shop/x");
    check(&https, "https://shop/x", "/x");
    check(&https, "http://[::1]:80/x", "302 https://[::1]/x");
    check(&https, "http:///x", "400");
    check(
        &of("redirect", r#"{"Scheme":"https","Port":8443,"Code":308}"#),
        "http://a:1/",
        "308 https://a:8443/",
    );
    check(&of("redirect", r#"{"Scheme":"http"}"#), "https://a:8443/x", "302 http://a/x");
    check(&of("redirect", r#"{"Port":80}"#), "http://a:8080/x", "302 http://a/x");
    check(&of("redirect", r#"{"Port":80}"#), "http://a/x", "/x");

    let host = of("redirect", r#"{"Host":"www.shop.example","Code":301}"#);
    check(&host, "http://shop.example/x?y", "301 http://www.shop.example/x?y");
    check(&host, "http://shop.example:81/x", "301 http://www.shop.example:81/x");
    check(&host, "http://WWW.Shop.Example./x", "/x");
    check(&host, "http:///x", "301 http://www.shop.example/x");
    check(&of("redirect", r#"{"Host":"[::1]"}"#), "http://a/x", "302 http://[::1]/x");

    check(&of("redirect", r#"{"Path":"/new"}"#), "http://a/old?x=1", "302 http://a/new?x=1");
    check(&of("redirect", r#"{"Path":"/new","DropQuery":true}"#), "http://a/old?x=1", "302 http://a/new");
    check(&of("redirect", r#"{"Path":"/new"}"#), "http://a/new?x=1", "/new?x=1");
    check(&of("redirect", r#"{"DropQuery":true}"#), "http://a/x?y", "302 http://a/x");
    check(&of("redirect", r#"{"DropQuery":true}"#), "http://a/x", "/x");

    let prefix = of("redirect", r#"{"PrefixFrom":"/a","PrefixTo":"/b/c"}"#);
    check(&prefix, "http://h/a", "302 http://h/b/c");
    check(&prefix, "http://h/a/x?y", "302 http://h/b/c/x?y");
    check(&prefix, "http://h/a//evil.example", "302 http://h/b/c//evil.example");
    check(&prefix, "http://h/ab", "/ab");
    check(&prefix, "http://h/", "/");
    let strip = of("redirect", r#"{"PrefixFrom":"/a"}"#);
    check(&strip, "http://h/a", "302 http://h/");
    check(&strip, "http://h/a?x", "302 http://h/?x");
    check(&strip, "http://h/a//evil.example/", "302 http://h//evil.example/");
    check(&of("redirect", r#"{"PrefixFrom":"/","PrefixTo":"/b"}"#), "http://h/x", "302 http://h/b/x");
    check(&of("redirect", r#"{"PrefixFrom":"/","PrefixTo":"/b"}"#), "http://h/", "302 http://h/b/");
}

#[test]
fn redirects_stay_on_their_host() {
    let chain = of("redirect", r#"{"Host":"<tenant>.shop.example","Path":"/t/<rest>"}"#);
    assert!(chain.names_parameters());
    assert!(!of("redirect", r#"{"Host":"a"}"#).names_parameters());
    let with = |tenant: &str, rest: &str, expected: &str| {
        let parameters = [("tenant", tenant), ("rest", rest)];
        assert_eq!(run(&chain, "http://a/x?y", &parameters).as_deref(), Some(expected), "{tenant} {rest}");
    };
    with("t1", "a/b", "302 http://t1.shop.example/t/a/b?y");
    with("t1", "", "302 http://t1.shop.example/t/?y");
    with("t1", "%0d%0aX:1", "302 http://t1.shop.example/t/%0d%0aX:1?y");
    with("t1", "<tenant>", "400");
    for tenant in
        ["", "evil.example", "a/b", "a@b", "a:80", "a b", "a\r\n", "\u{fc}", "evil.example%2f", "a\\"]
    {
        with(tenant, "x", "400");
    }
    for rest in ["a\r\nSet-Cookie: x", "a\\b", "a b", "\u{fc}", "\0", "a#b"] {
        with("t1", rest, "400");
    }
    assert_eq!(
        run(&chain, "http://a/x", &[("tenant", "t")]).as_deref(),
        Some("302 http://t.shop.example/t/")
    );
    assert_eq!(run(&chain, "http://a/x", &[]).as_deref(), Some("400"));
}

#[test]
fn what_is_no_url_passes() {
    let chain = of("redirect", r#"{"Scheme":"https"}"#);
    for head in ["OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"] {
        let Some(mut request) = read(head) else { continue };
        let verdict = chain.on_request(&mut Visit::default(), &mut request, &plain());
        assert_eq!(verdict, Verdict::Continue, "{head}");
    }
}

fn written(request: &RequestHead) -> String {
    let options = RequestWrite {
        host: None,
        body: BodyLength::None,
        upgrade: None,
        trailers: false,
        expect_continue: false,
    };
    let mut out = Vec::new();
    request.write_http1(&mut out, &options);
    String::from_utf8(out).unwrap()
}

#[test]
fn headers_are_edited_both_ways() {
    let outer = step(
        "outer",
        r#"{"Priority":-1,"Type":"headers","Middleware":{
            "Request":{"Remove":["X-Old"],"Set":{"X-A":"1","x-b":"b","Host":"h:80"},"Add":{"X-C":["3","4"]}},
            "Response":{"Set":{"Server":"outer"},"Add":{"Set-Cookie":"a=b"},"Remove":["X-Powered-By"]}}}"#,
    );
    let inner = step(
        "inner",
        r#"{"Type":"headers","Middleware":{"Request":{"Set":{"X-A":"2"}},"Response":{"Set":{"Server":"inner"}}}}"#,
    );
    let chain = Chain::compile(&[inner, outer]);
    let mut request =
        read("GET / HTTP/1.1\r\nHost: a\r\nx-old: 1\r\nX-OLD: 2\r\nX-B: x\r\nAccept: */*\r\nX-b: y\r\nX-C: 2\r\n\r\n")
            .unwrap();
    let mut visit = Visit::default();
    assert_eq!(chain.on_request(&mut visit, &mut request, &plain()), Verdict::Continue);
    assert_eq!(visit.host(), Some("h:80"));
    assert_eq!(
        written(&request),
        "GET / HTTP/1.1\r\nHost: a\r\nx-b: b\r\nAccept: */*\r\nX-C: 2\r\nX-A: 2\r\nX-C: 3\r\nX-C: 4\r\n\r\n"
    );

    let mut buffer =
        b"HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: c=d\r\nX-Powered-By: y\r\nContent-Length: 0\r\n\r\n"
            .to_vec();
    let mut response = ResponseHead::read(
        &mut buffer,
        &mut Scan::default(),
        &mut Spare::default(),
        &Limits::default(),
        Method::Get,
    )
    .unwrap()
    .unwrap();
    chain.on_response(&mut visit, &request, &mut response);
    let options = ResponseWrite {
        body: BodyLength::Known(0),
        close: false,
        keep_alive_10: false,
        upgrade: None,
        date: None,
    };
    let mut out = Vec::new();
    response.write_http1(&mut out, &options);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 200 OK\r\nServer: outer\r\nSet-Cookie: c=d\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn steps_run_by_priority_and_see_each_other() {
    let rewrite = |priority: i64, from: &str, to: &str| {
        let json = serde_json::json!({
            "Priority": priority, "Type": "rewrite", "Middleware": { "Regexp": from, "Replacement": to }
        });
        step("r", &json.to_string())
    };
    check(&Chain::compile(&[rewrite(0, "/a$", "/b"), rewrite(0, "/b$", "/c")]), "http://h/a", "/c");
    check(&Chain::compile(&[rewrite(1, "/a$", "/b"), rewrite(0, "/b$", "/c")]), "http://h/a", "/b");
    let redirect = step("x", r#"{"Priority":5,"Type":"redirect","Middleware":{"Scheme":"https"}}"#);
    check(&Chain::compile(&[redirect, rewrite(0, "//h/a$", "//i/b")]), "http://h/a", "302 https://i/b");
}

fn head_of(lines: &str) -> RequestHead {
    read(&format!("POST /a?b HTTP/1.1\r\nHost: shop\r\n{lines}\r\n")).unwrap()
}

#[test]
fn a_chain_goes_on_behind_the_step_that_asked() {
    let rewrite = |id: &str, from: &str, to: &str| {
        let spec = serde_json::json!({ "Regexp": from, "Replacement": to });
        step(id, &serde_json::json!({ "Type": "rewrite", "Middleware": spec }).to_string())
    };
    let asks = |open: bool| {
        let spec = serde_json::json!({ "BackendId": "auth", "Path": "/v", "ResponseHeaders": ["X-User"], "FailOpen": open });
        step("b", &serde_json::json!({ "Type": "forwardauth", "Middleware": spec }).to_string())
    };
    let chain = |open| {
        let steps = [rewrite("a", "/a", "/b"), asks(open), rewrite("c", "/b", "/c"), asks(open)];
        Chain::compile(&steps)
    };
    let told = |status: u16| {
        let fields = vec![("x-user".into(), b"ann".as_slice().into())];
        Some(Told::Service(ServiceAnswer { status, fields, body: None }))
    };
    for (open, answers, expected) in [
        (false, [told(200), told(299)], "/c?b ann"),
        (false, [told(200), told(403)], "403"),
        (false, [told(300), None], "300"),
        (false, [told(200), None], "503"),
        (true, [None, told(200)], "/c?b ann"),
        (true, [told(200), None], "/c?b -"),
        (true, [told(401), None], "401"),
    ] {
        let chain = chain(open);
        assert_eq!(chain.backends().len(), 2);
        let mut request =
            head_of("X-User: root\r\nX_user: root\r\nAuthorization: x\r\nCookie: c\r\nX-Other: y\r\n");
        let mut visit = Visit::default();
        let mut verdict = chain.on_request(&mut visit, &mut request, &plain());
        for answer in answers {
            let Verdict::Ask(Ask::Service(ask)) = &verdict else { break };
            assert_eq!((ask.backend.as_str(), &*ask.path), ("auth", "/v"));
            let told = |name: &str| {
                let found = ask.fields.iter().find(|(known, _)| &**known == name);
                found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            };
            assert_eq!(told("Authorization").as_deref(), Some("x"));
            assert_eq!(told("X-Original-URL").as_deref(), Some("http://shop/a?b"), "as it was sent");
            assert_eq!(told("X-Other"), None);
            let ask = Ask::Service(ask.clone());
            verdict = chain.resume(&mut visit, &mut request, &plain(), &ask, answer);
        }
        let outcome = match verdict {
            Verdict::Continue => {
                let users: Vec<_> = request.fields.get_all("X-User").map(String::from_utf8_lossy).collect();
                let users = if users.is_empty() { "-".to_owned() } else { users.join(",") };
                assert!(request.fields.get("X_user").is_none());
                format!("{} {users}", request.target())
            }
            Verdict::Reply(reply) => {
                assert_eq!(reply.reason, Some(Reason::Auth));
                reply.status.to_string()
            }
            Verdict::Ask(_) => "asks".to_owned(),
        };
        assert_eq!(outcome, expected);
    }
}

#[test]
fn traces_have_vulcands_form() {
    let spec = r#"{"Type":"trace","Middleware":{"Addr":"stdout","ReqHeaders":["X-A","X-B"]}}"#;
    let chain = Chain::compile(&[step("t", spec)]);
    let mut request = head_of("x-a: 1\r\nX-A: \"2\"\r\n");
    let mut visit = Visit::default();
    assert_eq!(chain.on_request(&mut visit, &mut request, &plain()), Verdict::Continue);
    let facts = TraceFacts {
        method: request.method(),
        tls: Some(("TLSv1.3", "TLS13_AES_128_GCM_SHA256")),
        tls_resumed: true,
        tls_server: "shop",
        bytes_in: 5,
        status: 204,
        bytes_out: 0,
        roundtrip: Duration::from_micros(1500),
    };
    let mut traces = visit.take_traces();
    assert_eq!((traces.len(), visit.take_traces().len()), (1, 0));
    assert_eq!(
        traces.remove(0).record(&facts),
        concat!(
            r#"{"request":{"method":"POST","body_bytes":5,"url":"/a?b","#,
            r#""headers":{"X-A":["1","\"2\""]},"tls":{"version":"TLS13","resume":true,"#,
            r#""cipher_suite":"TLS13_AES_128_GCM_SHA256","server":"shop"}},"#,
            r#""response":{"code":204,"roundtrip":1.5,"body_bytes":0}}"#
        )
    );

    // Whoever sends more than a record holds is told of without it.
    let mut request = head_of(&format!("x-a: {}\r\n", "\\".repeat(20_000)));
    chain.on_request(&mut visit, &mut request, &plain());
    let text = visit.take_traces().remove(0).record(&TraceFacts { method: request.method(), ..facts });
    assert!(text.contains(r#""url":"/a?b""#) && !text.contains("X-A"), "{} bytes", text.len());
}

/// The host of a location as the strictest and the laxest reader take it.
fn is_on(location: &str, host: &str) -> bool {
    let Some((_, rest)) = location.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let given = authority.rsplit_once(':').map_or(authority, |(given, _)| given);
    !authority.contains('@') && given.eq_ignore_ascii_case(host)
}

proptest! {
    #[test]
    fn no_request_chooses_where_it_is_sent(
        target in "/[a-z./@:%?\\\\&=0-9{}$<>|-]{0,24}|/old[.@:/a-z0-9\\\\]{0,12}|/old(//?|/\\\\)?evil\\.example/?",
        parameter in "[a-z./@:%\\\\?#\r\n -]{0,12}",
    ) {
        let rules = [
            of("redirect", r#"{"Host":"shop.example"}"#),
            of("redirect", r#"{"Host":"shop.example","Path":"/x/<p>"}"#),
            of("redirect", r#"{"Host":"shop.example","PrefixFrom":"/old"}"#),
            rewrite("^http://a/old(.*)$", "https://shop.example$1", true),
            rewrite("^http://a/(.*)$", "https://shop.example/$1", true),
            rewrite("^http://a(.*)$", "https://shop.example$1", true),
        ];
        for chain in rules {
            let outcome = run(&chain, &format!("http://a{target}"), &[("p", &parameter)]);
            if let Some((_, location)) = outcome.as_deref().and_then(|text| text.split_once(' ')) {
                prop_assert!(is_on(location, "shop.example"), "{}", location);
                prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "{}", location);
            }
        }
        let at_home = rewrite("^http://a/old/?(.*)$", "/$1", true);
        let outcome = run(&at_home, &format!("http://a{target}"), &[]);
        if let Some((_, location)) = outcome.as_deref().and_then(|text| text.split_once(' ')) {
            prop_assert!(is_on(location, "a"), "{}", location);
        }
    }

    #[test]
    fn any_rewrite_ends(
        regexp in "[a-z/:.*+?()|^$\\[\\]-]{0,12}",
        replacement in "(http://a)?[a-z/:$0-2{}?]{0,12}",
        target in "/[a-z/]{0,12}",
        redirect in any::<bool>(),
    ) {
        let json = serde_json::json!({
            "Type": "rewrite",
            "Middleware": { "Regexp": regexp, "Replacement": replacement, "Redirect": redirect }
        });
        let key = ObjectKey::parse("middlewares/m").unwrap();
        if let Some(Object::Middleware(middleware)) = Object::parse_value(&key, &json, Strictness::Stored).object {
            run(&Chain::compile(&[Step::compile(middleware.into(), None)]), &format!("http://a{target}"), &[]);
        }
    }
}

/// Every request makes and drops one, also where no middleware runs.
#[test]
fn a_visit_is_small() {
    assert!(size_of::<Visit>() <= 96, "{} bytes; what few steps note belongs to `Rare`", size_of::<Visit>());
}
