//! The server's side: what a listener offers its clients.

use super::tickets::TicketRing;
use crate::model::{ListenerTls, TlsVersion};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::{SupportedProtocolVersion, version};
use std::sync::{Arc, LazyLock};

/// Protocols offered by ALPN (RFC 7301), the preferred one first. A client that offers others only is refused with
/// `no_application_protocol`; one that offers none speaks HTTP/1.1.
pub const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let provider = aws_lc_rs::default_provider();
    Arc::new(CryptoProvider {
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..provider
    })
});

/// The cryptography of every TLS connection, upstream and downstream: AWS-LC, its authenticated ciphers only, and
/// the key exchanges of Mozilla's intermediate recommendation in its order.
///
/// Of these a server takes the one that its client prefers; the order is what we prefer as a client.
pub fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// What a listener with these settings offers. Sessions are resumed by ticket only, and no early data is taken
/// (RFC 8470: a replayed request is not safe to forward). `clients` asks them for certificates; its sessions need a
/// ring of their own.
pub fn server_config(
    tls: &ListenerTls,
    resolver: Arc<dyn ResolvesServerCert>,
    tickets: Arc<TicketRing>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions(tls));
    #[expect(
        clippy::expect_used,
        reason = "fails only for versions without a cipher suite; a test builds all of them"
    )]
    let builder = builder.expect("every version has cipher suites and key exchanges");
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = ALPN.map(Vec::from).into();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    if tls.tickets_disabled {
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = tickets;
    }
    Arc::new(config)
}

const ONLY_1_2: &[&SupportedProtocolVersion] = &[&version::TLS12];
const ONLY_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];
const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// A range that contains nothing is taken as its lower end alone.
fn versions(tls: &ListenerTls) -> &'static [&'static SupportedProtocolVersion] {
    match (tls.min_version, tls.max_version) {
        (TlsVersion::V1_2, TlsVersion::V1_2) => ONLY_1_2,
        (TlsVersion::V1_2, TlsVersion::V1_3) => BOTH,
        (TlsVersion::V1_3, _) => ONLY_1_3,
    }
}
