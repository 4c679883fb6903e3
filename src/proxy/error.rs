//! What can go wrong with a request: whose fault it is, what the client is told, whether it may be sent again.

use super::passage::id_text;
use crate::message::HeadError;
use crate::telemetry::{Limit, Reason};
use bytes::Bytes;

/// Why a request is not answered by a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// What the log and the metrics say.
    pub reason: Reason,
    /// What the client is told; 0 when nobody is there to be told.
    pub status: u16,
    /// What exactly, for the log: in what way the request was malformed, or which limit was reached.
    pub detail: Option<&'static str>,
}

impl Failure {
    /// The failure that goes with a reason, with its usual status.
    pub(super) const fn of(reason: Reason) -> Self {
        let status = match reason {
            Reason::NoRoute => 404,
            Reason::Limited => 429,
            Reason::Auth => 401,
            Reason::Forbidden => 403,
            Reason::BadRequest => 400,
            Reason::HeadTooLarge => 431,
            Reason::BodyTooLarge => 413,
            Reason::Misdirected => 421,
            Reason::ConnectTimeout | Reason::UpstreamTimeout => 504,
            Reason::ConnectFailed | Reason::UpstreamReset | Reason::UpstreamTruncated | Reason::BadAnswer => {
                502
            }
            Reason::ClientGone => 0,
            Reason::Internal => 500,
            Reason::NoBackend
            | Reason::NoServer
            | Reason::Maintenance
            | Reason::Tripped
            | Reason::Overload
            | Reason::Draining => 503,
        };
        Self::with_status(reason, status)
    }

    /// That of a head which is none, or is too long.
    pub(super) fn of_head(error: &HeadError) -> Self {
        let reason = match error.status {
            414 | 431 => Reason::HeadTooLarge,
            _ => Reason::BadRequest,
        };
        Self { detail: Some(error.reason.as_str()), ..Self::with_status(reason, error.status) }
    }

    /// A failure with another status than its reason's usual one.
    pub(super) const fn with_status(reason: Reason, status: u16) -> Self {
        Self { reason, status, detail: None }
    }

    /// A limit was reached.
    pub(super) const fn at(limit: Limit, reason: Reason, status: u16) -> Self {
        Self { reason, status, detail: Some(limit.as_str()) }
    }
}

/// The proxy's own answer to a failure: nothing of the inside, only the code, its phrase and the request's id.
/// An unmatched route keeps vulcand's JSON.
pub(super) fn body_of(failure: Failure, id: u64) -> (&'static str, Bytes) {
    if failure.reason == Reason::NoRoute {
        return ("application/json", Bytes::from_static(br#"{"error":"not found"}"#));
    }
    let phrase = http::StatusCode::from_u16(failure.status).ok().and_then(|code| code.canonical_reason());
    let text = format!("{} {}\n{}\n", failure.status, phrase.unwrap_or("Error"), id_text(id).as_str());
    ("text/plain", text.into())
}
