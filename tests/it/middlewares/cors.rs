//! `cors`, as browsers ask.

use super::way::{PROTOCOLS, Way};
use crate::support::{Recorder, shared};
use serde_json::json;

#[test]
fn pages_of_named_origins_get_in() {
    let _machine = shared();
    let server = Recorder::answering(
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nVary: Accept\r\nAccess-Control-Allow-Origin: *\r\n\r\nseen",
    );
    let cors = json!({"AllowOrigins": ["https://shop.example", "https://*.shop.example"],
                      "AllowMethods": ["PUT", "DELETE"], "AllowHeaders": ["X-Token"], "ExposeHeaders": ["X-Id"],
                      "AllowCredentials": true, "MaxAge": "10m"});
    let hides = json!({"Request": {"Remove": ["Origin"]}});
    let way = Way::new(server.address(), &[("a", "cors", cors), ("b", "headers", hides)]);
    for protocol in PROTOCOLS {
        for (origin, allowed) in [
            ("https://shop.example", true),
            ("https://a.shop.example", true),
            ("https://evil.example", false),
            ("http://shop.example", false),
            ("https://SHOP.example", false),
            ("https://shop.example:8443", false),
            ("https://evil-shop.example", false),
            ("https://evil.example/.shop.example", false),
            ("null", false),
        ] {
            let got = way.curl(&[protocol, "-H", &format!("Origin: {origin}")], "/");
            assert_eq!((got.status, got.text().as_str()), (200, "seen"), "{protocol} {origin}");
            assert_eq!(got.field("vary"), "Accept | Origin", "{origin}");
            let told = [
                ("access-control-allow-origin", origin),
                ("access-control-allow-credentials", "true"),
                ("access-control-expose-headers", "X-Id"),
            ];
            for (name, value) in told {
                assert_eq!(got.field(name), if allowed { value } else { "" }, "{protocol} {origin} {name}");
            }
            assert!(server.take().iter().all(|seen| !seen.has("origin")), "the server sees no Origin");

            let ask = ["-X", "OPTIONS", "-H", "Access-Control-Request-Method: PUT", "-H"];
            let origin_line = format!("Origin: {origin}");
            let arguments: Vec<&str> =
                [protocol].into_iter().chain(ask).chain([origin_line.as_str()]).collect();
            let got = way.curl(&arguments, "/");
            assert_eq!((got.status, got.body.len()), (204, 0), "{protocol} {origin}");
            assert_eq!(
                got.field("vary"),
                "Access-Control-Request-Method, Access-Control-Request-Headers | Origin"
            );
            for (name, value) in [
                ("access-control-allow-origin", origin),
                ("access-control-allow-credentials", "true"),
                ("access-control-allow-methods", "PUT, DELETE"),
                ("access-control-allow-headers", "X-Token"),
                ("access-control-max-age", "600"),
                ("access-control-expose-headers", ""),
            ] {
                assert_eq!(got.field(name), if allowed { value } else { "" }, "{protocol} {origin} {name}");
            }
            assert_eq!(server.take().len(), 0, "a preflight reached the server");
        }
        // No browser asks: what OPTIONS means is the server's business.
        let got = way.curl(&[protocol, "-X", "OPTIONS"], "/");
        assert_eq!(
            (got.status, got.field("vary"), got.field("access-control-allow-origin")),
            (200, "Accept | Origin", "")
        );
        assert_eq!(server.take().len(), 1);
    }
}

#[test]
fn everyone_gets_in_without_credentials() {
    let _machine = shared();
    let server = Recorder::start();
    let way =
        Way::new(server.address(), &[("a", "cors", json!({"AllowOrigins": ["*"], "AllowHeaders": ["*"]}))]);
    for protocol in PROTOCOLS {
        let got = way.curl(&[protocol, "-H", "Origin: null"], "/");
        assert_eq!((got.field("access-control-allow-origin"), got.field("vary")), ("*", ""), "{protocol}");
        assert_eq!(got.field("access-control-allow-credentials"), "");
    }
}
