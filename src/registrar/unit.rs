//! What is converted as one.

use crate::kubernetes::Name;
use crate::model::BackendId;
use std::fmt;

/// A part of the cluster that is converted as one: whatever it wants in the store depends on nothing else that
/// changes without the [`World`](super::World) naming it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// The pods whose namespace and label `name` make the id of a backend in the store.
    Labelled(BackendId),
    /// A Service with a route of its own.
    Service(Name),
    /// An Ingress, with its canaries.
    Ingress(Name),
}

/// The object of the cluster that something in the store or a problem comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The pods of a backend, by the backend's id.
    Pods(BackendId),
    /// A pod.
    Pod(Name),
    /// A Service.
    Service(Name),
    /// An Ingress.
    Ingress(Name),
    /// A Secret.
    Secret(Name),
}

impl fmt::Display for Source {
    /// `service/shop/web`: what stands in `Owner` behind the cluster's name and a colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods(backend) => write!(f, "pods/{backend}"),
            Self::Pod(name) => write!(f, "pod/{name}"),
            Self::Service(name) => write!(f, "service/{name}"),
            Self::Ingress(name) => write!(f, "ingress/{name}"),
            Self::Secret(name) => write!(f, "secret/{name}"),
        }
    }
}

impl Unit {
    /// The object that the unit is named after.
    pub fn source(&self) -> Source {
        match self {
            Self::Labelled(backend) => Source::Pods(backend.clone()),
            Self::Service(name) => Source::Service(name.clone()),
            Self::Ingress(name) => Source::Ingress(name.clone()),
        }
    }
}
