//! Pods that have the label by which they join a backend.

use super::{Meta, Readiness, filled, is_tcp, number};
use k8s_openapi::api::core::v1 as api;
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
    /// The ports for TCP of all its containers in order, then those of its sidecars.
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

impl Pod {
    /// What matters of the API's form; `None` where it has no name, or not this label.
    pub fn from_api(pod: &api::Pod, label: &str) -> Option<Self> {
        let value = pod.metadata.labels.as_ref().and_then(|labels| labels.get(label));
        Some(Self {
            meta: Meta::from_api(&pod.metadata)?,
            label: filled(value.map(String::as_str))?,
            addresses: pod.status.as_ref().map(addresses).unwrap_or_default(),
            ports: pod.spec.as_ref().map(ports).unwrap_or_default(),
            readiness: readiness(pod),
        })
    }
}

fn addresses(status: &api::PodStatus) -> Vec<IpAddr> {
    let all = status.pod_ips.iter().flatten().map(|address| address.ip.as_str());
    let mut found = Vec::new();
    for address in status.pod_ip.as_deref().into_iter().chain(all).filter_map(|text| text.parse().ok()) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

fn ports(spec: &api::PodSpec) -> Vec<PodPort> {
    // An init container that restarts always runs beside the others.
    let is_sidecar = |container: &&api::Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(is_sidecar);
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter(|port| is_tcp(port.protocol.as_deref()))
        .filter_map(|port| {
            Some(PodPort { name: filled(port.name.as_deref()), port: number(port.container_port)? })
        })
        .collect()
}

fn readiness(pod: &api::Pod) -> Readiness {
    let status = pod.status.as_ref();
    let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let is_running = status.is_some_and(|status| status.phase.as_deref() == Some("Running"));
    match (pod.metadata.deletion_timestamp.is_some(), is_ready) {
        (true, true) => Readiness::Ending,
        (true, false) => Readiness::Ended,
        (false, true) if is_running => Readiness::Ready,
        (false, _) => Readiness::NotReady,
    }
}
