//! `top/frontends` and `top/servers`: live statistics in vulcand's form.

use super::{Refusal, forms, told};
use crate::admin::Admin;
use crate::admin::top::{PERIOD_SECONDS, QUANTILES, Stats, Verdict};
use crate::model::{BackendId, Kind};
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

#[derive(Debug, Default, Deserialize)]
struct Form {
    #[serde(default)]
    limit: String,
    #[serde(default, rename = "backendId")]
    backend_id: String,
}

/// The most that are told, and of which backend.
fn wanted(uri: &Uri) -> Result<(usize, Option<BackendId>), Refusal> {
    let form = Query::<Form>::try_from_uri(uri).map_err(|error| Refusal::wrong(error.to_string()))?.0;
    let limit = match form.limit.as_str() {
        "" => 0,
        text => text
            .parse::<i64>()
            .map_err(|_| Refusal::wrong(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))?,
    };
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let backend = match form.backend_id.as_str() {
        "" => None,
        id => Some(BackendId::try_from(id).map_err(|error| Refusal::wrong(format!("backendId: {error}")))?),
    };
    Ok((limit, backend))
}

/// Frontends that had requests; those that vulcand could not have are left out.
pub(super) async fn frontends(State(admin): State<Arc<Admin>>, uri: Uri) -> Result<Response, Refusal> {
    let (limit, backend) = wanted(&uri)?;
    let top = admin.sorted_top(backend).await;
    let frontend = |top: &crate::admin::FrontendTop| {
        let form = forms::form(Kind::Frontend, &top.object.to_value(), Some(top.object.id.as_str())).ok()?;
        // The statistics stand before the settings.
        let mut told = Map::new();
        for (name, value) in form.as_object()? {
            if name == "Settings" {
                told.insert("Stats".into(), stats(&top.stats, Verdict::default()));
            }
            told.insert(name.clone(), value.clone());
        }
        Some(Value::Object(told))
    };
    let list: Vec<Value> = top.frontends.iter().filter_map(frontend).take(limit).collect();
    told(json!({ "Frontends": list }))
}

/// Servers that had requests. Those of one backend are judged beside each other.
pub(super) async fn servers(State(admin): State<Arc<Admin>>, uri: Uri) -> Result<Response, Refusal> {
    let (limit, backend) = wanted(&uri)?;
    let judged = backend.is_some();
    let top = admin.sorted_top(backend).await;
    let verdicts = if judged { top.verdicts() } else { vec![Verdict::default(); top.servers.len()] };
    let servers = top.servers.iter().zip(verdicts).take(limit);
    let server = servers
        .map(|(top, verdict)| json!({ "Id": top.id, "URL": top.url, "Stats": stats(&top.stats, verdict) }));
    told(json!({ "Servers": server.collect::<Vec<_>>() }))
}

fn stats(stats: &Stats, verdict: Verdict) -> Value {
    let anomalies = [
        (verdict.latency, 1, "50.00 quantile latency stands out"),
        (verdict.network, 2, "Error rate stands out"),
        (verdict.app, 3, "App error rate (status 500) stands out"),
    ];
    let anomalies: Vec<Value> = anomalies
        .into_iter()
        .filter(|(is, ..)| *is)
        .map(|(_, code, message)| json!({ "Code": code, "Message": message }))
        .collect();
    let codes = stats.codes.iter().map(|(code, count)| json!({ "Code": code, "Count": count }));
    let brackets = QUANTILES.iter().zip(stats.quantiles).map(|(percent, micros)| {
        // Go writes a whole number without a point.
        let whole = (percent.fract() == 0.0).then_some(*percent as u64);
        let percent = whole.map_or_else(|| json!(percent), |whole| json!(whole));
        json!({ "Quantile": percent, "Value": micros.saturating_mul(1_000) })
    });
    json!({
        "Verdict": {
            "IsBad": !anomalies.is_empty(),
            "Anomalies": if anomalies.is_empty() { Value::Null } else { anomalies.into() },
        },
        "Counters": {
            "Period": PERIOD_SECONDS * 1_000_000_000,
            "NetErrors": stats.network_errors,
            "Total": stats.total,
            "StatusCodes": codes.collect::<Vec<_>>(),
        },
        "LatencyBrackets": brackets.collect::<Vec<_>>(),
    })
}
