//! A client's connection, as its requests see it.

use super::client_auth::Shown;
use super::listeners::Listener;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::Notify;

/// What is known of a client for all its requests on one connection.
pub(super) struct Client {
    pub listener: Arc<Listener>,
    /// None over a Unix socket, unless a proxy told.
    pub peer: Option<SocketAddr>,
    /// The address as text, for headers; `unknown` where there is none.
    pub address_text: Box<str>,
    /// Set once the handshake is done.
    pub tls: Option<TlsSession>,
    /// What it showed in its handshake; `None`: it was not asked for a certificate.
    pub shown: Option<Box<Shown>>,
    /// Told once a request came that needs a connection made otherwise: this one is to be closed.
    pub misdirected: Notify,
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
        let mut client = Self {
            listener,
            peer: None,
            address_text: Box::default(),
            tls: None,
            server_name: Box::default(),
            shown: None,
            misdirected: Notify::const_new(),
        };
        client.set_peer(peer);
        client
    }

    /// A trusted proxy has told where the client is.
    pub(super) fn set_peer(&mut self, peer: Option<SocketAddr>) {
        self.peer = peer;
        self.address_text = match peer {
            Some(peer) => peer.ip().to_canonical().to_string().into(),
            None => "unknown".into(),
        };
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip().to_canonical())
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}
