//! Certificates made at run time, and handshakes in memory.

use super::resolver::Resolver;
use super::*;
use crate::model::{HostName, KeyPairSource, ListenerTls, TlsVersion};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::client::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion, ServerConnection};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

struct Made {
    cert: String,
    key: String,
}

fn make_with(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Made {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Made { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn make(names: &[&str]) -> Made {
    make_with(names, |_| {})
}

impl Made {
    fn load(&self) -> Arc<Certificate> {
        Arc::new(Certificate::from_pem(self.cert.as_bytes(), self.key.as_bytes()).unwrap())
    }

    fn plain(&self) -> KeyPairSource {
        KeyPairSource::Plain { cert: self.cert.as_bytes().into(), key: self.key.as_bytes().into() }
    }
}

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

fn refused(cert: &str, key: &str) -> String {
    Certificate::from_pem(cert.as_bytes(), key.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_key_pair_is_read_from_every_source() {
    let made = make(&["Shop.Example.com", "*.example.org"]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tls.crt"), &made.cert).unwrap();
    std::fs::write(dir.path().join("tls.key"), &made.key).unwrap();
    let seal = SealKeys::parse(&["07".repeat(32).as_str()]).unwrap();
    let sources = [
        made.plain(),
        seal.seal_key_pair(made.cert.as_bytes(), made.key.as_bytes()).unwrap(),
        KeyPairSource::Files { cert: "tls.crt".into(), key: "tls.key".into() },
        KeyPairSource::Files { cert: dir.path().join("tls.crt"), key: "./tls.key".into() },
    ];
    for source in sources {
        let certificate = Certificate::load(&source, &seal, Some(dir.path())).unwrap();
        assert_eq!(certificate.names(), ["shop.example.com".into(), "*.example.org".into()], "{source:?}");
        assert_eq!(certificate.key().cert.len(), 1);
    }
}

#[test]
fn other_key_kinds_and_chains_are_read() {
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["a.example".to_string()]).unwrap();
        let chain = format!("{}\n{}", params.self_signed(&key).unwrap().pem(), make(&["issuer"]).cert);
        let certificate = Certificate::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        assert_eq!(certificate.key().cert.len(), 2);
        assert_eq!(certificate.names(), ["a.example".into()]);
    }
}

#[test]
fn the_common_name_counts_only_without_alternatives() {
    let set_name = |params: &mut CertificateParams| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "CN.example");
    };
    assert_eq!(make_with(&[], set_name).load().names(), ["cn.example".into()]);
    assert_eq!(make_with(&["san.example"], set_name).load().names(), ["san.example".into()]);
    assert!(make(&[]).load().names().is_empty(), "a common name with spaces is no DNS name");
}

#[test]
fn what_cannot_be_served_is_refused_with_words() {
    let (made, other) = (make(&["a.example"]), make(&["b.example"]));
    let broken = made.cert.replace("\n-----END", "!!!\n-----END");
    let cut = made.key.split("-----END").next().unwrap().to_string();
    let encrypted = made.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let no_key = made.key.replace("PRIVATE KEY", "PUBLIC KEY");
    let nonsense_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let nonsense_cert = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let long = "x".repeat(certificate::PEM_BYTES_MAX + 1);
    let cases: &[(&str, &str, &str)] = &[
        (&made.cert, &other.key, "does not belong to the first certificate of the chain (for a.example)"),
        ("", &made.key, "the certificate is not there"),
        (&made.key, &made.key, "-----BEGIN CERTIFICATE-----"),
        (&made.cert, "", "the private key is not there"),
        (&made.cert, &no_key, "the private key is not there"),
        (&broken, &made.key, "the certificate is not well-formed PEM"),
        (&made.cert, &cut, "no END line"),
        (&made.cert, &encrypted, "passphrase"),
        (&made.cert, nonsense_key, "of a kind that is not supported"),
        (nonsense_cert, &made.key, "X.509 version 3"),
        (&long, &made.key, "longer than 1 MiB"),
        (&made.cert, &long, "longer than 1 MiB"),
    ];
    let secret_line = made.key.lines().nth(1).unwrap();
    for (cert, key, words) in cases {
        let said = refused(cert, key);
        assert!(said.contains(words), "{words:?} is not in {said:?}");
        assert!(!said.contains(&secret_line[..16]), "{said}");
    }
}

#[test]
fn a_seal_that_does_not_open_is_refused_with_words() {
    let made = make(&["a.example"]);
    let seal = SealKeys::parse(&["07".repeat(32).as_str()]).unwrap();
    let other = SealKeys::parse(&["08".repeat(32).as_str()]).unwrap();
    let pair = seal.seal_key_pair(made.cert.as_bytes(), made.key.as_bytes()).unwrap();
    let text = seal.seal(b"not json").unwrap();
    let text = KeyPairSource::Sealed { val: text.val.into(), nonce: text.nonce };
    let cases = [
        (&pair, &SealKeys::none(), "no seal key is given"),
        (&pair, &other, "none of the seal keys given (1) opens it"),
        (&text, &seal, "not a key pair"),
    ];
    for (source, keys, words) in cases {
        let error = Certificate::load(source, keys, None).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.field(), "Settings.KeyPair");
    }
}

#[test]
fn files_lie_below_the_secrets_directory() {
    let made = make(&["a.example"]);
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("secrets");
    std::fs::create_dir(&dir).unwrap();
    for (file, text) in
        [("outside.key", &made.key), ("secrets/in.crt", &made.cert), ("secrets/in.key", &made.key)]
    {
        std::fs::write(top.path().join(file), text).unwrap();
    }
    std::os::unix::fs::symlink("../outside.key", dir.join("leaves.key")).unwrap();
    std::os::unix::fs::symlink("in.key", dir.join("stays.key")).unwrap();
    let load = |key: &str, dir: Option<&Path>| {
        let source = KeyPairSource::Files { cert: "in.crt".into(), key: key.into() };
        Certificate::load(&source, &SealKeys::none(), dir).map_err(|error| (error.to_string(), error.field()))
    };
    assert!(load("in.key", Some(&dir)).is_ok());
    assert!(load("stays.key", Some(&dir)).is_ok());
    for key in
        ["../outside.key", "leaves.key", "/etc/hostname", top.path().join("outside.key").to_str().unwrap()]
    {
        let (said, field) = load(key, Some(&dir)).unwrap_err();
        assert!(said.contains("outside the secrets directory") && said.contains(key), "{said}");
        assert_eq!(field, "Settings.KeyPair.KeyFile");
    }
    for key in ["absent.key", "."] {
        assert!(load(key, Some(&dir)).unwrap_err().0.contains("cannot be read"));
    }
    assert!(load("in.key", None).unwrap_err().0.contains("--secrets-dir"));
}

#[test]
fn time_and_names_are_warnings() {
    let made = make_with(&["a.example", "*.b.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 3, 1);
    });
    let certificate = made.load();
    let day = Duration::from_secs(86_400);
    let start = certificate.not_before();
    assert_eq!(start, SystemTime::UNIX_EPOCH + 20_454 * day);
    let at = |host: &str, now: SystemTime| {
        certificate.warnings(&name(host), now).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let cases: &[(&str, SystemTime, &str)] = &[
        ("a.example", start, ""),
        ("A.Example", start + 59 * day, ""),
        ("x.b.example", start + day, ""),
        ("*.b.example", start + day, ""),
        (
            "x.y.b.example",
            start + day,
            "the certificate is for a.example, *.b.example; clients that ask for x.y.b",
        ),
        ("b.example", start + day, "clients that ask for b.example refuse it"),
        ("a.example", start - day / 2, "becomes valid within 1 day;"),
        ("a.example", start + 59 * day + day / 2, "has expired today"),
        ("a.example", start + 62 * day, "expired 3 days ago"),
        ("c.example", start + 62 * day, "refuse it; the certificate is for"),
    ];
    for (host, now, words) in cases {
        let said = at(host, *now);
        assert!(
            said.contains(words) && said.is_empty() == words.is_empty(),
            "{host}: {said:?}, not {words:?}"
        );
    }
    assert_eq!(certificate.days_left(start), 59);
    assert_eq!(certificate.days_left(start + 59 * day - day / 2), 0);
    assert_eq!(certificate.days_left(start + 59 * day + day / 2), -1);
    assert_eq!(certificate.seconds_left(start + 60 * day), -86_400);
}

/// The hosts of the resolution tests, and the certificate each has.
fn hosts(default: Option<&str>) -> (Certificates, Vec<(String, CertificateDer<'static>)>) {
    let table: &[(&str, &[&str])] = &[
        ("shop.example.com", &["shop.example.com"]),
        ("*.example.com", &["*.example.com"]),
        (
            "mail.example.net",
            &["mail.example.net", "IMAP.example.net", "*.lists.example.net", "api.example.com"],
        ),
        ("a-first.example", &["a-first.example"]),
        ("z-last.example", &["z-last.example", "imap.lists.example.net"]),
    ];
    let mut shown = Vec::new();
    let set = table.iter().map(|(host, names)| {
        let certificate = make(names).load();
        shown.push((host.to_string(), certificate.key().cert[0].clone()));
        (name(host), default == Some(*host), certificate)
    });
    (Certificates::new(set.collect()), shown)
}

fn shown_for(set: &Certificates, known: &[(String, CertificateDer<'static>)], sni: Option<&str>) -> String {
    let key = set.resolve(sni).unwrap();
    known.iter().find(|(_, der)| *der == key.cert[0]).unwrap().0.clone()
}

#[test]
fn certificates_are_found_in_order() {
    let (set, known) = hosts(Some("z-last.example"));
    let cases: &[(Option<&str>, &str)] = &[
        (Some("shop.example.com"), "shop.example.com"),
        (Some("SHOP.Example.COM"), "shop.example.com"),
        (Some("shop.example.com."), "shop.example.com"),
        (Some("other.example.com"), "*.example.com"),
        (Some("api.example.com"), "*.example.com"),
        (Some("two.labels.example.com"), "z-last.example"),
        (Some("example.com"), "z-last.example"),
        (Some(".example.com"), "z-last.example"),
        (Some("imap.example.net"), "mail.example.net"),
        (Some("rust.lists.example.net"), "mail.example.net"),
        (Some("imap.lists.example.net"), "z-last.example"),
        (Some("unknown.example"), "z-last.example"),
        (Some(""), "z-last.example"),
        (Some("."), "z-last.example"),
        (None, "z-last.example"),
    ];
    for (sni, expected) in cases {
        assert_eq!(shown_for(&set, &known, *sni), *expected, "{sni:?}");
    }
    let (set, known) = hosts(None);
    assert_eq!(shown_for(&set, &known, None), "*.example.com", "the first by name");
    assert!(Certificates::default().resolve(Some("a.example")).is_none());
    assert!(Certificates::default().is_empty() && !set.is_empty() && set.len() == 5);
}

#[test]
fn of_two_certificates_with_a_name_the_later_one_counts() {
    let until = |year| {
        make_with(&["shared.example"], |params| params.not_after = rcgen::date_time_ymd(year, 1, 1)).load()
    };
    let (old, new) = (until(2030), until(2040));
    for (first, second) in [(&old, &new), (&new, &old)] {
        let set = Certificates::new(vec![
            (name("a.example"), false, first.clone()),
            (name("b.example"), false, second.clone()),
        ]);
        assert!(Arc::ptr_eq(&set.resolve(Some("shared.example")).unwrap(), new.key()));
        assert!(Arc::ptr_eq(&set.resolve(Some("a.example")).unwrap(), first.key()));
    }
}

/// Moves bytes both ways until neither side has any; the first error of either ends it.
fn shake(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
    loop {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let from_client = bytes.len();
        let mut input = bytes.as_slice();
        while !input.is_empty() {
            server.read_tls(&mut input).unwrap();
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        if from_client + bytes.len() == 0 {
            return Ok(());
        }
        let mut input = bytes.as_slice();
        while !input.is_empty() {
            client.read_tls(&mut input).unwrap();
            client.process_new_packets()?;
        }
    }
}

/// A listener's configuration over the given certificates, and the client that is tried on it.
struct Shake {
    tls: ListenerTls,
    resolver: Arc<Resolver>,
    ring: Arc<TicketRing>,
}

struct Shaken {
    client: ClientConnection,
    server: ServerConnection,
}

impl Shake {
    fn new(certificates: Certificates) -> Self {
        Self {
            tls: ListenerTls::default(),
            resolver: Arc::new(Resolver::new(Arc::new(certificates))),
            ring: Arc::new(TicketRing::random()),
        }
    }

    fn of(names: &[&str]) -> Self {
        Self::new(Certificates::new(vec![(name(names[0]), false, make(names).load())]))
    }

    fn with(self, min_version: TlsVersion, max_version: TlsVersion) -> Self {
        Self { tls: ListenerTls { min_version, max_version, ..self.tls }, ..self }
    }

    fn config(&self) -> Arc<rustls::ServerConfig> {
        server_config(&self.tls, self.resolver.clone(), self.ring.clone(), None)
    }

    fn run(&self, config: &Arc<ClientConfig>, sni: &str) -> Result<Shaken, rustls::Error> {
        let name = ServerName::try_from(sni.to_string()).unwrap();
        let mut client = ClientConnection::new(config.clone(), name).unwrap();
        let mut server = ServerConnection::new(self.config()).unwrap();
        shake(&mut client, &mut server)?;
        Ok(Shaken { client, server })
    }
}

impl Shaken {
    fn leaf(&self) -> CertificateDer<'static> {
        self.client.peer_certificates().unwrap()[0].clone()
    }

    fn is_resumed(&self) -> bool {
        let kinds = [self.client.handshake_kind(), self.server.handshake_kind()];
        assert_eq!(kinds[0], kinds[1]);
        kinds[0] == Some(HandshakeKind::Resumed)
    }
}

fn anyone(alpn: &[&str]) -> Arc<ClientConfig> {
    let alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    client_config(&ClientTls { trust: Trust::Anyone, alpn, ..ClientTls::default() }).unwrap()
}

fn anyone_with(change: impl FnOnce(&mut ClientConfig)) -> Arc<ClientConfig> {
    let mut config = Arc::unwrap_or_clone(anyone(&[]));
    change(&mut config);
    Arc::new(config)
}

#[test]
fn a_handshake_shows_the_certificate_of_the_name() {
    let (set, known) = hosts(Some("z-last.example"));
    let shake = Shake::new(set);
    let shown = |config: &Arc<ClientConfig>, sni: &str| {
        let leaf = shake.run(config, sni).unwrap().leaf();
        known.iter().find(|(_, der)| *der == leaf).unwrap().0.clone()
    };
    let cases = [
        ("shop.example.com", "shop.example.com"),
        ("SHOP.example.com", "shop.example.com"),
        ("other.example.com", "*.example.com"),
        ("imap.example.net", "mail.example.net"),
        ("unknown.example", "z-last.example"),
        ("10.1.2.3", "z-last.example"),
    ];
    for (sni, host) in cases {
        assert_eq!(shown(&anyone(&[]), sni), host, "{sni}");
    }
    let silent = anyone_with(|config| config.enable_sni = false);
    assert_eq!(shown(&silent, "shop.example.com"), "z-last.example");
}

#[test]
fn without_certificates_a_handshake_is_refused() {
    assert!(Shake::new(Certificates::default()).run(&anyone(&[]), "a.example").is_err());
}

#[test]
fn a_swap_is_seen_by_the_next_handshake_and_drops_no_connection() {
    use std::io::{Read, Write};
    let shake = Shake::of(&["a.example"]);
    let mut first = shake.run(&anyone(&[]), "a.example").unwrap();
    let renewed = make(&["a.example"]).load();
    let set = Certificates::new(vec![(name("a.example"), false, renewed.clone())]);
    shake.resolver.swap(Arc::new(set));
    let second = shake.run(&anyone(&[]), "a.example").unwrap();
    assert_eq!(second.leaf(), renewed.key().cert[0]);
    assert_ne!(first.leaf(), second.leaf());

    first.client.writer().write_all(b"still there").unwrap();
    super::tests::shake(&mut first.client, &mut first.server).unwrap();
    let mut text = [0; 11];
    first.server.reader().read_exact(&mut text).unwrap();
    assert_eq!(&text, b"still there");
}

#[test]
fn both_versions_are_spoken_within_the_bounds() {
    use ProtocolVersion::{TLSv1_2, TLSv1_3};
    use TlsVersion::{V1_2, V1_3};
    let cases = [
        (V1_2, V1_3, Some(TLSv1_2), Some(TLSv1_3)),
        (V1_2, V1_2, Some(TLSv1_2), None),
        (V1_3, V1_3, None, Some(TLSv1_3)),
        (V1_3, V1_2, None, Some(TLSv1_3)),
    ];
    for (min, max, old_client, new_client) in cases {
        let shake = Shake::of(&["a.example"]).with(min, max);
        for (version, expected) in
            [(&rustls::version::TLS12, old_client), (&rustls::version::TLS13, new_client)]
        {
            let roots = rustls::RootCertStore::empty();
            let builder =
                ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
            let mut config = builder.with_root_certificates(roots).with_no_client_auth();
            config.dangerous().set_certificate_verifier(Arc::new(client::AnyServer(provider())));
            let spoken =
                shake.run(&Arc::new(config), "a.example").ok().and_then(|s| s.server.protocol_version());
            assert_eq!(spoken, expected, "{min:?} to {max:?}");
        }
    }
}

#[test]
fn protocols_are_negotiated() {
    let shake = Shake::of(&["a.example"]);
    let cases: &[(&[&str], Option<&[u8]>)] = &[
        (&[], None),
        (&["http/1.1"], Some(b"http/1.1")),
        (&["h2"], Some(b"h2")),
        (&["http/1.1", "h2"], Some(b"h2")),
    ];
    for (offered, expected) in cases {
        let shaken = shake.run(&anyone(offered), "a.example").unwrap();
        assert_eq!(shaken.server.alpn_protocol(), *expected, "{offered:?}");
    }
    let refused = shake.run(&anyone(&["foo"]), "a.example").err();
    assert_eq!(refused, Some(rustls::Error::NoApplicationProtocol));
}

#[test]
fn every_key_exchange_is_taken() {
    let shake = Shake::of(&["a.example"]);
    let groups =
        [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1];
    assert_eq!(provider().kx_groups.iter().map(|group| group.name()).collect::<Vec<_>>(), groups);
    for group in groups {
        let mut only = (*provider()).clone();
        only.kx_groups.retain(|g| g.name() == group);
        let builder =
            ClientConfig::builder_with_provider(Arc::new(only)).with_safe_default_protocol_versions();
        let builder = builder.unwrap().dangerous();
        let builder = builder.with_custom_certificate_verifier(Arc::new(client::AnyServer(provider())));
        let shaken = shake.run(&Arc::new(builder.with_no_client_auth()), "a.example").unwrap();
        assert_eq!(shaken.server.negotiated_key_exchange_group().unwrap().name(), group);
    }
}

#[test]
fn sessions_resume_where_the_ring_is_shared_and_only_there() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let one = Shake::of(&["a.example", "b.example"]).with(version, version);
        let twin = Shake { ring: one.ring.clone(), ..Shake::of(&["a.example"]).with(version, version) };
        let stranger = Shake {
            ring: Arc::new(TicketRing::random()),
            ..Shake::of(&["a.example"]).with(version, version)
        };
        let off = Shake {
            tls: ListenerTls { tickets_disabled: true, ..one.tls.clone() },
            resolver: one.resolver.clone(),
            ring: one.ring.clone(),
        };

        let config = anyone(&[]);
        assert!(!one.run(&config, "a.example").unwrap().is_resumed(), "{version:?}");
        assert!(one.run(&config, "a.example").unwrap().is_resumed(), "{version:?}");
        assert!(twin.run(&config, "a.example").unwrap().is_resumed(), "{version:?}");
        assert!(!stranger.run(&config, "a.example").unwrap().is_resumed(), "{version:?}");
        assert!(
            !one.run(&config, "b.example").unwrap().is_resumed(),
            "{version:?}: a ticket is for one name"
        );

        let config = anyone(&[]);
        for _ in 0..2 {
            assert!(!off.run(&config, "a.example").unwrap().is_resumed(), "{version:?}");
        }
    }
}

#[test]
fn a_session_of_one_policy_is_not_resumed_under_another() {
    let rings = TicketRings::derived(zeroize::Zeroizing::new([7; 32]));
    let wide = Shake::of(&["a.example"]);
    let wide = Shake { ring: rings.ring(&wide.tls, None), ..wide };
    let strict = Shake::of(&["a.example"]).with(TlsVersion::V1_3, TlsVersion::V1_3);
    let strict = Shake { ring: rings.ring(&strict.tls, None), ..strict };
    let config = anyone(&[]);
    wide.run(&config, "a.example").unwrap();
    assert!(!strict.run(&config, "a.example").unwrap().is_resumed());
    assert!(strict.run(&config, "a.example").unwrap().is_resumed());
}

#[test]
fn early_data_and_stored_sessions_are_off() {
    let config = Shake::of(&["a.example"]).config();
    assert_eq!(config.max_early_data_size, 0);
    assert!(!config.session_storage.can_cache());
}

#[test]
fn servers_are_trusted_as_configured() {
    let (trusted, stranger) = (make(&["a.example"]), make(&["a.example"]));
    let trust = Trust::Authorities(trusted.cert.as_bytes().into());
    let config = client_config(&ClientTls { trust, ..ClientTls::default() }).unwrap();
    let of = |made: &Made| Shake::new(Certificates::new(vec![(name("a.example"), false, made.load())]));
    assert!(of(&trusted).run(&config, "a.example").is_ok());
    assert!(of(&trusted).run(&config, "b.example").is_err(), "a wrong name");
    assert!(of(&stranger).run(&config, "a.example").is_err(), "self-signed");

    for (pem, words) in
        [("", "no certificate of an authority"), ("-----BEGIN CERTIFICATE-----\n", "not well-formed")]
    {
        let trust = Trust::Authorities(pem.as_bytes().into());
        let said = client_config(&ClientTls { trust, ..ClientTls::default() }).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn ten_thousand_hosts_make_a_set() {
    let certificate = make(&["*.example.com"]).load();
    let hosts = (0..10_000).map(|i| (name(&format!("h{i}.example.com")), i == 5_000, certificate.clone()));
    let set = Certificates::new(hosts.collect());
    assert_eq!(set.len(), 10_000);
    assert!(set.resolve(Some("h9999.example.com")).is_some());
}

/// Bytes that no client of ours would send (a hello with one cut or changed byte) end in an error, never in a panic.
#[test]
fn a_damaged_hello_is_refused() {
    let shake = Shake::of(&["a.example"]);
    let mut client =
        ClientConnection::new(anyone(&["h2"]), ServerName::try_from("a.example").unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let config = shake.config();
    for place in 0..hello.len() {
        let mut changed = hello.clone();
        changed[place] ^= 0x55;
        let mut server = ServerConnection::new(config.clone()).unwrap();
        for byte in changed {
            server.read_tls(&mut [byte].as_slice()).unwrap();
            if server.process_new_packets().is_err() {
                break;
            }
        }
        assert!(server.is_handshaking());
    }
    for text in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"\x80\x2e\x01\x03\x00\x00\x15\x00\x00\x00\x10"] {
        let mut server = ServerConnection::new(config.clone()).unwrap();
        server.read_tls(&mut &*text).unwrap();
        assert!(server.process_new_packets().is_err());
    }
}

#[test]
fn the_development_certificate_can_be_served() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let source = KeyPairSource::Files { cert: "dev-localhost.crt".into(), key: "dev-localhost.key".into() };
    let certificate = Certificate::load(&source, &SealKeys::none(), Some(&dir)).unwrap();
    for host in ["localhost", "*.localhost", "shop.localhost"] {
        assert!(certificate.covers(&name(host)), "{host}");
    }
}

#[test]
fn suites_versions_and_their_order_are_as_configured() {
    use crate::model::CipherSuite::{
        self, EcdsaAes128Gcm as Aes, EcdsaChaCha20 as ChaCha, RsaAes128Gcm as Rsa,
    };
    use crate::model::UpstreamTls;
    for suite in CipherSuite::ALL {
        let provider = super::server::provider_of(&[suite]);
        let names: Vec<_> = provider.cipher_suites.iter().map(|it| format!("{:?}", it.suite())).collect();
        assert_eq!(
            names.iter().filter(|name| !name.starts_with("TLS13_")).collect::<Vec<_>>(),
            [suite.as_str()]
        );
    }
    assert_eq!(provider().cipher_suites.len(), CipherSuite::ALL.len() + 3);
    let client = |settings: UpstreamTls| {
        client_config(&ClientTls::of(&UpstreamTls { insecure: true, ..settings }, None, Vec::new())).unwrap()
    };
    let check = |ours: &[CipherSuite], own_order, theirs: &[CipherSuite], expected: Option<CipherSuite>| {
        let mut shake = Shake::of(&["a.example"]).with(TlsVersion::V1_2, TlsVersion::V1_2);
        shake.tls.cipher_suites = ours.to_vec();
        shake.tls.own_order = own_order;
        let config = client(UpstreamTls { cipher_suites: theirs.to_vec(), ..UpstreamTls::default() });
        let shaken = shake.run(&config, "a.example").ok();
        let found = shaken.map(|it| format!("{:?}", it.server.negotiated_cipher_suite().unwrap().suite()));
        assert_eq!(found.as_deref(), expected.map(CipherSuite::as_str), "{ours:?} {theirs:?}");
    };
    check(&[], false, &[ChaCha, Aes], Some(ChaCha));
    check(&[Aes, ChaCha], false, &[ChaCha, Aes], Some(ChaCha));
    check(&[Aes, ChaCha], true, &[ChaCha, Aes], Some(Aes));
    check(&[Aes], false, &[], Some(Aes));
    check(&[Aes], false, &[ChaCha], None);
    // The certificate is an ECDSA one.
    check(&[Rsa], false, &[], None);
    let (v1_2, v1_3) = (TlsVersion::V1_2, TlsVersion::V1_3);
    for (ours, theirs, works) in [
        ((v1_2, v1_3), (v1_2, v1_2), true),
        ((v1_3, v1_3), (v1_2, v1_3), true),
        ((v1_3, v1_3), (v1_2, v1_2), false),
        ((v1_2, v1_2), (v1_3, v1_3), false),
    ] {
        let shake = Shake::of(&["a.example"]).with(ours.0, ours.1);
        let (min_version, max_version) = theirs;
        let config = client(UpstreamTls { min_version, max_version, ..UpstreamTls::default() });
        assert_eq!(shake.run(&config, "a.example").is_ok(), works, "{ours:?} {theirs:?}");
    }
}

#[test]
fn a_name_has_the_policy_of_the_host_that_it_is_shown() {
    use crate::model::{AuthoritiesSource, ClientAuth, ClientAuthMode};
    let authority =
        make_with(&[], |params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    let policy = |mode, forward| {
        let authorities = Some(AuthoritiesSource::Pem(authority.cert.as_bytes().into()));
        Some(Arc::new(ClientPolicy::load(&ClientAuth { mode, authorities, forward }, None).unwrap()))
    };
    let certificate = |names: &[&str]| Some(make(names).load());
    let (optional, required) = (ClientAuthMode::Optional, ClientAuthMode::Required);
    let hosts = [
        ("a.example", false, certificate(&["a.example", "also.example"]), policy(required, false)),
        ("*.wild.example", false, certificate(&["*.wild.example"]), policy(optional, false)),
        ("open.wild.example", false, None, None),
        ("bare.example", false, None, policy(required, true)),
        ("default.example", true, certificate(&["default.example"]), policy(optional, true)),
    ];
    let hosts = hosts.map(|(host, default, certificate, client_policy)| {
        (name(host), default, HostTls { certificate, client_policy })
    });
    let set = ClientPolicies::new(hosts.iter().map(|(name, default, tls)| (name, *default, tls))).unwrap();
    for (asked, expected) in [
        (Some("a.example"), Some((required, false))),
        (Some("A.example."), Some((required, false))),
        (Some("also.example"), Some((required, false))),
        (Some("x.wild.example"), Some((optional, false))),
        (Some("open.wild.example"), None),
        (Some("bare.example"), Some((required, true))),
        (Some("other.example"), Some((optional, true))),
        (Some(""), Some((optional, true))),
        (None, Some((optional, true))),
    ] {
        let found = set.of(asked).map(|policy| (policy.mode, policy.forward));
        assert_eq!(found, expected, "{asked:?}");
    }
    let [_, _, open, ..] = &hosts;
    assert!(ClientPolicies::new([(&open.0, open.1, &open.2)].into_iter()).is_none());
    let sets = [policy(required, false), policy(required, true), policy(optional, false)].map(Option::unwrap);
    assert_eq!(sets[0].handshake(), sets[1].handshake());
    assert_ne!(sets[0].handshake(), sets[2].handshake());
    assert!(sets[0].has_authorities_of(&sets[2]));
}
