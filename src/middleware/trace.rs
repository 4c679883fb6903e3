//! Gathers what a trace tells of a request, in vulcand's form.

use super::{Step, Visit};
use crate::message::{Fields, RequestHead, ResponseHead};
use crate::model::{MiddlewareSpec, TraceAddress, TraceSpec};
use crate::telemetry::TRACE_BYTES_MAX;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A request on its way past a `trace`.
#[derive(Debug)]
pub struct Traced {
    step: Arc<Step>,
    url: Box<str>,
    request: Map<String, Value>,
    response: Map<String, Value>,
}

/// What is known of a request once its answer has ended.
#[derive(Debug, Clone, Copy)]
pub struct TraceFacts<'a> {
    /// Its method.
    pub method: &'a str,
    /// Version (`TLSv1.3`) and cipher suite of its connection; `None`: plain.
    pub tls: Option<(&'a str, &'a str)>,
    /// Whether that connection went on from an earlier one.
    pub tls_resumed: bool,
    /// The name the client asked for by SNI; empty where it named none.
    pub tls_server: &'a str,
    /// Bytes of its body that were taken.
    pub bytes_in: u64,
    /// What the client was told; 499 where it was gone.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// From its complete head to its answer's end.
    pub roundtrip: Duration,
}

/// Notes the request as this step sees it.
pub(super) fn on_request(
    spec: &TraceSpec,
    step: &Arc<Step>,
    visit: &mut Visit,
    request: &RequestHead,
    scheme: &str,
) {
    // vulcand tells the path and query, and the whole URL behind a rewrite.
    let url = match &visit.host {
        None => request.target().into(),
        Some(authority) => format!("{scheme}://{authority}{}", request.target()).into(),
    };
    visit.rare().traces.push(Traced {
        step: step.clone(),
        url,
        request: captured(&spec.request_headers, &request.fields),
        response: Map::new(),
    });
}

/// Notes the answer as this step sees it.
pub(super) fn on_response(spec: &TraceSpec, step: &Arc<Step>, visit: &mut Visit, response: &ResponseHead) {
    let mut traces = visit.rare.iter_mut().flat_map(|rare| &mut rare.traces);
    if let Some(traced) = traces.find(|traced| Arc::ptr_eq(&traced.step, step)) {
        traced.response = captured(&spec.response_headers, &response.fields);
    }
}

fn captured(names: &[Box<str>], fields: &Fields) -> Map<String, Value> {
    let mut found = Map::new();
    for name in names {
        let values: Vec<_> = fields.get_all(name).map(String::from_utf8_lossy).collect();
        if !values.is_empty() {
            found.insert(name.to_string(), values.into());
        }
    }
    found
}

impl Traced {
    /// Where the record goes.
    pub fn address(&self) -> Option<&Arc<TraceAddress>> {
        match &self.step.middleware.spec {
            MiddlewareSpec::Trace(spec) => Some(&spec.address),
            _ => None,
        }
    }

    /// The record, in one line; without headers where it would be longer than is written, so that no client keeps out of
    /// the records by what it sends.
    pub fn record(mut self, facts: &TraceFacts<'_>) -> String {
        let text = self.text(facts);
        if text.len() <= TRACE_BYTES_MAX {
            return text;
        }
        self.request.clear();
        self.response.clear();
        self.text(facts)
    }

    fn text(&self, facts: &TraceFacts<'_>) -> String {
        let mut request = json!({ "method": facts.method, "body_bytes": facts.bytes_in, "url": self.url });
        let roundtrip = facts.roundtrip.as_micros() as f64 / 1000.0;
        let mut response = json!({ "code": facts.status, "roundtrip": roundtrip });
        if let Value::Object(request) = &mut request {
            if !self.request.is_empty() {
                request.insert("headers".into(), self.request.clone().into());
            }
            if let Some((version, cipher)) = facts.tls {
                let version = match version {
                    "TLSv1.2" => "TLS12",
                    "TLSv1.3" => "TLS13",
                    other => other,
                };
                let tls = json!({ "version": version, "resume": facts.tls_resumed, "cipher_suite": cipher,
                                  "server": facts.tls_server });
                request.insert("tls".into(), tls);
            }
        }
        if let Value::Object(response) = &mut response {
            if !self.response.is_empty() {
                response.insert("headers".into(), self.response.clone().into());
            }
            response.insert("body_bytes".into(), facts.bytes_out.into());
        }
        json!({ "request": request, "response": response }).to_string()
    }
}
