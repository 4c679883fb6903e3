//! What is read from a request, with every refusal as an answer of our own.

use super::answer::Failure;
use crate::store::{Area, Expected};
pub(super) use crate::web::extract::{Json, Query, duration, unquoted};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

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

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Self::read(&parts.headers)
    }
}
