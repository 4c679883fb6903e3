use super::*;
use crate::meter::RoundTrips;
use crate::model::{BackendId, FrontendId, InForce, Problem, Revision, Severity};
use crate::store::memory::MemoryStore;
use crate::store::{Area, StoreError};
use crate::telemetry::{FrontendCounters, FrontendLabels, Scrape, WorkerSlots};
use axum::body::Body;
use axum::http::Request as HttpRequest;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tower::ServiceExt;

/// A process that serves whatever revision it is told.
pub(super) struct Fake {
    served: watch::Sender<u64>,
    not_ready: Option<String>,
    requests: WorkerSlots<FrontendCounters>,
}

impl Running for Fake {
    fn state(&self) -> State {
        State {
            revision: Revision(*self.served.borrow()),
            store_revision: Revision(9),
            hash: 7,
            connected: true,
            reason: None,
            listeners: Vec::new(),
            since: SystemTime::UNIX_EPOCH,
            not_ready: self.not_ready.clone(),
            stale: false,
            held: 1,
            workers: 2,
            errors: 1,
            warnings: 0,
        }
    }

    fn wait_for(&self, revision: Revision, timeout: Duration) -> BoxFuture<'_, bool> {
        let mut served = self.served.subscribe();
        let wait = async move { served.wait_for(|served| *served >= revision.0).await.is_ok() };
        async move { tokio::time::timeout(timeout, wait).await.unwrap_or(false) }.boxed()
    }

    fn routes(&self, host: Option<&str>, frontend: Option<&FrontendId>, limit: usize) -> Routes {
        let route = RouteView {
            rank: 1,
            frontend: frontend.map_or("shop", |id| id.as_str()).into(),
            route: format!("Host({:?})", host.unwrap_or_default()),
            priority: 0,
            backend: "shop".into(),
            resolved: Some("shop-blue".into()),
            servers: vec![ServerView {
                id: "a".into(),
                url: "http://10.0.0.1:80".into(),
                state: "active".into(),
                healthy: true,
                standing: "well".into(),
                in_flight: 3,
            }],
        };
        Routes {
            revision: self.state().revision,
            order: "flipgate",
            routes: vec![route],
            truncated: limit < 2,
        }
    }

    fn problems(&self) -> (Revision, Vec<Problem>) {
        let problem = Problem {
            key: "frontends/shop/frontend".into(),
            field: "Route".into(),
            reason: "is wrong".into(),
            severity: Severity::Error,
            revision: Revision(7),
            since: SystemTime::UNIX_EPOCH,
            in_force: InForce::Previous,
        };
        (self.state().revision, vec![problem])
    }

    fn confirm(&self) -> BoxFuture<'_, Result<usize, ConfirmError>> {
        async { Ok(3) }.boxed()
    }

    fn top(&self, backend: Option<&BackendId>) -> Top {
        let at = std::time::Instant::now();
        let stats = |trips: &[(u16, bool, u64)]| {
            let slots = WorkerSlots::<RoundTrips>::new(2);
            for (number, (status, failed, micros)) in trips.iter().enumerate() {
                slots.at(number % 2).record(crate::meter::millis(at), *status, *failed, *micros);
            }
            Stats::of(at, &slots).unwrap()
        };
        let frontend = |id: &str, route: &str, trips: &[(u16, bool, u64)]| {
            let key = crate::model::ObjectKey::parse(&format!("frontends/{id}/frontend")).unwrap();
            let value = json!({ "Type": "http", "BackendId": "b", "Route": route });
            let parsed = crate::model::Object::parse_value(&key, &value, crate::model::Strictness::Written);
            let Some(crate::model::Object::Frontend(object)) = parsed.object else { panic!("{parsed:?}") };
            FrontendTop { object: Arc::new(object), stats: stats(trips) }
        };
        let server = |id: &str, trips: &[(u16, bool, u64)]| ServerTop {
            backend: backend.map_or("b", |id| id.as_str()).to_owned(),
            id: id.to_owned(),
            url: format!("http://{id}:80"),
            standing: "well",
            in_flight: 2,
            stats: stats(trips),
        };
        let well = [(200, false, 10), (200, false, 10), (200, false, 30)];
        Top {
            frontends: vec![
                frontend("idle", "Path(`/idle`)", &[(200, false, 10)]),
                frontend("busy", "Path(`/busy`)", &well),
                frontend("new", "PathPrefix(`/`)", &[(502, true, 10)]),
            ],
            servers: vec![
                server("a", &well),
                server("slow", &[(200, false, 9_000), (200, false, 9_000)]),
                server("c", &well),
                server("sick", &[(200, false, 10), (500, false, 10), (504, true, 10)]),
            ],
        }
    }

    fn connections(&self) -> Vec<(String, u64)> {
        vec![("127.0.0.1:8080".into(), 3)]
    }

    fn scrape(&self, scrape: &mut Scrape, labels: &mut FrontendLabels) {
        scrape.frontend("shop", &self.requests, labels);
    }
}

pub(super) struct Setup {
    admin: Arc<Admin>,
    pub(super) store: MemoryStore,
    served: watch::Sender<u64>,
}

pub(super) const SEAL_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A process that answers.
pub(super) fn fake() -> impl Running {
    Fake { served: watch::Sender::new(5), not_ready: None, requests: WorkerSlots::new(1) }
}

pub(super) fn setup_with(seal: SealKeys, not_ready: Option<&str>) -> Setup {
    let store = MemoryStore::new();
    let served = watch::Sender::new(5);
    let requests = WorkerSlots::<FrontendCounters>::new(1);
    requests.at(0).record(200, 10);
    let running = Fake { served: served.clone(), not_ready: not_ready.map(str::to_owned), requests };
    let access = Access::new(([127, 0, 0, 1], 8182).into(), None, Vec::new(), Vec::new()).unwrap();
    let admin = Admin::new(Parts {
        store: Arc::new(store.clone()),
        running: Arc::new(running),
        access: Arc::new(access),
        seal: Arc::new(seal),
        secrets_dir: None,
    });
    Setup { admin, store, served }
}

pub(super) fn setup() -> Setup {
    setup_with(SealKeys::none(), None)
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: axum::http::HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

pub(super) async fn ask_router(
    router: Router,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = HttpRequest::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let response = router.oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, text }
}

impl Setup {
    pub(super) async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        ask_router(self.admin.api(), method, path, fields, body).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    pub(super) async fn put(&self, path: &str, fields: &[(&str, &str)], body: Value) -> Answer {
        let fields: Vec<_> = fields.iter().copied().chain([("content-type", "application/json")]).collect();
        self.ask("PUT", path, &fields, &body.to_string()).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, &[("content-type", "application/json")], &body.to_string()).await
    }
}

fn frontend() -> Value {
    json!({ "Type": "http", "BackendId": "shop", "Route": "Host(\"shop.example\")" })
}

#[tokio::test]
async fn status_routes_and_problems_have_the_form_of_the_contract() {
    let setup = setup();
    assert_eq!(
        setup.get("/v3/status").await.json(),
        json!({
            "revision": 5,
            "storeRevision": 9,
            "store": { "kind": "memory", "connected": true, "since": "1970-01-01T00:00:00Z" },
            "hash": "0000000000000007",
            "listeners": [],
            "ready": true,
            "stale": false,
            "held": 1,
            "workers": 2,
            "problems": { "error": 1, "warning": 0 },
        })
    );
    assert_eq!(
        setup.get("/v3/routes?host=Shop.Example.&frontend=f").await.json(),
        json!({ "revision": 5, "order": "flipgate", "routes": [{
            "rank": 1, "frontend": "f", "route": "Host(\"shop.example\")", "priority": 0, "backend": "shop",
            "resolved": "shop-blue",
            "servers": [{ "id": "a", "url": "http://10.0.0.1:80", "state": "active", "healthy": true,
                "standing": "well", "inFlight": 3 }],
        }] })
    );
    assert_eq!(setup.get("/v3/routes?limit=1").await.json()["truncated"], true);
    assert_eq!(
        setup.get("/v3/problems").await.json(),
        json!({ "revision": 5, "problems": [{
            "key": "frontends/shop/frontend", "field": "Route", "reason": "is wrong", "severity": "error",
            "revision": 7, "since": "1970-01-01T00:00:00Z", "inForce": "previous",
        }] })
    );
    assert_eq!(setup.post("/v3/confirm", json!({})).await.json(), json!({ "confirmed": 3 }));
}

#[tokio::test(start_paused = true)]
async fn status_waits_for_a_revision() {
    let setup = setup();
    assert_eq!(setup.get("/v3/status?revision=5").await.status, 200);
    let late = setup.get("/v3/status?revision=6&timeout=2s").await;
    assert_eq!((late.status, late.json()["revision"].clone()), (504, json!(5)));
    assert_eq!(late.json()["message"], "revision 6 is not served yet");
    let served = setup.served.clone();
    let (answer, ()) = tokio::join!(setup.get("/v3/status?revision=6&timeout=50s"), async move {
        tokio::time::sleep(Duration::from_secs(40)).await;
        served.send_replace(6);
    });
    assert_eq!((answer.status, answer.json()["revision"].clone()), (200, json!(6)));
    for bad in ["timeout=5", "revision=x", "revison=5"] {
        let answer = setup.get(&format!("/v3/status?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text);
        assert!(answer.json()["message"].is_string());
    }
}

#[tokio::test]
async fn probes_and_metrics() {
    let setup = setup_with(SealKeys::none(), Some("no table is served yet"));
    for router in [setup.admin.api(), setup.admin.health()] {
        let ask = |path| ask_router(router.clone(), "GET", path, &[], "");
        assert_eq!(ask("/healthz").await.text, "ok\n");
        let ready = ask("/readyz").await;
        assert_eq!((ready.status, ready.text.as_str()), (503, "no table is served yet\n"));
        let metrics = ask("/metrics").await;
        assert!(metrics.text.contains("flipgate_requests_total{frontend=\"shop\",code=\"200\"} 1\n"));
        assert!(
            metrics.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text")
        );
    }
    for path in ["/v3/status", "/v3/routes", "/v3/frontends", "/v3/openapi.json"] {
        assert_eq!(ask_router(setup.admin.health(), "GET", path, &[], "").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn an_object_is_written_read_and_removed() {
    let setup = setup();
    let path = "/v3/frontends/shop";
    assert_eq!(setup.get(path).await.status, 404);
    let written = setup.put(path, &[("if-none-match", "*")], frontend()).await;
    assert_eq!((written.status, written.json()), (200, json!({ "revision": 2 })));
    let read = setup.get(path).await;
    assert_eq!((read.status, read.json()), (200, frontend()));
    assert_eq!(read.headers["etag"], "\"2\"");
    assert_eq!(read.headers["cache-control"], "no-store");
    assert_eq!(setup.put(path, &[("if-none-match", "*")], frontend()).await.status, 412);
    assert_eq!(setup.put(path, &[("if-match", "\"1\"")], frontend()).await.status, 412);
    assert_eq!(setup.put(path, &[("if-match", "\"2\"")], frontend()).await.json(), json!({ "revision": 3 }));
    assert_eq!(setup.ask("DELETE", path, &[("if-match", "2")], "").await.status, 412);
    assert_eq!(setup.ask("DELETE", path, &[("if-match", "3")], "").await.status, 200);
    let gone = setup.ask("DELETE", path, &[], "").await;
    assert_eq!(
        (gone.status, gone.json()["message"].clone()),
        (404, json!("the store holds no frontend shop"))
    );
}

#[tokio::test]
async fn what_is_not_valid_is_refused_with_every_problem() {
    let setup = setup();
    let answer =
        setup.put("/v3/frontends/shop", &[], json!({ "Type": "http", "Rout": "x", "BackendId": "" })).await;
    assert_eq!(answer.status, 422);
    let problems = answer.json()["problems"].as_array().unwrap().clone();
    assert!(problems.len() >= 2, "{problems:?}");
    for problem in &problems {
        assert_eq!(problem["key"], "frontends/shop/frontend");
        assert!(problem["reason"].is_string() && problem["field"].is_string());
    }
    let not_json = setup.ask("PUT", "/v3/frontends/shop", &[("content-type", "application/json")], "{").await;
    assert_eq!(not_json.status, 422);
    let form = setup.ask("PUT", "/v3/frontends/shop", &[("content-type", "text/plain")], "{}").await;
    assert_eq!(form.status, 415);
    let large = "x".repeat(BODY_BYTES_MAX + 1);
    let large = setup.ask("PUT", "/v3/frontends/shop", &[("content-type", "application/json")], &large).await;
    assert_eq!(large.status, 413);
    assert_eq!(setup.put("/v3/frontends/shop", &[("if-match", "x")], frontend()).await.status, 400);
    assert_eq!(setup.put("/v3/frontends/shop?tll=5s", &[], frontend()).await.status, 400);
    assert_eq!(setup.put("/v3/frontends/a%2Fb", &[], frontend()).await.status, 400);
    assert_eq!(setup.put("/v3/fronteds/shop", &[], frontend()).await.status, 404);
    assert_eq!(setup.ask("POST", "/v3/frontends/shop", &[], "").await.status, 405);
    assert_eq!(setup.store.revision(), Revision(1));
}

#[tokio::test]
async fn the_short_key_of_an_object_is_kept() {
    let setup = setup();
    setup.store.put(Area::Routing, "frontends/shop", frontend().to_string()).unwrap();
    assert_eq!(setup.get("/v3/frontends/shop").await.json(), frontend());
    assert_eq!(setup.put("/v3/frontends/shop", &[("if-none-match", "*")], frontend()).await.status, 412);
    assert_eq!(setup.put("/v3/frontends/shop", &[("if-match", "2")], frontend()).await.status, 200);
    let listed = setup.get("/v3/frontends").await.json();
    assert_eq!(listed["objects"][0]["key"], "frontends/shop");
    assert_eq!(listed["objects"].as_array().unwrap().len(), 1);
    assert_eq!(setup.ask("DELETE", "/v3/frontends/shop", &[], "").await.status, 200);
    assert_eq!(setup.get("/v3/frontends/shop").await.status, 404);
}

#[tokio::test]
async fn lists_hold_one_kind_and_one_parent() {
    let setup = setup();
    let server = json!({ "URL": "http://10.0.0.1:80" });
    let middleware = json!({ "Type": "headers", "Middleware": { "Request": { "Remove": ["X-A"] } } });
    setup.put("/v3/backends/shop", &[], json!({ "Type": "http" })).await;
    setup.put("/v3/backends/shop/servers/a", &[], server.clone()).await;
    setup.put("/v3/backends/shop/servers/10.0.0.1:80", &[], server.clone()).await;
    setup.put("/v3/backends/shop-2/servers/c", &[], server.clone()).await;
    setup.put("/v3/frontends/shop/middlewares/m", &[], middleware.clone()).await;
    setup.put("/v3/middlewares/shared", &[], middleware).await;
    setup.store.put(Area::Routing, "backends/broken/backend", "{").unwrap();
    let ids = async |path: &str| {
        let answer = setup.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let objects = answer.json()["objects"].as_array().unwrap().clone();
        objects.iter().map(|object| object["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("/v3/backends").await, ["broken", "shop"]);
    assert_eq!(ids("/v3/backends/shop/servers").await, ["shop/10.0.0.1:80", "shop/a"]);
    assert_eq!(ids("/v3/frontends/shop/middlewares").await, ["shop/m"]);
    assert_eq!(ids("/v3/middlewares").await, ["shared"]);
    assert_eq!(ids("/v3/listeners").await, [""; 0]);
    assert_eq!(setup.get("/v3/backends").await.json()["objects"][0]["unreadable"], true);
    assert_eq!(setup.get("/v3/backends/shop/middlewares").await.status, 404);
    assert_eq!(setup.get("/v3/backends/broken").await.status, 422);
    assert_eq!(setup.ask("DELETE", "/v3/backends/shop", &[], "").await.status, 200);
    assert_eq!(ids("/v3/backends/shop/servers").await.len(), 2);
    assert_eq!(setup.ask("DELETE", "/v3/backends/shop?recursive=true", &[], "").await.status, 200);
    assert_eq!(ids("/v3/backends/shop/servers").await.len(), 0);
    assert_eq!(ids("/v3/backends/shop-2/servers").await.len(), 1);
}

#[tokio::test]
async fn a_lease_is_given_and_kept() {
    let setup = setup();
    let server = json!({ "URL": "http://10.0.0.1:80" });
    setup.put("/v3/backends/b/servers/s?ttl=30s", &[], server.clone()).await;
    let lease = async || setup.get("/v3/backends/b/servers").await.json()["objects"][0]["lease"].clone();
    let given = lease().await;
    assert!(given.is_string());
    setup.put("/v3/backends/b/servers/s", &[], server).await;
    assert_eq!(lease().await, given);
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing() {
    let setup = setup();
    let put = |key: &str, value: Value| json!({ "key": key, "value": value });
    let blue = json!({ "Type": "alias", "Target": "shop-blue" });
    let first = json!({
        "expect": [{ "key": "backends/shop/backend", "modRevision": 0 }],
        "put": [put("backends/shop/backend", blue.clone()), put("frontends/shop/frontend", frontend())],
    });
    assert_eq!(setup.post("/v3/transactions", first.clone()).await.json(), json!({ "revision": 2 }));
    let again = setup.post("/v3/transactions", first).await;
    assert_eq!((again.status, again.json()["key"].clone()), (412, json!("backends/shop/backend")));
    let flip = json!({
        "expect": [{ "key": "backends/shop/backend", "modRevision": "2" }],
        "put": [put("backends/shop/backend", json!({ "Type": "alias", "Target": "shop-green" }))],
        "delete": ["frontends/shop/frontend"],
    });
    assert_eq!(setup.post("/v3/transactions", flip).await.json(), json!({ "revision": 3 }));
    assert_eq!(setup.get("/v3/frontends/shop").await.status, 404);
    let bad = json!({
        "put": [put("backends/b/backend", json!({ "Type": "htp" })), put("nonsense", json!({}))],
        "delete": ["frontends", "backends/b/backend"],
        "expect": [{ "key": "backends/b/backend", "modRevision": "two" }],
    });
    let answer = setup.post("/v3/transactions", bad).await;
    assert_eq!(answer.status, 422);
    let problems = answer.json()["problems"].as_array().unwrap().clone();
    let keys: Vec<_> = problems.iter().map(|problem| problem["key"].as_str().unwrap()).collect();
    let b = "backends/b/backend";
    assert_eq!(keys, [b, b, "nonsense", "frontends", b]);
    assert_eq!(setup.post("/v3/transactions", json!({})).await.status, 422);
    assert_eq!(setup.post("/v3/transactions", json!({ "puts": [] })).await.status, 400);
    assert_eq!(setup.store.revision(), Revision(3));
}

#[tokio::test]
async fn an_outage_of_the_store_is_said() {
    let setup = setup();
    setup.store.set_outage(Some("it is away"));
    for (method, path) in
        [("GET", "/v3/frontends/shop"), ("GET", "/v3/frontends"), ("DELETE", "/v3/frontends/shop")]
    {
        let answer = setup.ask(method, path, &[], "").await;
        assert_eq!(answer.status, 503, "{method} {path}");
        assert!(answer.json()["message"].as_str().unwrap().contains("does not answer"));
    }
    assert_eq!(setup.put("/v3/frontends/shop", &[], frontend()).await.status, 503);
    assert_eq!(setup.get("/v3/status").await.status, 200);
    let statuses = [
        (StoreError::Denied("x".into()), 403),
        (StoreError::Refused("x".into()), 422),
        (StoreError::Unsupported("x".into()), 422),
    ];
    for (error, status) in statuses {
        assert_eq!(Failure::from(error).into_response().status().as_u16(), status);
    }
}

fn key_pair() -> (rcgen::CertifiedKey<rcgen::KeyPair>, Value) {
    use base64::Engine;
    let made = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let value = json!({ "Cert": encode(made.cert.pem()), "Key": encode(made.signing_key.serialize_pem()) });
    (made, value)
}

#[tokio::test]
async fn keys_go_in_and_never_come_out() {
    for seal in [SealKeys::none(), SealKeys::parse(&[SEAL_KEY]).unwrap()] {
        let sealed = !seal.is_empty();
        let setup = setup_with(seal, None);
        let (_, pair) = key_pair();
        keys_of_a_backend(&setup, &pair).await;
        let host = json!({ "Settings": { "Default": true, "KeyPair": pair } });
        let path = "/v3/hosts/shop.example";
        let revision = setup.put(path, &[], host).await.json()["revision"].to_string();
        let stored = setup.store.backup();
        let stored = format!("{stored:?}");
        assert_eq!(stored.contains(pair["Key"].as_str().unwrap()), !sealed);

        let read = setup.get(path).await;
        let shown = read.json()["Settings"]["KeyPair"].clone();
        assert_eq!(shown["Redacted"], if sealed { "sealed" } else { "plain" });
        assert_eq!(shown["Names"], json!(["shop.example"]));
        assert!(shown["Fingerprint"].as_str().unwrap().starts_with("sha256:"));
        assert!(shown["NotAfter"].as_str().unwrap().ends_with('Z'));
        let list = setup.get("/v3/hosts").await;
        for answer in [&read, &list] {
            for secret in [&pair["Key"], &pair["Cert"]] {
                assert!(!answer.text.contains(secret.as_str().unwrap()));
            }
            assert!(!answer.text.contains("Val"));
        }

        let mut edited = read.json();
        edited["Settings"]["Default"] = false.into();
        assert_eq!(setup.put(path, &[("if-match", &revision)], edited).await.status, 200);
        let after = setup.get(path).await.json();
        assert_eq!(after["Settings"]["KeyPair"], shown);
        assert_eq!(after["Settings"]["Default"], false);
        let stranger = setup.put("/v3/hosts/other.example", &[], read.json()).await;
        assert_eq!(stranger.status, 422, "{}", stranger.text);
    }
}

async fn keys_of_a_backend(setup: &Setup, pair: &Value) {
    let backend =
        json!({ "Type": "http", "Settings": { "TLS": { "KeyPair": pair, "ServerName": "a.example" } } });
    let path = "/v3/backends/shop-tls";
    assert_eq!(setup.put(path, &[], backend).await.status, 200);
    let mut read = setup.get(path).await.json();
    let shown = read["Settings"]["TLS"].clone();
    assert_eq!(shown["ServerName"], "a.example");
    assert_eq!(shown["KeyPair"]["Names"], json!(["shop.example"]));
    for answer in [setup.get(path).await, setup.get("/v3/backends").await] {
        assert!(!answer.text.contains(pair["Key"].as_str().unwrap()) && !answer.text.contains("Val"));
    }
    read["Settings"]["TLS"]["ServerName"] = "b.example".into();
    assert_eq!(setup.put(path, &[], read.clone()).await.status, 200);
    let after = setup.get(path).await.json();
    assert_eq!((&after["Settings"]["TLS"]["KeyPair"], &after), (&shown["KeyPair"], &read));
    let stranger = setup.put("/v3/backends/other", &[], read).await;
    assert!(stranger.status == 422 && stranger.text.contains("Settings.TLS.KeyPair"), "{}", stranger.text);
}

#[tokio::test]
async fn what_may_be_a_secret_is_hidden() {
    let setup = setup();
    let stored: &[(&str, &str)] = &[
        ("a", r#"{"Settings":{"KeyPiar":{"Key":"SECRET"},"keypair":{"Cert":"SECRET"}},"Key":"SECRET"}"#),
        ("b", r#""SECRET""#),
        ("c", r#"{"Settings":"SECRET"}"#),
        ("d", "SECRET"),
        ("g", r#"{"Settings":{"AutoCert":{"Email":"a@b.example","Key":"SECRET"}}}"#),
        ("e", r#"{"settings":{"KEYPAIR":"SECRET","KeyPair":{"Key":"SECRET","Cert":["SECRET"]}}}"#),
    ];
    for (host, value) in stored {
        setup.store.put(Area::Routing, &format!("hosts/{host}.example/host"), (*value).to_owned()).unwrap();
        let answer = setup.get(&format!("/v3/hosts/{host}.example")).await;
        assert!(!answer.text.contains("SECRET"), "{}", answer.text);
        let answer = setup.get(&format!("/v2/hosts/{host}.example")).await;
        assert!(!answer.text.contains("SECRET"), "{}", answer.text);
    }
    assert!(!setup.get("/v2/hosts").await.text.contains("SECRET"));
    let backends: &[&str] = &[
        r#"{"Settings":{"TLS":{"KeyPair":{"Cert":"SECRET","Key":"SECRET"}}}}"#,
        r#"{"settings":{"tls":{"keypair":"SECRET","KeyPair":["SECRET"],"Key":"SECRET","KeyPiar":"SECRET"}}}"#,
        r#"{"Settings":{"TLS":{"CA":"-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nSECRET"}}}"#,
        r#"{"Settings":{"TLS":"SECRET"}}"#,
        r#""SECRET""#,
        "{SECRET",
    ];
    for (place, value) in backends.iter().enumerate() {
        setup.store.put(Area::Routing, &format!("backends/b{place}/backend"), (*value).to_owned()).unwrap();
        let answer = setup.get(&format!("/v3/backends/b{place}")).await;
        assert!(!answer.text.contains("SECRET"), "{}", answer.text);
    }
    for list in ["/v3/backends", "/v3/objects"] {
        let list = setup.get(list).await;
        assert!(list.status == 200 && !list.text.contains("SECRET"), "{}", list.text);
    }
    // What is shown in place of a secret is never stored as one.
    let mut shown = setup.get("/v3/hosts/g.example").await.json();
    assert_eq!(setup.put("/v3/hosts/new.example", &[], shown.clone()).await.status, 422);
    shown["Settings"]["Default"] = true.into();
    let transaction = |key: &str, value: &Value| json!({ "put": [{ "key": key, "value": value }] });
    let key = "hosts/g.example/host";
    for answer in [
        setup.put("/v3/hosts/g.example", &[], shown.clone()).await,
        setup.post("/v3/transactions", transaction(key, &shown)).await,
    ] {
        assert_eq!(answer.status, 200, "{}", answer.text);
        let kept = format!("{:?}", setup.store.backup());
        assert!(!kept.contains("(hidden)"), "{kept}");
    }
    let tls = json!({ "Type": "http", "Settings": { "TLS": { "CA": "(hidden)" } } });
    let refused = setup.put("/v3/backends/new", &[], tls).await;
    assert!(refused.status == 422 && refused.text.contains("Settings.TLS.CA"), "{}", refused.text);
    let key = "middlewares/door";
    let door = json!({ "Type": "auth", "Middleware": { "Username": "ann", "Password": "SECRET" } });
    assert_eq!(setup.post("/v3/transactions", transaction(key, &door)).await.status, 200);
    let shown = setup.get("/v3/middlewares/door").await;
    assert!(!shown.text.contains("SECRET"), "{}", shown.text);
    let answer = setup.post("/v3/transactions", transaction(key, &shown.json())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(!format!("{:?}", setup.store.backup()).contains("(hidden)"));
    let ca = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let auth = json!({ "Settings": { "ClientAuth": { "Mode": "off", "CA": ca, "Forward": true } } });
    setup.store.put(Area::Routing, "hosts/f.example/host", auth.to_string()).unwrap();
    assert_eq!(setup.get("/v3/hosts/f.example").await.json(), auth);
    let ca = format!("{ca}-----BEGIN PRIVATE KEY-----\nSECRET");
    let auth = json!({ "Settings": { "ClientAuth": { "Mode": "off", "CA": ca, "Key": "SECRET" } } });
    setup.store.put(Area::Routing, "hosts/f.example/host", auth.to_string()).unwrap();
    let answer = setup.get("/v3/hosts/f.example").await;
    assert!(answer.status == 200 && !answer.text.contains("SECRET"), "{}", answer.text);
    setup.store.delete(Area::Routing, "hosts/f.example/host").unwrap();
    for path in ["/v3/backends/%ff", "/v2/backends/a%c3", "/v3/backends/b/servers/%e2%80"] {
        let answer = setup.get(path).await;
        assert_eq!(
            (answer.status, &answer.json()["message"]),
            (400, &json!("the path is not UTF-8")),
            "{path}"
        );
    }
    assert_eq!(setup.get("/v2/backends/%c3%a9%zz%").await.status, 404);
    let list = setup.get("/v3/hosts").await;
    assert_eq!(list.json()["objects"].as_array().unwrap().len(), stored.len());
    assert!(!list.text.contains("SECRET"), "{}", list.text);
    let bad = json!({ "Settings": { "KeyPair": { "Key": "SECRET", "Cert": "SECRET" } } });
    let answer = setup.put("/v3/hosts/f.example", &[], bad).await;
    assert_eq!(answer.status, 422);
    assert!(!answer.text.contains("SECRET"), "{}", answer.text);
}

#[tokio::test]
async fn strangers_are_refused_and_probes_are_not() {
    let setup = setup();
    for path in ["/v3/status", "/metrics", "/v3/hosts", "/nothing"] {
        let answer = setup.ask("GET", path, &[("host", "evil.example")], "").await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.json()["message"].is_string());
    }
    let fields = [("host", "evil.example")];
    assert_eq!(setup.ask("GET", "/healthz", &fields, "").await.status, 200);
    assert_eq!(setup.ask("GET", "/readyz", &fields, "").await.status, 200);
    let fields = [("host", "localhost"), ("origin", "https://evil.example")];
    assert_eq!(setup.ask("DELETE", "/v3/frontends/shop", &fields, "").await.status, 403);
    assert_eq!(setup.get("/nothing").await.status, 404);
}

#[tokio::test]
async fn the_document_tells_of_every_path_and_no_other() {
    let setup = setup();
    let document = setup.get("/v3/openapi.json").await.json();
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is not described");
    }
    let mut told = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let address = path.replace(['{', '}'], "");
        for method in ["GET", "PUT", "POST", "DELETE"] {
            let described = operations.get(method.to_ascii_lowercase()).is_some();
            let answer = setup.ask(method, &address, &[("content-type", "application/json")], "{}").await;
            assert_eq!(answer.status != 405, described, "{method} {path}: {}", answer.text);
            assert!(!answer.text.contains("there is nothing here"), "{method} {path}");
            told += usize::from(described);
        }
    }
    assert_eq!(told, 16 + 7 * 4);
    assert!(!text.contains("\"/v2/"), "version 2 is vulcand's, and described there");
}

#[tokio::test]
async fn a_server_answers_and_stops() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let setup = setup();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let server = tokio::spawn(serve(listener, setup.admin.api(), stop.clone()));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut head = vec![0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head, b"HTTP/1.1 200 OK");
    stop.cancel();
    server.await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"ok\n"));
}
