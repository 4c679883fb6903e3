//! What values of every kind become: one line of data each.

use super::*;
use proptest::prelude::*;

fn parse(key: &str, value: &str, strictness: Strictness) -> Parsed {
    Object::parse(&ObjectKey::parse(key).unwrap(), value.as_bytes(), strictness)
}

fn shown(findings: &[Finding]) -> String {
    let show = |finding: &Finding| {
        let mark = match finding.severity {
            Severity::Warning => "w",
            Severity::Error => "e",
        };
        format!("{mark} {}: {}", finding.field, finding.reason)
    };
    findings.iter().map(show).collect::<Vec<_>>().join("\n")
}

/// Reads `value` from a store: its findings contain each of `findings` and no more; if none is an error, what is
/// written back is `written`, and reading that as strictly as what users write gives the same object.
#[track_caller]
fn check(key: &str, value: &str, written: Option<&str>, findings: &[&str]) {
    let parsed = parse(key, value, Strictness::Stored);
    let all = shown(&parsed.findings);
    assert_eq!(parsed.findings.len(), findings.len(), "{value}\n{all}");
    for finding in findings {
        assert!(all.contains(finding), "{value}\nexpected {finding}\nfound {all}");
    }
    let has_errors = parsed.findings.iter().any(|finding| finding.severity == Severity::Error);
    assert_eq!(parsed.object.is_none(), has_errors, "{value}\n{all}");
    let text = parsed.object.as_ref().map(|object| object.to_value().to_string());
    assert_eq!(text.as_deref(), written, "{value}\n{all}");
    if let Some(text) = text {
        let again = parse(key, &text, Strictness::Written);
        assert_eq!(again.object, parsed.object, "{text}");
    }
}

/// As [`check`], where the value is written back as it stands and nothing is found.
#[track_caller]
fn check_same(key: &str, value: &str) {
    check(key, value, Some(value), &[]);
}

const FRONTEND: &str = "frontends/shop/frontend";
const MINIMAL: &str = r#"{"Type":"http","BackendId":"blue","Route":"Host(\"a\")"}"#;

#[test]
fn frontends() {
    let route = r#""Route":"Host(\"a\")""#;
    check_same(FRONTEND, MINIMAL);
    check(FRONTEND, &format!(r#"{{"backendid":"blue","ROUTE":"Host(\"a\")"}}"#), Some(MINIMAL), &[]);
    check_same(
        FRONTEND,
        r#"{"Type":"http","BackendId":"b","Route":"Path(\"/\")","Priority":-5,"Settings":{"Limits":{"MaxBodyBytes":5},"Hostname":"h","TrustForwardHeader":true,"PassHostHeader":true,"Forwarded":true,"RequestId":"X-Request-Id","Middlewares":["a","b"],"Timeouts":{"Response":"1m30s","Idle":"50ms"}}}"#,
    );
    // What vulcand itself writes, with everything unset.
    check(
        FRONTEND,
        &format!(
            r#"{{"Id":"shop",{route},"Type":"http","BackendId":"blue","Stats":null,"Settings":{{"Limits":{{"MaxMemBodyBytes":0,"MaxBodyBytes":0}},"FailoverPredicate":"","Hostname":"","TrustForwardHeader":false,"PassHostHeader":false,"Stream":false,"StreamFlushIntervalNanoSecs":0}}}}"#
        ),
        Some(MINIMAL),
        &["w Stats: is not a known field; known here are Id, Type, Route, "],
    );
    check(
        FRONTEND,
        "{}",
        None,
        &["e Route: is missing: an expression", "e BackendId: is missing: the id of a backend"],
    );
    check(
        FRONTEND,
        r#"{"Type":"tcp","BackendId":7,"Route":true,"Settings":[],"Priority":"high"}"#,
        None,
        &[
            r#"e Type: is "tcp"; `http` is expected"#,
            "e BackendId: is the number 7; a string is expected",
            "e Route: is true; a string is expected",
            "e Settings: is a list; a JSON object is expected",
            "e Priority: is a string; a whole number is expected",
        ],
    );
    check(
        FRONTEND,
        &format!(
            r#"{{{route},"BackendId":"a/b","Settings":{{"Limits":{{"MaxBodyBytes":-2}},"Hostname":"a\nb","RequestId":"Content-Length","Middlewares":["",3,"x"],"Timeouts":{{"Idle":"-5s","Response":"9000h"}}}}}}"#
        ),
        None,
        &[
            r#"e BackendId: "a/b" is no backend's id: an id cannot contain '/'"#,
            "e Settings.Limits.MaxBodyBytes: is -2; from -1 to 9223372036854775807 is allowed",
            r#"e Settings.Hostname: is "a\nb"; a field value has no control characters"#,
            "e Settings.RequestId: belongs to the connection or to framing, which the proxy decides",
            "e Settings.Middlewares[1]: is the number 3; a string is expected",
            "e Settings.Middlewares[0]: an id is missing",
            r#"e Settings.Timeouts.Idle: "-5s" is negative"#,
            "e Settings.Timeouts.Response: is 9000h0m0s; at most 8760h0m0s is allowed",
        ],
    );
    check(
        FRONTEND,
        &format!(r#"{{{route},"BackendId":"green","backendId":"blue","Id":"other"}}"#),
        Some(MINIMAL),
        &[
            r#"w backendId: stands here twice, as "BackendId" and "backendId"; the last one is used"#,
            r#"w Id: is "other", but the key says "shop"; the key counts"#,
        ],
    );
    check(
        FRONTEND,
        &format!(
            r#"{{{route},"BackendId":"blue","Maintenance":{{"Enabled":true}},"Settings":{{"FailoverPredicate":"IsNetworkError()","Retry":{{}},"ErrorPages":{{"502":""}},"Stream":true,"StreamFlushIntervalNanoSecs":5,"Limits":{{"MaxMemBodyBytes":9,"MaxBodyBytes":-1}},"Middlewares":null}}}}"#
        ),
        Some(MINIMAL),
        &[
            "w Maintenance: is read and kept, but not acted on by this version",
            "w Settings.FailoverPredicate: is read and kept, but not acted on by this version",
        ],
    );
    check(
        FRONTEND,
        &format!(r#"{{{route},"Split":[{{"BackendId":"a","Weight":1}}]}}"#),
        None,
        &["e Split: is known but not offered by this version; name one backend in `BackendId`"],
    );
    check(
        FRONTEND,
        &format!(r#"{{{route},"BackendId":"blue","Split":[]}}"#),
        Some(MINIMAL),
        &["w Split: is read and kept, but not acted on by this version; `BackendId` is used"],
    );
    check(
        FRONTEND,
        &format!(
            r#"{{{route},"BackendId":"blue","Settings":{{"Timeouts":{{"Idle":1500000000,"Response":"0s"}}}}}}"#
        ),
        Some(
            r#"{"Type":"http","BackendId":"blue","Route":"Host(\"a\")","Settings":{"Timeouts":{"Idle":"1.5s"}}}"#,
        ),
        &["w Settings.Timeouts.Response: is zero, which stands for the default"],
    );
}

#[test]
fn backends() {
    let key = "backends/shop/backend";
    check_same(key, r#"{"Type":"http"}"#);
    check(key, "{}", Some(r#"{"Type":"http"}"#), &[]);
    check_same(
        key,
        r#"{"Type":"http","Settings":{"Timeouts":{"Read":"1s","Dial":"2s","TLSHandshake":"3s"},"KeepAlive":{"Period":"4s","MaxIdleConnsPerHost":12}}}"#,
    );
    check(
        key,
        r#"{"Id":"shop","Type":"http","Settings":{"Timeouts":{"Read":"","Dial":"5s","TLSHandshake":""},"KeepAlive":{"Period":"","MaxIdleConnsPerHost":0},"TLS":null}}"#,
        Some(r#"{"Type":"http"}"#),
        &[],
    );
    // What the first deployers wrote.
    check(
        key,
        r#"{"Type":"http","Settings":{"MaxIdleConnsPerHost":128}}"#,
        Some(r#"{"Type":"http"}"#),
        &["w Settings.MaxIdleConnsPerHost: is not a known field; known here are Timeouts, KeepAlive"],
    );
    check_same(key, r#"{"Type":"alias","Target":"shop-blue"}"#);
    check(
        key,
        r#"{"Type":"alias","Target":"shop-blue","Settings":{}}"#,
        Some(r#"{"Type":"alias","Target":"shop-blue"}"#),
        &["w Settings: has no effect on an alias"],
    );
    check(key, r#"{"Type":"alias"}"#, None, &["e Target: is missing: the id of a backend is expected"]);
    check(key, r#"{"Type":"alias","Target":"shop"}"#, None, &["e Target: names the alias itself"]);
    check(key, r#"{"Type":"http","Target":"x"}"#, None, &["e Target: is only for the type `alias`"]);
    check(
        key,
        r#"{"Type":"alais"}"#,
        None,
        &[r#"e Type: is "alais"; one of http, alias is expected; did you mean `alias`?"#],
    );
    check(
        key,
        r#"{"Settings":{"Timeouts":{"Read":"50"},"KeepAlive":{"MaxIdleConnsPerHost":100001,"Period":true},"Protocol":"spdy"}}"#,
        None,
        &[
            r#"e Settings.Timeouts.Read: "50" lacks a unit (ns, us, ms, s, m, h): write `50s` for seconds"#,
            "e Settings.KeepAlive.MaxIdleConnsPerHost: is 100001; from 0 to 100000 is allowed",
            "e Settings.KeepAlive.Period: is true; a duration like `50ms` is expected",
            r#"e Settings.Protocol: is "spdy"; one of http1, http2, auto is expected"#,
        ],
    );
    check(
        key,
        r#"{"Settings":{"Protocol":"http2","Health":{"Path":"/"},"Limits":{"Connections":0},"TLS":{"MinVersion":""},"Sticky":{"Cookie":"x"}}}"#,
        Some(r#"{"Type":"http"}"#),
        &["w Settings.Protocol", "w Settings.Health", "w Settings.Sticky"],
    );
}

#[test]
fn servers() {
    let key = "backends/b/servers/s";
    let url = |url: &str, expected: &str, findings: &[&str]| {
        let written = format!(r#"{{"URL":"{expected}"}}"#);
        check(
            key,
            &serde_json::json!({ "URL": url }).to_string(),
            Some(&written).map(|x| x.as_str()),
            findings,
        );
    };
    url("http://10.2.3.4:8080", "http://10.2.3.4:8080", &[]);
    url("HTTP://Pod.Example.:8080/", "http://pod.example.:8080", &[]);
    url("http://pod", "http://pod:80", &[]);
    url("https://pod_1.svc", "https://pod_1.svc:443", &["w URL: asks for TLS"]);
    url("http://[::1]:8080", "http://[::1]:8080", &[]);
    url("http://[fd00:0:0::1]", "http://[fd00::1]:80", &[]);
    url("http://[::ffff:10.0.0.1]:1", "http://10.0.0.1:1", &[]);
    url("http://169.254.169.254", "http://169.254.169.254:80", &[]);
    url("http://a/b?c", "http://a:80", &[r#"w URL: is "http://a/b?c"; only http://a:80 is used"#]);
    url("http://a#x", "http://a:80", &["w URL: is"]);

    let bad = |url: &str, reason: &str| {
        check(key, &serde_json::json!({ "URL": url }).to_string(), None, &[&format!("e URL: {reason}")]);
    };
    for text in ["10.2.3.4:8080", "tcp://a", "://a", "http:/a", " http://a", "//a"] {
        bad(text, &format!("{text:?} does not start with `http://` or `https://`"));
    }
    bad("http://user:secret@a", "carries a user name");
    bad("foo://user:secret@a", "does not start with");
    let no_host = "has no valid host";
    for text in [
        "http://",
        "http:///x",
        "http://:80",
        "http://a b",
        "http://a_b..c",
        "http://-a",
        "http://[::1",
        "http://[fe80::1%eth0]:80",
        "http://[10.0.0.1]",
        "http://[::1]80",
        "http://256.1.1.1",
        "http://10.0.0",
        "http://1",
        "http://münchen",
        "http://a\u{0}",
        "http://a\r\nb",
    ] {
        bad(text, &format!("{text:?} {no_host}"));
    }
    bad(&format!("http://{}", "a".repeat(300)), "\"http://aaa");
    for text in
        ["http://a:0", "http://a:", "http://a:65536", "http://a:+80", "http://a:80:80", "http://[::1]:x"]
    {
        bad(text, &format!("{text:?} has no valid port"));
    }
    for text in ["http://0.0.0.0:80", "http://[::]:80", "http://224.0.0.1", "http://255.255.255.255"] {
        bad(text, &format!("{text:?} names an address that cannot be connected to"));
    }
    bad("", "is missing");
    check_same(key, r#"{"URL":"http://a:80","Weight":0,"State":"draining"}"#);
    check(
        key,
        r#"{"URL":"http://a:80","Weight":1,"State":"active","Zone":"eu"}"#,
        Some(r#"{"URL":"http://a:80"}"#),
        &["w Zone: is read and kept"],
    );
    check(
        key,
        r#"{"URL":"http://a:80","Weight":1001,"State":"drainin"}"#,
        None,
        &[
            "e Weight: is 1001; from 0 to 1000 is allowed",
            r#"e State: is "drainin"; one of active, draining, disabled is expected; did you mean `draining`?"#,
        ],
    );
    check(
        key,
        r#"{"URL":"http://a:80","Weight":1.5}"#,
        None,
        &["e Weight: is the number 1.5; a whole number is expected"],
    );
    check(
        key,
        r#"{"URL":"http://a:80","Weight":18446744073709551615}"#,
        None,
        &["e Weight: is 18446744073709551615; from 0 to 1000 is allowed"],
    );
}

#[test]
fn listeners() {
    let key = "listeners/l";
    let tcp = |text: &str, expected: &str| {
        let value = serde_json::json!({ "Protocol": "http", "Address": { "Address": text } }).to_string();
        let written =
            format!(r#"{{"Protocol":"http","Address":{{"Network":"tcp","Address":"{expected}"}}}}"#);
        check(key, &value, Some(&written).map(|x| x.as_str()), &[]);
    };
    tcp("0.0.0.0:443", "0.0.0.0:443");
    tcp(":443", "0.0.0.0:443");
    tcp("localhost:0", "127.0.0.1:0");
    tcp("[::]:443", "[::]:443");
    tcp("[::1]:443", "[::1]:443");
    for text in
        ["443", "a.example:443", "10.0.0.1", "::1:443", ":", ":+80", ":65536", "[fe80::1%eth0]:80", "[::1]"]
    {
        let value = serde_json::json!({ "Protocol": "http", "Address": { "Address": text } }).to_string();
        check(key, &value, None, &[&format!("e Address.Address: {text:?} is no address to listen on")]);
    }
    check_same(
        key,
        r#"{"Protocol":"http","Address":{"Network":"unix","Address":"/run/f.sock"},"Settings":{"H2C":true}}"#,
    );
    check(
        key,
        r#"{"Protocol":"http","Address":{"Network":"unix","Address":"run/f.sock"}}"#,
        None,
        &["e Address.Address: \"run/f.sock\" is no path of a socket"],
    );
    check_same(
        key,
        r#"{"Protocol":"https","Address":{"Network":"tcp","Address":"0.0.0.0:1"},"Scope":"Host(`a`)","Settings":{"TLS":{"MinVersion":"VersionTLS13","MaxVersion":"VersionTLS12","SessionTicketsDisabled":true}}}"#
            .replace("VersionTLS13\",\"MaxVersion\":\"VersionTLS12", "VersionTLS13")
            .as_str(),
    );
    let https = r#"{"Protocol":"https","Address":{"Network":"tcp","Address":"0.0.0.0:1"}}"#;
    let with = |tls: &str| {
        https.replace("}}", &format!(r#"}},"ProxyProtocol":"NONE","Settings":{{"TLS":{tls}}}}}"#))
    };
    check(
        key,
        &with(
            r#"{"PreferServerCipherSuites":false,"SessionTicketsDisabled":false,"SessionCache":{"Type":"LRU","Settings":{"Capacity":1}},"CipherSuites":["TLS_RSA_WITH_RC4_128_SHA"],"MinVersion":"VersionTLS10","MaxVersion":""}"#,
        ),
        Some(https),
        &[
            "w Settings.TLS.MinVersion: is VersionTLS10, which is broken; VersionTLS12 is used",
            "w Settings.TLS.CipherSuites: is read and kept, but every sound cipher suite is offered",
        ],
    );
    check(
        key,
        &with(r#"{"MinVersion":"VersionTLS13","MaxVersion":"VersionTLS12"}"#),
        None,
        &["e Settings.TLS.MinVersion: is VersionTLS13, above MaxVersion, which is VersionTLS12"],
    );
    check(
        key,
        &with(r#"{"MinVersion":"1.2","PreferServerCipherSuites":true}"#),
        None,
        &[
            r#"e Settings.TLS.MinVersion: is "1.2"; one of VersionTLS10"#,
            "w Settings.TLS.PreferServerCipherSuites: is read and kept",
        ],
    );
    check(
        key,
        &https.replace("}}", r#"},"Settings":{"H2C":true}}"#),
        Some(https),
        &["w Settings.H2C: has no effect"],
    );
    check(
        key,
        &https
            .replace("https", "http")
            .replace("}}", r#"},"Settings":{"TLS":{"MinVersion":"VersionTLS13"}}}"#),
        Some(
            r#"{"Protocol":"http","Address":{"Network":"tcp","Address":"0.0.0.0:1"},"Settings":{"TLS":{"MinVersion":"VersionTLS13"}}}"#,
        ),
        &["w Settings.TLS: has no effect on a listener that speaks `http`"],
    );
    check(key, &https.replace("}}", r#"},"ProxyProtocol":"PROXY_V1"}"#), Some(https), &["w ProxyProtocol"]);
    check(
        key,
        r#"{"Protocol":"htps","Address":"0.0.0.0:1","ProxyProtocol":"V2"}"#,
        None,
        &[
            r#"e Protocol: is "htps"; one of http, https is expected; did you mean `https`?"#,
            "e Address: is a string; a JSON object is expected",
            r#"e ProxyProtocol: is "V2"; one of NONE, PROXY_V1 is expected"#,
        ],
    );
    check(
        key,
        r#"{"Address":{"Network":"udp","Address":":1"}}"#,
        None,
        &["e Protocol: is missing", r#"e Address.Network: is "udp"; one of tcp, unix is expected"#],
    );
    check(key, "{}", None, &["e Protocol: is missing", "e Address: is missing"]);
}

#[test]
fn hosts() {
    let key = "hosts/a.example/host";
    let pair = |value: serde_json::Value| serde_json::json!({ "Settings": { "KeyPair": value } }).to_string();
    let b64 = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let sealed = format!(
        r#"{{"Encryption":"secretbox.v1","Value":{{"Val":"{}","Nonce":"{}"}}}}"#,
        b64("ciphertext"),
        b64("abcdefghijklmnopqrstuvwx")
    );
    let written = pair(b64(&sealed).into());
    check_same(key, "{}");
    check_same("hosts/*.a.example/host", r#"{"Settings":{"Default":true}}"#);
    check(key, &pair(b64(&sealed).into()), Some(&written), &[]);
    check(key, &pair(sealed.as_str().into()), Some(&written), &[]);
    check(key, &pair(serde_json::from_str(&sealed).unwrap()), Some(&written), &[]);
    let plain = serde_json::json!({ "Cert": b64(pem), "Key": b64(pem) });
    check_same(key, &pair(plain.clone()));
    check(key, &pair(b64(&plain.to_string()).into()), Some(&pair(plain.clone())), &[]);
    check(key, &pair(serde_json::json!({ "cert": pem, "key": b64(pem) })), Some(&pair(plain.clone())), &[]);
    check_same(key, &pair(serde_json::json!({ "CertFile": "a/tls.crt", "KeyFile": "a/tls.key" })));
    check(
        key,
        r#"{"Name":"a.example","Settings":{"KeyPair":null,"AutoCert":{"Email":"a"},"OCSP":{"Enabled":false,"Period":"1h"}}}"#,
        Some("{}"),
        &["w Settings.AutoCert: is read and kept", "w Settings.OCSP: is read and kept"],
    );
    check(
        key,
        r#"{"Settings":{"AutoCert":null,"OCSP":{"Enabled":false,"Period":"","Responders":null,"SkipSignatureCheck":false}}}"#,
        Some("{}"),
        &[],
    );
    let bad = |value: serde_json::Value, findings: &[&str]| {
        let parsed = parse(key, &pair(value.clone()), Strictness::Stored);
        assert!(!format!("{parsed:?}").contains("s3cret"), "{parsed:?}");
        check(key, &pair(value), None, findings);
    };
    bad("s3cret".into(), &["e Settings.KeyPair: is not base64 of a JSON object"]);
    bad(b64("s3cret").into(), &["e Settings.KeyPair: is not base64 of a JSON object"]);
    bad(b64("[\"s3cret\"]").into(), &["e Settings.KeyPair: is a list; a JSON object is expected"]);
    bad(7.into(), &["e Settings.KeyPair: is the number 7; a base64 string or an object is expected"]);
    bad(serde_json::json!({}), &["e Settings.KeyPair: needs exactly one of"]);
    bad(
        serde_json::json!({ "Cert": b64(pem), "KeyFile": "x" }),
        &["e Settings.KeyPair: needs exactly one of"],
    );
    bad(serde_json::json!({ "Cert": b64(pem) }), &["e Settings.KeyPair.Key: is missing"]);
    bad(
        serde_json::json!({ "Cert": b64(pem), "Key": "s3cret" }),
        &["e Settings.KeyPair.Key: is not base64 of a PEM"],
    );
    bad(
        serde_json::json!({ "Cert": b64("s3cret"), "Key": pem }),
        &["e Settings.KeyPair.Cert: is not base64 of a PEM"],
    );
    for path in ["/etc/tls.key", "../tls.key", "a/../../b", "./../x", "a\u{0}b", "//x"] {
        bad(
            serde_json::json!({ "CertFile": "tls.crt", "KeyFile": path }),
            &["e Settings.KeyPair.KeyFile: is not a relative"],
        );
    }
    bad(
        serde_json::json!({ "Encryption": "aes" }),
        &[
            r#"e Settings.KeyPair.Encryption: is "aes"; `secretbox.v1` is expected"#,
            "e Settings.KeyPair.Value: is missing",
        ],
    );
    bad(
        serde_json::json!({ "Encryption": "secretbox.v1", "Value": { "Val": "s3cret!", "Nonce": "YWJj" } }),
        &[
            "e Settings.KeyPair.Value.Val: is not base64",
            "e Settings.KeyPair.Value.Nonce: has 3 bytes; 24 are expected",
        ],
    );
    for name in ["a b", "*", "*.", "a.*.b", "10.0.0.1", "bücher.example", "a..b", "a:443"] {
        check(&format!("hosts/{name}/host"), "{}", None, &["e : has a key that is no TLS server name"]);
    }
}

#[test]
fn middlewares() {
    let key = "frontends/f/middlewares/m";
    let with = |kind: &str, spec: &str| format!(r#"{{"Type":"{kind}","Middleware":{spec}}}"#);
    let same = |kind: &str, spec: &str| check_same(key, &with(kind, spec));
    let bad = |kind: &str, spec: &str, findings: &[&str]| check(key, &with(kind, spec), None, findings);

    same("rewrite", r#"{"Regexp":"^http://(.*)/a","Replacement":"http://$1/b"}"#);
    same("rewrite", r#"{"Regexp":"^(.*)$","Replacement":"$1","Redirect":true}"#);
    check(
        key,
        r#"{"Id":"m","Priority":1,"Type":"rewrite","Middleware":{"Regexp":"a","Replacement":"","RewriteBody":true,"Redirect":false}}"#,
        Some(r#"{"Priority":1,"Type":"rewrite","Middleware":{"Regexp":"a","Replacement":""}}"#),
        &["w Middleware.RewriteBody: is read and kept"],
    );
    bad("rewrite", "{}", &["e Middleware.Regexp: is missing"]);
    same("rewrite", r#"{"Regexp":"(?P<a>x)(y)","Replacement":"${a}$2$$"}"#);
    let replacement = |text: &str, reason: &str| {
        let spec = serde_json::json!({ "Regexp": "(a)(?P<b>)", "Replacement": text }).to_string();
        bad("rewrite", &spec, &[&format!("e Middleware.Replacement: {reason}")]);
    };
    replacement("http://a/{{.Request}}", "has `{{`, but templates are never evaluated");
    replacement("$3", "\"$3\" names the group `3`, which the regexp does not have");
    replacement("$1x", "\"$1x\" names the group `1x`");
    replacement("${c}", "\"${c}\" names the group `c`");
    replacement("a$", "\"a$\" has a `$` without a group behind it");
    for text in ["a\r\nb", "a b", "ü", "a#b", "\\evil", "\u{0}"] {
        replacement(text, &format!("is {text:?}; a URL has only visible ASCII characters"));
    }
    bad(
        "rewrite",
        r#"{"Regexp":"(a","Replacement":"$1"}"#,
        &["e Middleware.Regexp: is not a regular expression: "],
    );

    same("redirect", r#"{"Scheme":"https"}"#);
    same("redirect", r#"{"Host":"www.<a>.example","Path":"/x/<b>","Port":8443,"DropQuery":true,"Code":308}"#);
    same("redirect", r#"{"PrefixFrom":"/a","PrefixTo":"/b/c"}"#);
    same("redirect", r#"{"Host":"[::1]"}"#);
    check(
        key,
        &with("redirect", r#"{"PrefixFrom":"/a/","Code":302,"Port":0}"#),
        Some(&with("redirect", r#"{"PrefixFrom":"/a","PrefixTo":"/"}"#)),
        &[],
    );
    bad("redirect", "{}", &["e Middleware: changes nothing"]);
    bad("redirect", r#"{"Code":301}"#, &["e Middleware: changes nothing"]);
    bad(
        "redirect",
        r#"{"Scheme":"ftp","Code":200,"Port":70000}"#,
        &[
            "e Middleware.Scheme: is \"ftp\"",
            "e Middleware.Code: is 200",
            "e Middleware.Port: is 70000; from 0 to 65535 is allowed",
        ],
    );
    for host in ["a/b", "a:80", "a@b", "a b", "http://a", "a\r\nb", "[::1", "[x]", "-", "a..b"] {
        bad("redirect", &serde_json::json!({ "Host": host }).to_string(), &["e Middleware.Host: "]);
    }
    for path in ["a", "//evil", "/a b", "/a?b", "/a#b", "/\\evil", "/a\r\n", "<a>", "/ü", "/<", "/<a-b>"] {
        bad("redirect", &serde_json::json!({ "Path": path }).to_string(), &["e Middleware.Path: "]);
    }
    bad("redirect", r#"{"PrefixTo":"/b"}"#, &["e Middleware.PrefixTo: stands without PrefixFrom"]);
    bad(
        "redirect",
        r#"{"PrefixFrom":"a","PrefixTo":"//b"}"#,
        &["e Middleware.PrefixFrom", "e Middleware.PrefixTo"],
    );
    bad("redirect", r#"{"Path":"/a","PrefixFrom":"/b"}"#, &["e Middleware.PrefixFrom: stands beside Path"]);

    same("headers", "{}");
    same(
        "headers",
        r#"{"Request":{"Set":{"Host":"a.b:80","X-A":"b"},"Add":{"X-B":["c","d"]},"Remove":["X-C"]},"Response":{"Set":{"Server":""}}}"#,
    );
    check(
        key,
        &with("headers", r#"{"Response":{"Set":{"X-A":" 1 ","x-a":"2"}}}"#),
        Some(&with("headers", r#"{"Response":{"Set":{"x-a":"2"}}}"#)),
        &["w Middleware.Response.Set.x-a: stands here twice"],
    );
    for name in [
        "",
        "a b",
        "a:",
        "a\r\n",
        ":path",
        "ü",
        "Connection",
        "transfer-encoding",
        "CONTENT-LENGTH",
        "TE",
        "Upgrade",
    ] {
        bad(
            "headers",
            &serde_json::json!({ "Request": { "Set": { name: "x" } } }).to_string(),
            &["e Middleware.Request.Set."],
        );
        bad(
            "headers",
            &serde_json::json!({ "Response": { "Remove": [name] } }).to_string(),
            &["e Middleware.Response.Remove[0]: "],
        );
    }
    bad(
        "headers",
        r#"{"Response":{"Set":{"Host":"a"}}}"#,
        &["e Middleware.Response.Set.Host: can only be set"],
    );
    bad(
        "headers",
        r#"{"Request":{"Add":{"Host":"a"},"Remove":["host"]}}"#,
        &["Add.Host: can only", "Remove[0]: \"host\" can only"],
    );
    bad(
        "headers",
        r#"{"Request":{"Set":{"Host":"a\nb","A":"s3cret\u0000","B":1,"C":["x"],"Host ":"x"}}}"#,
        &[
            "Set.Host: has a control character",
            "Set.A: has a control character, which a field value cannot carry",
            "Set.B: is the number 1; a string is expected",
            "Set.C: is a list; a string is expected",
            "Set.Host : is no name",
        ],
    );
    bad(
        "headers",
        r#"{"Request":{"Set":{"Host":"a/b"}}}"#,
        &["Set.Host: is \"a/b\"; a host with an optional port is expected"],
    );
    bad(
        "headers",
        &format!(r#"{{"Request":{{"Set":{{"A":"{}"}}}}}}"#, "x".repeat(8193)),
        &["has 8193 bytes"],
    );

    for kind in ["ratelimit", "connlimit", "cbreaker", "trace", "auth", "forwardauth"] {
        let reason = format!("e Type: is `{kind}`, which is known but not offered by this version");
        bad(kind, r#"{"Requests":1}"#, &[&reason]);
    }
    bad(
        "rewrit",
        "{}",
        &[r#"e Type: is "rewrit"; one of rewrite, redirect, headers is expected; did you mean `rewrite`?"#],
    );
    check(key, r#"{"Type":"headers"}"#, None, &["e Middleware: is missing"]);
    check(key, "{}", None, &["e Type: is missing"]);
    check("middlewares/m", &with("headers", "{}"), Some(&with("headers", "{}")), &[]);
}

#[test]
fn what_is_written_is_read_strictly() {
    let value = r#"{"BackendId":"b","Rote":"x","Route":"Path(`/`)","Settings":{"PassHostHeaders":true,"Limits":{"MaxBodyByte":1}}}"#;
    let parsed = parse(FRONTEND, value, Strictness::Written);
    assert_eq!(
        shown(&parsed.findings),
        "e Settings.Limits.MaxBodyByte: is not a known field; did you mean `MaxBodyBytes`?\n\
         e Settings.PassHostHeaders: is not a known field; did you mean `PassHostHeader`?\n\
         e Rote: is not a known field; did you mean `Route`?"
    );
    assert!(parsed.object.is_none());
    let stored = parse(FRONTEND, value, Strictness::Stored);
    assert!(stored.object.is_some());
    assert!(stored.findings.iter().all(|finding| finding.severity == Severity::Warning));
}

#[test]
fn what_is_no_object_says_where() {
    let bad = |value: &[u8], reason: &str| {
        let parsed = Object::parse(&ObjectKey::parse(FRONTEND).unwrap(), value, Strictness::Stored);
        assert!(parsed.object.is_none());
        assert_eq!(parsed.findings.len(), 1);
        let shown = shown(&parsed.findings);
        assert!(shown.contains(reason), "{shown}");
    };
    bad(b"", "is empty; a JSON object is expected");
    bad(b" \n", "is empty; a JSON object is expected");
    bad(b"{\"a\": 1,\n \"b\" 2}", "is not JSON: expected `:` at line 2 column 6");
    bad(b"{\"a\": 1", "is not JSON: EOF while parsing an object at line 1 column 7");
    bad(b"{} {}", "is not JSON: trailing characters at line 1 column 4");
    bad(b"{\"a\": \"\xff\"}", "is not JSON: invalid unicode code point at line 1");
    bad(b"[1]", "is a list; a JSON object is expected");
    bad(b"null", "is null; a JSON object is expected");
    bad("[".repeat(100_000).as_bytes(), "is not JSON: recursion limit exceeded at line 1 column 128");
    bad(&vec![b' '; VALUE_BYTES_MAX + 1], "has 1572865 bytes; at most 1572864 are read");
    let many: serde_json::Map<_, _> = (0..300).map(|n| (format!("f{n}"), 1.into())).collect();
    bad(Value::Object(many).to_string().as_bytes(), "has 300 fields; at most 256 are read");
    let many: serde_json::Map<_, _> = (0..200).map(|n| (format!("f{n}"), 1.into())).collect();
    let parsed = parse(FRONTEND, &Value::Object(many).to_string(), Strictness::Stored);
    assert_eq!(parsed.findings.len(), 65);
    assert!(shown(&parsed.findings).ends_with("has 138 more findings"));
}

#[test]
fn a_frontend_is_small() {
    let size = size_of::<Frontend>();
    assert!(size <= 128, "{size}");
    let read = |key: &str| match parse(key, MINIMAL, Strictness::Stored).object {
        Some(Object::Frontend(frontend)) => frontend,
        other => panic!("{other:?}"),
    };
    assert!(std::sync::Arc::ptr_eq(&read("frontends/a").settings, &read("frontends/b").settings));
}

const KEYS: [&str; 7] = [
    "listeners/l",
    "hosts/h/host",
    "frontends/f/frontend",
    "frontends/f/middlewares/m",
    "middlewares/m",
    "backends/b/backend",
    "backends/b/servers/s",
];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => any::<prop::sample::Index>().prop_map(|index| index.get(&edit::NAMES).to_string()),
        1 => any::<prop::sample::Index>().prop_map(|index| index.get(&edit::NAMES).to_lowercase()),
        1 => any::<String>(),
    ]
}

fn text() -> impl Strategy<Value = String> {
    const TEXTS: [&str; 16] = [
        "http",
        "https",
        "alias",
        "rewrite",
        "redirect",
        "headers",
        "b",
        "Host(\"a\")",
        "http://a:80",
        "5s",
        ":80",
        "/a/<b>",
        "$1",
        "unix",
        "secretbox.v1",
        "VersionTLS12",
    ];
    prop_oneof![
        4 => prop::sample::select(&TEXTS[..]).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[a-z:/.@\\[\\]<>${}0-9%\\\\-]{0,24}",
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => (-2..1000i64).prop_map(Value::from),
        6 => text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => prop::collection::vec((name(), inner), 0..12)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_judged(value in json()) {
        for key in KEYS {
            let key = ObjectKey::parse(key).unwrap();
            for strictness in [Strictness::Stored, Strictness::Written] {
                let parsed = Object::parse_value(&key, &value, strictness);
                let has_errors = parsed.findings.iter().any(|finding| finding.severity == Severity::Error);
                prop_assert_eq!(parsed.object.is_none(), has_errors);
                if let Some(object) = parsed.object {
                    let again = Object::parse_value(&key, &object.to_value(), Strictness::Written);
                    prop_assert_eq!(again.object, Some(object), "{:?}", again.findings);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_judged(value in prop::collection::vec(any::<u8>(), 0..200)) {
        for key in KEYS {
            let parsed = Object::parse(&ObjectKey::parse(key).unwrap(), &value, Strictness::Stored);
            prop_assert!(parsed.object.is_some() || !parsed.findings.is_empty());
        }
    }

    #[test]
    fn any_text_is_a_key_or_not(key in "[a-z/*.]{0,12}|(frontends|backends|hosts|middlewares)(/[^/]{0,3}){0,4}") {
        if let Some(parsed) = ObjectKey::parse(&key) {
            prop_assert_eq!(ObjectKey::parse(&parsed.canonical()), Some(parsed));
        }
    }

    #[test]
    fn any_edit_is_made_or_refused(mut value in json(), other in json(), path in "[a-zA-Z0-9.]{0,12}") {
        edit::merge(&value, &other);
        let _ = edit::set_path(&mut value, &path, other);
    }

    #[test]
    fn any_duration_comes_back(nanoseconds in 0..duration::NANOSECONDS_MAX, text in "[-+]?[0-9.hmsuµn]{0,20}") {
        let given = std::time::Duration::from_nanos(nanoseconds);
        prop_assert_eq!(duration::parse(&duration::format(given)), Ok(given));
        let _ = duration::parse(&text);
    }
}
