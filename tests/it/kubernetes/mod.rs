//! On a real Kubernetes.

mod cluster;
mod kubelet;
mod watch;

use crate::support::kubernetes::Endpoint;
use std::net::SocketAddr;

/// Where a pod listens behind this endpoint.
fn address(endpoint: &Endpoint) -> SocketAddr {
    SocketAddr::new(endpoint.address, 8080)
}
