//! Answers: every error as `{"message": ...}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

/// An error as the caller sees it. Nothing in it may be secret.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    fields: Map<String, Value>,
}

impl Failure {
    /// With these words.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let mut fields = Map::new();
        fields.insert("message".into(), Value::String(message.into()));
        Self { status, fields }
    }

    /// With one more field beside the message.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its words.
    pub fn message(&self) -> &str {
        self.fields.get("message").and_then(Value::as_str).unwrap_or_default()
    }

    /// The problems of an invalid object; any other failure stays one.
    ///
    /// # Errors
    /// It is another one.
    pub fn into_problems(mut self) -> Result<Vec<Value>, Self> {
        match self.fields.remove("problems") {
            Some(Value::Array(problems)) => Ok(problems),
            _ => Err(self),
        }
    }

    /// 422 with what is wrong with one object or several.
    pub fn invalid(message: impl Into<String>, problems: Vec<Value>) -> Self {
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

/// An object with one more field.
pub fn with(mut object: Value, name: &str, value: impl Into<Value>) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.into(), value.into());
    }
    object
}
