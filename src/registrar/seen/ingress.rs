//! Ingresses and their classes.

use super::{Meta, filled};
use crate::kubernetes::Name;
use k8s_openapi::api::networking::v1 as api;

/// An Ingress, as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingress {
    /// Name, age and annotations; the old annotation for the class is among them.
    pub meta: Meta,
    /// `spec.ingressClassName`.
    pub class: Option<Box<str>>,
    /// `spec.defaultBackend`.
    pub default_backend: Option<IngressBackend>,
    /// `spec.rules`.
    pub rules: Vec<IngressRule>,
    /// `spec.tls`.
    pub tls: Vec<IngressTls>,
    /// `status.loadBalancer.ingress`: addresses and names, sorted.
    pub published: Vec<Box<str>>,
}

/// Paths of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressRule {
    /// `shop.example`, `*.shop.example`, or every host.
    pub host: Option<Box<str>>,
    /// In its order.
    pub paths: Vec<IngressPath>,
}

/// One path and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressPath {
    /// Absent: all.
    pub path: Option<Box<str>>,
    /// How it is meant.
    pub kind: PathType,
    /// Where it leads.
    pub backend: IngressBackend,
}

/// `pathType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathType {
    /// The path and nothing else.
    Exact,
    /// By whole segments.
    Prefix,
    /// As the controller likes: a prefix, or a regular expression where annotations ask for it.
    ImplementationSpecific,
}

/// Where an Ingress leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngressBackend {
    /// A Service in the same namespace.
    Service {
        /// Its name.
        name: Box<str>,
        /// Which of its ports.
        port: PortRef,
    },
    /// Something that is no Service, which Flipgate does not know.
    Resource {
        /// For people: kind and name.
        what: Box<str>,
    },
}

impl IngressBackend {
    /// A Service in the same namespace, by the number of its port.
    pub fn of_service(name: &str, port: u16) -> Self {
        Self::Service { name: name.into(), port: PortRef::Number(port) }
    }
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortRef {
    /// By its number; 0 where it is none that a Service can have.
    Number(u16),
    /// By its name.
    Name(Box<str>),
}

/// A certificate for some hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressTls {
    /// Empty: those of the rules.
    pub hosts: Vec<Box<str>>,
    /// A Secret in the same namespace; absent: the proxy's default certificate.
    pub secret: Option<Box<str>>,
}

/// An IngressClass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressClass {
    /// Its name.
    pub name: Box<str>,
    /// `spec.controller`.
    pub controller: Box<str>,
    /// Whether Ingresses without a class are of it.
    pub is_default: bool,
}

/// Annotations that name a Secret in the Ingress's namespace, or in another one as `NAMESPACE/NAME`.
const SECRET_ANNOTATIONS: [&str; 3] = [
    "nginx.ingress.kubernetes.io/auth-secret",
    "nginx.ingress.kubernetes.io/auth-tls-secret",
    "nginx.ingress.kubernetes.io/proxy-ssl-secret",
];

/// Annotations with a URL that may be a Service's in the cluster.
const URL_ANNOTATIONS: [&str; 2] =
    ["nginx.ingress.kubernetes.io/auth-url", "nginx.ingress.kubernetes.io/mirror-target"];

/// Where an Ingress named its class before it had a field for it.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The annotation that makes a class that of Ingresses without one.
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

impl Ingress {
    /// What matters of the API's form; `None` where it has no name.
    pub fn from_api(ingress: &api::Ingress) -> Option<Self> {
        let meta = Meta::from_api(&ingress.metadata)?;
        let spec = ingress.spec.as_ref();
        let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        Some(Self {
            meta,
            class: spec.and_then(|spec| filled(spec.ingress_class_name.as_deref())),
            default_backend: spec
                .and_then(|spec| spec.default_backend.as_ref())
                .map(IngressBackend::from_api),
            rules: spec
                .map(|spec| spec.rules.iter().flatten().map(IngressRule::from_api).collect())
                .unwrap_or_default(),
            tls: spec
                .map(|spec| spec.tls.iter().flatten().map(IngressTls::from_api).collect())
                .unwrap_or_default(),
            published: status.map(published).unwrap_or_default(),
        })
    }

    /// The class that it names; none: it is of the default one, if there is one.
    pub fn class_name(&self) -> Option<&str> {
        self.meta.annotation(CLASS_ANNOTATION).or(self.class.as_deref())
    }

    /// The Services that its conversion depends on.
    pub fn services(&self) -> impl Iterator<Item = Name> {
        let paths = self.rules.iter().flat_map(|rule| &rule.paths).map(|path| &path.backend);
        let named = paths.chain(&self.default_backend).filter_map(|backend| match backend {
            IngressBackend::Service { name, .. } => Some(&**name),
            IngressBackend::Resource { .. } => None,
        });
        let fallback = self.meta.annotation("nginx.ingress.kubernetes.io/default-backend");
        let urls = URL_ANNOTATIONS.iter().filter_map(|key| service_of(self.meta.annotation(key)?));
        named.chain(fallback).map(|name| self.meta.name.beside(name)).chain(urls)
    }

    /// The Secrets that its conversion depends on.
    pub fn secrets(&self) -> impl Iterator<Item = Name> {
        let certificates = self.tls.iter().filter_map(|tls| tls.secret.as_deref());
        let others = SECRET_ANNOTATIONS.iter().filter_map(|key| self.meta.annotation(key));
        certificates.chain(others).map(|name| self.secret_name(name))
    }

    /// The Secret that an annotation means: `NAME` or `NAMESPACE/NAME`.
    pub fn secret_name(&self, text: &str) -> Name {
        match text.split_once('/') {
            Some((namespace, name)) => Name::new(namespace, name),
            None => self.meta.name.beside(text),
        }
    }

    /// The hosts of its rules; none for rules that are for every host.
    pub fn hosts(&self) -> impl Iterator<Item = Option<&str>> {
        self.rules.iter().map(|rule| rule.host.as_deref())
    }

    /// Whether it takes a part of the requests of other Ingresses, and has none of its own.
    pub fn is_canary(&self) -> bool {
        self.meta.annotation("nginx.ingress.kubernetes.io/canary") == Some("true")
    }
}

impl IngressRule {
    fn from_api(rule: &api::IngressRule) -> Self {
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        Self { host: filled(rule.host.as_deref()), paths: paths.map(IngressPath::from_api).collect() }
    }
}

impl IngressPath {
    fn from_api(path: &api::HTTPIngressPath) -> Self {
        Self {
            path: filled(path.path.as_deref()),
            kind: match path.path_type.as_str() {
                "Exact" => PathType::Exact,
                "Prefix" => PathType::Prefix,
                _ => PathType::ImplementationSpecific,
            },
            backend: IngressBackend::from_api(&path.backend),
        }
    }
}

impl IngressBackend {
    fn from_api(backend: &api::IngressBackend) -> Self {
        if let Some(service) = &backend.service {
            let port = service.port.as_ref();
            let port = match port.and_then(|port| filled(port.name.as_deref())) {
                Some(name) => PortRef::Name(name),
                None => {
                    let number = port.and_then(|port| port.number);
                    PortRef::Number(number.and_then(|number| u16::try_from(number).ok()).unwrap_or(0))
                }
            };
            return Self::Service { name: service.name.as_str().into(), port };
        }
        let what = match &backend.resource {
            Some(resource) => format!("{} {}", resource.kind, resource.name),
            None => "nothing".to_owned(),
        };
        Self::Resource { what: what.into() }
    }
}

impl IngressTls {
    fn from_api(tls: &api::IngressTLS) -> Self {
        let hosts = tls.hosts.iter().flatten().map(|host| host.as_str().into());
        Self { hosts: hosts.collect(), secret: filled(tls.secret_name.as_deref()) }
    }
}

impl IngressClass {
    /// What matters of the API's form; `None` where it has no name.
    pub fn from_api(class: &api::IngressClass) -> Option<Self> {
        let annotations = class.metadata.annotations.as_ref();
        Some(Self {
            name: filled(class.metadata.name.as_deref())?,
            controller: class
                .spec
                .as_ref()
                .and_then(|spec| spec.controller.as_deref())
                .unwrap_or_default()
                .into(),
            is_default: annotations
                .and_then(|all| all.get(DEFAULT_CLASS))
                .is_some_and(|value| value == "true"),
        })
    }
}

fn published(status: &api::IngressLoadBalancerStatus) -> Vec<Box<str>> {
    let places = status.ingress.iter().flatten();
    let mut found: Vec<Box<str>> = places
        .flat_map(|place| [place.ip.as_deref(), place.hostname.as_deref()])
        .filter_map(filled)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The Service whose name in the cluster is the host of a URL.
fn service_of(url: &str) -> Option<Name> {
    let (_, rest) = url.split_once("://")?;
    Name::of_service(rest.split([':', '/', '?']).next()?)
}
