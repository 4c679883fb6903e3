//! An API server in memory: lists in pages, watches, and every way in which they break.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How watches that are open end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Break {
    /// As if it were time.
    Clean,
    /// The connection ends amid a line.
    MidLine,
    /// The server says that the version is too old.
    Gone,
    /// A line that is no event.
    Nonsense,
}

pub(super) type Key = (&'static str, String, String);

#[derive(Default)]
pub(super) struct State {
    pub objects: BTreeMap<Key, Value>,
    pub version: u64,
    /// What happened: version, kind, namespace, and the line.
    log: Vec<(u64, &'static str, String, Value)>,
    /// Versions up to this one can not be watched from.
    pub compacted: u64,
    /// Lists on their way, by what their continue token says.
    lists: BTreeMap<String, Vec<Value>>,
    /// Kinds, with a namespace or an empty one, that nobody may read.
    pub forbidden: BTreeSet<(String, String)>,
    /// After so many more pages, pages fail; for one list.
    pub pages_left: Option<usize>,
    /// All requests.
    pub asked: Vec<String>,
    breaks: u64,
    way: Option<Break>,
    pub open_watches: usize,
}

#[derive(Clone)]
pub(super) struct Server {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
    pub address: SocketAddr,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

type Answer = Response<BoxBody<Bytes, io::Error>>;

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { version: 1_000_000, ..State::default() };
        let server = Self {
            state: Arc::new(Mutex::new(state)),
            changed: watch::channel(()).0,
            address,
            tasks: Arc::default(),
        };
        server.listen(listener);
        server
    }

    /// All connections end, and new ones are refused.
    pub(super) async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        tasks.shutdown().await;
    }

    pub(super) async fn start_again(&self) {
        self.listen(TcpListener::bind(self.address).await.unwrap());
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) async fn client(&self) -> kube::Client {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = json!({
            "clusters": [{ "name": "c", "cluster": { "server": format!("http://{}", self.address) } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
            "users": [{ "name": "u", "user": {} }],
            "current-context": "c",
        });
        std::fs::write(file.path(), text.to_string()).unwrap();
        let access = crate::kubernetes::Access { kubeconfig: Some(file.path().into()), ..Default::default() };
        crate::kubernetes::connect(&access).await.unwrap()
    }

    /// Creates or changes an object.
    pub(super) fn put(&self, kind: &'static str, namespace: &str, name: &str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        object["metadata"]["name"] = name.into();
        object["metadata"]["namespace"] = namespace.into();
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let key = (kind, namespace.to_owned(), name.to_owned());
        let verb = if state.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        state.objects.insert(key, object.clone());
        state.log.push((version, kind, namespace.to_owned(), json!({ "type": verb, "object": object })));
        drop(state);
        self.changed.send_replace(());
    }

    pub(super) fn delete(&self, kind: &'static str, namespace: &str, name: &str) {
        let mut state = self.state();
        let Some(mut object) = state.objects.remove(&(kind, namespace.to_owned(), name.to_owned())) else {
            return;
        };
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        state.log.push((version, kind, namespace.to_owned(), json!({ "type": "DELETED", "object": object })));
        drop(state);
        self.changed.send_replace(());
    }

    /// Forgets what happened up to now; `back`: versions begin anew far below, as after a backup was restored.
    pub(super) fn forget(&self, back: bool) {
        let mut state = self.state();
        state.log.clear();
        if back {
            // So far that what the tests write does not catch up.
            state.version -= 10_000;
        }
        state.compacted = state.version;
        drop(state);
        self.changed.send_replace(());
    }

    /// Ends all watches that are open.
    pub(super) fn break_watches(&self, way: Break) {
        let mut state = self.state();
        state.breaks += 1;
        state.way = Some(way);
        drop(state);
        self.changed.send_replace(());
    }

    /// Waits until the state is so, for 10 s at most.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let wait = async {
            while !holds(&self.state()) {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.expect(what);
    }

    fn listen(&self, listener: TcpListener) {
        let server = self.clone();
        self.tasks.lock().unwrap().spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = server.clone();
                connections.spawn(async move {
                    let answer = service_fn(move |request| {
                        let server = server.clone();
                        async move { Ok::<_, Infallible>(server.answer(&request)) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
    }

    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let uri = request.uri();
        self.state().asked.push(uri.to_string());
        let query: BTreeMap<&str, &str> =
            uri.query().unwrap_or("").split('&').filter_map(|pair| pair.split_once('=')).collect();
        let segments: Vec<&str> = uri.path().split('/').collect();
        let kind = *segments.last().unwrap();
        let namespace =
            segments.iter().position(|segment| *segment == "namespaces").map(|at| segments[at + 1]);
        let forbidden = (kind.to_owned(), namespace.unwrap_or("").to_owned());
        if self.state().forbidden.contains(&forbidden) {
            return status(403, "Forbidden", "no rule allows it");
        }
        match query.get("watch") {
            Some(_) => self.watch(kind, namespace, query["resourceVersion"].parse().unwrap()),
            None => self.list(kind, namespace, &query),
        }
    }

    fn list(&self, kind: &str, namespace: Option<&str>, query: &BTreeMap<&str, &str>) -> Answer {
        let mut state = self.state();
        if let Some(left) = state.pages_left.take() {
            if left == 0 {
                return status(500, "InternalError", "the page cannot be read");
            }
            state.pages_left = Some(left - 1);
        }
        let mut rest = match query.get("continue") {
            Some(token) => match state.lists.remove(*token) {
                Some(rest) => rest,
                None => return status(410, "Expired", "the continue token is too old"),
            },
            None => {
                let is_meant =
                    |key: &Key| key.0 == kind && namespace.is_none_or(|namespace| key.1 == namespace);
                let objects = state.objects.iter().filter(|(key, _)| is_meant(key));
                objects.map(|(_, object)| object.clone()).collect()
            }
        };
        let limit: usize = query["limit"].parse().unwrap();
        let further = rest.split_off(limit.min(rest.len()));
        let mut metadata = json!({ "resourceVersion": state.version.to_string() });
        if !further.is_empty() {
            let token = format!("t{}", state.asked.len());
            metadata["continue"] = token.as_str().into();
            state.lists.insert(token, further);
        }
        let items = if rest.is_empty() { Value::Null } else { rest.into() };
        let list = json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items });
        Response::new(full(list.to_string()))
    }

    fn watch(&self, kind: &str, namespace: Option<&str>, from: u64) -> Answer {
        let (kind, namespace) = (kind.to_owned(), namespace.map(str::to_owned));
        let (tell, told) = mpsc::channel::<io::Result<Frame<Bytes>>>(4);
        let (server, breaks) = (self.clone(), self.state().breaks);
        self.state().open_watches += 1;
        tokio::spawn(async move {
            server.feed(&kind, namespace.as_deref(), from, breaks, &tell).await;
            let mut state = server.state();
            state.open_watches = state.open_watches.saturating_sub(1);
        });
        let frames = futures_util::stream::unfold(told, async |mut told| Some((told.recv().await?, told)));
        Response::new(BodyExt::boxed(StreamBody::new(frames)))
    }

    async fn feed(
        &self,
        kind: &str,
        namespace: Option<&str>,
        mut from: u64,
        breaks: u64,
        tell: &mpsc::Sender<io::Result<Frame<Bytes>>>,
    ) {
        let line = |value: Value| Ok(Frame::data(Bytes::from(format!("{value}\n"))));
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let (lines, end, version) = {
                let state = self.state();
                let is_meant = |entry: &&(u64, &str, String, Value)| {
                    entry.0 > from
                        && entry.1 == kind
                        && namespace.is_none_or(|namespace| entry.2 == namespace)
                };
                let lines: Vec<Value> =
                    state.log.iter().filter(is_meant).map(|entry| entry.3.clone()).collect();
                let mut end = state.way.filter(|_| state.breaks > breaks);
                if from < state.compacted || from > state.version {
                    end = Some(Break::Gone);
                }
                (lines, end, state.version)
            };
            match end {
                None => {}
                Some(Break::Clean) => return,
                Some(Break::MidLine) => {
                    let _ = tell.send(Ok(Frame::data(Bytes::from_static(b"{\"type\":\"ADD")))).await;
                    let _ = tell.send(Err(io::Error::other("cut"))).await;
                    return;
                }
                Some(Break::Gone) => {
                    let gone =
                        json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old" });
                    let _ = tell.send(line(json!({ "type": "ERROR", "object": gone }))).await;
                    return;
                }
                Some(Break::Nonsense) => {
                    let _ = tell.send(line(json!({ "what": "is this" }))).await;
                    // Left open: whoever reads has to leave.
                    tell.closed().await;
                    return;
                }
            }
            for value in lines {
                // In two pieces, as networks like it.
                let text = format!("{value}\n");
                let (first, second) = text.split_at(text.len() / 2);
                for piece in [first, second] {
                    let _ = tell.send(Ok(Frame::data(Bytes::copy_from_slice(piece.as_bytes())))).await;
                }
            }
            if version > from {
                from = version;
                let mark = json!({ "kind": "X", "apiVersion": "v1",
                    "metadata": { "resourceVersion": version.to_string() } });
                let _ = tell.send(line(json!({ "type": "BOOKMARK", "object": mark }))).await;
            }
            tokio::select! {
                () = tell.closed() => return,
                _ = changed.changed() => {}
            }
        }
    }
}

fn full(text: String) -> BoxBody<Bytes, io::Error> {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}

fn status(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": message });
    let mut answer = Response::new(full(status.to_string()));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    answer
}
