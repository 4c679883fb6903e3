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
pub use slice::{Endpoint, Readiness, Slice, SlicePort};

use crate::kubernetes::Name;
use std::collections::BTreeMap;

/// What every object has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Its name.
    pub name: Name,
    /// Tells two objects apart that had one name at different times. Needed for Events.
    pub uid: Box<str>,
    /// When it was created, in seconds since 1970: the older of two that want the same thing gets it.
    pub created: i64,
    /// Its annotations, but for those longer than [`ANNOTATION_BYTES_MAX`] and kubectl's own copy of the object.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
}

/// Longest annotation that is looked at.
pub const ANNOTATION_BYTES_MAX: usize = 64 * 1024;

impl Meta {
    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(|value| &**value)
    }
}
