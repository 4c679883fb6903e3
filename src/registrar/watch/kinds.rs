//! The kinds: which objects of them are asked for, and what matters of each.

use crate::kubernetes::Name;
use crate::registrar::seen;
use crate::registrar::world::{Change, Kind};
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

/// An object of the API that is watched.
pub(super) trait Watched:
    k8s_openapi::Metadata<Ty = ObjectMeta> + kube::Resource<DynamicType = ()> + DeserializeOwned + Send + 'static
{
    const WHICH: Kind;

    /// `object`: absent where it is gone.
    fn change(name: Name, object: Option<&Self>, pod_label: &str) -> Change;
}

impl Watched for Service {
    const WHICH: Kind = Kind::Service;

    fn change(name: Name, object: Option<&Self>, _: &str) -> Change {
        Change::Service(name, object.and_then(seen::Service::from_api))
    }
}

impl Watched for EndpointSlice {
    const WHICH: Kind = Kind::Slice;

    fn change(name: Name, object: Option<&Self>, _: &str) -> Change {
        Change::Slice(name, object.and_then(seen::Slice::from_api))
    }
}

impl Watched for Pod {
    const WHICH: Kind = Kind::Pod;

    fn change(name: Name, object: Option<&Self>, pod_label: &str) -> Change {
        Change::Pod(name, object.and_then(|pod| seen::Pod::from_api(pod, pod_label)))
    }
}

impl Watched for Ingress {
    const WHICH: Kind = Kind::Ingress;

    fn change(name: Name, object: Option<&Self>, _: &str) -> Change {
        Change::Ingress(name, object.and_then(seen::Ingress::from_api).map(Box::new))
    }
}

impl Watched for Secret {
    const WHICH: Kind = Kind::Secret;

    fn change(name: Name, object: Option<&Self>, _: &str) -> Change {
        Change::Secret(name, object.and_then(seen::Secret::from_api))
    }
}

impl Watched for IngressClass {
    const WHICH: Kind = Kind::Class;

    fn change(name: Name, object: Option<&Self>, _: &str) -> Change {
        Change::Class(name.name, object.and_then(seen::IngressClass::from_api))
    }
}

/// Which objects of a kind are asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selectors {
    pub labels: Option<String>,
    pub fields: Option<String>,
}

/// Types of Secrets that never hold a certificate or passwords for people, and of which clusters have many.
const OTHER_SECRETS: [&str; 5] = [
    "kubernetes.io/service-account-token",
    "helm.sh/release.v1",
    "kubernetes.io/dockercfg",
    "kubernetes.io/dockerconfigjson",
    "bootstrap.kubernetes.io/token",
];

impl Selectors {
    pub(super) fn of(kind: Kind, pod_label: &str) -> Self {
        match kind {
            Kind::Pod => Self { labels: Some(pod_label.to_owned()), fields: None },
            Kind::Slice => Self { labels: Some(seen::SERVICE_LABEL.to_owned()), fields: None },
            Kind::Secret => {
                let terms: Vec<String> = OTHER_SECRETS.iter().map(|kind| format!("type!={kind}")).collect();
                Self { labels: None, fields: Some(terms.join(",")) }
            }
            Kind::Service | Kind::Ingress | Kind::Class => Self::default(),
        }
    }
}
