//! Which certificate a handshake shows, from a set that is swapped while handshakes go on.

use super::certificates::Certificates;
use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// Holds the set of certificates in force. One serves every listener of a process.
///
/// A swap is seen by the next handshake and touches no connection.
#[derive(Debug, Default)]
pub struct Resolver {
    set: ArcSwap<Certificates>,
}

impl Resolver {
    /// Starts with a set; `Resolver::default()` starts without certificates and refuses every handshake.
    pub fn new(set: Arc<Certificates>) -> Self {
        Self { set: ArcSwap::new(set) }
    }

    /// Puts another set in force.
    pub fn swap(&self, set: Arc<Certificates>) {
        self.set.store(set);
    }

    /// The set in force.
    pub fn certificates(&self) -> Arc<Certificates> {
        self.set.load_full()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.set.load().resolve(hello.server_name())
    }
}
