//! Secrets.

use crate::kubernetes::Name;
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

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).field("fields", &self.data.keys()).finish()
    }
}
