//! What every call has: a caller, a namespace in which the caller may do it, and a query.

use super::Api;
use super::access::{Caller, is_label};
use crate::deployer::descriptor::{Descriptor, Wrong};
use crate::deployer::desk::Denied;
use crate::web::access::{Refusal, Role};
use crate::web::answer::Failure;
use crate::web::extract::{query, read, unquoted};
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

/// Largest body of a request, in bytes.
pub(super) const BODY_BYTES_MAX: usize = crate::deployer::descriptor::BYTES_MAX;

/// A call within a namespace. Names in the query that are neither `namespace` nor of `T` are errors.
pub(super) struct Call<T> {
    pub(super) caller: Caller,
    pub(super) namespace: Box<str>,
    pub(super) query: T,
}

/// No further names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
struct Namespace {
    namespace: Option<String>,
}

impl<T: DeserializeOwned> FromRequestParts<Arc<Api>> for Call<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Failure> {
        let Namespace { namespace } = query(&parts.uri)?;
        let namespace = namespace.ok_or_else(|| bad("`?namespace=` is missing"))?;
        if !is_label(&namespace) {
            return Err(bad("`namespace` is not the name of one"));
        }
        let role = if reads(&parts.method) { Role::Read } else { Role::Write };
        let caller = caller(parts)?;
        caller.may(role, &namespace).map_err(refused)?;
        let query = query(&without_namespace(&parts.uri))?;
        Ok(Self { caller, namespace: namespace.into(), query })
    }
}

/// Whoever was let in.
pub(super) fn caller(parts: &Parts) -> Result<Caller, Failure> {
    let caller = parts.extensions.get::<Caller>().cloned();
    caller.ok_or_else(|| Failure::new(StatusCode::UNAUTHORIZED, "nobody knows who calls"))
}

/// Whether a request only reads.
pub(super) fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

pub(super) fn refused(refusal: Refusal) -> Failure {
    Failure::new(refusal.status, refusal.message)
}

/// 400.
pub(super) fn bad(message: impl Into<String>) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, message)
}

fn without_namespace(uri: &Uri) -> Uri {
    let is_other = |pair: &&str| !pair.starts_with("namespace=");
    let others: Vec<&str> = uri.query().unwrap_or_default().split('&').filter(is_other).collect();
    format!("/?{}", others.join("&")).parse().unwrap_or_default()
}

/// A body of any type: clients of Amdatu's say all kinds of things.
pub(super) async fn body(body: Body) -> Result<Bytes, Failure> {
    read(body, BODY_BYTES_MAX).await
}

/// Reads a descriptor for a namespace, which it need not name.
pub(super) fn descriptor(text: &[u8], namespace: &str) -> Result<Descriptor, Vec<Wrong>> {
    let mut named = None;
    if let Ok(Value::Object(mut fields)) = serde_json::from_slice(text)
        && fields.get("namespace").is_none_or(|own| own.is_null() || own == "")
    {
        fields.insert("namespace".into(), namespace.into());
        named = serde_json::to_vec(&fields).ok();
    }
    let descriptor = Descriptor::read(named.as_deref().unwrap_or(text))?;
    if descriptor.namespace != namespace {
        let reason = format!("is not {namespace:?}, the namespace of the query");
        return Err(vec![Wrong { field: "namespace".into(), reason }]);
    }
    Ok(descriptor)
}

/// 400 with everything that is wrong.
pub(super) fn invalid(problems: &[Wrong]) -> Failure {
    bad("the descriptor is not valid").with("problems", json!(problems))
}

/// The one that was not found.
pub(super) fn no(what: &str, id: &str) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, format!("there is no {what} {id} in this namespace"))
}

/// What a caller has seen, as `If-Match` says; none: it does not matter.
pub(super) fn seen(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    match headers.get(header::IF_MATCH).map(|tag| tag.to_str().unwrap_or_default().trim()) {
        None | Some("*") => Ok(None),
        Some(tag) => match unquoted(tag).parse() {
            Ok(version) => Ok(Some(version)),
            Err(_) => Err(bad("`If-Match` takes one version, as `ETag` gave it, or `*`")),
        },
    }
}

/// 412 where a record is not as its caller has seen it.
pub(super) fn unchanged(headers: &HeaderMap, version: u64) -> Result<(), Failure> {
    match seen(headers)? {
        Some(seen) if seen != version => Err(Denied::Changed(version).into()),
        _ => Ok(()),
    }
}

/// A record with its `ETag`, or 304 where the caller has it.
pub(super) fn record(headers: &HeaderMap, version: u64, value: Value) -> Response {
    let tag = format!("\"{version}\"");
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|known| known.to_str().ok());
    let mut known = known.flat_map(|known| known.split(',')).map(str::trim);
    let mut response = match known.any(|known| known == "*" || unquoted(known) == unquoted(&tag)) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => axum::Json(value).into_response(),
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NotFound(reason) => Self::new(StatusCode::NOT_FOUND, reason),
            Denied::Busy { id, reason } => Self::new(StatusCode::CONFLICT, reason).with("id", id),
            Denied::Invalid(problems) => invalid(&problems),
            Denied::Conflict(reason) => Self::new(StatusCode::CONFLICT, reason),
            Denied::Changed(version) => {
                let message = "it was changed since; its `ETag` says so";
                Self::new(StatusCode::PRECONDITION_FAILED, message).with("version", version)
            }
            Denied::Away(reason) => {
                tracing::warn!(%reason, "a call could not be answered");
                let message =
                    "the store or the API server does not answer; whether it was written is not known";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
            }
        }
    }
}
