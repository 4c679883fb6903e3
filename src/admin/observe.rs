//! What the process is doing: status, routes, problems, health, metrics.

use super::Admin;
use super::answer::{Failure, problem};
use super::extract::{Json, Query, duration};
use super::running::State as RunningState;
use crate::model::{FrontendId, Revision};
use crate::telemetry::{FrontendLabels, Scrape, metrics, rfc3339};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest wait for a revision.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// Wait for a revision when the request does not say how long.
const WAIT_DEFAULT: Duration = Duration::from_secs(5);

/// Most routes in one answer.
pub const ROUTES_MAX: usize = 10_000;

/// What must be remembered between scrapes.
#[derive(Default)]
pub(super) struct Metrics {
    labels: Mutex<FrontendLabels>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusQuery {
    revision: Option<u64>,
    timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoutesQuery {
    host: Option<String>,
    frontend: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn status(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<StatusQuery>,
) -> Result<Response, Failure> {
    let timeout = match &query.timeout {
        Some(text) => duration("timeout", text)?.min(WAIT_MAX),
        None => WAIT_DEFAULT,
    };
    if let Some(revision) = query.revision.map(Revision)
        && !admin.running.wait_for(revision, timeout).await
    {
        let state = admin.running.state();
        let message = format!("revision {revision} is not served yet");
        return Err(Failure::new(StatusCode::GATEWAY_TIMEOUT, message)
            .with("revision", state.revision.0)
            .with("storeRevision", state.store_revision.0));
    }
    Ok(axum::Json(status_view(&admin, &admin.running.state())).into_response())
}

fn status_view(admin: &Admin, state: &RunningState) -> Value {
    json!({
        "revision": state.revision,
        "storeRevision": state.store_revision,
        "store": {
            "kind": admin.store.kind(),
            "connected": state.connected,
            "since": rfc3339(state.since),
        },
        "hash": format!("{:016x}", state.hash),
        "listeners": state.listeners,
        "ready": state.not_ready.is_none(),
        "stale": state.stale,
        "held": state.held,
        "workers": state.workers,
        "problems": { "error": state.errors, "warning": state.warnings },
    })
}

pub(super) async fn routes(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<RoutesQuery>,
) -> Result<Response, Failure> {
    let frontend = match query.frontend.as_deref().map(FrontendId::try_from) {
        Some(Err(error)) => {
            return Err(Failure::new(StatusCode::BAD_REQUEST, format!("`frontend`: {error}")));
        }
        Some(Ok(id)) => Some(id),
        None => None,
    };
    let host = query.host.map(|host| host.trim_end_matches('.').to_ascii_lowercase());
    let limit = query.limit.unwrap_or(ROUTES_MAX).min(ROUTES_MAX);
    blocking(move || axum::Json(admin.running.routes(host.as_deref(), frontend.as_ref(), limit))).await
}

pub(super) async fn problems(State(admin): State<Arc<Admin>>) -> Response {
    let (revision, problems) = admin.running.problems();
    let problems: Vec<Value> = problems.iter().map(problem).collect();
    axum::Json(json!({ "revision": revision, "problems": problems })).into_response()
}

/// The body is empty; asking for it as JSON keeps other sites' pages out.
pub(super) async fn confirm(State(admin): State<Arc<Admin>>, _body: Json) -> Result<Response, Failure> {
    match admin.running.confirm().await {
        Ok(confirmed) => {
            tracing::info!(confirmed, "held objects confirmed through the admin API");
            Ok(axum::Json(json!({ "confirmed": confirmed })).into_response())
        }
        Err(super::running::ConfirmError::Store(error)) => Err(error.into()),
    }
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    match admin.running.state().not_ready {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

pub(super) async fn metrics(State(admin): State<Arc<Admin>>) -> Result<Response, Failure> {
    blocking(move || {
        let mut scrape = Scrape::default();
        // One at a time, which also bounds what scraping can cost.
        let mut labels = admin.metrics.labels.lock().unwrap_or_else(PoisonError::into_inner);
        admin.running.scrape(&mut scrape, &mut labels);
        ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], scrape.render())
    })
    .await
}

/// Work that grows with the table must not hold up the event loop, which also follows the store.
async fn blocking<R: IntoResponse + Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<Response, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => Ok(answer.into_response()),
        Err(_) => {
            Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be put together"))
        }
    }
}
