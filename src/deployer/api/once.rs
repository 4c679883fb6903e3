//! The same call twice is done once: `Idempotency-Key`.
//!
//! A call with a key is written down before anything is done for it, and once more with its answer; the record lies
//! under `calls/NAMESPACE/DIGEST` for 24 hours. Who calls again gets the answer that was given, or 409 while the first
//! call is under way. An error is no answer: its record goes, so that the call may be made again.
//!
//! The record and the deployment are two writes. If a process dies between them, a later call finds a record without an
//! answer, looks for the deployment that the first one has written in that time, answers with it, and only if there is
//! none does it anew.

use super::Api;
use super::access::Caller;
use super::call::bad;
use crate::deployer::desk::Denied;
use crate::deployer::record::ROOT;
use crate::store::{Area, Expected, LeaseChoice, Operation, StoreError, Transaction};
use crate::telemetry::rfc3339;
use crate::web::answer::Failure;
use aws_lc_rs::digest::{Context, SHA256};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// A call that has no answer after this time never gets one: requests may take 30 s.
const ABANDONED: Duration = Duration::from_secs(60);

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// What a call has come to, if it did what was asked.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) location: Option<String>,
    /// The record's version, for `ETag`.
    pub(super) version: Option<u64>,
    pub(super) body: Value,
}

/// A call that may have a key.
pub(super) struct Request<'a> {
    pub(super) caller: &'a Caller,
    pub(super) namespace: &'a str,
    /// Method, path and query, as far as they matter.
    pub(super) what: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

/// When a call began whose process died.
pub(super) struct Begun(SystemTime);

impl Begun {
    /// Whether something that was created at this time, RFC 3339, may be its work.
    pub(super) fn covers(&self, created: &str) -> bool {
        *rfc3339(self.0) <= *created && *created <= *rfc3339(self.0 + ABANDONED)
    }
}

/// As stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    /// Digest of what was asked.
    asked: String,
    /// When, in seconds since 1970.
    at: u64,
    /// Nobody works on it any more, and what became of it is not known.
    #[serde(default)]
    unknown: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Kept>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    status: u16,
    location: Option<String>,
    version: Option<u64>,
    body: Value,
}

/// What a record tells.
enum Found {
    /// It was answered.
    Answered(Answer),
    /// The record is ours now, with this version; it may have been an abandoned one.
    Ours(Record, u64),
}

/// Does `work`, or gives the answer that it had before. `left`: what an earlier one has left whose process died.
pub(super) async fn once(
    api: &Api,
    request: Request<'_>,
    work: impl Future<Output = Result<Answer, Failure>>,
    left: impl Fn(&Begun) -> Option<Answer>,
) -> Result<Response, Failure> {
    let Some(idempotency_key) = key_of(request.headers)? else {
        return work.await.map(IntoResponse::into_response);
    };
    let name = digest(&[request.caller.identity.as_bytes(), idempotency_key.as_bytes()]);
    let key = format!("{ROOT}calls/{}/{name}", request.namespace);
    let asked = digest(&[request.what.as_bytes(), request.body]);
    let (record, version) = match begin(api, &key, asked, &left).await? {
        Found::Answered(answer) => return Ok(replayed(answer)),
        Found::Ours(record, version) => (record, version),
    };
    let done = work.await;
    let kept = match &done {
        Ok(answer) => write(api, &key, &Record { answer: Some(answer.into()), ..record }, version).await,
        Err(failure) if failure.status() == StatusCode::SERVICE_UNAVAILABLE => {
            write(api, &key, &Record { unknown: true, ..record }, version).await
        }
        Err(_) => remove(api, &key, version).await,
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "what came of a call with an idempotency key could not be noted");
    }
    done.map(IntoResponse::into_response)
}

async fn begin(
    api: &Api,
    key: &str,
    asked: String,
    left: &impl Fn(&Begun) -> Option<Answer>,
) -> Result<Found, Failure> {
    const ATTEMPTS: usize = 3;
    let now = SystemTime::now();
    let at = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let own = Record { asked, at: at.as_secs(), unknown: false, answer: None };
    for _ in 0..ATTEMPTS {
        let expected = match read(api, key).await? {
            None => Expected::Absent,
            Some((known, version)) => {
                if let Some(answer) = known.answer_to(&own, at)? {
                    return Ok(Found::Answered(answer));
                }
                // Its process died, or did not learn what became of it.
                if let Some(answer) = left(&Begun(SystemTime::UNIX_EPOCH + Duration::from_secs(known.at))) {
                    let record = Record { answer: Some((&answer).into()), ..known };
                    let _ = write(api, key, &record, version).await;
                    return Ok(Found::Answered(answer));
                }
                Expected::Version(version)
            }
        };
        match put(api, key, &own, expected, LeaseChoice::Ttl(KEPT)).await {
            Ok(version) => return Ok(Found::Ours(own, version)),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(away(&error)),
        }
    }
    Err(under_way())
}

impl Record {
    /// The answer, if there is one; none: nobody will give one any more.
    fn answer_to(&self, own: &Self, now: Duration) -> Result<Option<Answer>, Failure> {
        if self.asked != own.asked {
            let message = "this `Idempotency-Key` was used for another call";
            return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, message));
        }
        match &self.answer {
            Some(kept) => Ok(Some(kept.into())),
            None if self.unknown || now >= Duration::from_secs(self.at) + ABANDONED => Ok(None),
            None => Err(under_way()),
        }
    }
}

impl From<&Answer> for Kept {
    fn from(answer: &Answer) -> Self {
        let Answer { status, location, version, body } = answer.clone();
        Self { status: status.as_u16(), location, version, body }
    }
}

impl From<&Kept> for Answer {
    fn from(kept: &Kept) -> Self {
        let Kept { status, location, version, body } = kept.clone();
        Self { status: StatusCode::from_u16(status).unwrap_or_default(), location, version, body }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body)).into_response();
        let mut set = |name, value: Option<String>| {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                response.headers_mut().insert(name, value);
            }
        };
        set(header::LOCATION, self.location);
        set(header::ETAG, self.version.map(|version| format!("\"{version}\"")));
        response
    }
}

fn replayed(answer: Answer) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    response
}

fn under_way() -> Failure {
    Failure::new(
        StatusCode::CONFLICT,
        "a call with this `Idempotency-Key` is under way; ask again in a moment",
    )
}

fn away(error: &StoreError) -> Failure {
    Denied::Away(error.to_string()).into()
}

fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    match key.to_str() {
        Ok(key) if matches!(key.len(), 1..=KEY_BYTES_MAX) => Ok(Some(key)),
        _ => Err(bad("`Idempotency-Key` has 1 to 255 visible characters")),
    }
}

/// In hexadecimal digits; each part is told from the next.
fn digest(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn read(api: &Api, key: &str) -> Result<Option<(Record, u64)>, Failure> {
    let (_, entry) = api.store.get(Area::State, key).await.map_err(|error| away(&error))?;
    Ok(entry.and_then(|entry| {
        let record = serde_json::from_slice(&entry.value).ok()?;
        Some((record, entry.version))
    }))
}

async fn write(api: &Api, key: &str, record: &Record, version: u64) -> Result<u64, StoreError> {
    put(api, key, record, Expected::Version(version), LeaseChoice::Keep).await
}

async fn put(
    api: &Api,
    key: &str,
    record: &Record,
    expected: Expected,
    lease: LeaseChoice,
) -> Result<u64, StoreError> {
    let value = serde_json::to_vec(record).unwrap_or_default().into();
    let operations = vec![Operation::Put { area: Area::State, key: key.into(), value, lease }];
    let expect = vec![(Area::State, key.into(), expected)];
    api.store.commit(Transaction { expect, operations }).await.map(|revision| revision.0)
}

async fn remove(api: &Api, key: &str, version: u64) -> Result<u64, StoreError> {
    let operations = vec![Operation::Delete { area: Area::State, key: key.into() }];
    let expect = vec![(Area::State, key.into(), Expected::Version(version))];
    api.store.commit(Transaction { expect, operations }).await.map(|revision| revision.0)
}
