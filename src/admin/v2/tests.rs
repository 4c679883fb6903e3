use crate::admin::tests::{Answer, SEAL_KEY, Setup, setup, setup_with};
use crate::store::{Area, LeaseChoice, Operation, Store, Transaction};
use crate::tls::SealKeys;
use serde_json::{Value, json};
use std::time::Duration;

/// Method, path, body; status, answer.
type Case = (&'static str, &'static str, &'static str, u16, &'static str);

async fn ask(setup: &Setup, method: &str, path: &str, body: &str) -> Answer {
    setup.ask(method, path, &[("content-type", "application/json")], body).await
}

async fn check(setup: &Setup, cases: &[Case]) {
    for (method, path, body, status, expected) in cases {
        let answer = ask(setup, method, path, body).await;
        assert_eq!((answer.status, &*answer.text), (*status, *expected), "{method} {path} {body}");
        let kind = answer.headers["content-type"].to_str().unwrap();
        assert_eq!(kind, "application/json; charset=utf-8", "{method} {path}");
    }
}

/// As the store has it.
async fn value(setup: &Setup, key: &str) -> Value {
    let entry = setup.store.get(Area::Routing, key).await.unwrap().1;
    entry.map_or(Value::Null, |entry| serde_json::from_slice(&entry.value).unwrap())
}

async fn keys(setup: &Setup) -> Vec<String> {
    let snapshot = setup.store.list(Area::Routing).await.unwrap();
    snapshot.entries.into_iter().map(|entry| entry.key.into()).collect()
}

async fn lease(setup: &Setup, key: &str) -> Option<i64> {
    setup.store.get(Area::Routing, key).await.unwrap().1.and_then(|entry| entry.lease)
}

/// Each answer is what vulcand 0.9.2 gave, to the byte.
#[tokio::test]
async fn answers_are_vulcands() {
    let setup = setup();
    check(
        &setup,
        &[
            ("GET", "/v1/status", "", 200, r#"{"Status":"ok"}"#),
            ("GET", "/v2/status", "", 200, r#"{"Status":"ok"}"#),
            ("POST", "/v2/status", "", 404, r#"{"message":"Object not found"}"#),
            ("GET", "/v2/status/", "", 404, r#"{"message":"Object not found"}"#),
            ("GET", "/v2/nothing", "", 404, r#"{"message":"Object not found"}"#),
            ("GET", "/v2/pprof/heap", "", 404, r#"{"message":"Object not found"}"#),
            ("PUT", "/v2/frontends/f1", "{}", 404, r#"{"message":"Object not found"}"#),
            ("DELETE", "/v2/frontends", "", 404, r#"{"message":"Object not found"}"#),
            ("GET", "/v2/hosts", "", 200, r#"{"Hosts":null}"#),
            ("GET", "/v2/listeners", "", 200, r#"{"Listeners":null}"#),
            ("GET", "/v2/frontends", "", 200, r#"{"Frontends":[]}"#),
            ("GET", "/v2/backends", "", 200, r#"{"Backends":[]}"#),
            ("GET", "/v2/backends/b1/servers", "", 200, r#"{"Servers":null}"#),
            ("GET", "/v2/frontends/f1/middlewares", "", 200, r#"{"Middlewares":null}"#),
            ("GET", "/v2/backends/b1", "", 404, r#"{"message":"Key not found"}"#),
            (
                "POST",
                "/v2/backends",
                r#"{"Backend":{"Type":"http"}}"#,
                400,
                r#"{"message":"backend id can not be empty"}"#,
            ),
            (
                "POST",
                "/v2/backends",
                r#"{"Backend":{"Id":"b1","Type":"http"}}"#,
                200,
                r#"{"Id":"b1","Type":"http","Settings":{"Timeouts":{"Read":"","Dial":"","TLSHandshake":""},"KeepAlive":{"Period":"","MaxIdleConnsPerHost":0}}}"#,
            ),
            (
                "POST",
                "/v2/backends",
                r#"{"backend":{"id":"b2","type":"http","settings":{"Timeouts":{"Read":"5s"},"KeepAlive":{"Period":"3s","MaxIdleConnsPerHost":7}, "X":1}}}"#,
                200,
                r#"{"Id":"b2","Type":"http","Settings":{"Timeouts":{"Read":"5s","Dial":"","TLSHandshake":""},"KeepAlive":{"Period":"3s","MaxIdleConnsPerHost":7}}}"#,
            ),
            (
                "GET",
                "/v2/backends",
                "",
                200,
                r#"{"Backends":[{"Id":"b1","Type":"http","Settings":{"Timeouts":{"Read":"","Dial":"","TLSHandshake":""},"KeepAlive":{"Period":"","MaxIdleConnsPerHost":0}}},{"Id":"b2","Type":"http","Settings":{"Timeouts":{"Read":"5s","Dial":"","TLSHandshake":""},"KeepAlive":{"Period":"3s","MaxIdleConnsPerHost":7}}}]}"#,
            ),
            (
                "POST",
                "/v2/backends/b1/servers",
                r#"{"Server":{"Id":"s1","URL":"http://127.0.0.1:5000"}}"#,
                200,
                r#"{"Id":"s1","URL":"http://127.0.0.1:5000"}"#,
            ),
            (
                "POST",
                "/v2/backends/b1/servers",
                r#"{"Server":{"URL":"http://127.0.0.1:5001"}}"#,
                400,
                r#"{"message":"backend id and server id can not be empty"}"#,
            ),
            (
                "POST",
                "/v2/backends/zz/servers",
                r#"{"Server":{"Id":"s3","URL":"http://127.0.0.1:5001"}}"#,
                404,
                r#"{"message":"Key not found"}"#,
            ),
            (
                "GET",
                "/v2/backends/b1/servers",
                "",
                200,
                r#"{"Servers":[{"Id":"s1","URL":"http://127.0.0.1:5000"}]}"#,
            ),
            (
                "GET",
                "/v2/backends/b1/servers/s1",
                "",
                200,
                r#"{"Id":"s1","URL":"http://127.0.0.1:5000"}"#,
            ),
            ("GET", "/v2/backends/b1/servers/zz", "", 404, r#"{"message":"Key not found"}"#),
            ("GET", "/v2/backends/zz/servers", "", 200, r#"{"Servers":null}"#),
            (
                "POST",
                "/v2/frontends",
                r#"{"Frontend":{"Id":"f1","Type":"http","BackendId":"b1","Route":"Path(`/f1`)"}}"#,
                200,
                r#"{"Id":"f1","Route":"Path(`/f1`)","Type":"http","BackendId":"b1","Settings":{"Limits":{"MaxMemBodyBytes":0,"MaxBodyBytes":0},"FailoverPredicate":"","Hostname":"","TrustForwardHeader":false,"PassHostHeader":false,"Stream":false,"StreamFlushIntervalNanoSecs":0}}"#,
            ),
            (
                "POST",
                "/v2/frontends",
                r#"{"Frontend":{"Id":"f1","Type":"http","BackendId":"zz","Route":"Path(`/f1`)"}}"#,
                404,
                r#"{"message":"Key not found"}"#,
            ),
            (
                "POST",
                "/v2/frontends",
                r#"{"Frontend":{"Id":"f10","Type":"http","BackendId":"b1","Route":"Path(\"/f10\") && Host(`<x>`)","Settings":{"PassHostHeader":true}}}"#,
                200,
                r#"{"Id":"f10","Route":"Path(\"/f10\") \u0026\u0026 Host(`\u003cx\u003e`)","Type":"http","BackendId":"b1","Settings":{"Limits":{"MaxMemBodyBytes":0,"MaxBodyBytes":0},"FailoverPredicate":"","Hostname":"","TrustForwardHeader":false,"PassHostHeader":true,"Stream":false,"StreamFlushIntervalNanoSecs":0}}"#,
            ),
            (
                "GET",
                "/v2/frontends/f1",
                "",
                200,
                r#"{"Id":"f1","Route":"Path(`/f1`)","Type":"http","BackendId":"b1","Settings":{"Limits":{"MaxMemBodyBytes":0,"MaxBodyBytes":0},"FailoverPredicate":"","Hostname":"","TrustForwardHeader":false,"PassHostHeader":false,"Stream":false,"StreamFlushIntervalNanoSecs":0}}"#,
            ),
            ("GET", "/v2/frontends/zz", "", 404, r#"{"message":"Key not found"}"#),
            (
                "POST",
                "/v2/frontends/f1/middlewares",
                r#"{"Middleware":{"Id":"m3","Type":"rewrite","Middleware":{"Regexp":"^(.*)$","Replacement":"$1"}}}"#,
                200,
                r#"{"Id":"m3","Priority":0,"Type":"rewrite","Middleware":{"Regexp":"^(.*)$","Replacement":"$1","RewriteBody":false,"Redirect":false}}"#,
            ),
            (
                "GET",
                "/v2/frontends/f1/middlewares",
                "",
                200,
                r#"{"Middlewares":[{"Id":"m3","Priority":0,"Type":"rewrite","Middleware":{"Regexp":"^(.*)$","Replacement":"$1","RewriteBody":false,"Redirect":false}}]}"#,
            ),
            ("GET", "/v2/frontends/f1/middlewares/zz", "", 404, r#"{"message":"Key not found"}"#),
            (
                "POST",
                "/v2/frontends/zz/middlewares",
                r#"{"Middleware":{"Id":"m2","Type":"rewrite","Middleware":{"Regexp":"a"}}}"#,
                404,
                r#"{"message":"Key not found"}"#,
            ),
            (
                "POST",
                "/v2/frontends/f1/middlewares",
                r#"{"Middleware":{"Type":"rewrite","Middleware":{"Regexp":"a"}}}"#,
                400,
                r#"{"message":"frontend id and middleware id can not be empty"}"#,
            ),
            (
                "POST",
                "/v2/hosts",
                r#"{"Host":{"Name":"localhost","Settings":{"Default":true}}}"#,
                200,
                r#"{"Name":"localhost","Settings":{"Default":true,"KeyPair":null,"AutoCert":null,"OCSP":{"Enabled":false,"Period":"","Responders":null,"SkipSignatureCheck":false}}}"#,
            ),
            (
                "GET",
                "/v2/hosts",
                "",
                200,
                r#"{"Hosts":[{"Name":"localhost","Settings":{"Default":true,"KeyPair":null,"AutoCert":null,"OCSP":{"Enabled":false,"Period":"","Responders":null,"SkipSignatureCheck":false}}}]}"#,
            ),
            (
                "POST",
                "/v2/listeners",
                r#"{"Listener":{"Id":"l1","Protocol":"HTTP","Address":{"Network":"tcp","Address":"127.0.0.1:28300"}}}"#,
                200,
                r#"{"Id":"l1","Protocol":"http","Address":{"Network":"tcp","Address":"127.0.0.1:28300"},"Scope":"","ProxyProtocol":""}"#,
            ),
            (
                "POST",
                "/v2/listeners",
                r#"{"Listener":{"Protocol":"http","Address":{"Network":"tcp","Address":"127.0.0.1:28302"}}}"#,
                400,
                r#"{"message":"listener id can not be empty"}"#,
            ),
            ("GET", "/v2/listeners/zz", "", 404, r#"{"message":"Key not found"}"#),
            ("DELETE", "/v2/backends/zz", "", 200, r#"{"message":"Backend deleted"}"#),
            ("DELETE", "/v2/backends/b2", "", 200, r#"{"message":"Backend deleted"}"#),
            ("DELETE", "/v2/frontends/f1/middlewares/m3", "", 200, r#"{"message":"Middleware deleted"}"#),
            ("DELETE", "/v2/backends/b1/servers/s1", "", 200, r#"{"message":"Server deleted"}"#),
            ("DELETE", "/v2/hosts/localhost", "", 200, r#"{"message":"Host 'localhost' deleted"}"#),
            ("DELETE", "/v2/listeners/l1", "", 200, r#"{"message":"Listener deleted"}"#),
            ("DELETE", "/v2/frontends/zz", "", 200, r#"{"message":"Frontend deleted"}"#),
        ],
    )
    .await;
    assert_eq!(
        keys(&setup).await,
        ["backends/b1/backend", "frontends/f1/frontend", "frontends/f10/frontend"]
    );
}

/// vulcand answers these with 500, or not at all.
#[tokio::test]
async fn a_wrong_request_is_400() {
    let setup = setup();
    let message = |text: &str| json!({ "message": text }).to_string();
    ask(&setup, "POST", "/v2/backends", r#"{"Backend":{"Id":"b1","Type":"http"}}"#).await;
    let cases = [
        ("/v2/backends", "", "unexpected end of JSON input"),
        ("/v2/backends", "{", "unexpected end of JSON input"),
        ("/v2/backends", "[]", "an object with the field Backend is expected"),
        ("/v2/backends", "null", "Missing mandatory parameter: Backend"),
        ("/v2/backends", "{}", "Missing mandatory parameter: Backend"),
        ("/v2/backends", r#"{"Backend":null}"#, "Missing mandatory parameter: Backend"),
        ("/v2/backends", r#"{"Backend":{}}"#, "Unsupported backend type "),
        ("/v2/backends", r#"{"Backend":{"Id":"a/b","Type":"http"}}"#, "an id cannot contain '/'"),
        (
            "/v2/backends",
            r#"{"Backend":{"Id":5,"Type":"http"}}"#,
            "json: cannot unmarshal number into Id: a string is expected",
        ),
        (
            "/v2/backends/b1/servers",
            r#"{"Server":{"Id":"s","URL":"http://a:1"},"TTL":5}"#,
            "TTL: a duration like \"5s\" is expected",
        ),
        ("/v2/backends/b1/servers", r#"{"Server":{"Id":"s","URL":"zz"}}"#, "endpoint url 'zz' is not valid"),
        ("/v2/frontends", "{}", "Missing mandatory parameter: Frontend"),
        ("/v2/hosts", "{}", "Missing mandatory parameter: Host"),
        ("/v2/listeners", "{}", "Missing mandatory parameter: Listener"),
        ("/v2/frontends/f/middlewares", "{}", "Missing mandatory parameter: Middleware"),
        (
            "/v2/frontends/f/middlewares",
            r#"{"Middleware":{"Id":"m","Type":"zz"}}"#,
            "middleware of type zz is not supported",
        ),
        (
            "/v2/hosts",
            r#"{"Host":{"Name":"h","Settings":{"KeyPair":{"Cert":"eA=="}}}}"#,
            "Provide non-empty certificate and a private key",
        ),
    ];
    for (path, body, expected) in cases {
        let answer = ask(&setup, "POST", path, body).await;
        assert_eq!((answer.status, answer.text), (400, message(expected)), "{path} {body}");
    }
    for (path, body, part) in [
        // What our own checks say.
        ("/v2/backends/b1/servers", r#"{"Server":{"Id":"s","URL":"ftp://a:1"}}"#, "URL"),
        (
            "/v2/backends/b1/servers",
            r#"{"Server":{"Id":"s","URL":"http://a:1"},"TTL":"x"}"#,
            "time: invalid duration",
        ),
        ("/v2/hosts", r#"{"Host":{"Name":"h","Settings":{"KeyPair":{"Cert":"eA==","Key":"eA=="}}}}"#, "PEM"),
    ] {
        let answer = ask(&setup, "POST", path, body).await;
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text);
        assert!(answer.text.contains(part), "{path} {body}: {}", answer.text);
    }
    assert_eq!(keys(&setup).await, ["backends/b1/backend"]);
}

#[tokio::test]
async fn what_is_written_is_what_vulcand_writes() {
    let setup = setup();
    let post = async |path: &str, body: &str| {
        assert_eq!(ask(&setup, "POST", path, body).await.status, 200, "{body}")
    };
    post("/v2/backends", r#"{"Backend":{"Id":"b1","Type":"http"}}"#).await;
    post(
        "/v2/frontends",
        r#"{"Frontend":{"Id":"f1","Type":"http","BackendId":"b1","Route":"Host(`a`) && Path(`/b`)"}}"#,
    )
    .await;
    post("/v2/hosts", r#"{"Host":{"Name":"h1"}}"#).await;
    for (key, expected) in [
        (
            "backends/b1/backend",
            r#"{"Id":"b1","Type":"http","Settings":{"Timeouts":{"Read":"","Dial":"","TLSHandshake":""},"KeepAlive":{"Period":"","MaxIdleConnsPerHost":0}}}"#,
        ),
        (
            "frontends/f1/frontend",
            r#"{"Id":"f1","Route":"Host(`a`) && Path(`/b`)","Type":"http","BackendId":"b1","Settings":{"Limits":{"MaxMemBodyBytes":0,"MaxBodyBytes":0},"FailoverPredicate":"","Hostname":"","TrustForwardHeader":false,"PassHostHeader":false,"Stream":false,"StreamFlushIntervalNanoSecs":0}}"#,
        ),
        (
            "hosts/h1/host",
            r#"{"Name":"h1","Settings":{"Default":false,"KeyPair":null,"OCSP":{"Enabled":false,"Period":"","Responders":null,"SkipSignatureCheck":false}}}"#,
        ),
    ] {
        let entry = setup.store.get(Area::Routing, key).await.unwrap().1.unwrap();
        assert_eq!(std::str::from_utf8(&entry.value).unwrap(), expected);
    }
}

#[tokio::test]
async fn an_upsert_keeps_what_vulcand_does_not_know() {
    let setup = setup();
    setup
        .put(
            "/v3/backends/b",
            &[],
            json!({ "Type": "http", "Settings": { "Timeouts": { "Read": "5s" }, "SlowStart": "10s" } }),
        )
        .await;
    setup
        .put(
            "/v3/frontends/f",
            &[],
            json!({ "Type": "http", "BackendId": "b", "Route": "Host(`a`)", "Priority": 7,
                    "Settings": { "PassHostHeader": true, "Hostname": "x" } }),
        )
        .await;
    let body = r#"{"Frontend":{"Id":"f","Type":"http","BackendId":"b","Route":"Host(`b`)"}}"#;
    assert_eq!(ask(&setup, "POST", "/v2/frontends", body).await.status, 200);
    let body = r#"{"Backend":{"Id":"b","Type":"http"}}"#;
    assert_eq!(ask(&setup, "POST", "/v2/backends", body).await.status, 200);
    let frontend = value(&setup, "frontends/f/frontend").await;
    assert_eq!((&frontend["Priority"], &frontend["Route"]), (&json!(7), &json!("Host(`b`)")));
    assert_eq!(frontend["Settings"]["PassHostHeader"], false);
    assert_eq!(frontend["Settings"]["Hostname"], "");
    let backend = value(&setup, "backends/b/backend").await;
    assert_eq!(backend["Settings"]["SlowStart"], "10s");
    assert_eq!(backend["Settings"]["Timeouts"]["Read"], "");
}

#[tokio::test]
async fn what_vulcand_could_not_read_is_left_out() {
    let setup = setup();
    for (path, body) in [
        ("/v3/backends/b", json!({ "Type": "http" })),
        ("/v3/backends/alias", json!({ "Type": "alias", "Target": "b" })),
        ("/v3/frontends/old", json!({ "Type": "http", "BackendId": "alias", "Route": "Host(`a`)" })),
        ("/v3/frontends/new", json!({ "Type": "http", "BackendId": "b", "Route": "PathPrefix(`/a`)" })),
        (
            "/v3/frontends/old/middlewares/m",
            json!({ "Type": "redirect", "Middleware": { "Scheme": "https" } }),
        ),
    ] {
        let answer = setup.put(path, &[], body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    setup
        .store
        .put(Area::Routing, "frontends/short", r#"{"Type":"http","BackendId":"b","Route":"Host(`s`)"}"#)
        .unwrap();
    setup.store.put(Area::Routing, "frontends/broken/frontend", "{").unwrap();
    let ids = async |path: &str, list: &str| {
        let answer = setup.get(path).await.json();
        let list = answer[list].as_array().cloned().unwrap_or_default();
        list.iter().map(|one| one["Id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("/v2/frontends", "Frontends").await, ["old", "short"]);
    assert_eq!(ids("/v2/backends", "Backends").await, ["b"]);
    assert!(ids("/v2/frontends/old/middlewares", "Middlewares").await.is_empty());
    let one = setup.get("/v2/backends/alias").await;
    assert_eq!((one.status, &*one.text), (500, r#"{"message":"Unsupported backend type alias"}"#));
    assert_eq!(setup.get("/v2/frontends/broken").await.status, 500);
    let over = ask(&setup, "POST", "/v2/backends", r#"{"Backend":{"Id":"alias","Type":"http"}}"#).await;
    assert_eq!(over.status, 409, "{}", over.text);
    assert_eq!(value(&setup, "backends/alias/backend").await["Target"], "b");
}

#[tokio::test]
async fn a_removal_takes_what_is_below_and_no_sibling() {
    let setup = setup();
    for id in ["1", "10", "1-canary"] {
        for (path, body) in [
            (format!("/v3/backends/b{id}"), json!({ "Type": "http" })),
            (format!("/v3/backends/b{id}/servers/s"), json!({ "URL": "http://a:1" })),
            (
                format!("/v3/frontends/f{id}"),
                json!({ "Type": "http", "BackendId": "b10", "Route": format!("Host(`{id}`)") }),
            ),
            (
                format!("/v3/frontends/f{id}/middlewares/m"),
                json!({ "Type": "rewrite", "Middleware": { "Regexp": "a" } }),
            ),
            (format!("/v3/hosts/h{id}"), json!({})),
        ] {
            let answer = setup.put(&path, &[], body).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        }
    }
    let before = keys(&setup).await;
    for path in ["/v2/frontends/f1", "/v2/backends/b1", "/v2/hosts/h1"] {
        assert_eq!(ask(&setup, "DELETE", path, "").await.status, 200);
    }
    let of_1 = |key: &String| key.split('/').nth(1).is_some_and(|id| matches!(id, "f1" | "b1" | "h1"));
    let expected: Vec<_> = before.into_iter().filter(|key| !of_1(key)).collect();
    assert_eq!(keys(&setup).await, expected);
    setup.put("/v3/backends/to-b10", &[], json!({ "Type": "alias", "Target": "b10" })).await;
    let refused = ask(&setup, "DELETE", "/v2/backends/b10", "").await;
    let message = r#"{"message":"can not delete backend 'b10', it is in use by [to-b10 f1-canary f10]"}"#;
    assert_eq!((refused.status, &*refused.text), (500, message));
    assert_eq!(value(&setup, "backends/b10/servers/s").await["URL"], "http://a:1");
}

#[tokio::test(start_paused = true)]
async fn middlewares_go_with_their_frontends_lease() {
    let setup = setup();
    let post = async |path: &str, body: Value| {
        let answer = setup.post(path, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    };
    let frontend = |ttl: &str| json!({ "Frontend": { "Id": "f", "Type": "http", "BackendId": "b", "Route": "Host(`a`)" }, "TTL": ttl });
    let middleware = |id: &str, ttl: &str| json!({ "Middleware": { "Id": id, "Type": "rewrite", "Middleware": { "Regexp": "a" } }, "TTL": ttl });
    let own = |id: &str| format!("frontends/f/middlewares/{id}");
    post("/v2/backends", json!({ "Backend": { "Id": "b", "Type": "http" } })).await;
    post("/v2/frontends", frontend("")).await;
    post("/v2/frontends/f/middlewares", middleware("early", "0s")).await;
    assert_eq!(lease(&setup, &own("early")).await, None);
    post("/v2/frontends", frontend("60s")).await;
    post("/v2/frontends/f/middlewares", middleware("late", "")).await;
    post("/v2/frontends/f/middlewares", middleware("own", "90s")).await;
    let first = lease(&setup, "frontends/f/frontend").await;
    assert!(first.is_some());
    assert_eq!((lease(&setup, &own("early")).await, lease(&setup, &own("late")).await), (first, first));
    // A heartbeat: a new lease, and all of it moves along but what has one of its own.
    tokio::time::sleep(Duration::from_secs(40)).await;
    post("/v2/frontends", frontend("60s")).await;
    let second = lease(&setup, "frontends/f/frontend").await;
    assert!(second.is_some() && second != first);
    assert_eq!((lease(&setup, &own("early")).await, lease(&setup, &own("late")).await), (second, second));
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(keys(&setup).await.len(), 5);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(keys(&setup).await, ["backends/b/backend"]);
    // Without a TTL it stays for good, and what hung on its lease with it.
    post("/v2/frontends", frontend("60s")).await;
    post("/v2/frontends/f/middlewares", middleware("m", "")).await;
    post("/v2/frontends", frontend("0s")).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(
        keys(&setup).await,
        ["backends/b/backend", "frontends/f/frontend", "frontends/f/middlewares/m"]
    );
    // A server's heartbeat.
    let server = |ttl: &str| json!({ "Server": { "Id": "s", "URL": "http://a:1" }, "TTL": ttl });
    post("/v2/backends/b/servers", server("5s")).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(value(&setup, "backends/b/servers/s").await, Value::Null);
}

/// With a sealed pair, and with a plain one.
#[tokio::test]
async fn a_private_key_comes_in_and_never_out() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    let made = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    for seal in [SealKeys::none(), SealKeys::parse(&[SEAL_KEY]).unwrap()] {
        let sealed = !seal.is_empty();
        let setup = setup_with(seal, None);
        let pair = json!({ "Cert": BASE64.encode(&cert), "Key": BASE64.encode(&key) });
        let host = json!({ "Host": { "Name": "shop.example", "Settings": { "KeyPair": pair } } });
        let answer = setup.post("/v2/hosts", host).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let stored = value(&setup, "hosts/shop.example/host").await["Settings"]["KeyPair"].clone();
        assert_eq!(stored.is_string(), sealed);
        let told = setup.get("/v2/hosts/shop.example").await;
        let all = setup.get("/v2/hosts").await;
        for answer in [&answer, &told, &all] {
            assert!(!answer.text.contains(&BASE64.encode(&key)[..60]), "{}", answer.text);
        }
        let pair = &told.json()["Settings"]["KeyPair"];
        assert_eq!(pair["Key"], Value::Null);
        let shown = String::from_utf8(BASE64.decode(pair["Cert"].as_str().unwrap()).unwrap()).unwrap();
        assert_eq!(shown.replace(['\r', '\n'], ""), cert.replace(['\r', '\n'], ""));
        // What was told can be sent back: the key stays.
        let mut host = told.json();
        host["Settings"]["Default"] = true.into();
        assert_eq!(setup.post("/v2/hosts", json!({ "Host": host })).await.status, 200);
        let kept = value(&setup, "hosts/shop.example/host").await;
        assert_eq!((&kept["Settings"]["KeyPair"], &kept["Settings"]["Default"]), (&stored, &json!(true)));
        // Without one, it goes, as with vulcand.
        setup.post("/v2/hosts", json!({ "Host": { "Name": "shop.example" } })).await;
        assert_eq!(value(&setup, "hosts/shop.example/host").await["Settings"]["KeyPair"], Value::Null);
    }
}

#[tokio::test]
async fn a_write_meets_others() {
    let setup = setup();
    setup.put("/v3/backends/b", &[], json!({ "Type": "http" })).await;
    let write = |id: usize| {
        let body = json!({ "Backend": { "Id": "b", "Type": "http", "Settings": { "Timeouts": { "Read": format!("{id}s") } } } });
        setup.post("/v2/backends", body)
    };
    let answers = futures_util::future::join_all((1..4).map(write)).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    // A lease that ended between the look and the write.
    let gone = Operation::Put {
        area: Area::Routing,
        key: "frontends/f/middlewares/m".into(),
        value: "{}".into(),
        lease: LeaseChoice::Existing(4_711),
    };
    let refused = setup.store.commit(Transaction { expect: Vec::new(), operations: vec![gone] }).await;
    assert_eq!(refused.unwrap_err().to_string(), "the store refused: the lease has ended");
}

#[tokio::test]
async fn the_log_speaks_lower_where_the_process_has_one() {
    let setup = setup();
    for (path, body, expected) in [
        ("/v2/log/severity", "severity=blah", r#"{"message":"not a valid logrus Level: \"blah\""}"#),
        ("/v2/log/severity", "", r#"{"message":"not a valid logrus Level: \"\""}"#),
    ] {
        let answer =
            setup.ask("PUT", path, &[("content-type", "application/x-www-form-urlencoded")], body).await;
        assert_eq!((answer.status, &*answer.text), (400, expected));
    }
    // No log is installed in this process.
    assert_eq!(setup.get("/v2/log/severity").await.status, 500);
}

#[tokio::test]
async fn strangers_are_refused() {
    let setup = setup();
    let fields = [("host", "localhost"), ("origin", "https://evil.example"), ("content-type", "text/plain")];
    for path in ["/v2/backends", "/v2/hosts"] {
        assert_eq!(setup.ask("POST", path, &fields, "{}").await.status, 403);
    }
    assert_eq!(setup.ask("GET", "/v2/hosts", &[("host", "evil.example")], "").await.status, 403);
}

#[tokio::test]
async fn statistics_have_vulcands_form_and_order() {
    let setup = setup();
    let stats = |total: u64, codes: &str, errors: u64, quantile: u64, anomalies: &str| {
        let quantiles = ["50", "75", "95", "99", "99.9"]
            .map(|percent| format!(r#"{{"Quantile":{percent},"Value":{quantile}}}"#));
        let bad = anomalies != "null";
        format!(
            r#"{{"Verdict":{{"IsBad":{bad},"Anomalies":{anomalies}}},"Counters":{{"Period":10000000000,"NetErrors":{errors},"Total":{total},"StatusCodes":{codes}}},"LatencyBrackets":[{}]}}"#,
            quantiles.join(",")
        )
    };
    let settings = r#""Settings":{"Limits":{"MaxMemBodyBytes":0,"MaxBodyBytes":0},"FailoverPredicate":"","Hostname":"","TrustForwardHeader":false,"PassHostHeader":false,"Stream":false,"StreamFlushIntervalNanoSecs":0}"#;
    let idle = stats(1, r#"[{"Code":200,"Count":1}]"#, 0, 10_000, "null");
    let answer = setup.get("/v2/top/frontends").await;
    // `new` is the worst, and has a route that vulcand does not know.
    let list = answer.json()["Frontends"].clone();
    assert_eq!(
        (&list[0]["Id"], &list[1]["Id"], list.as_array().unwrap().len()),
        (&json!("busy"), &json!("idle"), 2)
    );
    let expected = format!(
        r#"{{"Id":"idle","Route":"Path(`/idle`)","Type":"http","BackendId":"b","Stats":{idle},{settings}}}"#
    );
    assert_eq!(list[1].to_string(), expected);
    assert_eq!(list[0]["Stats"]["LatencyBrackets"][4], json!({ "Quantile": 99.9, "Value": 30_000 }));
    let ids = async |path: &str| {
        let list = setup.get(path).await.json()["Servers"].clone();
        list.as_array().unwrap().iter().map(|one| one["Id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("/v2/top/servers").await, ["sick", "a", "c", "slow"]);
    assert_eq!(ids("/v2/top/servers?limit=2").await, ["sick", "a"]);
    assert_eq!(ids("/v2/top/servers?limit=0&backendId=").await.len(), 4);
    // Verdicts are of one backend's servers among each other.
    let all = setup.get("/v2/top/servers").await.text;
    assert!(!all.contains("\"IsBad\":true"), "{all}");
    let judged = setup.get("/v2/top/servers?backendId=b").await.json();
    let verdict = |place: usize| judged["Servers"][place]["Stats"]["Verdict"].clone();
    let network = json!({ "Code": 2, "Message": "Error rate stands out" });
    let app = json!({ "Code": 3, "Message": "App error rate (status 500) stands out" });
    let latency = json!({ "Code": 1, "Message": "50.00 quantile latency stands out" });
    assert_eq!(verdict(0), json!({ "IsBad": true, "Anomalies": [network, app] }));
    assert_eq!(verdict(1), json!({ "IsBad": false, "Anomalies": null }));
    assert_eq!(verdict(3), json!({ "IsBad": true, "Anomalies": [latency] }));
    let wrong = setup.get("/v2/top/servers?limit=x").await;
    assert_eq!(
        (wrong.status, &*wrong.text),
        (400, r#"{"message":"strconv.Atoi: parsing \"x\": invalid syntax"}"#)
    );

    let ours = setup.get("/v3/top?backend=b&limit=1").await.json();
    assert_eq!(ours["frontends"][0]["id"], "new");
    assert_eq!(
        ours["servers"],
        json!([{
            "backend": "b", "id": "sick", "url": "http://sick:80", "standing": "well", "inFlight": 2,
            "standsOut": ["networkErrors", "appErrors"], "requests": 3, "perSecond": 0.3, "networkErrors": 1,
            "codes": { "200": 1, "500": 1, "504": 1 },
            "latencyMicros": { "p50": 10, "p75": 10, "p95": 10, "p99": 10, "p999": 10 },
        }])
    );
    assert_eq!(setup.get("/v3/top?limit=x").await.status, 400);
    assert_eq!(setup.get("/v3/top?backend=a%2Fb").await.status, 400);
}
