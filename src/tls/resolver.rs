//! For tests: a set of certificates that is swapped while handshakes go on, as the table does it in a proxy.

use super::certificates::Certificates;
use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// Holds the set of certificates in force.
///
/// A swap is seen by the next handshake and touches no connection.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    set: ArcSwap<Certificates>,
}

impl Resolver {
    /// Starts with a set; `Resolver::default()` starts without certificates and refuses every handshake.
    pub(super) fn new(set: Arc<Certificates>) -> Self {
        Self { set: ArcSwap::new(set) }
    }

    /// Puts another set in force.
    pub(super) fn swap(&self, set: Arc<Certificates>) {
        self.set.store(set);
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.set.load().resolve(hello.server_name())
    }
}
