//! What the registrar remembers of Kubernetes objects: the few fields that matter, in types of our own, so that ten
//! thousand endpoints fit in little memory and converting them needs no client.

mod ingress;
mod pod;
mod secret;
mod service;
mod slice;

pub use ingress::{
    Ingress, IngressBackend, IngressClass, IngressPath, IngressRule, IngressTls, PathType, PortRef,
};
pub use pod::{Pod, PodPort};
pub use secret::Secret;
pub use service::{Service, ServicePort};
pub use slice::{Endpoint, Readiness, SERVICE_LABEL, Slice, SlicePort};

use crate::kubernetes::Name;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// What every object has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Its name.
    pub name: Name,
    /// When it was created, in seconds since 1970: the older of two that want the same thing gets it.
    pub created: i64,
    /// Its annotations, but for those longer than [`ANNOTATION_BYTES_MAX`] and kubectl's own copy of the object.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
}

/// Longest annotation that is looked at. Kubernetes takes no more, so none is ever passed over: without its list of
/// networks an Ingress would be open to everybody.
pub const ANNOTATION_BYTES_MAX: usize = 256 * 1024;

/// kubectl's own copy of the object, as large as the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Meta {
    /// What matters of the API's form; `None` where it has no name.
    pub fn from_api(meta: &ObjectMeta) -> Option<Self> {
        let matters =
            |(key, value): &(&String, &String)| *key != LAST_APPLIED && value.len() <= ANNOTATION_BYTES_MAX;
        let annotations = meta.annotations.iter().flatten().filter(matters);
        Some(Self {
            name: name(meta)?,
            created: meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
            annotations: annotations
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                .collect(),
        })
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(|value| &**value)
    }
}

/// The name of an object, with an empty namespace where it has none.
pub(in crate::registrar) fn name(meta: &ObjectMeta) -> Option<Name> {
    let name = filled(meta.name.as_deref())?;
    Some(Name::new(meta.namespace.as_deref().unwrap_or_default(), &name))
}

/// A text that says something: the API's clients write an empty one and none with the same meaning.
fn filled(text: Option<&str>) -> Option<Box<str>> {
    text.filter(|text| !text.is_empty()).map(Into::into)
}

/// A port that can be connected to.
fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// Whether a port carries HTTP at all; TCP is meant where nothing is said.
fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol.is_empty() || protocol == "TCP")
}

#[cfg(test)]
mod tests;
