//! The server's side: what a listener offers its clients.

use super::tickets::TicketRing;
use crate::model::{CipherSuite, ListenerTls, TlsVersion};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};
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

/// As [`provider`], with these cipher suites of TLS 1.2 alone, in this order; all, where there is none. Those of TLS
/// 1.3 are always there, before them.
pub(super) fn provider_of(suites: &[CipherSuite]) -> Arc<CryptoProvider> {
    if suites.is_empty() {
        return provider();
    }
    let mut provider = (**PROVIDER).clone();
    provider.cipher_suites.retain(|suite| suite.version() == &version::TLS13);
    provider.cipher_suites.extend(suites.iter().map(|suite| library_suite(*suite)));
    Arc::new(provider)
}

fn library_suite(suite: CipherSuite) -> SupportedCipherSuite {
    match suite {
        CipherSuite::EcdsaAes256Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaAes128Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaChaCha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaAes256Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaAes128Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaChaCha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
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
    let provider = provider_of(&tls.cipher_suites);
    let offered = versions(tls.min_version, tls.max_version);
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(offered);
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
    config.ignore_client_order = tls.own_order;
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
pub(super) fn versions(min: TlsVersion, max: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match (min, max) {
        (TlsVersion::V1_2, TlsVersion::V1_2) => ONLY_1_2,
        (TlsVersion::V1_2, TlsVersion::V1_3) => BOTH,
        (TlsVersion::V1_3, _) => ONLY_1_3,
    }
}
