//! Client certificates: the policy of a host, and which host's policy counts for a name.
//!
//! A handshake is made under the policy of the name it asks for, and every request is judged by the policy that its
//! host has in the table in force: a connection that was made for one host does not open another.

use super::certificate::{Certificate, read_authorities};
use super::certificates::{Names, lookup};
use super::client::roots;
use super::server::provider;
use crate::model::{self, AuthoritiesSource, ClientAuthMode, HostName};
use aws_lc_rs::digest::{self, SHA256};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;

/// What a host needs for its handshakes.
#[derive(Debug, Clone, Default)]
pub struct HostTls {
    /// Its certificate, where it has a key pair.
    pub certificate: Option<Arc<Certificate>>,
    /// What it asks of clients, where it says anything of that.
    pub client_policy: Option<Arc<ClientPolicy>>,
}

/// What a host asks of its clients.
#[derive(Debug)]
pub struct ClientPolicy {
    /// Whether they are asked, and must show a certificate.
    pub mode: ClientAuthMode,
    /// Servers are told what they showed.
    pub forward: bool,
    /// None exactly if the mode is [`ClientAuthMode::Off`].
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    authorities: [u8; 32],
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientAuthError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] super::CertificateError),
    /// The authorities' certificates cannot be used.
    #[error("the authorities cannot be used: {0}")]
    Authorities(#[from] super::ClientTlsError),
    /// The library's reason.
    #[error("the authorities cannot be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl ClientPolicy {
    /// Reads the certificates of the authorities; files lie below `secrets_dir` only.
    ///
    /// # Errors
    /// They cannot be read, or there is none that can be used.
    pub fn load(source: &model::ClientAuth, secrets_dir: Option<&Path>) -> Result<Self, ClientAuthError> {
        let model::ClientAuth { mode, authorities, forward } = source;
        let (mut verifier, mut digest) = (None, [0; 32]);
        if let (ClientAuthMode::Optional | ClientAuthMode::Required, Some(authorities)) = (mode, authorities)
        {
            let pem = match authorities {
                AuthoritiesSource::Pem(pem) => pem.to_vec(),
                AuthoritiesSource::File(path) => read_authorities(secrets_dir, path)?.to_vec(),
            };
            let roots = roots(&pem, "it")?;
            let mut context = digest::Context::new(&SHA256);
            for root in &roots.roots {
                for part in [&root.subject[..], &root.subject_public_key_info[..]] {
                    context.update(&(part.len() as u64).to_be_bytes());
                    context.update(part);
                }
                context.update(root.name_constraints.as_deref().unwrap_or_default());
            }
            digest.copy_from_slice(context.finish().as_ref());
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            let builder =
                if *mode == ClientAuthMode::Optional { builder.allow_unauthenticated() } else { builder };
            verifier = Some(builder.build()?);
        }
        Ok(Self { mode: *mode, forward: *forward, verifier, authorities: digest })
    }

    /// How a handshake asks for a certificate; `None` where it does not.
    pub fn verifier(&self) -> Option<&Arc<dyn ClientCertVerifier>> {
        self.verifier.as_ref()
    }

    /// Sets what is asked in a handshake apart: sessions are resumed only where it is the same.
    pub fn handshake(&self) -> [u8; 33] {
        let mut all = [match self.mode {
            ClientAuthMode::Off => 0,
            ClientAuthMode::Optional => 1,
            ClientAuthMode::Required => 2,
        }; 33];
        if let Some((_, authorities)) = all.split_first_mut() {
            authorities.copy_from_slice(&self.authorities);
        }
        all
    }

    /// Whether both ask for certificates of the same authorities.
    pub fn has_authorities_of(&self, other: &Self) -> bool {
        self.verifier.is_some() && other.verifier.is_some() && self.authorities == other.authorities
    }

    /// Whether a chain, the client's own certificate first, is good now. Whoever shows it has proven to hold its key.
    pub fn accepts(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        match (&self.verifier, chain) {
            (Some(verifier), [own, others @ ..]) => verifier.verify_client_cert(own, others, now).is_ok(),
            _ => false,
        }
    }
}

/// The policies of all hosts of a table. There is one only where some host has a policy.
#[derive(Debug)]
pub struct ClientPolicies {
    hosts: Names<Option<Arc<ClientPolicy>>>,
    held: Names<Option<Arc<ClientPolicy>>>,
    fallback: Option<Arc<ClientPolicy>>,
    forwards: bool,
}

impl ClientPolicies {
    /// Each host, whether it is the default, and what it has; in any order. `None`: no host has a policy.
    pub fn new<'a>(hosts: impl Iterator<Item = (&'a HostName, bool, &'a HostTls)>) -> Option<Self> {
        let mut hosts: Vec<_> = hosts.collect();
        if hosts.iter().all(|(_, _, tls)| tls.client_policy.is_none()) {
            return None;
        }
        hosts.sort_unstable_by_key(|(name, _, _)| *name);
        let tells = |tls: &HostTls| tls.client_policy.as_ref().is_some_and(|policy| policy.forward);
        let forwards = hosts.iter().any(|(_, _, tls)| tells(tls));
        let mut set = Self { hosts: Names::default(), held: Names::default(), fallback: None, forwards };
        for (name, _, tls) in &hosts {
            set.hosts.add(&super::certificate::normalised(name.as_str()).into(), &tls.client_policy);
        }
        let mut shown: Vec<_> = hosts
            .into_iter()
            .filter_map(|(_, default, tls)| Some((default, tls.certificate.as_ref()?, &tls.client_policy)))
            .collect();
        let fallback = shown.iter().find(|(default, ..)| *default).or(shown.first());
        set.fallback = fallback.and_then(|(_, _, policy)| (*policy).clone());
        shown.sort_by_key(|(_, certificate, _)| Reverse(certificate.not_after()));
        for (_, certificate, policy) in shown {
            for name in certificate.names() {
                set.held.add(name, policy);
            }
        }
        Some(set)
    }

    /// Whether servers are told of the clients of any host.
    pub fn forwards(&self) -> bool {
        self.forwards
    }

    /// The policy for a name, in any case: that of the host of the name, or else of the host whose certificate a
    /// client that asks for it is shown. `None`: that host has none.
    pub fn of(&self, name: Option<&str>) -> Option<&Arc<ClientPolicy>> {
        let found =
            name.and_then(|name| lookup(name, |name| self.hosts.find(name).or_else(|| self.held.find(name))));
        found.unwrap_or(&self.fallback).as_ref()
    }
}
