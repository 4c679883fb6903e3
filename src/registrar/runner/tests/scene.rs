//! A cluster as a script, a store that can be meddled with, and runners between them.

use super::super::{Core, Parts, Runner};
use crate::control::confirm;
use crate::control::image::{Confirmation, Now};
use crate::kubernetes::Name;
use crate::kubernetes::lease::Leadership;
use crate::model::Revision;
use crate::registrar::convert::Remit;
use crate::registrar::metrics::Meters;
use crate::registrar::plan::Planner;
use crate::registrar::progress::Progress;
use crate::registrar::seen::{
    Endpoint, Meta, Pod, PodPort, Readiness, Service, ServicePort, Slice, SlicePort,
};
use crate::registrar::watch::Seen;
use crate::registrar::{Change, Kind, Notes};
use crate::store::memory::MemoryStore;
use crate::store::{Area, Capabilities, Event, Feed, Snapshot, Store, StoreError, Transaction};
use crate::tls::SealKeys;
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long anything may take, of the paused clock.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) struct Scene {
    pub(super) store: MemoryStore,
    pub(super) trouble: Arc<Meddler>,
    /// By kind and name, as it was told last.
    cluster: Mutex<BTreeMap<(Kind, Name), Change>>,
    is_listed: Mutex<bool>,
    watchers: Mutex<Vec<mpsc::Sender<Seen>>>,
}

/// A runner with its leadership.
pub(super) struct Running {
    task: JoinHandle<()>,
    stop: CancellationToken,
    progress: watch::Receiver<Progress>,
    meters: Arc<Meters>,
    pub(super) leadership: watch::Sender<Leadership>,
}

/// The store that runners see: what is to go wrong goes wrong at the next transactions for the routing area.
pub(super) struct Meddler {
    inner: MemoryStore,
    next: Mutex<VecDeque<Trouble>>,
    refused: Mutex<BTreeSet<String>>,
    pub(super) operations_max: AtomicUsize,
    pub(super) commits: AtomicUsize,
}

pub(super) enum Trouble {
    /// Somebody writes a key of the routing area just before.
    Write(&'static str, &'static str),
    /// Something happens just before.
    Call(Box<dyn FnOnce() + Send>),
    /// It takes place, and nobody is told.
    LoseAnswer,
    /// It does not arrive.
    LoseQuestion,
}

impl Scene {
    pub(super) fn new() -> Self {
        let store = MemoryStore::new();
        let trouble = Meddler {
            inner: store.clone(),
            next: Mutex::default(),
            refused: Mutex::default(),
            operations_max: AtomicUsize::new(128),
            commits: AtomicUsize::new(0),
        };
        Self {
            store,
            trouble: Arc::new(trouble),
            cluster: Mutex::default(),
            is_listed: Mutex::default(),
            watchers: Mutex::default(),
        }
    }

    /// Something happens in the cluster.
    pub(super) fn see(&self, change: Change) {
        self.cluster.lock().unwrap().insert(place(&change), change.clone());
        self.tell(Seen::Changed(change, Instant::now()));
    }

    /// Every kind is listed completely.
    pub(super) fn listed(&self) {
        *self.is_listed.lock().unwrap() = true;
        lists(&self.cluster.lock().unwrap()).into_iter().for_each(|seen| self.tell(seen));
    }

    /// Slices cannot be read any more.
    pub(super) fn lost(&self) {
        self.tell(Seen::Lost { kind: Kind::Slice, reason: "gone".to_owned(), is_denied: false });
    }

    /// Nobody may read Secrets.
    pub(super) fn denied(&self) {
        self.tell(Seen::Lost { kind: Kind::Secret, reason: "forbidden".to_owned(), is_denied: true });
    }

    /// The cluster is empty, which nobody is told.
    pub(super) fn forget(&self) {
        self.cluster.lock().unwrap().clear();
        *self.is_listed.lock().unwrap() = false;
    }

    pub(super) fn put(&self, key: &str, value: &'static str) {
        self.store.put(Area::Routing, key, value).unwrap();
    }

    pub(super) fn delete(&self, key: &str) {
        self.store.delete(Area::Routing, key).unwrap();
    }

    pub(super) fn confirm(&self) {
        let confirmation = Confirmation { revision: self.store.revision(), at: SystemTime::now() };
        let value = confirm::to_value(&confirmation, "test").to_string();
        self.store.put(Area::State, confirm::KEY, value).unwrap();
    }

    /// Up to where the registrar told the proxies that removals are meant, which is waited for.
    pub(super) async fn confirmed_to_proxies(&self) -> Revision {
        let told = async {
            loop {
                let (_, entry) = self.store.get(Area::State, confirm::REGISTRAR_KEY).await.unwrap();
                match entry {
                    Some(entry) => return confirm::from_slice(&entry.value).unwrap().revision,
                    None => sleep(Duration::from_millis(10)).await,
                }
            }
        };
        timeout(PATIENCE, told).await.unwrap()
    }

    /// A runner that leads, and gets told what happened so far.
    pub(super) fn start(&self, holder: &str) -> Running {
        let until = Instant::now() + Duration::from_secs(1_000_000);
        self.start_with(holder, Leadership::Leads { until, term: 1 })
    }

    pub(super) fn start_with(&self, holder: &str, leadership: Leadership) -> Running {
        self.start_watching(&KINDS, holder, leadership)
    }

    /// The same, which asks for these kinds.
    pub(super) fn start_watching(&self, kinds: &[Kind], holder: &str, leadership: Leadership) -> Running {
        let (tell, seen) = mpsc::channel(100_000);
        let cluster = self.cluster.lock().unwrap();
        for change in cluster.values() {
            tell.try_send(Seen::Changed(change.clone(), Instant::now())).unwrap();
        }
        if *self.is_listed.lock().unwrap() {
            lists(&cluster).into_iter().for_each(|seen| tell.try_send(seen).unwrap());
        }
        self.watchers.lock().unwrap().push(tell);
        let (leadership, leads) = watch::channel(leadership);
        let (meters, stop) = (Arc::new(Meters::default()), CancellationToken::new());
        let parts = Parts {
            store: self.trouble.clone(),
            seen,
            leadership: leads,
            holder: holder.to_owned(),
            cluster: "kubernetes".into(),
            meters: meters.clone(),
            notes: Notes::default(),
            leads: watch::Sender::new(false),
        };
        let (runner, progress) = Runner::new(core_of(kinds), parts);
        let task = tokio::spawn(runner.run(stop.clone()));
        Running { task, stop, progress, meters, leadership }
    }

    /// Waits until the store is what the cluster is converted to.
    pub(super) async fn settled(&self) {
        self.until("the store is not what the cluster wants", || self.differences().is_empty()).await;
    }

    pub(super) async fn until_key(&self, key: &str) {
        self.until(key, || self.entries().contains_key(key)).await;
    }

    /// Waits until so many transactions were sent.
    pub(super) async fn committed(&self, count: usize) {
        let commits = &self.trouble.commits;
        self.until("too few transactions", || commits.load(Ordering::Relaxed) >= count).await;
    }

    /// What a fresh registrar would write.
    pub(super) fn differences(&self) -> Vec<String> {
        let mut core = core();
        let cluster = self.cluster.lock().unwrap();
        cluster.values().for_each(|change| core.see(Seen::Changed(change.clone(), Instant::now())));
        lists(&cluster).into_iter().for_each(|seen| core.see(seen));
        core.follow(Event::Snapshot(self.snapshot()));
        core.soil_all();
        let steps = core.plan(Now::read(), usize::MAX);
        let held = (core.held() > 0).then(|| format!("{} held", core.held()));
        steps.into_iter().flatten().map(|step| format!("{step:?}")).chain(held).collect()
    }

    pub(super) async fn keys(&self) -> Vec<String> {
        self.entries().into_keys().collect()
    }

    pub(super) async fn value(&self, key: &str) -> Value {
        self.entries().remove(key).unwrap_or_else(|| panic!("there is no {key}"))
    }

    fn entries(&self) -> BTreeMap<String, Value> {
        let read = |value: &[u8]| serde_json::from_slice(value).unwrap();
        let entries = self.snapshot().entries.into_iter();
        entries.map(|entry| (entry.key.to_string(), read(&entry.value))).collect()
    }

    /// Also while the store is away.
    fn snapshot(&self) -> Snapshot {
        self.store.snapshot(Area::Routing)
    }

    fn tell(&self, seen: Seen) {
        let mut watchers = self.watchers.lock().unwrap();
        watchers.retain(|watcher| watcher.try_send(seen.clone()).is_ok());
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("{what}: {:#?}", self.differences());
        }
    }
}

impl Running {
    pub(super) fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    pub(super) fn metrics(&self) -> String {
        self.meters.render(&self.progress())
    }

    pub(super) async fn until(&self, is_so: impl FnMut(&Progress) -> bool) {
        let mut progress = self.progress.clone();
        let waited = timeout(PATIENCE, progress.wait_for(is_so)).await;
        if waited.is_err() {
            panic!("{}", self.progress().text());
        }
        waited.unwrap().unwrap();
    }

    pub(super) async fn settle(self, scene: &Scene) -> Self {
        scene.settled().await;
        self
    }

    /// As SIGTERM does.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As SIGKILL does.
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl Meddler {
    pub(super) fn on_routing(&self, trouble: Trouble) {
        self.next.lock().unwrap().push_back(trouble);
    }

    /// Never takes this key.
    pub(super) fn refuse(&self, key: &str) {
        self.refused.lock().unwrap().insert(key.to_owned());
    }
}

impl Store for Meddler {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        let operations_max = self.operations_max.load(Ordering::Relaxed);
        Capabilities { operations_max, ..self.inner.capabilities() }
    }

    fn follow(&self, area: Area) -> Feed {
        self.inner.follow(area)
    }

    fn list(&self, area: Area) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        self.inner.list(area)
    }

    fn get<'a>(
        &'a self,
        area: Area,
        key: &'a str,
    ) -> BoxFuture<'a, Result<(crate::model::Revision, Option<crate::store::Entry>), StoreError>> {
        self.inner.get(area, key)
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<crate::model::Revision, StoreError>> {
        let most = self.operations_max.load(Ordering::Relaxed);
        assert!(transaction.operations.len() <= most && transaction.expect.len() <= most);
        let is_routing = transaction.operations.iter().any(|it| it.target().0 == Area::Routing);
        if !is_routing {
            return self.inner.commit(transaction);
        }
        let mut keys = transaction.operations.iter().map(|it| it.target().1);
        if keys.any(|key| self.refused.lock().unwrap().contains(key)) {
            return Box::pin(std::future::ready(Err(StoreError::Refused("no".to_owned()))));
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        let away = || StoreError::Unavailable("the connection broke".to_owned());
        let trouble = self.next.lock().unwrap().pop_front();
        Box::pin(async move {
            match trouble {
                None => self.inner.commit(transaction).await,
                Some(Trouble::Write(key, value)) => {
                    self.inner.put(Area::Routing, key, value)?;
                    self.inner.commit(transaction).await
                }
                Some(Trouble::Call(call)) => {
                    call();
                    self.inner.commit(transaction).await
                }
                Some(Trouble::LoseAnswer) => {
                    self.inner.commit(transaction).await?;
                    Err(away())
                }
                Some(Trouble::LoseQuestion) => Err(away()),
            }
        })
    }
}

const KINDS: [Kind; 3] = [Kind::Service, Kind::Slice, Kind::Pod];

pub(super) fn core() -> Core {
    core_of(&KINDS)
}

fn core_of(kinds: &[Kind]) -> Core {
    let planner = Planner { cluster: "kubernetes".into(), seal_keys: SealKeys::none(), plain_keys: false };
    Core::new(Remit::default(), planner, kinds)
}

fn place(change: &Change) -> (Kind, Name) {
    match change {
        Change::Service(name, _) => (Kind::Service, name.clone()),
        Change::Slice(name, _) => (Kind::Slice, name.clone()),
        Change::Pod(name, _) => (Kind::Pod, name.clone()),
        Change::Ingress(name, _) => (Kind::Ingress, name.clone()),
        Change::Secret(name, _) => (Kind::Secret, name.clone()),
        Change::Class(name, _) => (Kind::Class, Name::new("", name)),
    }
}

pub(super) fn lists(cluster: &BTreeMap<(Kind, Name), Change>) -> Vec<Seen> {
    let is_there = |change: &Change| {
        !matches!(change, Change::Service(_, None) | Change::Slice(_, None) | Change::Pod(_, None))
    };
    let names = |kind: Kind| {
        let of_kind = cluster.iter().filter(|((other, _), change)| *other == kind && is_there(change));
        of_kind.map(|((_, name), _)| name.clone()).collect::<BTreeSet<_>>()
    };
    KINDS.map(|kind| Seen::Listed(kind, names(kind))).into()
}

fn meta(name: &str, created: i64) -> Meta {
    Meta { name: Name::new("shop", name), created, annotations: BTreeMap::new() }
}

/// A Service with one port, `80`, and perhaps a route.
pub(super) fn service(name: &str, route: Option<&str>, created: i64) -> Change {
    let mut meta = meta(name, created);
    if let Some(route) = route {
        meta.annotations.insert("flipgate.io/route".into(), route.into());
    }
    let service = Service {
        ports: vec![ServicePort { name: None, port: 80, app_protocol: None }],
        prefers_ipv6: false,
        external_name: None,
        meta,
    };
    Change::Service(Name::new("shop", name), Some(service))
}

/// The endpoints of a Service on port 8080: `10.0.0.1 ready`.
pub(super) fn endpoint_lists(service: &str, endpoints: &[&str]) -> Change {
    let endpoint = |text: &&str| {
        let (address, readiness) = text.split_once(' ').unwrap();
        let readiness = match readiness {
            "ready" => Readiness::Ready,
            "ending" => Readiness::Ending,
            _ => Readiness::NotReady,
        };
        Endpoint { address: address.parse().unwrap(), readiness, zone: None }
    };
    let name = Name::new("shop", &format!("{service}-x"));
    let slice = Slice {
        name: name.clone(),
        service: service.into(),
        ports: vec![SlicePort { name: None, port: 8080 }],
        endpoints: endpoints.iter().map(endpoint).collect(),
    };
    Change::Slice(name, Some(slice))
}

/// A ready pod with a label, on port 8080.
pub(super) fn pod(name: &str, label: &str, address: &str) -> Change {
    let pod = Pod {
        meta: meta(name, 1),
        label: label.into(),
        addresses: vec![address.parse().unwrap()],
        ports: vec![PodPort { name: None, port: 8080 }],
        readiness: Readiness::Ready,
    };
    Change::Pod(Name::new("shop", name), Some(pod))
}
