//! One pod, from its object's first sight to its end.

use super::client::request;
use super::kubelet::{RETRY, Shared};
use super::probe::{Readiness, ports};
use super::status::{Seen, State, now, status};
use crate::support::Pod;
use crate::support::pod::Setup;
use http::Method;
use k8s_openapi::api::core::v1::Pod as Object;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Between looks at a process.
const TICK: Duration = Duration::from_millis(10);

/// A pod's process, as long as it has one.
#[derive(Default)]
pub struct Running {
    process: Mutex<Option<Arc<Pod>>>,
    revived: AtomicBool,
}

impl Running {
    pub fn process(&self) -> Option<Arc<Pod>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for a new process in the place of one that ended.
    pub fn revive(&self) {
        self.revived.store(true, Ordering::Relaxed);
    }

    fn set(&self, process: Option<Arc<Pod>>) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
    }
}

/// Everything that happens to a pod. Ends with its object or with its process, whichever is later; once nobody tells it of
/// its object any more, that is gone, and the process is killed.
pub async fn live(
    client: kube::Client,
    shared: Arc<Shared>,
    mut told: watch::Receiver<Object>,
    node: &'static str,
) {
    let object = told.borrow_and_update().clone();
    let name = format!("{}/{}", object.namespace().unwrap(), object.name_any());
    let running = Arc::new(Running::default());
    shared.pods().insert(name.clone(), running.clone());
    let mut gone = told.clone();
    let life = async {
        bind(&client, &object, node).await;
        let mut life = Life::begin(&shared, &object, running.clone()).await;
        life.go_on(&client, &shared, &mut told).await;
        // One that is over by itself stays until somebody deletes it.
        if told.wait_for(|object| object.metadata.deletion_timestamp.is_some()).await.is_ok() {
            delete(&client, &object).await;
        }
    };
    tokio::select! {
        () = life => {}
        () = async { while gone.changed().await.is_ok() {} } => {}
    }
    if let Some(process) = running.process() {
        process.kill();
    }
    // Another one may have its name by now.
    let mut pods = shared.pods();
    if pods.get(&name).is_some_and(|one| Arc::ptr_eq(one, &running)) {
        pods.remove(&name);
    }
}

struct Life {
    running: Arc<Running>,
    setup: Setup,
    readiness: Readiness,
    seen: Seen,
    started: String,
}

impl Life {
    async fn begin(shared: &Shared, object: &Object, running: Arc<Running>) -> Self {
        let addresses = shared.addresses(object);
        let setup = setup(object, &addresses);
        running.set(Some(start(object, &setup).await));
        let readiness = Readiness::of(object, addresses[0]);
        let seen = Seen { addresses, state: State::Running, is_ready: false, restarts: 0 };
        Self { running, setup, readiness, seen, started: now() }
    }

    /// Looks after the process until it has ended and is not to be started again.
    async fn go_on(&mut self, client: &kube::Client, shared: &Shared, told: &mut watch::Receiver<Object>) {
        let mut written = None;
        let mut ending = None;
        loop {
            shared.unpaused().await;
            let object = told.borrow_and_update().clone();
            if object.metadata.deletion_timestamp.is_some() && ending.is_none() {
                ending = Some(Ending::of(&object));
            }
            self.look(&object, ending.is_some()).await;
            if written.as_ref() != Some(&self.seen) {
                write_status(client, &object, &status(&object, &self.seen, &self.started)).await;
                written = Some(self.seen.clone());
            }
            if matches!(self.seen.state, State::Over(_)) {
                return;
            }
            if let (Some(ending), Some(process)) = (&mut ending, self.running.process()) {
                ending.act(&process);
            }
            sleep(TICK).await;
        }
    }

    /// Brings what is seen up to date.
    async fn look(&mut self, object: &Object, is_ending: bool) {
        let ended = self.running.process().and_then(|process| process.ended());
        let code = ended.map(|status| status.code().unwrap_or(128 + status.signal().unwrap_or(0)));
        let policy = object.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        let (is_over, is_again) = match (policy, code) {
            (Some("Never"), _) | (Some("OnFailure"), Some(0)) => (true, false),
            (Some("OnFailure"), _) => (false, true),
            _ => (false, false),
        };
        (self.seen.state, self.seen.is_ready) = match code {
            None => (State::Running, self.readiness.look().await),
            Some(code) if is_ending || is_over => (State::Over(code), false),
            Some(_) if self.running.revived.swap(false, Ordering::Relaxed) || is_again => {
                self.running.set(Some(start(object, &self.setup).await));
                self.readiness = Readiness::of(object, self.seen.addresses[0]);
                self.seen.restarts += 1;
                (State::Running, false)
            }
            Some(code) => (State::Crashed(code), false),
        };
    }
}

/// What is done to a process whose pod is being deleted.
struct Ending {
    tell_at: Option<Instant>,
    kill_at: Instant,
}

impl Ending {
    fn of(object: &Object) -> Self {
        let spec = object.spec.as_ref();
        let sleep = spec
            .and_then(|spec| spec.containers.first()?.lifecycle.as_ref()?.pre_stop.as_ref()?.sleep.as_ref())
            .map_or(0, |sleep| sleep.seconds);
        let grace = object.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let after = |seconds: i64| Instant::now() + Duration::from_secs(seconds.try_into().unwrap_or(0));
        Self { tell_at: Some(after(sleep)), kill_at: after(grace) }
    }

    fn act(&mut self, process: &Pod) {
        if self.tell_at.take_if(|at| *at <= Instant::now()).is_some() {
            process.tell_to_end();
        }
        if self.kill_at <= Instant::now() {
            process.kill();
        }
    }
}

fn setup(object: &Object, addresses: &[IpAddr]) -> Setup {
    let ports = ports(object);
    let listen =
        addresses.iter().flat_map(|address| ports.iter().map(|port| SocketAddr::new(*address, *port)));
    let environment = object.spec.iter().flat_map(|spec| spec.containers.first()?.env.clone()).flatten();
    let labels = object.labels();
    Setup {
        listen: listen.collect(),
        colour: ["colour", "version", "app"].into_iter().find_map(|name| labels.get(name)).cloned(),
        environment: environment.filter_map(|variable| Some((variable.name, variable.value?))).collect(),
    }
}

async fn start(object: &Object, setup: &Setup) -> Arc<Pod> {
    let (name, setup) = (object.name_any(), setup.clone());
    let started = tokio::task::spawn_blocking(move || Pod::start_as(&name, &setup)).await;
    Arc::new(started.expect("a pod starts"))
}

/// Gives an object that has no node one.
pub async fn bind(client: &kube::Client, object: &Object, node: &str) {
    if object.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
        return;
    }
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": object.name_any()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    insist(client, Method::POST, &format!("{}/binding", path(object)), &binding).await;
}

/// Writes a merge patch of the status.
pub async fn write_status(client: &kube::Client, object: &Object, status: &Value) {
    insist(client, Method::PATCH, &format!("{}/status", path(object)), status).await;
}

/// Removes an object whose pod has ended.
pub async fn delete(client: &kube::Client, object: &Object) {
    let options = json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
        "preconditions": {"uid": object.uid()},
    });
    insist(client, Method::DELETE, &path(object), &options).await;
}

/// Asks until there is an answer: yes, or that there is no such object any more.
pub async fn insist(client: &kube::Client, method: Method, path: &str, body: &Value) {
    while let Err(refused) = request(client, method.clone(), path, Some(body)).await {
        match refused.status {
            404 | 409 => return,
            400..500 if refused.status != 429 => panic!("{method} {path}: {refused:?}"),
            _ => sleep(RETRY).await,
        }
    }
}

fn path(object: &Object) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", object.namespace().unwrap(), object.name_any())
}
