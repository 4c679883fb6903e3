//! The objects of a routing table: their ids, their fields, what makes them valid, and what is said when they are not.
//!
//! Every object is read from a JSON value by [`Object::parse`]; there is no other way to an object. All errors of one
//! object are reported at once, each with its field path and what would be right.

pub mod backend;
pub mod duration;
pub mod fields;
pub mod frontend;
pub mod host;
pub mod id;
pub mod key;
pub mod listener;
pub mod middleware;
pub mod problem;
pub mod server;

pub use backend::{Backend, BackendSettings, KeepAlive, Timeouts};
pub use frontend::{Frontend, FrontendSettings};
pub use host::{Host, KeyPairSource};
pub use id::{BackendId, FrontendId, HostName, ListenerId, MiddlewareId, Revision, ServerId};
pub use key::{Kind, ObjectKey};
pub use listener::{ListenAddress, Listener, ListenerProtocol, ListenerTls, TlsVersion};
pub use middleware::{HeadersSpec, Middleware, MiddlewareSpec, RedirectSpec, RewriteSpec};
pub use problem::{Finding, InForce, Problem, Severity};
pub use server::{Scheme, Server, ServerState, ServerUrl};

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
