//! EndpointSlices.

use crate::kubernetes::Name;
use std::net::IpAddr;

/// Some of the endpoints of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Its own name.
    pub name: Name,
    /// The Service that it belongs to, in the same namespace: label `kubernetes.io/service-name`.
    pub service: Box<str>,
    /// The ports that all its endpoints have.
    pub ports: Vec<SlicePort>,
    /// Its endpoints; those of address type FQDN are not among them.
    pub endpoints: Vec<Endpoint>,
}

/// One port of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// As in [`ServicePort::name`](super::ServicePort::name).
    pub name: Option<Box<str>>,
    /// The pods' own number.
    pub port: u16,
    /// As in [`ServicePort::app_protocol`](super::ServicePort::app_protocol).
    pub app_protocol: Option<Box<str>>,
}

/// One pod's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The first of its addresses; Kubernetes gives no meaning to further ones.
    pub address: IpAddr,
    /// What Kubernetes says of it.
    pub readiness: Readiness,
    /// Where it runs.
    pub zone: Option<Box<str>>,
}

/// Whether an endpoint may get requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Readiness {
    /// It may.
    Ready,
    /// It ends, and still answers (`serving` and `terminating`).
    Ending,
    /// It ends, and its readiness check fails.
    Ended,
    /// Its readiness check fails, or it has not started yet.
    NotReady,
}
