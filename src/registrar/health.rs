//! What `--health` answers.

use super::metrics::Meters;
use super::note::problems;
use super::notes::Notes;
use super::progress::Progress;
use crate::telemetry::metrics::CONTENT_TYPE;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;
use tokio::sync::watch;

/// `/healthz`: the process lives. `/readyz`: cluster and store are followed, else 503; the text says how things stand.
/// `/metrics`. `/problems`: what is wrong with objects of the cluster, or not carried over, as [`problems`] has it.
pub fn router(progress: watch::Receiver<Progress>, meters: Arc<Meters>, notes: Notes) -> Router {
    let ready = progress.clone();
    let readyz = move || async move {
        let progress = ready.borrow().clone();
        let code = if progress.is_in_sync() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (code, progress.text())
    };
    let metrics = move || async move {
        let text = meters.render(&progress.borrow());
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/problems", get(move || async move { Json(problems(&notes.all())) }))
}
