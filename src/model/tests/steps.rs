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
