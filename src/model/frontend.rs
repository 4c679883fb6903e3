//! A frontend: a route and where it leads.

use super::id::{BackendId, FrontendId, MiddlewareId};
use crate::expr::Route;
use std::time::Duration;

/// A route expression, settings, and the backend it sends to.
#[derive(Debug, Clone, PartialEq)]
pub struct Frontend {
    /// From the key.
    pub id: FrontendId,
    /// Which requests are its own.
    pub route: Route,
    /// Higher wins before anything else is compared; default 0 (new).
    pub priority: i64,
    /// A backend or an alias.
    pub backend: BackendId,
    /// Everything else. Boxed sharing is the table's concern.
    pub settings: FrontendSettings,
}

/// How a frontend treats its requests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FrontendSettings {
    /// `Limits.MaxBodyBytes`: largest request body, 0 in the store is no limit.
    pub body_bytes_max: Option<u64>,
    /// `Hostname`: goes into `X-Forwarded-Server`.
    pub hostname: Option<Box<str>>,
    /// `TrustForwardHeader`: keep what the client says in `X-Forwarded-*`; default false.
    pub trust_forward_header: bool,
    /// `PassHostHeader`: send the client's `Host`; otherwise the server's own address; default false, as vulcand's.
    pub pass_host_header: bool,
    /// `Forwarded` (new): also send `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// `RequestId` (new): header that carries a request id to the server, kept when a trusted client sent one.
    pub request_id: Option<Box<str>>,
    /// `Middlewares` (new): shared middlewares by id, in order.
    pub middlewares: Vec<MiddlewareId>,
    /// `Timeouts.Response` (new): from the complete request to the answer's head; overrides the backend's `Read`.
    pub response_timeout: Option<Duration>,
    /// `Timeouts.Idle` (new): longest silence within a body, either way.
    pub idle_timeout: Option<Duration>,
}
