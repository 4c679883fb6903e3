//! An accepted connection: the client's address where a proxy tells it, TLS where the listener speaks it, then HTTP/1.1 or HTTP/2.

use super::client::{Client, TlsSession};
use super::handshake::{Secured, shake};
use super::listeners::Accepted;
use super::worker::Worker;
use super::{http1, http2, proxied};
use crate::wire::{Stream, Wire};
use std::rc::Rc;

/// What an HTTP/2 client says first when it needs no negotiation (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves one connection until it ends.
pub(super) async fn serve(worker: Rc<Worker>, mut client: Client, mut socket: Accepted) {
    let proxied = client.listener.object.proxy_protocol.as_ref().filter(|it| it.trusts(client.ip()));
    if let Some(versions) = proxied.map(|proxied| proxied.versions) {
        // In a box: connections without it do not keep room for it.
        let taken = Box::pin(proxied::take_header(&worker, &mut client, &mut socket, versions)).await;
        if !taken {
            return;
        }
    }
    let listener = client.listener.clone();
    let Some(secure) = &listener.tls else {
        let wire = Wire::new(Stream::Plain(socket));
        if client.listener.object.h2c && speaks_http2(&worker, &wire).await {
            return http2::serve(worker, Rc::new(client), wire).await;
        }
        return http1::serve(worker, Rc::new(client), Rc::new(wire)).await;
    };
    let timer = worker.timer();
    timer.set(worker.settings().handshake_timeout);
    let Secured { stream, shown } = match timer.bound(shake(&worker, &listener, secure, socket)).await {
        Some(Ok(secured)) => secured,
        Some(Err(error)) => {
            tracing::debug!(listener = %client.listener.id, %error, "handshake failed");
            return;
        }
        None => return,
    };
    drop(timer);
    let (_, session) = stream.get_ref();
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let http2 = session.alpn_protocol() == Some(b"h2");
    let cipher =
        session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
    let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    client.server_name = session.server_name().unwrap_or_default().into();
    client.tls = Some(TlsSession { version, cipher, resumed });
    client.shown = shown;
    let wire = Wire::new(Stream::TlsServer(Box::new(stream)));
    if http2 {
        http2::serve(worker, Rc::new(client), wire).await;
    } else {
        http1::serve(worker, Rc::new(client), Rc::new(wire)).await;
    }
}

/// Whether the first bytes are HTTP/2's preface; they stay in the wire's input either way.
async fn speaks_http2(worker: &Worker, wire: &Wire) -> bool {
    let timer = worker.timer();
    timer.set(worker.settings().head_timeout);
    loop {
        {
            let input = wire.input();
            let seen = input.bytes();
            let length = seen.len().min(PREFACE.len());
            if seen.get(..length) != PREFACE.get(..length) {
                return false;
            }
            if length == PREFACE.len() {
                return true;
            }
        }
        // Whoever has said nothing when the process drains is let go as any silent client is.
        let silent = wire.input().is_empty();
        let filled =
            if silent { timer.bound_idle(wire.fill()).await } else { timer.bound(wire.fill()).await };
        match filled {
            Some(Ok(1..)) => {}
            _ => return false,
        }
    }
}
