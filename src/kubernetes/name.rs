//! Names within a cluster.

use std::fmt;

/// A namespace and a name: what tells apart two objects of one kind. Shown as `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The namespace.
    pub namespace: Box<str>,
    /// The name within it.
    pub name: Box<str>,
}

impl Name {
    /// Put together from both.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The Service that a host is the name of within a cluster: `NAME.NAMESPACE.svc`, with or without the cluster's own
    /// domain behind it.
    pub fn of_service(host: &str) -> Option<Self> {
        let mut labels = host.trim_end_matches('.').split('.');
        match (labels.next(), labels.next(), labels.next()) {
            (Some(name), Some(namespace), Some("svc")) => Some(Self::new(namespace, name)),
            _ => None,
        }
    }

    /// Another name in the same namespace.
    pub fn beside(&self, name: &str) -> Self {
        Self { namespace: self.namespace.clone(), name: name.into() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
