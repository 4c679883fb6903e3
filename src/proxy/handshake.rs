//! The TLS handshake, and under what policy it asks a client for a certificate.

use super::client_auth::Shown;
use super::listeners::{Accepted, Listener};
use super::worker::Worker;
use crate::model::ListenerTls;
use crate::tls::{ClientPolicies, ClientPolicy, TicketRings, server_config};
use rustls::ServerConfig;
use rustls::server::{Acceptor, ResolvesServerCert};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

/// Most policies of client certificates whose configurations a listener keeps; past them it begins anew.
const POLICIES_MAX: usize = 4096;

/// What a listener that speaks TLS offers.
pub(super) struct Secure {
    tls: ListenerTls,
    resolver: Arc<dyn ResolvesServerCert>,
    tickets: Arc<TicketRings>,
    /// Asks nobody for a certificate.
    open: Arc<ServerConfig>,
    /// By [`ClientPolicy::handshake`]. Handshakes of hosts without a policy do not come here.
    asking: Mutex<HashMap<[u8; 33], Arc<ServerConfig>>>,
}

/// A handshake that is done.
pub(super) struct Secured {
    pub stream: TlsStream<Accepted>,
    /// What the client showed of itself; `None`: it was not asked.
    pub shown: Option<Box<Shown>>,
}

impl Secure {
    pub(super) fn new(
        tls: ListenerTls,
        resolver: Arc<dyn ResolvesServerCert>,
        tickets: Arc<TicketRings>,
    ) -> Self {
        let open = server_config(&tls, resolver.clone(), tickets.ring(&tls, None), None);
        Self { tls, resolver, tickets, open, asking: Mutex::default() }
    }

    /// What is offered to clients of hosts with this policy.
    fn asking(&self, policy: &ClientPolicy) -> Arc<ServerConfig> {
        let Some(verifier) = policy.verifier() else { return self.open.clone() };
        let handshake = policy.handshake();
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if asking.len() >= POLICIES_MAX && !asking.contains_key(&handshake) {
            asking.clear();
        }
        let make = || {
            let ring = self.tickets.ring(&self.tls, Some(handshake));
            server_config(&self.tls, self.resolver.clone(), ring, Some(verifier.clone()))
        };
        asking.entry(handshake).or_insert_with(make).clone()
    }
}

/// Shakes hands with a client of `listener`, as the table in force asks it to. The caller bounds the time.
///
/// # Errors
/// The client does not speak TLS, or does not show what it must.
pub(super) async fn shake(
    worker: &Worker,
    listener: &Listener,
    secure: &Secure,
    socket: Accepted,
) -> io::Result<Secured> {
    let Some(policies) = worker.with_table(|table| table.client_policies().cloned()) else {
        let stream = TlsAcceptor::from(secure.open.clone()).accept(socket).await?;
        return Ok(Secured { stream, shown: None });
    };
    // In a box: where nobody asks for certificates no connection keeps room for it.
    let (stream, policy) = Box::pin(ask(&policies, secure, socket)).await?;
    let shown = policy.map(|policy| Box::new(Shown::new(policy, stream.get_ref().1)));
    if let Some(subject) = shown.as_ref().and_then(|shown| shown.subject()) {
        tracing::debug!(listener = %listener.id, subject, "client certificate");
    }
    Ok(Secured { stream, shown })
}

async fn ask(
    policies: &ClientPolicies,
    secure: &Secure,
    socket: Accepted,
) -> io::Result<(TlsStream<Accepted>, Option<Arc<ClientPolicy>>)> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
    let policy = policies.of(start.client_hello().server_name()).cloned();
    let policy = policy.filter(|policy| policy.verifier().is_some());
    let config = policy.as_ref().map_or_else(|| secure.open.clone(), |policy| secure.asking(policy));
    Ok((start.into_stream(config).await?, policy))
}
