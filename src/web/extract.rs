//! What is read from a request, with every refusal as an answer of our own.

use super::answer::Failure;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Largest body of a request of the admin API, in bytes.
pub const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The bytes of a body that says it is JSON. A page of another site cannot send one without asking first.
#[derive(Debug)]
pub struct Json(pub Bytes);

impl<S: Sync> FromRequest<S> for Json {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let essence = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
        if !essence.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
            let message = "a body needs `Content-Type: application/json`";
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        read(request.into_body(), BODY_BYTES_MAX).await.map(Self)
    }
}

/// All bytes of a body of at most `bytes_max`, which is whole MiB.
///
/// # Errors
/// It has more, or ends before its end.
pub async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Failure> {
    axum::body::to_bytes(body, bytes_max).await.map_err(|_| {
        let message = format!("the body is incomplete or has more than {} MiB", bytes_max >> 20);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    })
}

/// The query, whose unknown names are errors.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        query(&parts.uri).map(Self)
    }
}

/// Reads the query of a request.
///
/// # Errors
/// It is not of this form.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Failure> {
    axum::extract::Query::try_from_uri(uri).map(|axum::extract::Query(query)| query).map_err(|error| {
        let source = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        Failure::new(StatusCode::BAD_REQUEST, format!("the query cannot be read: {source}"))
    })
}

/// An entity tag without its quotes, and without the mark of a weak one.
pub fn unquoted(tag: &str) -> &str {
    let strong = tag.strip_prefix("W/").unwrap_or(tag);
    strong.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(strong)
}

/// A duration in a query or a body.
///
/// # Errors
/// It is none.
pub fn duration(name: &str, text: &str) -> Result<Duration, Failure> {
    crate::model::duration::parse(text)
        .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("`{name}` {text:?} {error}")))
}
