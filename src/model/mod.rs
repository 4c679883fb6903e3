//! The objects of a routing table: their ids, their fields, what makes them valid, and what is said when they are not.
//!
//! Every object is read from a JSON value by [`Object::parse`]; there is no other way to an object. All errors of one
//! object are reported at once, each with its field path and what would be right.

pub mod access_log;
pub mod backend;
pub mod balance;
pub mod client_auth;
pub mod duration;
pub mod edit;
pub(crate) mod fields;
pub mod frontend;
pub mod health;
pub mod hidden;
pub mod host;
pub mod id;
pub mod key;
pub mod key_pair;
pub mod listener;
pub mod middleware;
mod network;
mod owner;
pub mod pages;
pub mod problem;
pub mod proxy_protocol;
pub mod retry;
pub mod route_order;
pub mod server;
pub mod split;
pub mod template;
pub mod tls;
pub mod variable;

pub use access_log::{AccessLogFormat, AccessLogTarget};
pub use backend::{
    Backend, BackendSettings, KeepAlive, Timeouts, UpstreamLimits, UpstreamProtocol, UpstreamTls,
};
pub use balance::{Balance, ClientKey, Policy, Sticky, cookie_name_error};
pub use client_auth::{AuthoritiesSource, ClientAuth, ClientAuthMode};
pub use fields::nearest;
pub use frontend::{Frontend, FrontendSettings};
pub use health::{HealthCheck, HttpProbe, Outlier, Probe, Statuses};
pub use host::Host;
pub use id::{BackendId, FrontendId, HostName, ListenerId, MiddlewareId, Revision, ServerId};
pub use key::{InvalidKey, Kind, ObjectKey};
pub use key_pair::KeyPairSource;
pub use listener::{ListenAddress, Listener, ListenerProtocol, ListenerTls};
pub use middleware::{
    AllowedOrigin, BasicAuthSpec, BreakerSpec, CONTENT_BYTES_MAX, Coding, CompressSpec, ConnLimitSpec,
    CorsSpec, FIELD_VALUE_BYTES_MAX, Fallback, FieldList, ForwardAuthSpec, HeaderEdits, HeadersSpec,
    IpFilterSpec, MIDDLEWARE_TYPES, Middleware, MiddlewareSpec, MirrorSpec, RateLimitSpec, RateSpec,
    RedirectSpec, RespondSpec, RewriteSpec, Secret, SyslogPlace, TraceAddress, TraceSpec, TraceTarget,
    Webhook,
};
pub use network::{is_listed, parse_network};
pub use owner::{OWNER, owner};
pub use pages::{ErrorPages, Maintenance, PAGE_BYTES_MAX, PAGE_NAME_BYTES_MAX, Page, PageContent};
pub use problem::{Finding, InForce, Problem, Severity};
pub use proxy_protocol::{ProxyProtocol, ProxyVersions};
pub use retry::{Retry, RetryOn};
pub use route_order::RouteOrder;
pub use server::{Scheme, Server, ServerState, ServerUrl, is_host_name};
pub use split::{Pin, Split, SplitPart};
pub use tls::{CipherSuite, TlsVersion, UNSOUND_SUITES};
pub use variable::{Variable, VariableSpec};

use fields::{Fields, Report};
use serde_json::Value;

/// Longest value of an object, in bytes: what etcd takes in one request.
pub const VALUE_BYTES_MAX: usize = 1_572_864;

/// Any object of the table in its valid form.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// An address that accepts connections.
    Listener(Listener),
    /// A TLS server name with its certificate.
    Host(Host),
    /// A route and where it leads.
    Frontend(Frontend),
    /// A middleware, a frontend's own or shared.
    Middleware(Middleware),
    /// A group of servers, or an alias of one.
    Backend(Backend),
    /// One upstream address.
    Server(Server),
}

/// Who wrote a value decides how strictly it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Read from a store: an unknown field is a warning and the object is in force.
    Stored,
    /// Written through our own verbs or API: an unknown field is an error that names the nearest known one.
    Written,
}

/// What reading a value gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// `None` if and only if at least one finding is an error.
    pub object: Option<Object>,
    /// Errors first.
    pub findings: Vec<Finding>,
}

impl Object {
    /// Reads the JSON text of a value, whatever bytes it holds.
    pub fn parse(key: &ObjectKey, value: &[u8], strictness: Strictness) -> Parsed {
        let refuse = |reason: String| Parsed {
            object: None,
            findings: vec![Finding { field: String::new(), reason, severity: Severity::Error }],
        };
        if value.len() > VALUE_BYTES_MAX {
            return refuse(format!("has {} bytes; at most {VALUE_BYTES_MAX} are read", value.len()));
        }
        if value.iter().all(u8::is_ascii_whitespace) {
            return refuse("is empty; a JSON object is expected".to_owned());
        }
        match serde_json::from_slice(value) {
            Ok(value) => Self::parse_value(key, &value, strictness),
            // The message ends with line and column.
            Err(error) => refuse(format!("is not JSON: {error}")),
        }
    }

    /// Reads a value that is JSON already.
    pub fn parse_value(key: &ObjectKey, value: &Value, strictness: Strictness) -> Parsed {
        let report = Report::new(strictness);
        let object = Fields::read(&report, "", value, |fields| {
            let object = match key {
                ObjectKey::Listener(id) => listener::read(fields, id).map(Self::Listener),
                ObjectKey::Host(name) => host::read(fields, name).map(Self::Host),
                ObjectKey::Frontend(id) => frontend::read(fields, id).map(Self::Frontend),
                ObjectKey::OwnMiddleware(_, id) | ObjectKey::SharedMiddleware(id) => {
                    middleware::read(fields, id).map(Self::Middleware)
                }
                ObjectKey::Backend(id) => backend::read(fields, id).map(Self::Backend),
                ObjectKey::Server(backend, id) => server::read(fields, backend, id).map(Self::Server),
            };
            // Whose it is concerns only who writes it.
            fields.text(OWNER);
            object
        });
        let object = object.flatten().filter(|_| !report.has_errors());
        if object.is_none() && !report.has_errors() {
            // No reader gives nothing without a reason; if one did, its object must not vanish silently.
            report.error("", "cannot be read");
        }
        Parsed { object, findings: report.into_findings() }
    }

    /// The value to write: vulcand's spelling, without defaults. A host's carries its key pair: it is for a store,
    /// never for an answer or a log.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Listener(listener) => listener.to_value(),
            Self::Host(host) => host.to_value(),
            Self::Frontend(frontend) => frontend.to_value(),
            Self::Middleware(middleware) => middleware.to_value(),
            Self::Backend(backend) => backend.to_value(),
            Self::Server(server) => server.to_value(),
        }
    }
}

#[cfg(test)]
mod tests;
