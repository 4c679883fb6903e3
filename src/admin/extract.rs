//! What is read from a request, with every refusal as an answer of our own.

use super::answer::Failure;
use crate::store::{Area, Expected};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Largest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The bytes of a body that says it is JSON. A page of another site cannot send one without asking first.
pub(super) struct Json(pub(super) Bytes);

impl<S: Sync> FromRequest<S> for Json {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let essence = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
        if !essence.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
            let message = "a body needs `Content-Type: application/json`";
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let bytes = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await;
        bytes.map(Self).map_err(|_| {
            let message = "the body is incomplete or has more than 2 MiB";
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        })
    }
}

/// The query, whose unknown names are errors.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let query = axum::extract::Query::try_from_uri(&parts.uri);
        query.map(|axum::extract::Query(query)| Self(query)).map_err(|error| {
            let source =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Failure::new(StatusCode::BAD_REQUEST, format!("the query cannot be read: {source}"))
        })
    }
}

/// `If-Match` and `If-None-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conditions(Option<Condition>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Version(u64),
    Present,
    Absent,
}

impl Conditions {
    /// What the store has to check before it writes `key`.
    pub(super) fn expect(self, key: &str) -> Vec<(Area, Box<str>, Expected)> {
        let expected = match self.0 {
            None => return Vec::new(),
            Some(Condition::Version(version)) => Expected::Version(version),
            Some(Condition::Present) => Expected::Present,
            Some(Condition::Absent) => Expected::Absent,
        };
        vec![(Area::Routing, key.into(), expected)]
    }

    pub(super) fn is_absent(self) -> bool {
        self.0 == Some(Condition::Absent)
    }

    fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        let refuse = |message: &str| Err(Failure::new(StatusCode::BAD_REQUEST, message));
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
        match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
            (None, None) => Ok(Self(None)),
            (Some("*"), None) => Ok(Self(Some(Condition::Present))),
            (Some(tag), None) => match unquoted(tag).parse() {
                Ok(version) => Ok(Self(Some(Condition::Version(version)))),
                Err(_) => refuse("`If-Match` takes one modification revision, as `ETag` gave it, or `*`"),
            },
            (None, Some("*")) => Ok(Self(Some(Condition::Absent))),
            (None, Some(_)) => refuse("`If-None-Match` takes only `*`"),
            (Some(_), Some(_)) => refuse("`If-Match` and `If-None-Match` exclude each other"),
        }
    }
}

fn unquoted(tag: &str) -> &str {
    let strong = tag.strip_prefix("W/").unwrap_or(tag);
    strong.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(strong)
}

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Self::read(&parts.headers)
    }
}

/// A duration in a query or a body.
pub(super) fn duration(name: &str, text: &str) -> Result<Duration, Failure> {
    crate::model::duration::parse(text)
        .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("`{name}` {text:?} {error}")))
}
