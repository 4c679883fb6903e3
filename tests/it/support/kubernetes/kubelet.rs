//! A kubelet whose pods are processes of the test program. It stands for the nodes, and for the scheduler too.
//!
//! | a pod | becomes |
//! | --- | --- |
//! | any | a process on an address of its own, listening on all `containerPort`s, with the `env` of its first container |
//! | labelled `colour`, else `version`, else `app` | one of that colour |
//! | with a `readinessProbe` over HTTP or TCP | ready when that says so; the annotation `test/probe-millis` makes it quicker |
//! | without | ready once its port accepts |
//! | annotated `test/addresses: "IPv4,IPv6"` | one with addresses of these families, the first being its own |
//! | annotated `test/fake: "true"` | no process: it is ready at once, and gone at once when deleted |
//! | whose process ended | not ready, and not started again until [`Kubelet::revive`] |
//! | with `restartPolicy: Never`, or `OnFailure` if it ended well | over, with the phase that its exit code says |
//! | with `restartPolicy: OnFailure` that ended otherwise | started again |
//! | being deleted | told to end after its `preStop.sleep`, killed after its grace period, and gone when its process is |
//!
//! As with a real one, a pod that is being deleted stays ready in its status as long as its probe says so: that it is
//! about to end stands in its endpoint as `terminating`. What [`Setup`](crate::support::pod::Setup) says about the
//! variables `ON_TERM`, `LINGER_MILLIS` and so on goes for `env`.

use super::client::connected;
use super::life::{self, Running, insist};
use super::status::{NODE_ADDRESS, Seen, State, now, status};
use crate::support::{Pod, until};
use futures_util::StreamExt;
use http::Method;
use k8s_openapi::api::core::v1::Pod as Object;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Nodes and their zones.
const NODES: [(&str, &str); 2] = [("one", "a"), ("two", "b")];

/// Longest time for a pod to be there.
const START_MAX: Duration = Duration::from_secs(20);

/// Between attempts while the API server is away.
pub const RETRY: Duration = Duration::from_millis(50);

/// Fake pods that are taken care of at a time.
const FAKES_AT_ONCE: usize = 64;

/// A running kubelet. Dropping it kills all pods; their objects stay as they are.
pub struct Kubelet {
    shared: Arc<Shared>,
    ended: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What the kubelet and its pods know of each other.
pub struct Shared {
    /// Real pods by `namespace/name`.
    pub pods: Mutex<BTreeMap<String, Arc<Running>>>,
    paused: watch::Sender<bool>,
    next_address: AtomicU16,
}

impl Kubelet {
    /// One for the cluster of this kubeconfig, in the network of the calling thread.
    pub fn start(kubeconfig: PathBuf) -> Self {
        let shared = Arc::new(Shared {
            pods: Mutex::default(),
            paused: watch::Sender::new(false),
            // Those below are for nodes and the like.
            next_address: AtomicU16::new(256),
        });
        let ended = watch::Sender::new(false);
        let (for_thread, mut told) = (shared.clone(), ended.subscribe());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = connected(&kubeconfig, None).await;
                tokio::select! {
                    _ = told.wait_for(|told| *told) => {}
                    () = run(client, for_thread.clone()) => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { shared, ended, thread: Some(thread) }
    }

    /// The process of a pod, `namespace/name`, which is waited for.
    pub fn pod(&self, name: &str) -> Arc<Pod> {
        until(&format!("the pod {name} runs"), START_MAX, || self.running(name)?.process())
    }

    /// The processes of all pods whose `namespace/name` begins so, by name; also those about to end.
    pub fn pods(&self, prefix: &str) -> Vec<Arc<Pod>> {
        let pods = self.shared.pods();
        let named = pods.iter().filter(|(name, _)| name.starts_with(prefix));
        named.filter_map(|(_, running)| running.process()).collect()
    }

    /// Starts the process of a pod again, on its old address.
    pub fn revive(&self, name: &str) {
        self.running(name).unwrap_or_else(|| panic!("no pod {name}")).revive();
    }

    fn running(&self, name: &str) -> Option<Arc<Running>> {
        self.shared.pods().get(name).cloned()
    }

    /// From now on it hears and says nothing, as if it had died. Its pods go on.
    pub fn pause(&self) {
        self.shared.paused.send_replace(true);
    }

    /// It goes on with what is there then: pods that are gone from the API end.
    pub fn resume(&self) {
        self.shared.paused.send_replace(false);
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.ended.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.shared.pods().clear();
    }
}

impl Shared {
    pub fn pods(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Running>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the kubelet is paused.
    pub async fn unpaused(&self) {
        // The sender is here, so it cannot be gone.
        let _ = self.paused.subscribe().wait_for(|paused| !*paused).await;
    }

    /// Addresses for a new pod, which no other ever had.
    pub fn addresses(&self, object: &Object) -> Vec<IpAddr> {
        let number = self.next_address.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        let families = object.annotations().get("test/addresses").map_or("IPv4", String::as_str);
        let address = |family: &str| match family {
            "IPv4" => IpAddr::from(Ipv4Addr::new(10, 244, high, low)),
            "IPv6" => IpAddr::from(Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, number)),
            other => panic!("test/addresses names {other:?}, and not IPv4 or IPv6"),
        };
        families.split(',').map(address).collect()
    }
}

/// Follows the pods of the API.
async fn run(client: kube::Client, shared: Arc<Shared>) {
    let mut all =
        Pods { client: client.clone(), shared: shared.clone(), lives: HashMap::new(), fakes: Fakes::new() };
    loop {
        shared.unpaused().await;
        register_nodes(&client).await;
        let mut paused = shared.paused.subscribe();
        let mut events = pin!(watcher(Api::<Object>::all(client.clone()), watcher::Config::default()));
        let mut listed = HashSet::new();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ = paused.wait_for(|paused| *paused) => break,
            };
            match event {
                Some(Ok(Event::Init)) => listed.clear(),
                Some(Ok(Event::InitApply(object))) => {
                    listed.insert(object.uid().unwrap());
                    all.apply(object);
                }
                Some(Ok(Event::InitDone)) => {
                    all.keep(&listed);
                    // They are gone where the cluster began anew.
                    register_nodes(&client).await;
                }
                Some(Ok(Event::Apply(object))) => all.apply(object),
                Some(Ok(Event::Delete(object))) => all.remove(&object.uid().unwrap()),
                Some(Err(_)) => tokio::time::sleep(RETRY).await,
                None => break,
            }
        }
    }
}

async fn register_nodes(client: &kube::Client) {
    for (name, zone) in NODES {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone,
            }},
            "status": {
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now()}],
                "addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}],
                "capacity": {"cpu": "8", "memory": "16Gi", "pods": "20000"},
                "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "20000"},
            },
        });
        insist(client, Method::POST, "/api/v1/nodes", &node).await;
        // A new node is tainted until a controller, which is not there, has seen that it is ready.
        let untainted = json!({"spec": {"taints": null}});
        insist(client, Method::PATCH, &format!("/api/v1/nodes/{name}"), &untainted).await;
    }
}

/// The pods that are there, by their UIDs.
struct Pods {
    client: kube::Client,
    shared: Arc<Shared>,
    /// Real ones, which are told how their objects change. One whose sender is dropped ends.
    lives: HashMap<String, watch::Sender<Object>>,
    fakes: Fakes,
}

/// Fake ones: whether each was told to end.
struct Fakes {
    seen: HashMap<String, bool>,
    places: Arc<Semaphore>,
}

impl Fakes {
    fn new() -> Self {
        Self { seen: HashMap::new(), places: Arc::new(Semaphore::new(FAKES_AT_ONCE)) }
    }
}

impl Pods {
    fn apply(&mut self, object: Object) {
        let uid = object.uid().unwrap();
        if object.annotations().get("test/fake").is_some_and(|value| value == "true") {
            return self.apply_fake(uid, object);
        }
        if let Some(life) = self.lives.get(&uid) {
            life.send_replace(object);
            return;
        }
        if is_over(&object) {
            return;
        }
        let node = NODES[self.lives.len() % NODES.len()].0;
        let life = watch::Sender::new(object);
        tokio::spawn(life::live(self.client.clone(), self.shared.clone(), life.subscribe(), node));
        self.lives.insert(uid, life);
    }

    fn apply_fake(&mut self, uid: String, object: Object) {
        let is_told = object.metadata.deletion_timestamp.is_some();
        let is_new = self.fakes.seen.insert(uid, is_told) != Some(is_told);
        let has_address = object.status.as_ref().is_some_and(|status| status.pod_ip.is_some());
        if !is_new || (has_address && !is_told) {
            return;
        }
        let (client, places) = (self.client.clone(), self.fakes.places.clone());
        let node = NODES[self.fakes.seen.len() % NODES.len()].0;
        let seen = Seen {
            addresses: self.shared.addresses(&object),
            state: State::Running,
            is_ready: true,
            restarts: 0,
        };
        tokio::spawn(async move {
            let _place = places.acquire().await;
            if is_told {
                return life::delete(&client, &object).await;
            }
            life::bind(&client, &object, node).await;
            life::write_status(&client, &object, &status(&object, &seen, &now())).await;
        });
    }

    fn remove(&mut self, uid: &str) {
        self.lives.remove(uid);
        self.fakes.seen.remove(uid);
    }

    fn keep(&mut self, uids: &HashSet<String>) {
        self.lives.retain(|uid, _| uids.contains(uid));
        self.fakes.seen.retain(|uid, _| uids.contains(uid));
    }
}

/// Whether its process ended for good, before this kubelet.
fn is_over(object: &Object) -> bool {
    let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
