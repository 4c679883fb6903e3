//! What stages work with.

use crate::kubernetes::Hosts;
use crate::store::Store;
use crate::tls::SealKeys;
use std::sync::Arc;

/// The cluster, the store and the settings, the same for all deployments of this process.
pub struct World {
    /// A client of the API server.
    pub client: kube::Client,
    /// The store with the table.
    pub store: Arc<dyn Store>,
    /// Seals private keys.
    pub seal_keys: SealKeys,
    /// Whether private keys are written readable where there is no seal key.
    pub plain_keys: bool,
    /// Which namespace may have which hosts.
    pub hosts: Hosts,
}
