//! The running process: what the control plane, the table and the workers' counters tell.

use super::access::Access;
use super::running::{ConfirmError, ListenerView, RouteView, Routes, Running, ServerView, State};
use super::top::{FrontendTop, ServerTop, Stats, Top};
use crate::control::image::Confirmation;
use crate::control::{Control, confirm};
use crate::model::{self, BackendId, FrontendId, InForce, Problem, Revision, Severity};
use crate::proxy::Bound;
use crate::store::{Area, LeaseChoice, Operation, Transaction};
use crate::table::{ListedRoute, ListedServer, Table, Topic};
use crate::telemetry::counters::listener_connections;
use crate::telemetry::{FrontendLabels, Scrape};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// Adds what only the program around it can reach: the data plane's own counters, the access log's.
pub type MoreMetrics = Box<dyn Fn(&mut Scrape, &mut FrontendLabels) + Send + Sync>;

/// The running process.
pub struct Live {
    control: Control,
    bound: Arc<Bound>,
    draining: watch::Receiver<bool>,
    more: MoreMetrics,
}

impl Live {
    /// The process of this control plane and these listeners. While `draining` is true it is not ready.
    pub fn new(
        control: Control,
        bound: Arc<Bound>,
        draining: watch::Receiver<bool>,
        more: MoreMetrics,
    ) -> Self {
        Self { control, bound, draining, more }
    }

    /// Lists what is weak about the admin API's access as a problem, for as long as the process runs.
    pub fn report_access(&self, access: &Access) {
        let Some(reason) = access.warning() else { return };
        let problem = Problem {
            key: String::new(),
            field: "admin-trusted".into(),
            reason,
            severity: Severity::Warning,
            revision: Revision(0),
            since: SystemTime::now(),
            in_force: InForce::This,
        };
        self.control.board().report(Topic { key: String::new(), aspect: "admin access" }, problem);
    }
}

impl Running for Live {
    fn state(&self) -> State {
        let status = self.control.status();
        let not_ready = match (status.ready, *self.draining.borrow()) {
            (_, true) => Some("draining".to_owned()),
            (false, false) => Some("no table is served yet".to_owned()),
            (true, false) => None,
        };
        let listeners = self.bound.addresses().into_iter();
        State {
            revision: status.revision,
            hash: status.hash,
            reason: status.reason,
            listeners: listeners
                .map(|(id, at)| ListenerView { id: id.to_string(), address: at.to_string() })
                .collect(),
            store_revision: status.store_revision,
            connected: status.connected,
            since: status.since,
            not_ready,
            stale: status.stale,
            held: status.held,
            workers: self.control.board().workers(),
            errors: status.problems.errors,
            warnings: status.problems.warnings,
        }
    }

    fn wait_for(&self, revision: Revision, timeout: Duration) -> BoxFuture<'_, bool> {
        self.control.wait_for(revision, timeout).boxed()
    }

    fn routes(&self, host: Option<&str>, frontend: Option<&FrontendId>, limit: usize) -> Routes {
        let table = self.control.board().table();
        let (routes, truncated) = table.listed_routes(host, frontend, limit);
        let order = table.route_order().as_str();
        Routes { revision: table.revision, order, routes: routes.into_iter().map(route).collect(), truncated }
    }

    fn problems(&self) -> (Revision, Vec<Problem>) {
        self.control.problems()
    }

    fn confirm(&self) -> BoxFuture<'_, Result<usize, ConfirmError>> {
        async {
            let status = self.control.status();
            let confirmation = Confirmation { revision: status.store_revision, at: SystemTime::now() };
            let value = confirm::to_value(&confirmation, "admin API").to_string().into();
            let (area, key, lease) = (Area::State, confirm::KEY.into(), LeaseChoice::Keep);
            let operations = vec![Operation::Put { area, key, value, lease }];
            self.control.store().commit(Transaction { expect: Vec::new(), operations }).await?;
            Ok(status.held)
        }
        .boxed()
    }

    fn top(&self, backend: Option<&BackendId>) -> Top {
        let table = self.control.board().table();
        let now = Instant::now();
        // An alias stands for the backend behind it.
        let wanted = backend.map(|id| table.backend(id).map_or(id, |backend| &backend.id));
        let leads = |named: &BackendId| table.backend(named).map(|backend| &backend.id) == wanted;
        let of = |object: &model::Frontend| wanted.is_none() || object.backends().any(leads);
        let frontends = table.frontends().filter(|frontend| of(&frontend.object));
        let frontends = frontends.filter_map(|frontend| {
            let stats = Stats::of(now, &frontend.trips)?;
            Some(FrontendTop { object: frontend.object.clone(), stats })
        });
        let backends = table.backends().filter(|backend| wanted.is_none_or(|wanted| *wanted == backend.id));
        let servers =
            backends.flat_map(|backend| backend.servers().iter().map(move |server| (backend, server)));
        let servers = servers.filter_map(|(backend, server)| {
            let stats = Stats::of(now, server.trips())?;
            Some(ServerTop {
                backend: backend.id.to_string(),
                id: server.id.to_string(),
                url: server.url.to_string(),
                standing: server.standing(now).as_str(),
                in_flight: server.in_flight(),
                stats,
            })
        });
        Top { frontends: frontends.collect(), servers: servers.collect() }
    }

    fn connections(&self) -> Vec<(String, u64)> {
        let addresses = self.bound.addresses();
        let mut connections = Vec::new();
        self.bound.for_each_counters(|id, slots| {
            if let Some(at) = addresses.get(id).map(ToString::to_string) {
                connections.push((at, listener_connections(slots).1));
            }
        });
        connections
    }

    fn scrape(&self, scrape: &mut Scrape, labels: &mut FrontendLabels) {
        let board = self.control.board();
        let status = self.control.status();
        scrape_table(&board.table(), scrape, labels);
        self.bound.for_each_counters(|id, slots| scrape.listener(id.as_str(), slots));
        scrape.table_revision(status.revision.0);
        scrape.swaps(status.swaps.count, status.swaps.total);
        scrape.store(status.connected, status.in_sync_age);
        scrape.problems(status.problems.errors as u64, status.problems.warnings as u64);
        (self.more)(scrape, labels);
    }
}

fn scrape_table(table: &Table, scrape: &mut Scrape, labels: &mut FrontendLabels) {
    let exists = |id: &str| FrontendId::try_from(id).is_ok_and(|id| table.frontend(&id).is_some());
    // The empty label is that of requests no frontend took.
    labels.retain(|id| id.is_empty() || exists(id));
    for frontend in table.frontends() {
        scrape.frontend(frontend.object.id.as_str(), &frontend.counters, labels);
    }
    let moment = Instant::now();
    for backend in table.backends() {
        scrape.backend(backend.id.as_str(), backend.counters(), u64::from(backend.in_flight()));
        if backend.counters().iter().next().is_some() {
            for server in backend.servers() {
                let healthy = backend.is_eligible(server, moment);
                scrape.server(backend.id.as_str(), server.id.as_str(), healthy);
            }
        }
    }
    let now = SystemTime::now();
    for (host, certificate) in table.hosts() {
        if let Some(certificate) = certificate {
            scrape.certificate(host.name.as_str(), certificate.seconds_left(now));
        }
    }
}

fn route(listed: ListedRoute) -> RouteView {
    RouteView {
        rank: listed.rank,
        frontend: listed.frontend.to_string(),
        route: listed.route,
        priority: listed.priority,
        backend: listed.backend.to_string(),
        resolved: listed.resolved.map(|id| id.to_string()),
        servers: listed.servers.into_iter().map(server).collect(),
    }
}

fn server(listed: ListedServer) -> ServerView {
    ServerView {
        id: listed.id.to_string(),
        url: listed.url,
        state: listed.state.as_str().to_owned(),
        healthy: listed.healthy,
        standing: listed.standing.to_owned(),
        in_flight: u64::from(listed.in_flight),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Admin, Parts};
    use super::*;
    use crate::control::image::Environment;
    use crate::control::{self, Publisher};
    use crate::store::memory::MemoryStore;
    use crate::table::{Board, Note};
    use crate::telemetry::{RefusedCounters, WorkerSlots};
    use crate::tls::SealKeys;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt;

    struct Process {
        api: axum::Router,
        draining: watch::Sender<bool>,
        stop: CancellationToken,
    }

    /// A control plane over `store` with two workers that only acknowledge.
    fn start(store: &MemoryStore) -> Process {
        let (board, inboxes) = Board::new(2);
        for (worker, mut inbox) in inboxes.into_iter().enumerate() {
            let board = board.clone();
            tokio::spawn(async move {
                while let Some(Note::Swapped { generation }) = inbox.recv().await {
                    board.acknowledge(worker, generation);
                }
            });
        }
        let environment = Environment { seal_keys: SealKeys::none(), secrets_dir: None, trace_dir: None };
        let store: Arc<dyn crate::store::Store> = Arc::new(store.clone());
        let parts = control::Parts { store: store.clone(), board, environment, data_dir: None, lock: None };
        let (publisher, control) = Publisher::open(parts).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(publisher.run(stop.clone()));
        let (draining, is_draining) = watch::channel(false);
        let refused = WorkerSlots::<RefusedCounters>::new(2);
        let more: MoreMetrics = Box::new(move |scrape, _| scrape.refused(&refused));
        let live = Live::new(control, Arc::default(), is_draining, more);
        let trusted = vec!["10.0.0.0/8".parse().unwrap()];
        let access = Arc::new(Access::new(([0, 0, 0, 0], 8182).into(), None, trusted, Vec::new()).unwrap());
        live.report_access(&access);
        let (running, seal) = (Arc::new(live), Arc::new(SealKeys::none()));
        let admin = Admin::new(Parts { store, running, access, seal, secrets_dir: None });
        Process { api: admin.api(), draining, stop }
    }

    impl Process {
        async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
            let request =
                Request::builder().method(method).uri(path).header("content-type", "application/json");
            let request = request.body(Body::from(body.to_owned())).unwrap();
            let response = self.api.clone().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            (
                status,
                String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
                    .unwrap(),
            )
        }

        async fn json(&self, method: &str, path: &str, body: Value) -> Value {
            let (status, text) = self.ask(method, path, &body.to_string()).await;
            assert_eq!(status, 200, "{method} {path}: {text}");
            serde_json::from_str(&text).unwrap()
        }
    }

    #[tokio::test]
    async fn what_is_written_is_served_and_listed() {
        let store = MemoryStore::new();
        let process = start(&store);
        let transaction = json!({ "put": [
            { "key": "backends/blue/servers/a", "value": { "URL": "http://10.0.0.1:80" } },
            { "key": "backends/shop/backend", "value": { "Type": "alias", "Target": "blue" } },
            { "key": "frontends/shop/frontend", "value": {
                "Type": "http", "BackendId": "shop",
                "Route": "Host(\"a.example\") && Path(\"/x\") || Host(\"b.example\")",
            } },
        ] });
        let revision = process.json("POST", "/v3/transactions", transaction).await["revision"].clone();
        let path = format!("/v3/status?revision={revision}&timeout=20s");
        let status = process.json("GET", &path, Value::Null).await;
        assert_eq!(status["revision"], revision);
        assert_eq!((&status["ready"], &status["workers"]), (&json!(true), &json!(2)));
        assert_eq!(status["problems"], json!({ "error": 0, "warning": 1 }));

        let routes = process.json("GET", "/v3/routes", Value::Null).await;
        assert_eq!(routes["revision"], revision);
        let listed = |name: &str| {
            routes["routes"].as_array().unwrap().iter().map(|r| r[name].clone()).collect::<Vec<_>>()
        };
        assert_eq!(listed("rank"), [1, 2]);
        assert_eq!(listed("resolved"), ["blue", "blue"]);
        assert_eq!(routes["routes"][0]["servers"][0]["url"], "http://10.0.0.1:80");
        let b = process.json("GET", "/v3/routes?host=b.example&frontend=shop", Value::Null).await;
        assert_eq!(b["routes"][0]["route"], "Host(\"b.example\")");
        assert_eq!(b["routes"].as_array().unwrap().len(), 1);
        assert_eq!(process.json("GET", "/v3/routes?frontend=no", Value::Null).await["routes"], json!([]));

        let problems = process.json("GET", "/v3/problems", Value::Null).await;
        assert_eq!(problems["problems"][0]["field"], "admin-trusted");
        let (_, metrics) = process.ask("GET", "/metrics", "").await;
        for line in [
            format!("flipgate_table_revision {revision}"),
            "flipgate_store_connected 1".into(),
            "flipgate_problems{severity=\"warning\"} 1".into(),
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} is missing in\n{metrics}");
        }
        assert_eq!(process.ask("GET", "/readyz", "").await.0, 200);
        process.draining.send_replace(true);
        assert_eq!(process.ask("GET", "/readyz", "").await, (503, "draining\n".into()));
        process.stop.cancel();
    }

    #[tokio::test]
    async fn a_held_removal_is_confirmed() {
        let store = MemoryStore::new();
        let process = start(&store);
        let frontends: Vec<Value> = (0..30)
            .map(|n| {
                json!({
                    "key": format!("frontends/f{n}/frontend"),
                    "value": { "Type": "http", "BackendId": "b", "Route": format!("Host(\"{n}.example\")") },
                })
            })
            .chain([json!({ "key": "backends/b/servers/a", "value": { "URL": "http://10.0.0.1:80" } })])
            .collect();
        let at = |answer: Value| format!("/v3/status?timeout=20s&revision={}", answer["revision"]);
        let path = at(process.json("POST", "/v3/transactions", json!({ "put": frontends })).await);
        process.json("GET", &path, Value::Null).await;
        let keys: Vec<_> = (0..30).map(|n| format!("frontends/f{n}/frontend")).collect();
        let path = at(process.json("POST", "/v3/transactions", json!({ "delete": keys })).await);
        let held = process.json("GET", &path, Value::Null).await["held"].as_u64().unwrap();
        assert!(held >= 20, "{held}");
        assert_eq!(process.json("POST", "/v3/confirm", json!({})).await["confirmed"], held);
        let released = async {
            while process.json("GET", "/v3/status", Value::Null).await["held"] != 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), released).await.expect("released");
        process.stop.cancel();
    }
}
