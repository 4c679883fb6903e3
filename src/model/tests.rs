//! What values of every kind become: one line of data each.

mod any;
mod edge;
mod limits;
mod steps;

use super::*;

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
    check(FRONTEND, r#"{"backendid":"blue","ROUTE":"Host(\"a\")"}"#, Some(MINIMAL), &[]);
    check_same(
        FRONTEND,
        r#"{"Type":"http","BackendId":"b","Route":"Path(\"/\")","Priority":-5,"Settings":{"Limits":{"MaxBodyBytes":5},"Hostname":"h","TrustForwardHeader":true,"PassHostHeader":true,"Forwarded":true,"RequestId":"X-Request-Id","Middlewares":["a","b"],"Timeouts":{"Response":"1m30s","Idle":"50ms"}}}"#,
    );
    check_same(
        FRONTEND,
        r#"{"Type":"http","BackendId":"b","Route":"Path(\"/\")","Settings":{"Limits":{"MaxBodyBytes":5,"MaxMemBodyBytes":9},"FailoverPredicate":"IsNetworkError() && RequestMethod() == \"GET\""}}"#,
    );
    check_same(
        FRONTEND,
        r#"{"Type":"http","BackendId":"b","Route":"Path(\"/\")","Settings":{"TrustedProxies":["10.0.0.0/8","192.0.2.7/32"],"ErrorPages":{"404":{"Body":"gone","ContentType":"text/plain","Status":410},"5xx":{"File":"5xx.html","Intercept":true},"default":{"Body":"no"}}},"Maintenance":{"Page":{"Body":"soon"},"RetryAfter":"2m0s","Allow":["2001:db8::/32"]}}"#,
    );
    check_same(FRONTEND, &MINIMAL.replace('}', r#","Maintenance":true}"#));
    check(
        FRONTEND,
        &format!(
            r#"{{{route},"BackendId":"blue","Maintenance":false,"Settings":{{"TrustedProxies":[],"ErrorPages":{{"404":null}}}}}}"#
        ),
        Some(MINIMAL),
        &[],
    );
    check(
        FRONTEND,
        &format!(
            r#"{{{route},"BackendId":"blue","Maintenance":{{"Page":{{"Body":"x","Status":200}},"RetryAfter":"-1s","Allow":["office"]}},"Settings":{{"TrustedProxies":["10.0.0.0/40"],"ErrorPages":{{"302":{{"Body":"x"}},"6xx":{{}},"404":{{"Body":"x","File":"y"}},"405":{{"File":"../x"}},"406":{{"Body":"x","Status":302,"ContentType":"a\nb"}},"407":{{}},"408":"x"}}}}}}"#
        ),
        None,
        &[
            "e Settings.TrustedProxies[0]: is \"10.0.0.0/40\"; an address or a network like `10.0.0.0/8` is expected",
            "e Settings.ErrorPages.302: is no code from 400 to 599, nor `4xx`, `5xx` or `default`",
            "e Settings.ErrorPages.6xx: is no code from 400 to 599",
            "e Settings.ErrorPages.404.File: stands beside `Body`; a page has one of them",
            "e Settings.ErrorPages.405.File: is \"../x\"; the name of a file in the directory of error pages is expected",
            "e Settings.ErrorPages.406.ContentType: is no media type, like `text/html; charset=utf-8`",
            "e Settings.ErrorPages.406.Status: is 200, or 400 to 599",
            "e Settings.ErrorPages.407.Body: is missing: the page's text, or the name of its `File`, is expected",
            "e Settings.ErrorPages.408: is a string; a JSON object is expected",
            "e Maintenance.RetryAfter: \"-1s\" is negative",
            "e Maintenance.Allow[0]: is \"office\"; an address or a network like `10.0.0.0/8` is expected",
            "w Maintenance.Page.Status: is not a known field",
        ],
    );
    check(
        FRONTEND,
        &format!(r#"{{{route},"BackendId":"blue","Settings":{{"FailoverPredicate":"Attempt() < 2"}}}}"#),
        None,
        &[
            "e Settings.FailoverPredicate: is no predicate: column 1: unknown function `Attempt`; did you mean `Attempts()`?",
        ],
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
            r#"{{{route},"BackendId":"blue","Settings":{{"Stream":true,"StreamFlushIntervalNanoSecs":5,"Limits":{{"MaxMemBodyBytes":-1,"MaxBodyBytes":-1}},"Middlewares":null}}}}"#
        ),
        Some(MINIMAL),
        &[],
    );
    check(
        FRONTEND,
        &format!(
            r#"{{{route},"Split":[{{"BackendId":"a","Weight":0,"Header":"X","Cookie":"a b=c"}},{{"BackendId":"","Weight":-1}}],"SplitBy":"ip"}}"#
        ),
        None,
        &[
            r#"e SplitBy: is "ip"; client_ip, path, header:NAME or cookie:NAME is expected"#,
            r#"e Split[0].Header: is "X"; `NAME=VALUE` is expected"#,
            "e Split[0].Cookie: is no cookie's name",
            "e Split[1].BackendId: is missing",
            "e Split[1].Weight: is -1; from 0 to 10000 is allowed",
        ],
    );
    check(
        FRONTEND,
        &format!(r#"{{{route},"Split":[{{"BackendId":"a","Weight":0}}]}}"#),
        None,
        &["e Split: has no part with a weight"],
    );
    check_same(
        FRONTEND,
        r#"{"Type":"http","Split":[{"BackendId":"a","Weight":9},{"BackendId":"b","Weight":0,"Cookie":"preview=b"}],"SplitBy":"client_ip","Route":"Host(\"a\")"}"#,
    );
    check_same(
        FRONTEND,
        r#"{"Type":"http","BackendId":"blue","Route":"Host(\"a\")","Settings":{"Retry":{"Attempts":4,"BodyBytesMax":0,"BudgetPercent":50,"BudgetMin":1,"PerTryTimeout":"250ms","On":["reset","503","500-599"],"AnyMethod":true}}}"#,
    );
    check(
        FRONTEND,
        &format!(
            r#"{{{route},"BackendId":"blue","Settings":{{"Retry":{{"Attempts":11,"On":["conect","299"]}}}}}}"#
        ),
        None,
        &[
            "e Settings.Retry.Attempts: is 11; from 1 to 10 is allowed",
            r#"e Settings.Retry.On[0]: is "conect"; one of connect, reset, timeout, 5xx, 503, 500-599 is expected; did you mean `connect`?"#,
            r#"e Settings.Retry.On[1]: is "299""#,
        ],
    );
    check(FRONTEND, &format!(r#"{{{route},"BackendId":"blue","Split":[]}}"#), Some(MINIMAL), &[]);
    check(
        FRONTEND,
        &format!(
            r#"{{{route},"BackendId":"blue","Settings":{{"Timeouts":{{"Idle":1500000000,"Response":"0ms"}}}}}}"#
        ),
        Some(
            r#"{"Type":"http","BackendId":"blue","Route":"Host(\"a\")","Settings":{"Timeouts":{"Idle":"1.5s"}}}"#,
        ),
        &["w Settings.Timeouts.Response: is zero, which stands for the default"],
    );
    check(
        FRONTEND,
        &format!(r#"{{{route},"BackendId":"blue","Settings":{{"Timeouts":{{"Idle":5}}}}}}"#),
        Some(
            r#"{"Type":"http","BackendId":"blue","Route":"Host(\"a\")","Settings":{"Timeouts":{"Idle":"5ns"}}}"#,
        ),
        &["w Settings.Timeouts.Idle: is 5, and a number without a unit is nanoseconds: write \"5s\""],
    );
}

#[test]
fn backends() {
    let key = "backends/shop/backend";
    check_same(key, r#"{"Type":"http"}"#);
    check(key, "{}", Some(r#"{"Type":"http"}"#), &[]);
    check_same(
        key,
        r#"{"Type":"http","Settings":{"Timeouts":{"Read":"1s","Dial":"2s","TLSHandshake":"3s","Drain":"1m0s"},"KeepAlive":{"Period":"4s","MaxIdleConnsPerHost":12}}}"#,
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
        r#"{"Settings":{"Limits":{"Connections":0},"TLS":{"MinVersion":""},"Outlier":{"PanicPercent":0},"Balance":"round_robin"}}"#,
        Some(r#"{"Type":"http"}"#),
        &[],
    );
    check_same(
        key,
        r#"{"Type":"http","Settings":{"Protocol":"http2","TLS":{"InsecureSkipVerify":true,"ServerName":"a.example"},"Balance":{"Policy":"hash","Key":"cookie:session"},"Sticky":{"Cookie":"x","MaxAge":"1h0m0s","SameSite":"Strict"},"Health":{"Path":"/up","Host":"a","Body":"ok","Statuses":[200,"300-399"],"Interval":"200ms","Timeout":"100ms","Rise":1,"Fall":2,"Port":81},"Outlier":{"ConsecutiveFailures":0,"ErrorPercent":50,"Statuses":["500-599"],"EjectionTime":"1s"},"SlowStart":"30s","Limits":{"Connections":100,"ServerConnections":10,"Pending":0,"PendingTimeout":"50ms"}}}"#,
    );
    check_same(
        key,
        r#"{"Type":"http","Settings":{"Protocol":"auto","Balance":"peak_ewma","Health":{"Protocol":"grpc","Service":"a.B"}}}"#,
    );
    check_same(key, r#"{"Type":"http","Settings":{"Health":{"Protocol":"probe","Path":"/health"}}}"#);
    check_same(
        key,
        r#"{"Type":"http","Settings":{"TLS":{"KeyPair":{"CertFile":"c","KeyFile":"k"},"MinVersion":"VersionTLS13","CipherSuites":["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],"SessionTicketsDisabled":true}}}"#,
    );
    check_same(
        key,
        r#"{"Type":"http","Settings":{"TLS":{"KeyPair":{"Cert":"LS0tLS1CRUdJTiBD","Key":"LS0tLS1CRUdJTiBL"},"MaxVersion":"VersionTLS12"}}}"#,
    );
    check(
        key,
        r#"{"Settings":{"TLS":{"MinVersion":"VersionTLS10","PreferServerCipherSuites":true,"SessionCache":{"Type":"LRU"},"CipherSuites":null}}}"#,
        Some(r#"{"Type":"http"}"#),
        &["w Settings.TLS.MinVersion: is VersionTLS10, which is broken; VersionTLS12 is used"],
    );
    check(
        key,
        r#"{"Settings":{"TLS":{"KeyPair":{"Cert":"LS0tLS1CRUdJTiBD"},"Key":"x"}}}"#,
        None,
        &["e Settings.TLS.KeyPair.Key: is missing", "w Settings.TLS.Key: is not a known field"],
    );
    check(
        key,
        r#"{"Settings":{"Balance":{"Policy":"least","Key":"header:"},"Sticky":{"Cookie":"a;b","SameSite":"no"},"Health":{"Protocol":"udp","Interval":"1ms","Port":0},"Outlier":{"PanicPercent":101},"TLS":{"CA":"x","ServerName":"a b"}}}"#,
        None,
        &[
            "e Settings.TLS.ServerName",
            "e Settings.TLS.CA: holds no certificate",
            "e Settings.Balance.Key: is no name of a header field",
            "e Settings.Balance.Key: is only for the policy `hash`",
            "e Settings.Balance.Policy",
            "e Settings.Sticky.Cookie: is no cookie's name",
            "e Settings.Sticky.SameSite",
            "e Settings.Health.Protocol",
            "e Settings.Health.Port: is 0; from 1 to 65535 is allowed",
            "e Settings.Health.Interval: is below 10ms",
            "e Settings.Outlier.PanicPercent: is 101; from 0 to 100 is allowed",
        ],
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

    url("https://pod_1.svc", "https://pod_1.svc:443", &[]);
    check_same(key, r#"{"URL":"http://a:80","Zone":"eu-1"}"#);
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
        Some(r#"{"URL":"http://a:80","Zone":"eu"}"#),
        &[],
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
    assert!(size <= 64, "{size}");
    let read = |key: &str, value: &str| match parse(key, value, Strictness::Stored).object {
        Some(Object::Frontend(frontend)) => frontend.settings,
        other => panic!("{other:?}"),
    };
    for value in [MINIMAL, &MINIMAL.replace("}", r#","Settings":{"PassHostHeader":true}}"#)] {
        assert!(std::sync::Arc::ptr_eq(&read("frontends/a", value), &read("frontends/b", value)));
    }
}
