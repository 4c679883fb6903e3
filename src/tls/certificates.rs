//! All certificates of a table as one immutable set, and which of them a client is shown.
//!
//! The order: the host of exactly that name; the wildcard host one label up; a certificate that holds the name; one
//! that holds the wildcard; the default host; the first host by name. Only a set without any certificate has none to
//! show, and the handshake is refused.

use super::certificate::{Certificate, normalised};
use crate::model::HostName;
use rustls::sign::CertifiedKey;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// All certificates of a table. Building one shares the certificates and costs well under a microsecond for each name.
#[derive(Debug, Default)]
pub struct Certificates {
    hosts: Names<Arc<CertifiedKey>>,
    held: Names<Arc<CertifiedKey>>,
    fallback: Option<Arc<CertifiedKey>>,
    host_count: usize,
}

/// Something for each name, in lower case and without a final dot; a wildcard stands for one label.
#[derive(Debug)]
pub(super) struct Names<T> {
    exact: HashMap<Arc<str>, T, foldhash::fast::RandomState>,
    /// By what follows `*.`.
    wildcard: HashMap<Arc<str>, T, foldhash::fast::RandomState>,
}

impl Certificates {
    /// Each host that has a certificate, whether it is the default, and the certificate; in any order.
    ///
    /// Of several defaults the first by name counts. Of several certificates that hold a name no host has, the one
    /// that expires last counts, then the first by host name.
    pub fn new(mut hosts: Vec<(HostName, bool, Arc<Certificate>)>) -> Self {
        hosts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let fallback = hosts.iter().find(|(_, default, _)| *default).or(hosts.first());
        let mut set = Self {
            fallback: fallback.map(|(_, _, certificate)| certificate.key().clone()),
            host_count: hosts.len(),
            ..Self::default()
        };
        for (name, _, certificate) in &hosts {
            set.hosts.add(&normalised(name.as_str()).into(), certificate.key());
        }
        hosts.sort_by_key(|(_, _, certificate)| Reverse(certificate.not_after()));
        for (_, _, certificate) in &hosts {
            for name in certificate.names() {
                set.held.add(name, certificate.key());
            }
        }
        set
    }

    /// Hosts that have a certificate.
    pub fn len(&self) -> usize {
        self.host_count
    }

    /// Whether there is no certificate at all.
    pub fn is_empty(&self) -> bool {
        self.host_count == 0
    }

    /// What to show a client that asks for `sni`, in any case, or for nothing; `None` only where there is no
    /// certificate at all.
    pub fn resolve(&self, sni: Option<&str>) -> Option<Arc<CertifiedKey>> {
        sni.and_then(|name| self.find(name)).or(self.fallback.as_ref()).cloned()
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        lookup(name, |name| self.hosts.find(name).or_else(|| self.held.find(name)))
    }
}

/// Looks `name` up in lower case and without a final dot.
pub(super) fn lookup<T>(name: &str, find: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return find(&name.to_ascii_lowercase());
    }
    find(name)
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { exact: HashMap::default(), wildcard: HashMap::default() }
    }
}

impl<T: Clone> Names<T> {
    /// The first to come keeps the name.
    pub(super) fn add(&mut self, name: &Arc<str>, value: &T) {
        let (names, name) = match name.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent.into()),
            None => (&mut self.exact, name.clone()),
        };
        names.entry(name).or_insert_with(|| value.clone());
    }

    pub(super) fn find(&self, name: &str) -> Option<&T> {
        self.exact.get(name).or_else(|| {
            let (label, parent) = name.split_once('.')?;
            if label.is_empty() { None } else { self.wildcard.get(parent) }
        })
    }
}
