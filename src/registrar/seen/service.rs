//! Services.

use super::{Meta, filled, is_tcp, number};
use k8s_openapi::api::core::v1 as api;

/// A Service, with what it says of ports and routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Name, age and annotations.
    pub meta: Meta,
    /// Those for TCP, in its order; a headless Service may have none.
    pub ports: Vec<ServicePort>,
    /// `spec.ipFamilies` begins with `IPv6`: of a pod's two addresses that is the one to use.
    pub prefers_ipv6: bool,
    /// Of type ExternalName: the name that stands in for endpoints.
    pub external_name: Option<Box<str>>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Absent where the Service has one port only. EndpointSlices know the port by it.
    pub name: Option<Box<str>>,
    /// The Service's own number, which Ingresses may name.
    pub port: u16,
    /// `appProtocol`: `http`, `https`, `kubernetes.io/h2c`, `kubernetes.io/ws`, ...
    pub app_protocol: Option<Box<str>>,
}

impl Service {
    /// What matters of the API's form; `None` where it has no name.
    pub fn from_api(service: &api::Service) -> Option<Self> {
        let meta = Meta::from_api(&service.metadata)?;
        let Some(spec) = &service.spec else {
            return Some(Self { meta, ports: Vec::new(), prefers_ipv6: false, external_name: None });
        };
        let is_external = spec.type_.as_deref() == Some("ExternalName");
        Some(Self {
            meta,
            ports: spec.ports.iter().flatten().filter_map(ServicePort::from_api).collect(),
            prefers_ipv6: spec.ip_families.iter().flatten().next().is_some_and(|family| family == "IPv6"),
            external_name: if is_external { filled(spec.external_name.as_deref()) } else { None },
        })
    }
}

impl ServicePort {
    fn from_api(port: &api::ServicePort) -> Option<Self> {
        if !is_tcp(port.protocol.as_deref()) {
            return None;
        }
        Some(Self {
            name: filled(port.name.as_deref()),
            port: number(port.port)?,
            app_protocol: filled(port.app_protocol.as_deref()),
        })
    }
}
