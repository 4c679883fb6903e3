//! Answers: JSON.

use crate::model::{Finding, Problem, Revision};
use crate::store::StoreError;
use crate::telemetry::rfc3339;
pub(super) use crate::web::answer::{Failure, with};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::Conflict { .. } => StatusCode::PRECONDITION_FAILED,
            StoreError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            StoreError::Denied(_) => StatusCode::FORBIDDEN,
            StoreError::Refused(_) | StoreError::Unsupported(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let failure = Self::new(status, error.to_string());
        match error {
            StoreError::Conflict { key } => failure.with("key", key),
            _ => failure,
        }
    }
}

/// A finding as the API shows it.
pub(super) fn finding(key: &str, finding: &Finding) -> Value {
    json!({ "key": key, "field": finding.field, "reason": finding.reason, "severity": finding.severity })
}

/// A problem as the API shows it.
pub(super) fn problem(problem: &Problem) -> Value {
    json!({
        "key": problem.key,
        "field": problem.field,
        "reason": problem.reason,
        "severity": problem.severity,
        "revision": problem.revision,
        "since": rfc3339(problem.since),
        "inForce": problem.in_force,
    })
}

/// What a write came to.
pub(super) fn written(revision: Revision, warnings: Vec<Value>) -> Response {
    let answer = json!({ "revision": revision });
    let answer = if warnings.is_empty() { answer } else { with(answer, "warnings", warnings) };
    Json(answer).into_response()
}

/// A version as a JSON number where every reader keeps it exact, as text beyond.
pub(super) fn version(version: u64) -> Value {
    const EXACT_MAX: u64 = (1 << 53) - 1;
    if version <= EXACT_MAX { version.into() } else { version.to_string().into() }
}
