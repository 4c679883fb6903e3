//! What tests of the deployer share: descriptors, processes, and stores that fail as asked.

use super::charge::{Charge, Timings, Trouble};
use super::descriptor::Descriptor;
use super::desk::Desk;
use super::machine::{Look, Stage};
use super::record::{Application, Deployment, application_key, deployment_key};
use super::runner::{Looks, Runner};
use crate::kubernetes::Name;
use crate::model::Revision;
use crate::store::memory::MemoryStore;
use crate::store::{Area, Capabilities, Entry, Feed, Snapshot, Store, StoreError, Transaction};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub(super) fn app() -> Name {
    Name::new("prod", "shop")
}

pub(super) fn descriptor(app: &Name, version: &str) -> Descriptor {
    let value = json!({
        "deploymentType": "blue-green", "namespace": app.namespace, "appName": app.name, "newVersion": version,
        "replicas": 2, "podspec": { "containers": [] },
    });
    serde_json::from_value(value).unwrap()
}

/// A client of an API server that does not answer.
pub(super) fn no_cluster() -> kube::Client {
    let refuse = |_: http::Request<Body>| async {
        Err::<http::Response<Body>, _>(std::io::Error::other("no cluster"))
    };
    kube::Client::new(tower::service_fn(refuse), "default")
}

/// A client of an API server that answers with a status and an object: method, path, body.
pub(super) fn cluster(
    answer: impl Fn(&str, &str, Value) -> (u16, Value) + Send + Sync + 'static,
) -> kube::Client {
    let answer = Arc::new(answer);
    let serve = move |request: http::Request<Body>| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (code, mut value) = answer(parts.method.as_str(), parts.uri.path(), body);
            if code >= 400 {
                value = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "refused", "reason": "Conflict", "code": code });
            }
            let mut response = http::Response::new(Body::from(value.to_string().into_bytes()));
            *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
            Ok::<_, Infallible>(response)
        }
    };
    kube::Client::new(tower::service_fn(serve), "default")
}

/// A desk whose book follows the store.
pub(super) fn desk(store: &Arc<dyn Store>) -> (Desk, AbortOnDropHandle<()>) {
    desk_of(store, no_cluster())
}

/// A desk whose book follows the store, beside a cluster.
pub(super) fn desk_of(store: &Arc<dyn Store>, client: kube::Client) -> (Desk, AbortOnDropHandle<()>) {
    let desk = Desk::new(store.clone(), client);
    let (heard, mut feed) = (desk.clone(), store.follow(Area::State));
    let pump = tokio::spawn(async move {
        while let Some(event) = feed.recv().await {
            heard.hear(&event);
        }
    });
    (desk, AbortOnDropHandle::new(pump))
}

/// What a record says now.
pub(super) async fn application(store: &Arc<dyn Store>, app: &Name) -> Application {
    let (_, entry) = store.get(Area::State, &application_key(app)).await.unwrap();
    serde_json::from_slice(&entry.unwrap().value).unwrap()
}

/// What a record says now.
pub(super) async fn deployment(store: &Arc<dyn Store>, app: &Name, id: &str) -> Deployment {
    let (_, entry) = store.get(Area::State, &deployment_key(app, id)).await.unwrap();
    serde_json::from_slice(&entry.unwrap().value).unwrap()
}

/// Waits until something is so, without letting real time pass where time is paused.
pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..20_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

type Act = dyn for<'a> Fn(&'a mut Charge) -> BoxFuture<'a, Result<Look, Trouble>> + Send + Sync;

/// Stages as a test says.
pub(super) struct Script(pub(super) Box<Act>);

impl Looks for Script {
    fn stamp<'a>(&'a self, _charge: &'a mut Charge) -> BoxFuture<'a, Result<Look, Trouble>> {
        Box::pin(std::future::ready(Ok(Look::Done)))
    }

    fn look<'a>(&'a self, charge: &'a mut Charge) -> BoxFuture<'a, Result<Look, Trouble>> {
        (self.0)(charge)
    }

    fn time(&self, _stage: Stage, _charge: &Charge) -> Option<Duration> {
        Some(Duration::from_secs(30))
    }
}

/// A process with a desk and a runner. Dropping it is its death: nothing is unlocked.
pub(super) struct Process {
    pub(super) desk: Desk,
    pub(super) stop: CancellationToken,
    pub(super) task: AbortOnDropHandle<()>,
}

pub(super) fn process(store: &Arc<dyn Store>, holder: &str, act: Box<Act>) -> Process {
    let timings = Timings::default();
    let desk = Desk::with(store.clone(), no_cluster(), timings);
    let looks = Arc::new(Script(act));
    let runner = Runner::new(desk.clone(), looks, holder.to_owned(), timings, Arc::new(Notify::new()));
    let stop = CancellationToken::new();
    let task = AbortOnDropHandle::new(tokio::spawn(runner.run(stop.clone())));
    Process { desk, stop, task }
}

/// A store that does as asked of the next commits, and then does not answer as if it had.
pub(super) struct Forgetful {
    pub(super) store: MemoryStore,
    pub(super) silent: AtomicUsize,
}

impl Store for Forgetful {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn location(&self) -> String {
        self.store.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn follow(&self, area: Area) -> Feed {
        self.store.follow(area)
    }

    fn list(&self, area: Area) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        self.store.list(area)
    }

    fn get<'a>(
        &'a self,
        area: Area,
        key: &'a str,
    ) -> BoxFuture<'a, Result<(Revision, Option<Entry>), StoreError>> {
        self.store.get(area, key)
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            let written = self.store.commit(transaction).await?;
            let counted =
                self.silent.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            match counted {
                Ok(_) => Err(StoreError::Unavailable("silent".into())),
                Err(_) => Ok(written),
            }
        })
    }
}
