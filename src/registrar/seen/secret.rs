//! Secrets.

use super::name;
use crate::kubernetes::Name;
use k8s_openapi::api::core::v1 as api;
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// A Secret, with the fields that Flipgate has a use for: `tls.crt`, `tls.key`, `ca.crt` and `auth`. Its `Debug` shows
/// no value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its name.
    pub name: Name,
    /// `kubernetes.io/tls`, `Opaque`, ...
    pub kind: Box<str>,
    /// By field.
    pub data: BTreeMap<Box<str>, Zeroizing<Vec<u8>>>,
}

/// The fields that there is a use for.
const FIELDS: [&str; 4] = ["tls.crt", "tls.key", "ca.crt", "auth"];

impl Secret {
    /// What matters of the API's form; `None` where it has no name.
    pub fn from_api(secret: &api::Secret) -> Option<Self> {
        let fields = secret.data.iter().flatten().filter(|(field, _)| FIELDS.contains(&field.as_str()));
        let data = fields.map(|(field, value)| (field.as_str().into(), Zeroizing::new(value.0.clone())));
        Some(Self {
            name: name(&secret.metadata)?,
            kind: secret.type_.as_deref().unwrap_or("Opaque").into(),
            data: data.collect(),
        })
    }

    /// The certificates of authorities in `ca.crt`, if there are any: PEM.
    pub fn authorities(&self) -> Option<&str> {
        let text = self.data.get("ca.crt").and_then(|pem| std::str::from_utf8(pem).ok());
        text.filter(|pem| pem.contains("-----BEGIN CERTIFICATE-----"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).field("fields", &self.data.keys()).finish()
    }
}
