//! What `flipgate deployer` is told besides the store, the log and the cluster.

use super::{Layers, address_or_off, network};
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where it listens, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployerSettings {
    /// Of its API; absent: it only goes on with what others were asked.
    pub address: Option<SocketAddr>,
    /// Who may call it.
    pub token_file: Option<PathBuf>,
    /// Networks that need no token.
    pub trusted: Vec<IpNet>,
    /// Names by which those without a token may call it, in lower case.
    pub hosts: Vec<String>,
    /// PEM; its own chain and key.
    pub cert_and_key: Option<(PathBuf, PathBuf)>,
    /// PEM; authorities of clients.
    pub client_ca: Option<PathBuf>,
}

impl<E: Fn(&str) -> Option<String>> Layers<E> {
    pub(super) fn deployer(&mut self) -> DeployerSettings {
        let path = |text: &str| Ok(PathBuf::from(text));
        DeployerSettings {
            address: self.value("deploy", address_or_off),
            token_file: self.optional("deploy-token-file", path),
            trusted: self.many("deploy-trusted", network),
            hosts: self.many("deploy-host", |text| Ok(text.to_ascii_lowercase())),
            cert_and_key: self.pair(("deploy-cert", path), ("deploy-key", path)),
            client_ca: self.optional("deploy-client-ca", path),
        }
    }
}
