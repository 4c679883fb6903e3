//! How many deployments there are, and how long their stages take.

use super::Api;
use crate::deployer::book::Book;
use crate::deployer::machine::{Course, Position};
use crate::deployer::record::Status;
use crate::flip::record::unix_ms;
use crate::kubernetes::Name;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Upper bounds in seconds.
const BUCKETS: [f64; 10] = [0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

type StatusLabels = [(&'static str, &'static str); 1];
type StageLabels = [(&'static str, &'static str); 2];

/// Counters of this process, and gauges that are set when they are read.
pub(super) struct Meters {
    registry: Registry,
    deployments: Family<StatusLabels, Gauge>,
    stages: Family<StageLabels, Histogram>,
    charges: Gauge,
    streams: Gauge,
    revision: Gauge,
    /// Where the open deployment of each application was last seen.
    open: Mutex<BTreeMap<(Name, String), Position>>,
}

impl Default for Meters {
    fn default() -> Self {
        let mut meters = Self {
            registry: Registry::default(),
            deployments: Family::default(),
            stages: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            charges: Gauge::default(),
            streams: Gauge::default(),
            revision: Gauge::default(),
            open: Mutex::default(),
        };
        let Self { registry, deployments, stages, charges, streams, revision, .. } = &mut meters;
        registry.register("flipgate_deployer_deployments", "Deployments by status", deployments.clone());
        let help = "How long stages of deployments took, whichever deployer was in charge";
        registry.register("flipgate_deployer_stage_seconds", help, stages.clone());
        let help = "Applications whose one in charge is alive";
        registry.register("flipgate_deployer_charges", help, charges.clone());
        registry.register("flipgate_deployer_log_streams", "Streams of logs that are open", streams.clone());
        let help = "Revision up to which the store was heard";
        registry.register("flipgate_deployer_revision", help, revision.clone());
        meters
    }
}

impl Meters {
    /// Looks where deployments under way are now.
    pub(super) fn see(&self, book: &Book) {
        let now = unix_ms(SystemTime::now());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut current = BTreeMap::new();
        for (app, state) in &book.applications {
            let Some(id) = &state.value.open else { continue };
            let Some(kept) = book.deployments.get(&(app.clone(), id.as_str().into())) else { continue };
            let Some(position) = &kept.value.position else { continue };
            current.insert((app.clone(), id.clone()), position.clone());
        }
        for (deployment, before) in &*open {
            match current.get(deployment) {
                Some(position) if same(before, position) => {}
                Some(position) => self.took(before, position.entered),
                None => self.took(before, now),
            }
        }
        *open = current;
    }

    fn took(&self, stage: &Position, until: u64) {
        let course = match stage.course {
            Course::Forward => "forward",
            Course::Back => "back",
        };
        let seconds = until.saturating_sub(stage.entered) as f64 / 1000.0;
        self.stages.get_or_create(&[("stage", stage.stage.as_str()), ("course", course)]).observe(seconds);
    }

    /// OpenMetrics 1.0.
    fn render(&self, book: &Book, streams: usize) -> String {
        let mut counts = BTreeMap::<&str, usize>::new();
        for kept in book.deployments.values() {
            *counts.entry(kept.value.status.as_str()).or_default() += 1;
        }
        for status in Status::ALL.map(Status::as_str) {
            let count = counts.get(status).copied().unwrap_or(0);
            self.deployments.get_or_create(&[("status", status)]).set(number(count));
        }
        self.charges.set(number(book.locks.len()));
        self.streams.set(number(streams));
        self.revision.set(i64::try_from(book.revision.0).unwrap_or(i64::MAX));
        let mut text = String::new();
        // A String takes everything.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn same(before: &Position, now: &Position) -> bool {
    (before.stage, before.course, before.entered) == (now.stage, now.course, now.entered)
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let streams = super::STREAMS_MAX.saturating_sub(api.streams.available_permits());
    let text = api.meters.render(&api.office.book(), streams);
    ([(header::CONTENT_TYPE, crate::telemetry::metrics::CONTENT_TYPE)], text).into_response()
}
