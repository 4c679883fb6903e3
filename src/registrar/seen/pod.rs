//! Pods that have the label by which they join a backend.

use super::{Meta, Readiness};
use std::net::IpAddr;

/// A pod, with what makes it a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Name, age and annotations.
    pub meta: Meta,
    /// The value of the label (`name`, unless the registrar is told another).
    pub label: Box<str>,
    /// Its addresses, the primary one first; none before it has started.
    pub addresses: Vec<IpAddr>,
    /// The ports of all its containers, in order.
    pub ports: Vec<PodPort>,
    /// Whether it may get requests.
    pub readiness: Readiness,
}

/// One port of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPort {
    /// Its name.
    pub name: Option<Box<str>>,
    /// Its number.
    pub port: u16,
}
