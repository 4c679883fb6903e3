//! Where Flipgate deliberately differs from vulcand, each with its reason. What is not listed here is a failure, and so
//! is what is listed and no longer so.

use super::differential::Found;

/// One difference.
#[derive(Debug)]
pub struct Difference {
    /// `SET/NUMBER`; with `*` at its end all that begin so.
    pub case: &'static str,
    /// As `status` or `seen.via`.
    pub field: &'static str,
    /// The value at vulcand; `-` for none, and `...` for anything.
    pub vulcand: &'static str,
    pub flipgate: &'static str,
    /// What it is called in the README, where the reason stands too.
    pub kind: &'static str,
}

const fn differs(
    kind: &'static str,
    case: &'static str,
    field: &'static str,
    vulcand: &'static str,
    flipgate: &'static str,
) -> Difference {
    Difference { case, field, vulcand, flipgate, kind }
}

/// All of them.
pub const DIFFERENCES: &[Difference] = &[
    differs("Via", "*", "seen.via", "-", "1.1 flipgate-..."),
    differs("Compression", "*", "seen.accept-encoding", "gzip", "-"),
    differs("Content type", "headers-answered/2", "answer.content-type", "text/plain; charset=utf-8", "-"),
    differs("Streams", "body/2", "seen.content-length", "7", "-"),
    differs("Streams", "body/2", "seen.transfer-encoding", "-", "chunked"),
    differs("Streams", "body-limit/2", "seen.content-length", "16", "-"),
    differs("Streams", "body-limit/2", "seen.transfer-encoding", "-", "chunked"),
    differs("Streams", "stream-and-limit/0", "status", "200", "413"),
    differs("Streams", "stream-and-limit/0", "server", "a", "-"),
    differs("Body limits", "body-limit-minus-one/0", "status", "404", "200"),
    differs("Body limits", "body-limit-minus-one/0", "server", "-", "a"),
    differs("Own answers", "no-servers/0", "body", "Service Unavailable", "503 Service Unavailable\n...\n"),
    differs(
        "Own answers",
        "body-limit/1",
        "body",
        "Request Entity Too Large",
        "413 Payload Too Large\n...\n",
    ),
    differs(
        "Own answers",
        "body-limit/3",
        "body",
        "Request Entity Too Large",
        "413 Payload Too Large\n...\n",
    ),
    differs("Own answers", "server-resets/0", "body", "Bad Gateway", "502 Bad Gateway\n...\n"),
    differs("Own answers", "server-refuses/0", "body", "Bad Gateway", "502 Bad Gateway\n...\n"),
    differs("Own answers", "server-refuses/1", "body", "Bad Gateway", "502 Bad Gateway\n...\n"),
    differs("Own answers", "server-silent/0", "body", "Gateway Timeout", "504 Gateway Timeout\n...\n"),
    differs("Own answers", "*", "answer.content-type", "text/plain; charset=utf-8", "text/plain"),
    differs("Own answers", "redirect-host/0", "body", "Found", ""),
    differs("Own answers", "redirect-host/0", "answer.content-type", "text/plain; charset=utf-8", "-"),
    differs("Own answers", "redirect-scheme/*", "body", "Found", ""),
    differs("Own answers", "redirect-scheme/*", "answer.content-type", "text/plain; charset=utf-8", "-"),
    differs("Own answers", "redirect-behind-a-proxy/1", "body", "Found", ""),
    differs(
        "Own answers",
        "redirect-behind-a-proxy/1",
        "answer.content-type",
        "text/plain; charset=utf-8",
        "-",
    ),
    differs("Own answers", "redirect-not-matching/0", "body", "Found", ""),
    differs(
        "Own answers",
        "redirect-not-matching/0",
        "answer.content-type",
        "text/plain; charset=utf-8",
        "-",
    ),
    differs("Parameters", "path-int/0", "status", "404", "200"),
    differs("Parameters", "path-int/0", "server", "-", "a"),
    differs("Parameters", "all-matchers/0", "status", "404", "200"),
    differs("Parameters", "all-matchers/0", "server", "-", "a"),
    differs("Parameters", "param-and-header/0", "status", "404", "200"),
    differs("Parameters", "param-and-header/0", "server", "-", "a"),
    differs("Precedence", "order-digits/0", "server", "b", "a"),
    differs("Precedence", "order-digits/0", "seen.host", "{b}", "{a}"),
    differs("Precedence", "order-regexp-before-path/0", "server", "b", "a"),
    differs("Precedence", "order-regexp-before-path/0", "seen.host", "{b}", "{a}"),
    differs("Precedence", "order-int-and-param/0", "server", "b", "a"),
    differs("Precedence", "order-int-and-param/0", "seen.host", "{b}", "{a}"),
    differs("Precedence", "order-catch-all-regexp/0", "server", "b", "a"),
    differs("Precedence", "order-catch-all-regexp/0", "seen.host", "{b}", "{a}"),
    differs("Precedence", "order-method-first/0", "server", "b", "a"),
    differs("Precedence", "order-method-first/0", "seen.host", "{b}", "{a}"),
    differs("Precedence", "order-longer-literal/0", "server", "b", "a"),
    differs("Precedence", "order-longer-literal/0", "seen.host", "{b}", "{a}"),
    differs("Rewritten hosts", "rewrite-host/0", "seen.host", "{a}", "other.test"),
    differs(
        "Templates",
        "rewrite-user-template/0",
        "seen.line",
        "GET /x?q=rewrite-user-template.test HTTP/1.1",
        "GET /x?q={{.Request.Host}} HTTP/1.1",
    ),
    differs("Templates", "rewrite-user-template/1", "status", "500", "200"),
    differs("Templates", "rewrite-user-template/1", "server", "-", "a"),
    differs("Trust", "redirect-behind-nobody/0", "status", "200", "302"),
    differs("Trust", "redirect-behind-nobody/0", "server", "a", "-"),
    differs("Trust", "forwarded-rfc-not-trusted/0", "seen.forwarded", "for=1.2.3.4", "-"),
    differs("TE", "hop-by-hop/2", "seen.connection", "-", "TE"),
    differs("Upgrades", "websocket-refused/0", "seen.connection", "Upgrade", "-"),
    differs("Upgrades", "websocket-refused/0", "seen.upgrade", "h2c", "-"),
    differs("WebSocket", "websocket/0", "seen.sec-websocket-key", "...==", "dGhlIHNhbXBsZSBub25jZQ=="),
    differs("WebSocket", "websocket/0", "seen.user-agent", "Go-http-client/1.1", "-"),
    differs("WebSocket", "websocket/0", "seen.x-forwarded-for", "-", "127.0.0.1"),
    differs("WebSocket", "websocket/0", "seen.x-forwarded-proto", "http", "ws"),
    differs(
        "WebSocket",
        "websocket-pass-host/0",
        "seen.sec-websocket-key",
        "...==",
        "dGhlIHNhbXBsZSBub25jZQ==",
    ),
    differs("WebSocket", "websocket-pass-host/0", "seen.user-agent", "Go-http-client/1.1", "-"),
    differs("WebSocket", "websocket-pass-host/0", "seen.x-forwarded-for", "-", "127.0.0.1"),
    differs("WebSocket", "websocket-pass-host/0", "seen.x-forwarded-proto", "http", "ws"),
    differs("WebSocket", "websocket/0", "seen.x-forwarded-host", "{a}", "websocket.test"),
    differs("WebSocket", "websocket/0", "seen.x-forwarded-port", "...", "80"),
    differs("Empty queries", "targets-passed/6", "seen.line", "GET / HTTP/1.1", "GET /? HTTP/1.1"),
    differs("Order of writes", "backend-after-frontend/0", "status", "404", "200"),
    differs("Order of writes", "backend-after-frontend/0", "server", "-", "a"),
    differs("Bad middlewares", "middleware-bad-regexp/0", "status", "404", "200"),
    differs("Bad middlewares", "middleware-bad-regexp/0", "server", "-", "a"),
    differs("Bad middlewares", "middleware-unknown/0", "status", "200", "404"),
    differs("Bad middlewares", "middleware-unknown/0", "server", "a", "-"),
    differs("Failover", "server-breaks-once/0", "status", "200", "502"),
    differs("Failover", "server-breaks-once/0", "server", "a", "-"),
    differs("Failover", "failover-of-its-own/0", "status", "200", "502"),
    differs("Failover", "failover-of-its-own/0", "seen.attempt", "2", "1"),
    differs("Own answers", "secure-redirect/1", "body", "Found", ""),
    differs("Own answers", "secure-redirect/1", "answer.content-type", "text/plain; charset=utf-8", "-"),
    differs("WebSocket", "secure-websocket/0", "seen.sec-websocket-key", "...==", "dGhlIHNhbXBsZSBub25jZQ=="),
    differs("WebSocket", "secure-websocket/0", "seen.user-agent", "Go-http-client/1.1", "-"),
    differs("WebSocket", "secure-websocket/0", "seen.x-forwarded-for", "-", "127.0.0.1"),
    differs("WebSocket", "secure-websocket/0", "seen.x-forwarded-host", "{a}", "secure-websocket.test"),
    differs("WebSocket", "secure-websocket/0", "seen.x-forwarded-port", "...", "443"),
    differs("WebSocket", "secure-websocket/0", "seen.x-forwarded-proto", "https", "wss"),
    differs("PROXY protocol", "proxied/2", "status", "0", "200"),
    differs("PROXY protocol", "proxied/2", "server", "-", "a"),
    differs("PROXY protocol", "proxied/3", "status", "200", "0"),
    differs("PROXY protocol", "proxied/3", "server", "a", "-"),
    differs("Own answers", "redirect-before-ratelimit/*", "body", "Found", ""),
    differs(
        "Own answers",
        "redirect-before-ratelimit/*",
        "answer.content-type",
        "text/plain; charset=utf-8",
        "-",
    ),
    differs("Limits", "ratelimit*", "answer.retry-after", "-", "..."),
    differs("Own answers", "cbreaker-network/0", "body", "Bad Gateway", "502 Bad Gateway\n...\n"),
    differs("Own answers", "cbreaker-network/1", "body", "Found", "302 Found\n...\n"),
    differs("Own answers", "cbreaker-preserve-path/1", "body", "Found", "302 Found\n...\n"),
    differs("Streams", "failover/4", "seen.content-length", "7", "-"),
    differs("Streams", "failover/4", "seen.transfer-encoding", "-", "chunked"),
    differs(
        "Templates",
        "rewrite-header-template/0",
        "seen.line",
        "GET /berlin/x HTTP/1.1",
        "GET /x HTTP/1.1",
    ),
    differs("Templates", "rewrite-body/1", "seen.body", "POST", "{{.Request.Method}}"),
    differs("Limits", "ratelimit-burst-0/0", "status", "404", "200"),
    differs("Limits", "ratelimit-burst-0/0", "server", "-", "a"),
    differs("Limits", "ratelimit-host-with-port/1", "status", "200", "429"),
    differs("Limits", "ratelimit-host-with-port/1", "server", "a", "-"),
    differs("Limits", "limits-together/2", "answer.retry-after", "-", "..."),
];

/// Whether a value is the one listed.
fn fits(listed: &str, value: &str) -> bool {
    let mut parts = listed.split("...");
    let Some(mut rest) = parts.next().and_then(|first| value.strip_prefix(first)) else { return false };
    let parts = parts.collect::<Vec<_>>();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

impl Difference {
    fn is_of(&self, case: &str) -> bool {
        match self.case.strip_suffix('*') {
            Some(start) => case.starts_with(start),
            None => self.case == case,
        }
    }

    fn is(&self, found: &Found) -> bool {
        self.is_of(&found.case)
            && self.field == found.field
            && fits(self.vulcand, &found.vulcand)
            && fits(self.flipgate, &found.flipgate)
    }
}

/// What was found and is not listed, and what is listed and was not found.
pub fn judge(found: &[Found]) -> Vec<String> {
    let unlisted = found.iter().filter(|found| !DIFFERENCES.iter().any(|listed| listed.is(found)));
    let mut problems = unlisted
        .map(|it| format!("not listed: {:?}, {:?}, {:?}, {:?}", it.case, it.field, it.vulcand, it.flipgate))
        .collect::<Vec<_>>();
    for listed in DIFFERENCES {
        if !found.iter().any(|found| listed.is(found)) {
            problems.push(format!("no longer so: {listed:?}"));
        }
    }
    problems
}

#[test]
fn every_kind_is_told_in_the_readme() {
    let text = include_str!("../../../README.md");
    let chapter = text.split("### What is different").nth(1).unwrap().split("\n## ").next().unwrap();
    for listed in DIFFERENCES {
        assert!(chapter.contains(&format!("**{}**", listed.kind)), "no row for {listed:?}");
    }
}

#[test]
fn values_are_compared_whole() {
    let check = |listed: &str, value: &str, expected: bool| {
        assert_eq!(fits(listed, value), expected, "{listed} {value}")
    };
    check("-", "-", true);
    check("gzip", "gzip, br", false);
    check("1.1 ...", "1.1 flipgate", true);
    check("a...b...", "a1b2", true);
    check("a...c", "a1b", false);
}
