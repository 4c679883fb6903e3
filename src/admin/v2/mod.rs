//! The admin API, version 2: vulcand's, for `vctl` and old scripts.
//!
//! Methods, paths, bodies, status codes and the form of errors are those of vulcand 0.9.2, to the byte, but where that
//! would be a defect (see the README, "What is different"). It speaks vulcand's language only: what vulcand could
//! not read is left out of lists. Reads are of what the store holds, as vulcand's are; `/v3/routes` tells what is served.
//!
//! A write replaces the fields that vulcand has, and keeps every other field of the value.

mod forms;
mod log;
mod objects;
mod shape;
mod top;
mod write;

use super::Admin;
use crate::store::StoreError;
use crate::web::extract::BODY_BYTES_MAX;
use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use std::sync::Arc;

/// Everything below `/v1` and `/v2`.
pub(super) fn router() -> Router<Arc<Admin>> {
    let v1 = Router::new().route("/status", get(status));
    let v2 = Router::new()
        .route("/status", get(status))
        .route("/log/severity", get(log::severity).put(log::set_severity))
        .route("/top/frontends", get(top::frontends))
        .route("/top/servers", get(top::servers))
        .route("/hosts", get(objects::hosts).post(write::host))
        .route("/hosts/{id}", get(objects::host).delete(write::delete_host))
        .route("/listeners", get(objects::listeners).post(write::listener))
        .route("/listeners/{id}", get(objects::listener).delete(write::delete_listener))
        .route("/frontends", get(objects::frontends).post(write::frontend))
        .route("/frontends/{id}", get(objects::frontend).delete(write::delete_frontend))
        .route("/backends", get(objects::backends).post(write::backend))
        .route("/backends/{id}", get(objects::backend).delete(write::delete_backend))
        .route("/backends/{parent}/servers", get(objects::servers).post(write::server))
        .route("/backends/{parent}/servers/{id}", get(objects::server).delete(write::delete_server))
        .route("/frontends/{parent}/middlewares", get(objects::middlewares).post(write::middleware))
        .route(
            "/frontends/{parent}/middlewares/{id}",
            get(objects::middleware).delete(write::delete_middleware),
        );
    let own = |router: Router<Arc<Admin>>| router.fallback(nothing).method_not_allowed_fallback(nothing);
    Router::new().nest("/v1", own(v1)).nest("/v2", own(v2))
}

/// An error as vulcand tells it.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The request is wrong. vulcand answers most of these with 500.
    fn wrong(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn missing() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Key not found")
    }

    fn failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        answer(self.status, &json!({ "message": self.message }))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            // A lease where there are none, or more than a store takes.
            StoreError::Unsupported(_) | StoreError::Refused(_) => StatusCode::BAD_REQUEST,
            StoreError::Conflict { .. } => StatusCode::CONFLICT,
            StoreError::Unavailable(_) | StoreError::Denied(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

fn answer(status: StatusCode, value: &Value) -> Response {
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    (status, [(header::CONTENT_TYPE, kind)], shape::escaped(value)).into_response()
}

fn told(value: Value) -> Result<Response, Refusal> {
    Ok(answer(StatusCode::OK, &value))
}

async fn status() -> Result<Response, Refusal> {
    told(json!({ "Status": "ok" }))
}

async fn nothing() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "Object not found")
}

/// The body of a request.
async fn read_body(body: axum::body::Body) -> Result<bytes::Bytes, Refusal> {
    axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is incomplete or has more than 2 MiB")
    })
}

#[cfg(test)]
mod tests;
