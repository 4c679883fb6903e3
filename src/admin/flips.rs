//! The fleet, its flips and their history. A flip is answered with lines of JSON as it goes; it goes on although nobody
//! listens any longer.

use super::Admin;
use super::answer::Failure;
use super::extract::{Json, duration};
use crate::expr::Condition;
use crate::flip::record::{BakePlan, MinHealthy};
use crate::flip::{self, Event, FlipError, Outcome, Planned, Request, Runner};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Longest time that a flip is waited for.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FlipRequest {
    targets: Vec<Move>,
    expect: Option<String>,
    min_healthy: Option<MinHealthy>,
    wait: Option<String>,
    bake: Option<String>,
    rollback_on: Option<String>,
    keep_warm: Option<String>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    dry_run: bool,
    by: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    target: String,
    backend: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackRequest {
    target: String,
    wait: Option<String>,
    by: Option<String>,
}

impl From<FlipError> for Failure {
    fn from(error: FlipError) -> Self {
        match error {
            FlipError::Invalid(reason) => Self::new(StatusCode::BAD_REQUEST, reason),
            FlipError::Refused(reason) => Self::new(StatusCode::CONFLICT, reason),
            FlipError::Store(error) => error.into(),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a Json) -> Result<T, Failure> {
    serde_json::from_slice(&body.0).map_err(|error| {
        Failure::new(StatusCode::BAD_REQUEST, format!("the body cannot be understood: {error}"))
    })
}

fn optional(name: &str, text: Option<&String>) -> Result<Option<Duration>, Failure> {
    text.map(|text| duration(name, text)).transpose()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) async fn flip(State(admin): State<Arc<Admin>>, body: Json) -> Result<Response, Failure> {
    let asked: FlipRequest = read(&body)?;
    let wait = optional("wait", asked.wait.as_ref())?.unwrap_or(WAIT_DEFAULT);
    let bake = optional("bake", asked.bake.as_ref())?;
    if let Some(text) = &asked.rollback_on {
        let wrong = |reason: String| Failure::new(StatusCode::BAD_REQUEST, format!("`rollbackOn`: {reason}"));
        Condition::parse(text).map_err(|error| wrong(error.to_string()))?;
        if bake.is_none() {
            return Err(wrong("it needs `bake` as well".to_owned()));
        }
    }
    let request = Request {
        targets: asked.targets.into_iter().map(|it| (it.target, it.backend)).collect(),
        expect: asked.expect,
        min_healthy: asked.min_healthy.unwrap_or(MinHealthy::Count(1)),
        force: asked.force,
        bake: bake.map(|bake| BakePlan { millis: millis(bake), rollback_on: asked.rollback_on }),
        keep_warm_ms: optional("keepWarm", asked.keep_warm.as_ref())?.map(millis),
        by: asked.by.unwrap_or_else(|| "admin API".to_owned()),
    };
    let flip = match request.plan(&admin.store, SystemTime::now()).await? {
        Planned::Flip(flip) => *flip,
        Planned::Already(targets) => {
            let text = format!("{} leads there already", targets.join(", "));
            return Ok(lines([
                json!({ "event": "end", "outcome": "already", "targets": targets, "text": text }),
            ]));
        }
    };
    if asked.dry_run {
        return Ok(lines(flip.targets.iter().map(|it| {
            let text = format!("{}: {} -> {}", it.target, it.from.join(", "), it.to.join(", "));
            json!({ "event": "planned", "target": it.target, "from": it.from, "to": it.to, "text": text })
        }).chain([json!({ "event": "end", "outcome": "done" })])));
    }
    let mut runner = Runner::open(admin.store.clone()).await?;
    let (id, (sender, answer)) = (flip.id.clone(), channel());
    tracing::info!(flip = id, by = flip.by, "flip asked for through the admin API");
    tokio::spawn(async move {
        let mut sink = sink(&id, &sender);
        let outcome = runner.flip(flip, wait, &mut sink).await;
        end(&id, &sender, outcome);
    });
    Ok(answer)
}

pub(super) async fn rollback(State(admin): State<Arc<Admin>>, body: Json) -> Result<Response, Failure> {
    let asked: RollbackRequest = read(&body)?;
    let wait = optional("wait", asked.wait.as_ref())?.unwrap_or(WAIT_DEFAULT);
    let by = asked.by.unwrap_or_else(|| "admin API".to_owned());
    let mut runner = Runner::open(admin.store.clone()).await?;
    let (id, (sender, answer)) = (runner.rollback_id(), channel());
    tokio::spawn(async move {
        let mut sink = sink(&id, &sender);
        let outcome = runner.rollback(&id, &asked.target, &by, wait, &mut sink).await;
        end(&id, &sender, outcome);
    });
    Ok(answer)
}

pub(super) async fn fleet(State(admin): State<Arc<Admin>>) -> Result<Response, Failure> {
    let mut runner = Runner::open(admin.store.clone()).await?;
    runner.poke().await?;
    let leases = admin.store.capabilities().leases;
    let report = flip::report(runner.fleet(), leases, Instant::now(), SystemTime::now());
    Ok(axum::Json(report).into_response())
}

pub(super) async fn forget(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let mut runner = Runner::open(admin.store.clone()).await?;
    runner.poke().await?;
    flip::forget(&admin.store, runner.fleet(), &name).await?;
    tracing::info!(name, "a member was taken off the list through the admin API");
    Ok(axum::Json(json!({ "forgotten": name })).into_response())
}

pub(super) async fn history(State(admin): State<Arc<Admin>>) -> Result<Response, Failure> {
    let flips: Vec<Value> = flip::history(&admin.store).await?.iter().map(flip::past_json).collect();
    Ok(axum::Json(json!({ "flips": flips })).into_response())
}

type Lines = mpsc::UnboundedSender<Value>;

/// Where lines go in, and the answer that they come out of. A flip tells at most some lines a second.
fn channel() -> (Lines, Response) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let body = stream::unfold(receiver, |mut receiver: mpsc::UnboundedReceiver<Value>| async move {
        let line = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(format!("{line}\n"))), receiver))
    });
    let mut response = Response::new(Body::from_stream(body));
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    (sender, response)
}

fn lines(all: impl IntoIterator<Item = Value>) -> Response {
    let (sender, response) = channel();
    // The receiver is in the answer.
    all.into_iter().for_each(|line| drop(sender.send(line)));
    response
}

fn sink(id: &str, lines: &Lines) -> impl FnMut(Event) + Send + use<> {
    let (id, lines) = (id.to_owned(), lines.clone());
    // Whoever no longer listens does not stop a flip.
    move |event: Event| {
        let line = super::answer::with(event.to_json(&id), "text", event.to_string());
        drop(lines.send(line));
    }
}

fn end(id: &str, lines: &Lines, outcome: Result<Outcome, FlipError>) {
    let line = match outcome {
        Ok(outcome) => {
            let line = outcome.to_json(id);
            match outcome.message() {
                Some(text) => super::answer::with(line, "text", text),
                None => line,
            }
        }
        Err(error) => {
            let outcome = if matches!(error, FlipError::Refused(_)) { "refused" } else { "error" };
            let reason = error.to_string();
            json!({ "event": "end", "flip": id, "outcome": outcome, "reason": reason, "text": reason })
        }
    };
    drop(lines.send(line));
}
