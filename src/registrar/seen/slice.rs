//! EndpointSlices.

use super::{filled, is_tcp, name, number};
use crate::kubernetes::Name;
use k8s_openapi::api::discovery::v1 as api;
use std::net::IpAddr;

/// The label by which a slice names its Service.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Some of the endpoints of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Its own name.
    pub name: Name,
    /// The Service that it belongs to, in the same namespace: label `kubernetes.io/service-name`.
    pub service: Box<str>,
    /// The ports for TCP that all its endpoints have.
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

impl Slice {
    /// What matters of the API's form; `None` where it has no name or belongs to no Service.
    pub fn from_api(slice: &api::EndpointSlice) -> Option<Self> {
        let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_LABEL));
        Some(Self {
            name: name(&slice.metadata)?,
            service: filled(label.map(String::as_str))?,
            ports: slice.ports.iter().flatten().filter_map(SlicePort::from_api).collect(),
            endpoints: slice.endpoints.iter().filter_map(Endpoint::from_api).collect(),
        })
    }
}

impl SlicePort {
    fn from_api(port: &api::EndpointPort) -> Option<Self> {
        if !is_tcp(port.protocol.as_deref()) {
            return None;
        }
        Some(Self { name: filled(port.name.as_deref()), port: number(port.port?)? })
    }
}

impl Endpoint {
    fn from_api(endpoint: &api::Endpoint) -> Option<Self> {
        let (ready, serving, terminating) = match &endpoint.conditions {
            Some(conditions) => (conditions.ready, conditions.serving, conditions.terminating),
            None => (None, None, None),
        };
        Some(Self {
            address: endpoint.addresses.first()?.parse().ok()?,
            readiness: Readiness::of_endpoint(ready, serving, terminating),
            zone: filled(endpoint.zone.as_deref()),
        })
    }
}

impl Readiness {
    /// From the conditions of an endpoint. What is not said is meant as the API has it: `ready` is true, `serving` is as
    /// `ready`, `terminating` is false.
    pub fn of_endpoint(ready: Option<bool>, serving: Option<bool>, terminating: Option<bool>) -> Self {
        let ready = ready.unwrap_or(true);
        match (terminating.unwrap_or(false), serving.unwrap_or(ready)) {
            (true, true) => Self::Ending,
            (true, false) => Self::Ended,
            (false, _) if ready => Self::Ready,
            (false, _) => Self::NotReady,
        }
    }
}
