//! Middlewares that shape, ask, copy and tell.

use super::*;

const KEY: &str = "middlewares/m";

#[track_caller]
fn same(kind: &str, spec: &str) {
    check_same(KEY, &format!(r#"{{"Type":"{kind}","Middleware":{spec}}}"#));
}

#[track_caller]
fn becomes(kind: &str, spec: &str, written: Option<&str>, findings: &[&str]) {
    let value = |spec: &str| format!(r#"{{"Type":"{kind}","Middleware":{spec}}}"#);
    check(KEY, &value(spec), written.map(value).as_deref(), findings);
}

#[test]
fn cors() {
    same(
        "cors",
        r#"{"AllowOrigins":["https://shop.example","https://*.shop.example:8443","http://[::1]:81","app+x://a"],"AllowMethods":["PUT"],"AllowHeaders":["X-A"],"ExposeHeaders":["X-B"],"AllowCredentials":true,"MaxAge":"10m0s"}"#,
    );
    same("cors", r#"{"AllowOrigins":["*"],"AllowHeaders":["*"]}"#);
    becomes("cors", "{}", None, &["e Middleware.AllowOrigins: is missing"]);
    becomes("cors", r#"{"AllowOrigins":[]}"#, None, &["e Middleware.AllowOrigins: is missing"]);
    for wrong in [
        "shop.example",
        "https://shop.example/",
        "https://Shop.example",
        "HTTPS://shop.example",
        "https://*shop.example",
        "https://a.*.example",
        "https://*",
        "https://u@shop.example",
        "https://shop.example:x",
        "https://shop.example:080",
        "http://[::0001]",
        "https://",
        "",
    ] {
        let spec = serde_json::json!({ "AllowOrigins": [wrong] }).to_string();
        becomes("cors", &spec, None, &["e Middleware.AllowOrigins[0]: "]);
    }
    becomes(
        "cors",
        r#"{"AllowOrigins":["https://a:443","null"],"AllowMethods":["P T"],"AllowHeaders":["Connection"],"MaxAge":"25h"}"#,
        None,
        &[
            "AllowOrigins[0]: \"https://a:443\" has its scheme's own port",
            "AllowOrigins[1]: \"null\" is what pages of no origin send",
            "AllowMethods[0]: \"P T\" is no method",
            "AllowHeaders[0]: \"Connection\" belongs to the connection",
            "MaxAge: is 25h0m0s; at most 24h0m0s is allowed",
        ],
    );
    for stars in [
        r#"{"AllowOrigins":["*"],"AllowCredentials":true}"#,
        r#"{"AllowOrigins":["https://a"],"AllowHeaders":["*"],"AllowCredentials":true}"#,
    ] {
        becomes("cors", stars, None, &["e Middleware.AllowCredentials: stands beside a `*`"]);
    }
}

#[test]
fn compress() {
    same("compress", "{}");
    same(
        "compress",
        r#"{"Types":["text/event-stream","application/*+json"],"MinBytes":0,"Level":9,"Algorithms":["gzip","br"]}"#,
    );
    becomes("compress", r#"{"MinBytes":1024,"Level":0,"Types":[],"Algorithms":[]}"#, Some("{}"), &[]);
    becomes(
        "compress",
        r#"{"Types":["html","*/*","text/*x*"],"MinBytes":-1,"Level":10,"Algorithms":["gzip","gzip","brotli"]}"#,
        None,
        &[
            "Types[0]: \"html\" is no content type",
            "Types[1]: \"*/*\" is no content type",
            "Types[2]: \"text/*x*\" is no content type",
            "MinBytes: is -1; from 0 to 4294967295 is allowed",
            "Level: is 10; from 0 to 9 is allowed",
            "Algorithms[1]: is \"gzip\", which stands here twice",
            "Algorithms[2]: is \"brotli\"; one of zstd, br, gzip is expected",
        ],
    );
}

#[test]
fn forwardauth() {
    same("forwardauth", r#"{"BackendId":"auth"}"#);
    same(
        "forwardauth",
        r#"{"BackendId":"auth","Path":"/verify?x=1","RequestHeaders":[],"ResponseHeaders":["X-User"],"Timeout":"300ms","FailOpen":true}"#,
    );
    becomes(
        "forwardauth",
        r#"{"BackendId":"auth","RequestHeaders":["Authorization","Cookie"],"Timeout":"5s","Path":""}"#,
        Some(r#"{"BackendId":"auth"}"#),
        &[],
    );
    becomes(
        "forwardauth",
        "{}",
        None,
        &["e Middleware.BackendId: is missing: the id of the auth service's backend"],
    );
    becomes(
        "forwardauth",
        r#"{"BackendId":"a/b","Path":"verify","RequestHeaders":["Host","X Y"],"ResponseHeaders":["X-Forwarded-For","Connection"],"Timeout":"6m"}"#,
        None,
        &[
            "BackendId: \"a/b\" an id cannot contain '/'",
            "Path: is \"verify\"; a path is expected",
            "RequestHeaders[0]: \"Host\" is filled in by the proxy itself",
            "RequestHeaders[1]: \"X Y\" is no name",
            "ResponseHeaders[0]: \"X-Forwarded-For\" is filled in by the proxy itself",
            "ResponseHeaders[1]: \"Connection\" belongs to the connection",
            "Timeout: is 6m0s; at most 5m0s is allowed",
        ],
    );
}

#[test]
fn mirror() {
    same("mirror", r#"{"BackendId":"copy"}"#);
    same("mirror", r#"{"BackendId":"copy","Percent":1,"MaxBodyBytes":0}"#);
    becomes(
        "mirror",
        r#"{"Percent":101,"MaxBodyBytes":1048577}"#,
        None,
        &[
            "BackendId: is missing: the id of the mirror's backend",
            "Percent: is 101; from 1 to 100 is allowed",
            "MaxBodyBytes: is 1048577; from 0 to 1048576 is allowed",
        ],
    );
}

#[test]
fn trace() {
    for address in [
        "stdout",
        "file:///var/log/flipgate/trace",
        "syslog://",
        "syslog:///dev/log",
        "syslog://logs.example",
        "syslog://[::1]:5514?f=LOG_LOCAL7&sev=ERR&prefix=%40x%3A+",
        "syslog://10.0.0.1:514/ignored?f=&sev=&prefix=",
    ] {
        same("trace", &serde_json::json!({ "ReqHeaders": ["Host"], "Addr": address }).to_string());
    }
    let target = |address: &str| {
        let value = format!(r#"{{"Type":"trace","Middleware":{{"Addr":"{address}"}}}}"#);
        match parse(KEY, &value, Strictness::Written).object {
            Some(Object::Middleware(Middleware { spec: MiddlewareSpec::Trace(spec), .. })) => {
                spec.address.target.clone()
            }
            other => panic!("{other:?}"),
        }
    };
    let udp = |to: &str, priority, prefix: &str| TraceTarget::Syslog {
        to: SyslogPlace::Udp(to.into()),
        priority,
        prefix: prefix.into(),
    };
    assert_eq!(target("syslog://logs.example"), udp("logs.example:514", 16 * 8 + 7, "@cee: "));
    assert_eq!(
        target("syslog://[::1]:5514?f=USER&sev=ALERT&prefix=%40x%3A+"),
        udp("[::1]:5514", 8 + 1, "@x: ")
    );
    let local = TraceTarget::Syslog { to: SyslogPlace::Local, priority: 135, prefix: "@cee: ".into() };
    assert_eq!(target("syslog://"), local);
    for (wrong, reason) in [
        ("http://a", "is no place for traces"),
        ("file://var/log", "is no file"),
        ("file:///var/../etc/passwd", "is no file"),
        ("file:///", "is no file"),
        ("syslog://a:x", "names no host and port"),
        ("syslog://a:0", "names no host and port"),
        ("syslog://a b", "names no host and port"),
        ("syslog:///s?f=LOCAL0", "has the facility \"LOCAL0\"; one of USER, "),
        ("syslog:///s?sev=debug", "has the severity \"debug\"; one of ALERT, "),
        ("syslog:///s?prefix=%0A", "has a prefix that cannot stand in a line"),
        ("syslog:///s?tag=x", "has \"tag\"; f, sev and prefix are known"),
    ] {
        let spec = serde_json::json!({ "Addr": wrong }).to_string();
        becomes("trace", &spec, None, &[reason]);
    }
    becomes(
        "trace",
        r#"{"RespHeaders":["X Y"]}"#,
        None,
        &["RespHeaders[0]: \"X Y\" is no name", "Addr: is missing"],
    );
}
