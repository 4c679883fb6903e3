//! A client's connection, as its requests see it.

use super::listeners::Listener;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is known of a client for all its requests on one connection.
pub(super) struct Client {
    pub listener: Arc<Listener>,
    /// None over a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The address as text, for headers; `unknown` over a Unix socket.
    pub address_text: Box<str>,
    /// Set once the handshake is done.
    pub tls: Option<TlsSession>,
    /// The name it asked for by SNI; empty where it named none.
    pub server_name: Box<str>,
}

/// What a handshake settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct TlsSession {
    /// `TLSv1.3`
    pub version: &'static str,
    /// `TLS13_AES_128_GCM_SHA256`; empty where it is not known.
    pub cipher: &'static str,
    /// It went on from an earlier connection.
    pub resumed: bool,
}

impl Client {
    pub(super) fn new(listener: Arc<Listener>, peer: Option<SocketAddr>) -> Self {
        let address_text = match peer {
            Some(peer) => peer.ip().to_canonical().to_string(),
            None => "unknown".to_owned(),
        };
        Self { listener, peer, address_text: address_text.into(), tls: None, server_name: Box::default() }
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip().to_canonical())
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}
