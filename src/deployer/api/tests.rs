use super::office::Later;
use super::*;
use crate::deployer::book::{Book, Kept};
use crate::deployer::descriptor::Descriptor;
use crate::deployer::desk::{Denied, Maintenance};
use crate::deployer::machine::{Ask, Position, Stage, Task};
use crate::deployer::record::{
    Application, Deployment, Facts, LogLine, Made, Previous, Status, StoredDescriptor,
};
use crate::kubernetes::Name;
use crate::model::Revision;
use crate::store::Area;
use crate::store::memory::MemoryStore;
use crate::telemetry::rfc3339;
use axum::body::Body;
use axum::http::Request as HttpRequest;
use futures_util::FutureExt;
use serde_json::{Value, json};
use std::sync::{Mutex, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tower::ServiceExt;

/// A desk that does what is asked in its book alone, and remembers it.
struct Fake {
    book: RwLock<Book>,
    changed: watch::Sender<u64>,
    asked: Mutex<Vec<String>>,
    /// What every call comes to, if set.
    denies: Mutex<Option<Denied>>,
}

fn app() -> Name {
    Name::new("shop", "cart")
}

impl Fake {
    fn change(&self, change: impl FnOnce(&mut Book, u64)) {
        let mut book = self.book.write().unwrap();
        book.revision.0 += 1;
        let revision = book.revision.0;
        change(&mut book, revision);
        drop(book);
        self.changed.send_modify(|count| *count += 1);
    }

    fn say(&self, what: String) -> Result<(), Denied> {
        self.asked.lock().unwrap().push(what);
        self.denies.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn set(&self, deployment: Deployment) {
        let key = (deployment.descriptor.app(), deployment.id.as_str().into());
        self.change(|book, version| {
            let state = book.applications.entry(key.0.clone());
            let state = state.or_insert(Kept { value: Application::default(), version, bytes: 0 });
            let own = Some(deployment.id.clone());
            match deployment.status {
                status if status.is_open() => state.value.open = own,
                _ if state.value.open == own => state.value.open = None,
                _ => {}
            }
            if deployment.status == Status::Deployed {
                state.value.live = Some(deployment.id.clone());
            }
            book.deployments.insert(key, Kept { value: deployment, version, bytes: 0 });
        });
    }

    fn log(&self, id: &str, number: u64, text: &str) {
        let line = LogLine { at: "2026-01-02T03:04:05Z".into(), text: text.into() };
        self.change(|book, _| {
            book.logs.insert((app(), id.into(), number), line);
        });
    }

    fn get(&self, id: &str) -> Deployment {
        self.book.read().unwrap().deployment("shop", id).unwrap().1.value.clone()
    }
}

impl Office for Fake {
    fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read().unwrap()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn check<'a>(&'a self, descriptor: &'a Descriptor) -> Later<'a, Vec<String>> {
        let said = self.say(format!("check {}", descriptor.app()));
        async { said.map(|()| vec!["create Deployment cart-1".into()]) }.boxed()
    }

    fn deploy<'a>(
        &'a self,
        descriptor: Descriptor,
        again: Option<&'a str>,
        by: &'a str,
    ) -> Later<'a, Deployment> {
        let said = self.say(format!("deploy {} {} by {by}", descriptor.app(), again.unwrap_or("anew")));
        async move {
            said?;
            let open = self.book().applications.get(&descriptor.app()).and_then(|app| app.value.open.clone());
            if let Some(id) = open {
                return Err(Denied::Busy { id, reason: "another one is under way".into() });
            }
            let count = self.book().deployments.len() + 1;
            let id = again.map_or_else(|| format!("d{count}"), str::to_owned);
            let mut made = deployment(&id, Status::Deploying);
            made.version = count.to_string();
            made.descriptor = descriptor;
            self.set(made.clone());
            Ok(made)
        }
        .boxed()
    }

    fn undeploy<'a>(&'a self, app: &'a Name, id: &'a str, by: &'a str) -> Later<'a, Deployment> {
        let said = self.say(format!("undeploy {app} {id} by {by}"));
        async move {
            said?;
            let deployment = Deployment { status: Status::Undeploying, ..self.get(id) };
            self.set(deployment.clone());
            Ok(deployment)
        }
        .boxed()
    }

    fn ask<'a>(&'a self, app: &'a Name, id: &'a str, ask: Ask, by: &'a str) -> Later<'a, ()> {
        let said = self.say(format!("{ask:?} {app} {id} by {by}"));
        async { said }.boxed()
    }

    fn scale<'a>(&'a self, app: &'a Name, id: &'a str, replicas: u32, by: &'a str) -> Later<'a, Deployment> {
        let said = self.say(format!("scale {app} {id} {replicas} by {by}"));
        async move { said.map(|()| self.get(id)) }.boxed()
    }

    fn store_descriptor<'a>(
        &'a self,
        descriptor: Descriptor,
        id: Option<&'a str>,
        version: Option<u64>,
    ) -> Later<'a, (String, u64)> {
        let said = self.say(format!("store {} {id:?} {version:?}", descriptor.app()));
        async move {
            said?;
            let id = id.map_or_else(
                || format!("{:02}", self.book.read().unwrap().descriptors.len() + 1),
                str::to_owned,
            );
            let stored = Descriptor { id: id.clone(), last_modified: id.clone(), ..descriptor };
            self.change(|book, version| {
                let key = (stored.app(), stored.id.as_str().into());
                book.descriptors.insert(key, Kept { value: StoredDescriptor(stored), version, bytes: 0 });
            });
            Ok((id, self.book().revision.0))
        }
        .boxed()
    }

    fn forget_descriptors<'a>(&'a self, app: &'a Name, ids: &'a [String]) -> Later<'a, ()> {
        let said = self.say(format!("forget {app} {}", ids.join(",")));
        self.change(|book, _| book.descriptors.retain(|(_, id), _| !ids.contains(&id.to_string())));
        async { said }.boxed()
    }

    fn forget_deployments<'a>(&'a self, app: &'a Name, ids: &'a [String]) -> Later<'a, ()> {
        let said = self.say(format!("forget {app} {}", ids.join(",")));
        self.change(|book, _| book.deployments.retain(|(_, id), _| !ids.contains(&id.to_string())));
        async { said }.boxed()
    }

    fn maintain<'a>(&'a self, app: &'a Name, maintenance: Option<Maintenance>) -> Later<'a, ()> {
        let said = self.say(format!("maintain {app} {maintenance:?}"));
        async { said }.boxed()
    }
}

pub(super) fn descriptor() -> Value {
    json!({
        "deploymentType": "blue-green", "namespace": "shop", "appName": "cart", "newVersion": "#", "replicas": 2,
        "frontend": "cart.example.com",
        "podspec": { "containers": [{ "name": "cart", "image": "registry.example/cart:1" }] },
    })
}

fn deployment(id: &str, status: Status) -> Deployment {
    let now = rfc3339(SystemTime::now());
    Deployment {
        id: id.into(),
        created: now.clone(),
        last_modified: now,
        version: "1".into(),
        status,
        descriptor: Descriptor::read(descriptor().to_string().as_bytes()).unwrap(),
        reason: None,
        position: status.is_open().then(|| Position::first(Task::Deploy, 1000)),
        facts: Facts::default(),
        made: None,
    }
}

struct Setup {
    fake: Arc<Fake>,
    store: MemoryStore,
    api: Arc<Api>,
}

struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn setup() -> Setup {
    let access = Access::new(([127, 0, 0, 1], 8000).into(), None, Vec::new(), Vec::new()).unwrap();
    setup_with(access)
}

fn setup_with(access: Access) -> Setup {
    let mut book = Book::default();
    book.revision = Revision(1);
    let fake = Arc::new(Fake {
        book: RwLock::new(book),
        changed: watch::Sender::new(0),
        asked: Mutex::default(),
        denies: Mutex::default(),
    });
    let store = MemoryStore::new();
    let api = Api::over(fake.clone(), Arc::new(store.clone()), Arc::new(access));
    Setup { fake, store, api }
}

impl Setup {
    async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let mut request = HttpRequest::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.api.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// What was asked of the desk since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.fake.asked.lock().unwrap())
    }
}

#[tokio::test]
async fn descriptors_are_stored_changed_and_removed() {
    let setup = setup();
    assert_eq!(setup.get("/descriptors/?namespace=shop").await.status, 404);
    let mut unnamed = descriptor();
    unnamed.as_object_mut().unwrap().remove("namespace");
    // `curl -d` sends no other type.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let stored = setup.ask("POST", "/descriptors/?namespace=shop", &form, &unnamed.to_string()).await;
    assert_eq!((stored.status, stored.field("location")), (201, "/descriptors/01/?namespace=shop"));
    assert_eq!(stored.json(), json!({ "id": "01" }));
    let one = setup.get(stored.field("location")).await;
    assert_eq!((one.status, one.json()["appName"].clone()), (200, json!("cart")));
    assert_eq!(one.field("etag"), stored.field("etag"));
    let known =
        setup.ask("GET", "/descriptors/01?namespace=shop", &[("if-none-match", one.field("etag"))], "").await;
    assert_eq!((known.status, &*known.text), (304, ""));
    let list = setup.get("/descriptors?namespace=shop&appname=cart").await.json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(setup.get("/descriptors?namespace=shop&appname=other").await.status, 404);
    assert_eq!(setup.get("/descriptors/01/?namespace=blog").await.status, 404);

    let path = "/descriptors/01/?namespace=shop";
    let text = descriptor().to_string();
    setup.asked();
    let old = setup.ask("PUT", path, &[("if-match", "\"1\"")], &text).await;
    assert_eq!((old.status, setup.asked().len()), (412, 0));
    assert_eq!(setup.ask("PUT", path, &[("if-match", one.field("etag"))], &text).await.status, 204);
    assert_eq!(setup.asked(), ["store shop/cart Some(\"01\") Some(2)"]);
    let mut renamed = descriptor();
    renamed["appName"] = json!("other");
    let renamed = setup.ask("PUT", path, &[], &renamed.to_string()).await;
    assert_eq!((renamed.status, renamed.json()["problems"][0]["field"].clone()), (400, json!("appName")));
    assert_eq!(setup.ask("DELETE", path, &[], "").await.status, 204);
    assert_eq!(setup.ask("DELETE", path, &[], "").await.status, 404);
}

#[tokio::test]
async fn the_newest_descriptor_is_kept() {
    let setup = setup();
    for _ in 0..3 {
        setup.ask("POST", "/descriptors/?namespace=shop", &[], &descriptor().to_string()).await;
    }
    setup.asked();
    assert_eq!(setup.ask("DELETE", "/descriptors/?namespace=shop", &[], "").await.status, 400);
    let path = "/descriptors/?namespace=shop&appname=cart";
    assert_eq!(setup.ask("DELETE", path, &[], "").await.status, 204);
    assert_eq!(setup.ask("DELETE", &format!("{path}&keepLatest=false"), &[], "").await.status, 204);
    assert_eq!(setup.asked(), ["forget shop/cart 02,01", "forget shop/cart 03"]);
    assert_eq!(setup.ask("DELETE", path, &[], "").await.status, 404);
}

#[tokio::test]
async fn what_is_wrong_with_a_descriptor_is_told() {
    let setup = setup();
    let valid = setup.ask("POST", "/descriptors/validate", &[], &descriptor().to_string()).await;
    assert_eq!((valid.status, &*valid.text), (204, ""));
    let wrong =
        setup.ask("POST", "/descriptors/validate/?namespace=blog", &[], &descriptor().to_string()).await;
    assert_eq!(wrong.status, 200);
    assert!(wrong.text.starts_with("Error: invalid descriptor: namespace "), "{}", wrong.text);
    for path in ["/descriptors/?namespace=shop", "/deployments/?namespace=shop"] {
        for body in ["{", "[]", "", r#"{"appName": 7}"#] {
            let answer = setup.ask("POST", path, &[], body).await;
            assert_eq!(answer.status, 400, "{path} {body}");
            let problems = answer.json()["problems"].as_array().unwrap().clone();
            assert!(problems.iter().all(|it| it["reason"].is_string() && it["field"].is_string()));
            assert!(!problems.is_empty(), "{path} {body}");
        }
        let elsewhere = path.replace("shop", "blog");
        let answer = setup.ask("POST", &elsewhere, &[], &descriptor().to_string()).await;
        assert_eq!((answer.status, answer.json()["problems"][0]["field"].clone()), (400, json!("namespace")));
    }
    let large = setup.ask("POST", "/deployments/?namespace=shop", &[], &" ".repeat(1024 * 1024 + 1)).await;
    assert_eq!(large.status, 413);
    assert!(setup.asked().is_empty());
}

#[tokio::test]
async fn a_deployment_is_begun_and_told_of() {
    let setup = setup();
    let stored = setup.ask("POST", "/descriptors/?namespace=shop", &[], &descriptor().to_string()).await;
    let path = format!("/deployments/?namespace=shop&descriptorId={}", stored.json()["id"].as_str().unwrap());
    let begun = setup.ask("POST", &path, &[], "").await;
    assert_eq!((begun.status, begun.field("location")), (202, "/deployments/d1/?namespace=shop"));
    assert_eq!(begun.json()["status"], "DEPLOYING");
    let busy = setup.ask("POST", "/deployments?namespace=shop", &[], &descriptor().to_string()).await;
    assert_eq!((busy.status, busy.json()["id"].clone()), (409, json!("d1")));
    assert_eq!(setup.asked()[1..], ["deploy shop/cart anew by 127.0.0.1"; 2]);
    let one = setup.get(begun.field("location")).await;
    assert_eq!((one.status, one.json()["stage"].clone()), (200, json!("validate")));
    assert!(!one.field("etag").is_empty());
    let missing = setup.ask("POST", "/deployments/?namespace=shop&descriptorId=none", &[], "").await;
    assert_eq!(missing.status, 404);

    let dry = "/deployments/?namespace=shop&dryRun=true";
    let dry = setup.ask("POST", dry, &[], &descriptor().to_string()).await;
    assert_eq!((dry.status, dry.json()["wouldDo"].clone()), (200, json!(["create Deployment cart-1"])));
    assert_eq!(setup.asked(), ["check shop/cart"]);
    *setup.fake.denies.lock().unwrap() = Some(Denied::Away("etcd at 10.0.0.9 has no leader".into()));
    let away = setup.ask("POST", "/deployments?namespace=shop", &[], &descriptor().to_string()).await;
    assert_eq!(away.status, 503);
    assert!(!away.text.contains("10.0.0.9"), "{}", away.text);
}

#[tokio::test]
async fn deployments_are_listed_newest_first() {
    let setup = setup();
    assert_eq!(setup.get("/deployments/?namespace=shop").await.status, 404);
    for id in ["a", "b", "c"] {
        setup.fake.set(deployment(id, Status::Failure));
    }
    let mut other = deployment("other", Status::Deployed);
    other.descriptor.app_name = "till".into();
    setup.fake.set(other);
    let ids = async |path: &str| {
        let list = setup.get(path).await.json();
        list.as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("/deployments/?namespace=shop").await, ["other", "c", "b", "a"]);
    assert_eq!(ids("/deployments?namespace=shop&limit=1").await, ["other", "c"]);
    assert_eq!(ids("/deployments?namespace=shop&limit=2&appname=CART").await, ["c", "b"]);
    for bad in ["limit=0", "limit=x", "limt=1"] {
        assert_eq!(setup.get(&format!("/deployments?namespace=shop&{bad}")).await.status, 400, "{bad}");
    }
    let applications = setup.get("/applications/?namespace=shop").await.json();
    assert_eq!(applications[1]["live"]["id"], "other");
    assert_eq!(applications[0]["versions"][0]["id"], "c");
    assert_eq!(setup.get("/applications?namespace=blog").await.json(), json!([]));
}

#[tokio::test]
async fn records_are_removed() {
    let setup = setup();
    setup.fake.set(deployment("old", Status::Undeployed));
    setup.fake.set(deployment("failed", Status::Failure));
    setup.fake.set(deployment("live", Status::Deployed));
    let path = "/deployments/?namespace=shop&appname=cart";
    assert_eq!(setup.ask("DELETE", path, &[], "").await.status, 204);
    assert_eq!(setup.asked(), ["forget shop/cart failed,old"]);
    let undeployed = setup.ask("DELETE", &format!("{path}&undeploy=true"), &[], "").await;
    assert_eq!((undeployed.status, undeployed.field("location")), (202, "/deployments/live/?namespace=shop"));
    let mut changes = setup.fake.changed.subscribe();
    setup.fake.set(Deployment { status: Status::Undeployed, ..setup.fake.get("live") });
    while setup.get("/deployments/live/?namespace=shop").await.status == 200 {
        changes.changed().await.unwrap();
    }
    assert_eq!(setup.asked(), ["undeploy shop/cart live by 127.0.0.1", "forget shop/cart live"]);
}

#[tokio::test]
async fn what_delete_does_depends_on_how_it_is() {
    let cases = [
        (Status::Deployed, "", vec!["undeploy shop/cart d by 127.0.0.1"]),
        (Status::Deploying, "", vec!["Back shop/cart d by 127.0.0.1"]),
        (Status::Undeploying, "", vec![]),
        (Status::Failure, "", vec![]),
        (Status::Failure, "&deleteDeployment=true", vec!["forget shop/cart d"]),
        (Status::Undeployed, "&deleteDeployment=false", vec![]),
    ];
    for (status, query, expected) in cases {
        let setup = setup();
        setup.fake.set(deployment("d", status));
        let answer = setup.ask("DELETE", &format!("/deployments/d/?namespace=shop{query}"), &[], "").await;
        assert_eq!((answer.status, setup.asked()), (202, expected.iter().map(ToString::to_string).collect()));
    }
}

#[tokio::test]
async fn an_earlier_deployment_is_repeated_or_gone_back_to() {
    let setup = setup();
    setup.fake.set(deployment("old", Status::Undeployed));
    let path = "/deployments/old/?namespace=shop";
    assert_eq!(setup.ask("PUT", path, &[("if-match", "\"9\"")], "").await.status, 412);
    assert_eq!(setup.ask("PUT", path, &[], "").await.status, 202);
    assert_eq!(setup.asked(), ["deploy shop/cart old by 127.0.0.1"]);

    setup.fake.set(deployment("old", Status::Deployed));
    let mut newer = deployment("new", Status::Deploying);
    newer.facts.previous = Some(Previous { id: "old".into(), version: "1".into(), made: Made::default() });
    newer.position.as_mut().unwrap().stage = Stage::KeepWarm;
    setup.fake.set(newer.clone());
    let back = setup.ask("PUT", path, &[], "").await;
    assert_eq!((back.status, back.field("location")), (202, path));
    assert_eq!(setup.asked(), ["Back shop/cart new by 127.0.0.1"]);
    newer.position.as_mut().unwrap().stage = Stage::Destroy;
    setup.fake.set(newer);
    assert_eq!(setup.ask("PUT", path, &[], "").await.status, 409);
}

#[tokio::test]
async fn a_deployment_is_patched() {
    let setup = setup();
    setup.fake.set(deployment("d", Status::Deployed));
    let cases = [
        (r#"{"replicas": 5}"#, 200, Some("scale shop/cart d 5 by 127.0.0.1")),
        (r#"{"flip": {"keepWarm": "0s"}}"#, 202, Some("Finish shop/cart d by 127.0.0.1")),
        (r#"{"flip": {"keepWarm": "5s"}}"#, 400, None),
        (r#"{"replicas": 0}"#, 400, None),
        (r#"{"replicas": -1}"#, 400, None),
        (r#"{"replicas": 2, "flip": {"keepWarm": "0s"}}"#, 400, None),
        (r#"{"replica": 2}"#, 400, None),
        ("{}", 400, None),
        ("", 400, None),
    ];
    for (body, status, asked) in cases {
        let answer = setup.ask("PATCH", "/deployments/d?namespace=shop", &[], body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        assert_eq!(setup.asked(), asked.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{body}");
    }
}

#[tokio::test]
async fn an_application_is_closed_and_opened() {
    let setup = setup();
    let path = "/applications/cart/maintenance?namespace=shop";
    let body = r#"{"page": "Soon", "retryAfter": 60}"#;
    assert_eq!(setup.ask("PUT", path, &[], body).await.status, 204);
    assert_eq!(setup.ask("PUT", path, &[], "").await.status, 204);
    assert_eq!(setup.ask("PUT", path, &[], r#"{"retry": 1}"#).await.status, 400);
    assert_eq!(setup.ask("PUT", "/applications/a%2Fb/maintenance?namespace=shop", &[], "").await.status, 404);
    assert_eq!(setup.ask("DELETE", path, &[], "").await.status, 204);
    let asked = setup.asked();
    assert_eq!(asked.len(), 3);
    assert!(
        asked[0]
            .starts_with("maintain shop/cart Some(Maintenance { page: Some(\"Soon\"), retry_after: Some(60)")
    );
    assert_eq!(asked[2], "maintain shop/cart None");
}

#[tokio::test]
async fn a_call_with_a_key_is_done_once() {
    let setup = setup();
    let (path, body) = ("/deployments/?namespace=shop", descriptor().to_string());
    let key = [("idempotency-key", "build-17")];
    let first = setup.ask("POST", path, &key, &body).await;
    let second = setup.ask("POST", path, &key, &body).await;
    assert_eq!((first.status, second.status), (202, 202));
    assert_eq!((second.field("location"), &second.text), (first.field("location"), &first.text));
    assert_eq!((first.field("idempotency-replayed"), second.field("idempotency-replayed")), ("", "true"));
    assert_eq!(setup.asked().len(), 1);
    assert_eq!(setup.ask("POST", path, &key, &format!("{body} ")).await.status, 422);
    assert_eq!(setup.ask("POST", path, &[("idempotency-key", "build-18")], &body).await.status, 409);
    let entries = setup.store.snapshot(Area::State).entries;
    assert_eq!(entries.len(), 1, "what was not done is not kept");
    assert!(entries[0].key.starts_with("deployer/calls/shop/") && entries[0].lease.is_some());
    assert_eq!(setup.ask("POST", path, &[("idempotency-key", "")], &body).await.status, 400);
}

/// As a process leaves it that dies at its work.
fn abandon(setup: &Setup, seconds: u64) {
    let entry = setup.store.snapshot(Area::State).entries.remove(0);
    let mut record: Value = serde_json::from_slice(&entry.value).unwrap();
    record.as_object_mut().unwrap().remove("answer");
    record["at"] = json!(record["at"].as_u64().unwrap() - seconds);
    setup.store.put(Area::State, &entry.key, record.to_string()).unwrap();
}

#[tokio::test]
async fn a_call_whose_process_died_is_answered_by_what_it_left() {
    let setup = setup();
    let (path, body) = ("/deployments/?namespace=shop", descriptor().to_string());
    let key = [("idempotency-key", "build-17")];
    assert_eq!(setup.ask("POST", path, &key, &body).await.status, 202);
    abandon(&setup, 0);
    let waits = setup.ask("POST", path, &key, &body).await;
    assert!(waits.status == 409 && waits.text.contains("under way"), "{}", waits.text);
    abandon(&setup, 100);
    let created = rfc3339(SystemTime::now() - Duration::from_secs(95));
    setup.fake.set(Deployment { created, status: Status::Deployed, ..setup.fake.get("d1") });
    setup.asked();
    let found = setup.ask("POST", path, &key, &body).await;
    assert_eq!((found.status, found.field("location")), (202, "/deployments/d1/?namespace=shop"));
    assert!(setup.asked().is_empty());
    abandon(&setup, 0);
    let old = rfc3339(SystemTime::now() - Duration::from_secs(9_000));
    setup.fake.set(Deployment { created: old, ..setup.fake.get("d1") });
    let anew = setup.ask("POST", path, &key, &body).await;
    assert_eq!((anew.status, anew.field("location")), (202, "/deployments/d2/?namespace=shop"));
}

#[tokio::test]
async fn a_call_of_which_nobody_knows_what_became_may_be_made_again() {
    let setup = setup();
    let (path, body) = ("/deployments/?namespace=shop", descriptor().to_string());
    let key = [("idempotency-key", "k")];
    *setup.fake.denies.lock().unwrap() = Some(Denied::Away("gone".into()));
    assert_eq!(setup.ask("POST", path, &key, &body).await.status, 503);
    *setup.fake.denies.lock().unwrap() = None;
    assert_eq!(setup.ask("POST", path, &key, &body).await.status, 202);
    setup.store.set_outage(Some("gone"));
    assert_eq!(setup.ask("POST", path, &key, &body).await.status, 503);
}

#[tokio::test]
async fn logs_are_text_or_events() {
    let setup = setup();
    setup.fake.set(deployment("d", Status::Deployed));
    setup.fake.log("d", 1, "first");
    setup.fake.log("d", 2, "second\rone");
    let text = setup.get("/deployments/d/logs?namespace=shop").await;
    assert_eq!(text.text, "2026-01-02T03:04:05Z first\n2026-01-02T03:04:05Z second\rone\n");
    assert!(text.field("content-type").starts_with("text/plain"));
    let events =
        setup.ask("GET", "/deployments/d/logs?namespace=shop", &[("accept", "text/event-stream")], "");
    let events = events.await;
    let expected = "id: 1\ndata: 2026-01-02T03:04:05Z first\n\nid: 2\ndata: 2026-01-02T03:04:05Z second one\n\n\
                    event: end\ndata: {\"status\":\"DEPLOYED\"}\n\n";
    assert_eq!(events.text, expected);
    let rest = setup.ask("GET", "/stream/deployments/d/logs/?namespace=shop", &[("last-event-id", "1")], "");
    assert_eq!(rest.await.text, expected.split_once("\n\n").unwrap().1);
    assert_eq!(setup.get("/deployments/e/logs?namespace=shop").await.status, 404);
    assert_eq!(setup.get("/stream/deployments/e/logs?namespace=shop").await.status, 404);
    setup.fake.change(|book, _| {
        book.health.insert((app(), "d".into(), "cart-1-x".into()), "{\"healthy\":true}".into());
        book.health.insert((app(), "e".into(), "other".into()), "{}".into());
    });
    let health = setup.get("/deployments/d/healthcheckdata?namespace=shop").await.json();
    assert_eq!(health, json!([{ "podName": "cart-1-x", "value": "{\"healthy\":true}" }]));
}

#[tokio::test]
async fn streams_follow_a_deployment_to_its_end_and_are_few() {
    let setup = setup();
    setup.fake.set(deployment("d", Status::Deploying));
    setup.fake.log("d", 1, "first");
    let path = "/stream/deployments/d/logs?namespace=shop";
    let request = HttpRequest::get(path).body(Body::empty()).unwrap();
    let response = setup.api.router().oneshot(request).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    let mut read_until = async |mark: &str| {
        use futures_util::StreamExt;
        while !text.contains(mark) {
            text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
        }
        text.clone()
    };
    read_until("first").await;
    setup.fake.log("d", 2, "second");
    read_until("id: 2\ndata: 2026-01-02T03:04:05Z second").await;
    let others = setup.api.streams.try_acquire_many(127).unwrap();
    assert_eq!(setup.get(path).await.status, 503);
    drop(others);
    setup.fake.set(deployment("d", Status::Failure));
    assert!(read_until("event: end").await.ends_with("{\"status\":\"FAILURE\"}\n\n"));
    drop(body);
    assert_eq!(setup.api.streams.available_permits(), STREAMS_MAX);
}

#[tokio::test]
async fn no_namespace_takes_what_is_for_all() {
    let setup = setup();
    for id in ["d", "e"] {
        setup.fake.set(deployment(id, Status::Deploying));
    }
    let path = "/stream/deployments/d/logs?namespace=shop";
    let mut held = Vec::new();
    for _ in 0..logs::STREAMS_OF_ONE_MAX {
        let request = HttpRequest::get(path).body(Body::empty()).unwrap();
        held.push(setup.api.router().oneshot(request).await.unwrap());
    }
    assert_eq!(setup.get(path).await.status, 503);
    assert!(setup.api.streams.available_permits() > 0, "others have theirs");
    held.clear();
    for _ in 0..deployments::REMOVALS_MAX + 1 {
        let path = "/deployments/d?namespace=shop&deleteDeployment=true";
        assert_eq!(setup.ask("DELETE", path, &[], "").await.status, 202);
    }
    assert_eq!(setup.api.removals.available_permits(), deployments::REMOVALS_MAX - 1, "it goes once");
}

#[tokio::test]
async fn logs_come_over_a_websocket() {
    use futures_util::StreamExt;
    use tokio_tungstenite::tungstenite::{Error, client::IntoClientRequest};
    let setup = setup();
    setup.fake.set(deployment("d", Status::Deploying));
    setup.fake.log("d", 1, "first");
    setup.fake.log("d", 2, "second");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("ws://{}/stream/deployments", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let server = tokio::spawn(crate::web::serve(listener, setup.api.router(), stop.clone()));
    let (mut socket, _) =
        tokio_tungstenite::connect_async(format!("{base}/d/logs?namespace=shop")).await.unwrap();
    let all = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert_eq!(&*all, "2026-01-02T03:04:05Z first\n2026-01-02T03:04:05Z second\n");
    setup.fake.log("d", 3, "third");
    assert_eq!(&*socket.next().await.unwrap().unwrap().into_text().unwrap(), "2026-01-02T03:04:05Z third\n");
    setup.fake.set(deployment("d", Status::Deployed));
    assert!(socket.next().await.unwrap().unwrap().is_close());
    let (mut socket, _) =
        tokio_tungstenite::connect_async(format!("{base}/e/logs?namespace=shop")).await.unwrap();
    let error = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert_eq!(&*error, "!!error there is no deployment e in this namespace");
    let mut foreign = format!("{base}/d/logs?namespace=shop").into_client_request().unwrap();
    foreign.headers_mut().insert("origin", "http://evil.example".parse().unwrap());
    match tokio_tungstenite::connect_async(foreign).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 403),
        other => panic!("{other:?}"),
    }
    stop.cancel();
    server.await.unwrap();
}

/// The calls that `tests/it/deployer` makes to a whole process.
#[path = "../../../tests/it/deployer/amdatu.rs"]
#[allow(unreachable_pub, missing_docs)]
mod amdatu;

impl Fake {
    /// Brings everything under way to its end.
    fn run(&self) {
        let all = self.book().deployments.values().map(|kept| kept.value.clone()).collect::<Vec<_>>();
        for deployment in &all {
            let ended = |status| Deployment { status, position: None, ..deployment.clone() };
            match deployment.status {
                Status::Deploying => {
                    for live in all.iter().filter(|other| other.status == Status::Deployed) {
                        self.set(Deployment { status: Status::Undeployed, ..live.clone() });
                    }
                    self.set(ended(Status::Deployed));
                }
                Status::Undeploying => self.set(ended(Status::Undeployed)),
                _ => {}
            }
        }
    }
}

#[test]
fn a_client_written_for_amdatu_works_unchanged() {
    let setup = setup();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut calls = 0;
    amdatu::walk("shop", &serde_json::Map::new(), &mut |call| {
        calls += 1;
        let answer = runtime.block_on(setup.ask(&call.method, &call.path, &[], &call.body));
        // What was begun ends before the next call.
        setup.fake.run();
        let location = (!answer.field("location").is_empty()).then(|| answer.field("location").to_owned());
        amdatu::Answer { status: answer.status, location, body: answer.text }
    });
    assert!(calls >= 37, "{calls}");
}

#[tokio::test]
async fn callers_stay_in_their_namespaces() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "write shop w\nread blog w\n").unwrap();
    let access =
        Access::new(([0, 0, 0, 0], 8000).into(), Some(file.path().into()), Vec::new(), Vec::new()).unwrap();
    let setup = setup_with(access);
    let status = async |method: &str, path: &str, token: &str| {
        let token = format!("Bearer {token}");
        let fields = if token.len() > 7 { vec![("authorization", &*token)] } else { Vec::new() };
        setup.ask(method, path, &fields, &descriptor().to_string()).await.status
    };
    assert_eq!(status("GET", "/deployments/?namespace=shop", "").await, 401);
    assert_eq!(status("GET", "/deployments/?namespace=shop", "x").await, 401);
    assert_eq!(status("GET", "/deployments/?namespace=shop", "w").await, 404);
    assert_eq!(status("POST", "/deployments/?namespace=shop", "w").await, 202);
    assert_eq!(status("POST", "/deployments/?namespace=blog", "w").await, 403);
    assert_eq!(status("GET", "/applications/?namespace=blog", "w").await, 200);
    assert_eq!(status("GET", "/applications/?namespace=stats", "w").await, 403);
    assert_eq!(status("GET", "/deployments/", "w").await, 400);
    assert_eq!(status("GET", "/deployments/?namespace=a/b", "w").await, 400);
    assert_eq!(status("GET", "/deployments/?namespace=shop&namespace=blog", "w").await, 400);
    assert_eq!(status("GET", "/metrics", "").await, 401);
    assert_eq!(status("GET", "/healthz", "").await, 200);
    assert_eq!(status("GET", "/readyz", "").await, 200);
    assert_eq!(status("POST", "/deployment", "w").await, 410);
    assert_eq!(status("GET", "/nothing", "w").await, 404);
}

#[tokio::test]
async fn it_counts() {
    let setup = setup();
    setup.fake.set(deployment("d", Status::Deploying));
    setup.api.meters.see(&setup.fake.book());
    let mut moved = setup.fake.get("d");
    let position = moved.position.as_mut().unwrap();
    (position.stage, position.entered) = (Stage::Migrate, 3000);
    setup.fake.set(moved);
    setup.api.meters.see(&setup.fake.book());
    let text = setup.get("/metrics").await.text;
    for line in [
        "flipgate_deployer_deployments{status=\"DEPLOYING\"} 1",
        "flipgate_deployer_deployments{status=\"FAILURE\"} 0",
        "flipgate_deployer_stage_seconds_sum{stage=\"validate\",course=\"forward\"} 2.0",
        "flipgate_deployer_stage_seconds_count{stage=\"validate\",course=\"forward\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn it_is_ready_once_the_store_was_read() {
    let setup = setup();
    setup.fake.book.write().unwrap().revision = Revision(0);
    assert_eq!(setup.get("/readyz").await.status, 503);
    setup.fake.book.write().unwrap().revision = Revision(1);
    assert_eq!(setup.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn the_document_tells_of_every_path_and_no_other() {
    let setup = setup();
    let document = setup.get("/openapi.json").await.json();
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is not described");
    }
    let mut told = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let address = path.replace(['{', '}'], "");
        let other = address.strip_suffix('/').map_or_else(|| format!("{address}/"), str::to_owned);
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
            let described = operations.get(method.to_ascii_lowercase());
            let answer = setup.ask(method, &format!("{address}?namespace=shop"), &[], "").await;
            assert_eq!(answer.status != 405, described.is_some(), "{method} {path}: {}", answer.text);
            assert!(!answer.text.contains("there is nothing here"), "{method} {path}");
            let Some(described) = described else { continue };
            told += 1;
            let status = answer.status.to_string();
            assert!(described["responses"].get(&status).is_some(), "{method} {path} answers {status}");
            if described.to_string().contains("\"namespace\"") {
                let twin = setup.ask(method, &format!("{other}?namespace=shop"), &[], "").await;
                assert!(
                    !matches!(twin.status, 405) && !twin.text.contains("there is nothing here"),
                    "{other}"
                );
                let typo = setup.ask(method, &format!("{address}?namespace=shop&typo=1"), &[], "{}").await;
                assert_eq!(typo.status, 400, "{method} {path}: {}", typo.text);
            }
        }
    }
    assert_eq!(told, 24);
}
