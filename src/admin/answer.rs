//! Answers: JSON, and every error as `{"message": ...}`.

use crate::model::{Finding, Problem, Revision};
use crate::store::StoreError;
use crate::telemetry::rfc3339;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// An error as the caller sees it. Nothing in it may be secret.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    fields: Map<String, Value>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let mut fields = Map::new();
        fields.insert("message".into(), Value::String(message.into()));
        Self { status, fields }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// The problems of an invalid object; any other failure stays one.
    pub(super) fn into_problems(mut self) -> Result<Vec<Value>, Self> {
        match self.fields.remove("problems") {
            Some(Value::Array(problems)) => Ok(problems),
            _ => Err(self),
        }
    }

    /// 422 with what is wrong with one object or several.
    pub(super) fn invalid(message: impl Into<String>, problems: Vec<Value>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message).with("problems", problems)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.fields)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"flipgate\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

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

/// An object with one more field.
pub(super) fn with(mut object: Value, name: &str, value: impl Into<Value>) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.into(), value.into());
    }
    object
}

/// A version as a JSON number where every reader keeps it exact, as text beyond.
pub(super) fn version(version: u64) -> Value {
    const EXACT_MAX: u64 = (1 << 53) - 1;
    if version <= EXACT_MAX { version.into() } else { version.to_string().into() }
}
