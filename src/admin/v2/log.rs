//! `log/severity`: what the process logs, changed while it runs.

use super::{Refusal, read_body, told};
use crate::telemetry::severity::{self, Severity};
use axum::extract::{Query, Request};
use axum::http::Uri;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    severity: Option<String>,
}

pub(super) async fn severity() -> Result<Response, Refusal> {
    match severity::current() {
        Some(severity) => told(json!({ "severity": severity.as_str() })),
        None => Err(Refusal::failed("this process does not keep its log itself")),
    }
}

/// The name stands in a form's body or in the query; the body comes first.
pub(super) async fn set_severity(request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let body = read_body(body).await?;
    let sent = std::str::from_utf8(&body).ok().and_then(|text| format!("/?{text}").parse::<Uri>().ok());
    let named = |uri: &Uri| Query::<Form>::try_from_uri(uri).ok().and_then(|form| form.0.severity);
    let name = sent.as_ref().and_then(named).or_else(|| named(&parts.uri)).unwrap_or_default();
    let Some(severity) = Severity::parse(&name) else {
        return Err(Refusal::wrong(format!("not a valid logrus Level: {:?}", name.to_lowercase())));
    };
    if !severity::set(severity) {
        return Err(Refusal::failed("this process does not keep its log itself"));
    }
    tracing::warn!(severity = severity.as_str(), "the log's severity was changed through the admin API");
    told(json!({ "message": format!("Severity has been updated to {}", severity.as_str()) }))
}
