//! What frontends and servers did of late, the worst first: `/v3/top`, and what version 2 tells of it.

use super::Admin;
use super::answer::Failure;
use super::extract::Query;
use crate::meter::millis;
use crate::meter::{RoundTrips, Trips, stand_out};
use crate::model::{self, BackendId};
use crate::telemetry::WorkerSlots;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Instant;

/// Round trips are counted over so many seconds.
pub(super) const PERIOD_SECONDS: u64 = crate::meter::SECONDS as u64;

/// The quantiles that are told, in percent.
pub(super) const QUANTILES: [f64; 5] = [50.0, 75.0, 95.0, 99.0, 99.9];

/// What frontends and servers did of late.
#[derive(Debug, Clone, Default)]
pub struct Top {
    /// Those that had requests.
    pub frontends: Vec<FrontendTop>,
    /// Those that had requests.
    pub servers: Vec<ServerTop>,
}

/// What a frontend did of late.
#[derive(Debug, Clone)]
pub struct FrontendTop {
    /// The object in force.
    pub object: Arc<model::Frontend>,
    /// From a request's first byte to its answer's last. What is [open](Stats::open) is counted for frontends alone.
    pub stats: Stats,
}

/// What a server did of late.
#[derive(Debug, Clone)]
pub struct ServerTop {
    /// The real backend's id.
    pub backend: String,
    /// From the key.
    pub id: String,
    /// `http://10.2.3.4:8080`
    pub url: String,
    /// `well`, `unknown`, `unwell`, `ejected`, `draining` or `disabled`.
    pub standing: &'static str,
    /// Requests that have not ended.
    pub in_flight: u32,
    /// From an attempt's beginning to its answer's head or its failure.
    pub stats: Stats,
}

/// Round trips of the last ten seconds, their latencies of the last minute.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// How many.
    pub total: u64,
    /// Those that no server answered.
    pub network_errors: u64,
    /// By status, in its order.
    pub codes: Vec<(u16, u64)>,
    /// Those that have not ended, whenever they began.
    pub open: u64,
    /// Microseconds that 50, 75, 95, 99 and 99.9 % do not exceed.
    pub quantiles: [u64; QUANTILES.len()],
    /// Share of the round trips that a server answered with 500 or above. (vulcand divides the answers of 500 by those of
    /// 200 to 299, so that a server that only fails looks well.)
    pub app_error_ratio: f64,
}

impl Stats {
    /// Of all workers together; `None` where nothing was ever recorded.
    pub fn of(now: Instant, slots: &WorkerSlots<RoundTrips>) -> Option<Self> {
        let mut meters = slots.iter().peekable();
        meters.peek()?;
        Some(Self::from(&Trips::of(millis(now), meters)))
    }

    /// Share of the round trips that no server answered.
    pub fn network_error_ratio(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.network_errors as f64 / self.total as f64 }
    }

    /// vulcand's order: network errors first, then errors of the application, then load.
    fn worse(&self, other: &Self) -> Ordering {
        let network = other.network_error_ratio().total_cmp(&self.network_error_ratio());
        let app = other.app_error_ratio.total_cmp(&self.app_error_ratio);
        network.then(app).then(other.total.cmp(&self.total))
    }
}

impl From<&Trips> for Stats {
    fn from(trips: &Trips) -> Self {
        let app_errors = trips.with_status(500, 600).saturating_sub(trips.network_errors());
        Self {
            total: trips.total(),
            network_errors: trips.network_errors(),
            open: trips.open(),
            codes: trips.codes().to_vec(),
            quantiles: QUANTILES.map(|percent| trips.latency_at_quantile(percent)),
            app_error_ratio: match trips.total() {
                0 => 0.0,
                total => app_errors as f64 / total as f64,
            },
        }
    }
}

/// In what a server is worse than the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Its median latency stands out.
    pub latency: bool,
    /// Its share of network errors does.
    pub network: bool,
    /// Its share of answers of 500 and above does.
    pub app: bool,
}

impl Top {
    /// Puts the worst first, which of equals by id.
    pub(super) fn sort(&mut self) {
        self.frontends.sort_by(|a, b| a.stats.worse(&b.stats).then_with(|| a.object.id.cmp(&b.object.id)));
        let id = |server: &ServerTop| (server.backend.clone(), server.id.clone());
        self.servers.sort_by(|a, b| a.stats.worse(&b.stats).then_with(|| id(a).cmp(&id(b))));
    }

    /// How each server does beside the others, which should be those of one backend. What counts of latencies is whole
    /// milliseconds, and one beside them.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let each = |value: fn(&Stats) -> f64, threshold| {
            let values: Vec<f64> = self.servers.iter().map(|server| value(&server.stats)).collect();
            stand_out(&values, threshold)
        };
        let latency = each(|stats| (stats.quantiles.first().unwrap_or(&0) / 1_000 + 1) as f64, 2.0);
        let (network, app) =
            (each(Stats::network_error_ratio, 1.5), each(|stats| stats.app_error_ratio, 1.5));
        let judged = latency.into_iter().zip(network).zip(app);
        judged.map(|((latency, network), app)| Verdict { latency, network, app }).collect()
    }
}

impl Admin {
    /// Sorted. Adding up takes time in proportion to what had requests, so it is done apart from what waits.
    pub(super) async fn sorted_top(self: &Arc<Self>, backend: Option<BackendId>) -> Top {
        let admin = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            let mut top = admin.running.top(backend.as_ref());
            top.sort();
            top
        });
        work.await.unwrap_or_default()
    }
}

/// `backend`: only what leads to it, and how its servers do beside each other. `limit`: most of each; 0: all.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopQuery {
    backend: Option<String>,
    #[serde(default)]
    limit: usize,
}

pub(super) async fn top(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<TopQuery>,
) -> Result<Json<Value>, Failure> {
    let backend = query.backend.as_deref().map(BackendId::try_from).transpose();
    let backend =
        backend.map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("`backend`: {error}")))?;
    let judged = backend.is_some();
    let top = admin.sorted_top(backend).await;
    let verdicts = if judged { top.verdicts() } else { vec![Verdict::default(); top.servers.len()] };
    let limit = if query.limit == 0 { usize::MAX } else { query.limit };
    let frontend = |top: &FrontendTop| {
        let head = json!({
            "id": top.object.id.as_str(),
            "route": top.object.route.text(),
            "backend": top.object.backend.as_str(),
            "inFlight": top.stats.open,
        });
        with_stats(head, &top.stats)
    };
    let server = |(top, verdict): (&ServerTop, Verdict)| {
        let head = json!({
            "backend": top.backend,
            "id": top.id,
            "url": top.url,
            "standing": top.standing,
            "inFlight": top.in_flight,
            "standsOut": verdict.words(),
        });
        with_stats(head, &top.stats)
    };
    Ok(Json(json!({
        "frontends": top.frontends.iter().take(limit).map(frontend).collect::<Vec<_>>(),
        "servers": top.servers.iter().zip(verdicts).take(limit).map(server).collect::<Vec<_>>(),
    })))
}

impl Verdict {
    fn words(self) -> Vec<&'static str> {
        let all = [(self.latency, "latency"), (self.network, "networkErrors"), (self.app, "appErrors")];
        all.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect()
    }
}

fn with_stats(mut head: Value, stats: &Stats) -> Value {
    let codes: Map<String, Value> =
        stats.codes.iter().map(|(code, count)| (code.to_string(), (*count).into())).collect();
    let names = ["p50", "p75", "p95", "p99", "p999"];
    let latency: Map<String, Value> =
        names.iter().zip(stats.quantiles).map(|(name, micros)| ((*name).to_owned(), micros.into())).collect();
    if let Some(fields) = head.as_object_mut() {
        fields.insert("requests".into(), stats.total.into());
        fields.insert("perSecond".into(), (stats.total as f64 / PERIOD_SECONDS as f64).into());
        fields.insert("networkErrors".into(), stats.network_errors.into());
        fields.insert("codes".into(), codes.into());
        fields.insert("latencyMicros".into(), latency.into());
    }
    head
}
