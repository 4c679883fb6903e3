//! Where an object stands in the store: the key below the prefix.

use super::id::{BackendId, FrontendId, HostName, ListenerId, MiddlewareId, ServerId};
use std::fmt;

/// The kinds of objects, as users name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `listener`
    Listener,
    /// `host`
    Host,
    /// `frontend`
    Frontend,
    /// `middleware`, a frontend's own or shared
    Middleware,
    /// `backend`
    Backend,
    /// `server`
    Server,
}

/// An object's identity. Its `Display` is the canonical key below the prefix, without a leading slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKey {
    /// `listeners/<id>`
    Listener(ListenerId),
    /// `hosts/<name>/host`
    Host(HostName),
    /// `frontends/<id>/frontend`; `frontends/<id>` is read too.
    Frontend(FrontendId),
    /// `frontends/<id>/middlewares/<id>`
    OwnMiddleware(FrontendId, MiddlewareId),
    /// `middlewares/<id>`
    SharedMiddleware(MiddlewareId),
    /// `backends/<id>/backend`; `backends/<id>` is read too.
    Backend(BackendId),
    /// `backends/<id>/servers/<id>`
    Server(BackendId, ServerId),
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(id) => write!(f, "listeners/{id}"),
            Self::Host(name) => write!(f, "hosts/{name}/host"),
            Self::Frontend(id) => write!(f, "frontends/{id}/frontend"),
            Self::OwnMiddleware(frontend, id) => write!(f, "frontends/{frontend}/middlewares/{id}"),
            Self::SharedMiddleware(id) => write!(f, "middlewares/{id}"),
            Self::Backend(id) => write!(f, "backends/{id}/backend"),
            Self::Server(backend, id) => write!(f, "backends/{backend}/servers/{id}"),
        }
    }
}
