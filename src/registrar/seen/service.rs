//! Services.

use super::Meta;

/// A Service, with what it says of ports and routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Name, age and annotations.
    pub meta: Meta,
    /// In its order; a headless Service may have none.
    pub ports: Vec<ServicePort>,
    /// `clusterIP: None`.
    pub headless: bool,
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
