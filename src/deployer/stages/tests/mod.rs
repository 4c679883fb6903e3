//! Stages that act on the table, against a store in memory with a proxy of paper.

mod flip;
mod others;
mod paper;
mod route;

use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::descriptor::Descriptor;
use crate::deployer::machine::{Course, Look, Position, Stage, Task};
use crate::deployer::record::{
    Application, Deployment, Facts, Made, Previous, Status, application_key, deployment_key,
};
use crate::deployer::world::World;
use crate::flip::record::unix_ms;
use crate::kubernetes::{Hosts, Name};
use crate::store::memory::MemoryStore;
use crate::store::{Area, Store};
use crate::tls::SealKeys;
use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Looks at one stage that are enough for anything.
const LOOKS_MAX: usize = 200;

/// An API server that has these objects by path, and nothing else.
fn client(objects: BTreeMap<&'static str, Value>) -> Client {
    let objects = Arc::new(objects);
    let serve = move |request: Request<Body>| {
        let objects = objects.clone();
        async move {
            let found = objects.get(request.uri().path());
            let (code, text) = match found {
                Some(object) => (StatusCode::OK, object.to_string()),
                None => {
                    let status = json!({
                        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404,
                        "reason": "NotFound", "message": "not found",
                    });
                    (StatusCode::NOT_FOUND, status.to_string())
                }
            };
            let mut response = Response::new(Body::from(text.into_bytes()));
            *response.status_mut() = code;
            Ok::<_, Infallible>(response)
        }
    };
    Client::new(tower::service_fn(serve), "default")
}

/// A deployment of version 2 of shop/web in a world of its own; with a version before, the alias leads to that.
struct Fixture {
    memory: MemoryStore,
    world: World,
    charge: Charge,
}

impl Fixture {
    async fn new(has_previous: bool, descriptor: Value) -> Self {
        Self::with_objects(has_previous, descriptor, BTreeMap::new()).await
    }

    async fn with_objects(
        has_previous: bool,
        descriptor: Value,
        objects: BTreeMap<&'static str, Value>,
    ) -> Self {
        let memory = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let put = |key: &str, value: &str| memory.put(Area::Routing, key, value.to_owned()).unwrap();
        for version in ["1", "2"] {
            put(&format!("backends/shop-web-{version}/backend"), r#"{"Type":"http"}"#);
        }
        if has_previous {
            put("backends/shop-web/backend", r#"{"Type":"alias","Target":"shop-web-1"}"#);
        }
        let world = World {
            client: client(objects),
            store,
            seal_keys: SealKeys::none(),
            plain_keys: true,
            hosts: Hosts::default(),
        };
        let charge = charge(&memory, has_previous, descriptor);
        Self { memory, world, charge }
    }

    fn enter(&mut self, stage: Stage, course: Course) {
        let entered = unix_ms(SystemTime::now());
        let position = Position { task: Task::Deploy, stage, course, entered, reason: None };
        self.charge.deployment.position = Some(position);
    }

    /// As if the stage had begun so long ago.
    fn began_before(&mut self, time: Duration) {
        let entered = unix_ms(SystemTime::now() - time);
        self.charge.deployment.position.as_mut().unwrap().entered = entered;
    }

    async fn look(&mut self) -> Result<Look, Trouble> {
        super::look(&self.world, &mut self.charge).await
    }

    /// Enters a stage and looks until it waits no more.
    async fn run(&mut self, stage: Stage, course: Course) -> Look {
        self.enter(stage, course);
        self.go_on().await
    }

    async fn go_on(&mut self) -> Look {
        for _ in 0..LOOKS_MAX {
            match self.look().await {
                Ok(Look::Waits(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                Ok(look) => return look,
                Err(trouble) => panic!("{trouble}"),
            }
        }
        panic!("it waits and waits: {:?}", self.look().await);
    }

    /// What a process that takes over has: all that was written, and nothing else.
    fn taken_over(self) -> Self {
        let Self { memory, world, charge } = self;
        let mut application = charge.application.clone();
        application.term += 1;
        let text = serde_json::to_vec(&application).unwrap();
        let fence = memory.put(Area::State, &application_key(&charge.app), text).unwrap().0;
        let key = deployment_key(&charge.app, &charge.deployment.id);
        let entries = memory.snapshot(Area::State).entries;
        let entry = entries.into_iter().find(|entry| *entry.key == *key).unwrap();
        let mut deployment: Deployment = serde_json::from_slice(&entry.value).unwrap();
        deployment.position.clone_from(&charge.deployment.position);
        let version = entry.version;
        let (store, app) = (world.store.clone(), charge.app.clone());
        drop(charge);
        let charge = Charge::new(store, app, (application, fence), (deployment, version));
        Self { memory, world, charge }
    }

    fn value(&self, key: &str) -> Option<Value> {
        let entries = self.memory.snapshot(Area::Routing).entries;
        let entry = entries.into_iter().find(|entry| *entry.key == *key)?;
        Some(serde_json::from_slice(&entry.value).unwrap())
    }

    fn alias(&self) -> Option<String> {
        Some(self.value("backends/shop-web/backend")?["Target"].as_str()?.to_owned())
    }

    fn put(&self, key: &str, value: &Value) {
        self.memory.put(Area::Routing, key, value.to_string()).unwrap();
    }

    fn keys(&self, area: Area, below: &str) -> Vec<String> {
        let entries = self.memory.snapshot(area).entries;
        entries.iter().filter(|it| it.key.starts_with(below)).map(|it| it.key.to_string()).collect()
    }

    fn log(&self) -> String {
        self.charge.said.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }
}

fn charge(memory: &MemoryStore, has_previous: bool, descriptor: Value) -> Charge {
    let app = Name::new("shop", "web");
    let application = Application { term: 1, ..Application::default() };
    let previous = has_previous.then(|| Previous {
        id: "old".into(),
        version: "1".into(),
        made: Made { name: "web-1".into(), uid: None, backend: "shop-web-1".into() },
    });
    let deployment = Deployment {
        id: "new".into(),
        created: String::new(),
        last_modified: String::new(),
        version: "2".into(),
        status: Status::Deploying,
        descriptor: describe(descriptor),
        reason: None,
        position: Some(Position::first(Task::Deploy, 0)),
        facts: Facts { previous, ..Facts::default() },
        made: Some(Made { name: "web-2".into(), uid: None, backend: "shop-web-2".into() }),
    };
    let write = |key: &str, value: Vec<u8>| memory.put(Area::State, key, value).unwrap().0;
    let fence = write(&application_key(&app), serde_json::to_vec(&application).unwrap());
    let key = deployment_key(&app, &deployment.id);
    let version = write(&key, serde_json::to_vec(&deployment).unwrap());
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    Charge::new(store, app, (application, fence), (deployment, version))
}

/// A descriptor with these fields beside those that must be there.
fn describe(fields: Value) -> Descriptor {
    let mut all = json!({
        "deploymentType": "blue-green", "namespace": "shop", "appName": "web", "newVersion": "2", "replicas": 2,
        "podspec": { "containers": [{ "name": "web", "image": "web:2" }] },
    });
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

/// A future's output, which must come soon.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it does not end")
}
