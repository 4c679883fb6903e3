//! Client certificates: who is let in, by which connection, and what servers are told.

use super::{Got, curl};
use crate::support::directory::listener;
use crate::support::echo::Echo;
use crate::support::{Directory, Flipgate, TestAuthority, TestCertificate, shared};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const NAMES: [&str; 4] = ["needs.example", "may.example", "open.example", "bare.example"];

struct Scene {
    flipgate: Flipgate,
    directory: Directory,
    _echo: Echo,
    server: TestCertificate,
    authority: TestAuthority,
    stranger: TestAuthority,
    ca: String,
    dir: PathBuf,
}

fn client_auth(mode: &str, authority: &TestAuthority) -> Value {
    json!({"Mode": mode, "CA": authority.certificate, "Forward": true})
}

/// `needs` requires a certificate, `may` takes one, `open` asks for none; `bare` has no certificate of its own to show,
/// but requires one of its clients.
fn scene() -> Scene {
    let echo = Echo::plain(false);
    let directory = Directory::new();
    let (authority, stranger) = (TestAuthority::new("ours"), TestAuthority::new("theirs"));
    let server = TestCertificate::of(&NAMES);
    let dir = directory.path().parent().unwrap().to_owned();
    directory.put("listeners/https", &listener("https"));
    directory.put("listeners/http", &listener("http"));
    directory.put_way("all", "PathPrefix(`/`)", echo.address());
    directory.put_way("vip", "Header(`X-Client-Cert-Subject`, `CN=vip`)", echo.address());
    let ca = server.write(&dir, "server.pem").to_str().unwrap().to_owned();
    let flipgate = Flipgate::on(&directory.url()).ready();
    let scene = Scene { flipgate, directory, _echo: echo, server, authority, stranger, ca, dir };
    scene.put_host("needs.example", Some(client_auth("required", &scene.authority)));
    scene.put_host("may.example", Some(client_auth("optional", &scene.authority)));
    scene.put_host("open.example", None);
    let bare = json!({"Settings": {"ClientAuth": client_auth("required", &scene.authority)}});
    scene.put("hosts/bare.example/host", &bare);
    scene
}

impl Scene {
    /// Returns once it is in force.
    fn put(&self, key: &str, value: &Value) {
        let revision = |status: &Value| status["revision"].as_i64().unwrap();
        let before = revision(&self.flipgate.admin().status());
        self.directory.put(key, value);
        let most = Duration::from_secs(10);
        self.flipgate.admin().state("the change is in force", most, |status| revision(status) > before);
        assert_eq!(self.flipgate.admin().status()["problems"]["error"], 0);
    }

    fn put_host(&self, name: &str, client_auth: Option<Value>) {
        let mut host = self.server.host(name == "open.example");
        if let Some(client_auth) = client_auth {
            host["Settings"]["ClientAuth"] = client_auth;
        }
        self.put(&format!("hosts/{name}/host"), &host);
    }

    fn arguments(&self, version: &str, client: Option<&TestCertificate>) -> Vec<String> {
        let port = self.flipgate.address("https").port();
        let mut arguments = vec![version.to_owned(), "--cacert".into(), self.ca.clone()];
        for name in NAMES {
            arguments.extend(["--resolve".into(), format!("{name}:{port}:127.0.0.1")]);
        }
        if let Some(client) = client {
            let pair = client.write_pair(&self.dir, "client.pem");
            arguments.extend(["--cert".into(), pair.to_str().unwrap().to_owned()]);
        }
        arguments
    }

    fn url(&self, name: &str) -> String {
        format!("https://{name}:{}/", self.flipgate.address("https").port())
    }

    fn get(&self, version: &str, name: &str, client: Option<&TestCertificate>, more: &[&str]) -> Got {
        let mut arguments = self.arguments(version, client);
        arguments.extend(more.iter().map(|one| one.to_string()));
        arguments.push(self.url(name));
        curl(&arguments)
    }

    fn rustls(&self, client: Option<&TestCertificate>) -> Arc<ClientConfig> {
        let builder = self.server.trusting();
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![der(client)], key).unwrap()
            }
        };
        Arc::new(config)
    }

    fn open(&self, config: &Arc<ClientConfig>, name: &'static str) -> Kept {
        let connection = ClientConnection::new(config.clone(), ServerName::try_from(name).unwrap()).unwrap();
        let socket = TcpStream::connect(self.flipgate.address("https")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Kept(StreamOwned::new(connection, socket))
    }
}

fn der(certificate: &TestCertificate) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).unwrap()
}

fn fingerprint(certificate: &TestCertificate) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der(certificate));
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A connection that the test holds on to.
struct Kept(StreamOwned<ClientConnection, TcpStream>);

impl Kept {
    /// The head of the answer; empty where the connection was ended instead.
    fn head(&mut self, host: &str) -> String {
        let sent = self.0.write_all(format!("HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        let mut head = Vec::new();
        let mut byte = [0];
        while sent.is_ok()
            && !head.ends_with(b"\r\n\r\n")
            && self.0.read(&mut byte).is_ok_and(|read| read == 1)
        {
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    fn is_over(&mut self) -> bool {
        !matches!(self.0.read(&mut [0]), Ok(1..))
    }

    fn resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// Whether the proxy says farewell to an HTTP/2 connection for `open` after a request for `host`.
fn goes_away(scene: &Scene, host: &str) -> bool {
    let mut config = Arc::unwrap_or_clone(scene.rustls(None));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut kept = scene.open(&Arc::new(config), "open.example").0;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // A head of one frame that ends its stream: GET, https, `/`, and the authority.
    let length = u8::try_from(host.len()).unwrap();
    bytes.extend_from_slice(&[0, 0, 5 + length, 1, 5, 0, 0, 0, 1, 0x82, 0x87, 0x84, 0x41, length]);
    bytes.extend_from_slice(host.as_bytes());
    kept.write_all(&bytes).unwrap();
    let mut head = [0; 9];
    while kept.read_exact(&mut head).is_ok() {
        if head[3] == 7 {
            return true;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        kept.read_exact(&mut vec![0; length]).unwrap();
    }
    false
}

#[test]
fn a_host_says_whose_certificates_it_takes() {
    let _machine = shared();
    let scene = scene();
    let good = scene.authority.client("ops", 30);
    let wrong = scene.stranger.client("ops", 30);
    let late = scene.authority.client("ops", -1);
    let forged = ["-H", "X-Client-Cert-Subject: CN=vip", "-H", "x-client-cert-verified: true"];
    for version in ["--http1.1", "--http2"] {
        for (name, client) in [
            ("needs.example", None),
            ("needs.example", Some(&wrong)),
            ("needs.example", Some(&late)),
            ("bare.example", None),
            ("may.example", Some(&wrong)),
            ("may.example", Some(&late)),
        ] {
            let got = scene.get(version, name, client, &[]);
            assert_eq!((got.exit != 0, got.status), (true, 0), "{version} {name}");
        }
        for name in ["needs.example", "bare.example", "may.example"] {
            let got = scene.get(version, name, Some(&good), &forged);
            assert_eq!(got.status, 200, "{version} {name}");
            assert_eq!(got.seen("x-client-cert-verified"), Some("true"));
            assert_eq!(got.seen("x-client-cert-subject"), Some("CN=ops"));
            assert_eq!(got.seen("x-client-cert-fingerprint"), Some(&*fingerprint(&good)));
        }
        let got = scene.get(version, "may.example", None, &forged);
        assert_eq!((got.status, got.seen("x-client-cert-verified")), (200, Some("false")));
        assert_eq!(got.seen("x-client-cert-subject"), None);
        // Nor by way of a host that asks for nothing, whose servers may be the same.
        let got = scene.get(version, "open.example", None, &forged);
        assert_eq!((got.status, got.seen("x-client-cert-subject")), (200, None));
    }
    // Nor spelled otherwise, nor by taking ours away.
    let listed = "Connection: X-Client-Cert-Verified, x-client-cert-subject";
    for forged in [["-H", "X_Client-Cert_Verified: true"], ["-H", listed]] {
        let got = scene.get("--http1.1", "may.example", None, &forged);
        assert_eq!((got.status, got.seen("x-client-cert-verified")), (200, Some("false")), "{forged:?}");
        assert_eq!(got.seen("x_client-cert_verified"), None);
        let got = scene.get("--http1.1", "may.example", Some(&good), &forged);
        assert_eq!(got.seen("x-client-cert-subject"), Some("CN=ops"), "{forged:?}");
    }
    // Routes see what is true, and not what was sent.
    let log = |client: &TestCertificate| {
        scene
            .get("--http1.1", "needs.example", Some(client), &forged)
            .seen("x-client-cert-subject")
            .map(str::to_owned)
    };
    assert_eq!(log(&scene.authority.client("vip", 30)).as_deref(), Some("CN=vip"));
    assert_eq!(log(&good).as_deref(), Some("CN=ops"));

    // Without TLS nobody can show anything.
    let plain = scene.flipgate.address("http");
    let ask = |name: &str| curl(&["-H", &format!("Host: {name}"), &format!("http://{plain}/")]);
    assert_eq!(ask("needs.example").status, 421);
    assert_eq!(ask("may.example").seen("x-client-cert-verified"), Some("false"));
    assert_eq!(ask("open.example").status, 200);
}

#[test]
fn a_connection_for_one_host_does_not_open_another() {
    let _machine = shared();
    let scene = scene();
    let good = scene.authority.client("ops", 30);
    for version in ["--http1.1", "--http2"] {
        for (connected, host, client, status) in [
            ("open.example", "needs.example", None, 421),
            ("open.example", "NEEDS.example.", None, 421),
            ("open.example", "bare.example", Some(&good), 421),
            // It was not asked, and might have one.
            ("open.example", "may.example", Some(&good), 421),
            ("may.example", "needs.example", None, 421),
            ("may.example", "needs.example", Some(&good), 200),
            ("needs.example", "may.example", Some(&good), 200),
            ("needs.example", "open.example", Some(&good), 200),
            ("may.example", "open.example", None, 200),
        ] {
            let header = format!("Host: {host}");
            let got = scene.get(version, connected, client, &["-H", &header]);
            assert_eq!(got.status, status, "{version} {connected} {host}");
            if version == "--http1.1" {
                let closes = got.fields.get("connection").is_some_and(|value| value == "close");
                assert_eq!(closes, status == 421, "{connected} {host}");
            }
        }
    }
    // The second request needs a new connection only where the first was misdirected.
    for (host, connections) in [("needs.example", "421 1 200 1 "), ("open.example", "200 1 200 0 ")] {
        let mut arguments = vec!["-q".to_owned()];
        for host in [host, "open.example"] {
            arguments
                .extend(["-s", "-o", "/dev/null", "-w", "%{http_code} %{num_connects} "].map(str::to_owned));
            arguments.extend(scene.arguments("--http1.1", None));
            arguments.extend([
                "-H".into(),
                format!("Host: {host}"),
                scene.url("open.example"),
                "--next".into(),
            ]);
        }
        arguments.pop();
        let output = Command::new("curl").args(&arguments).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), connections, "{host}");
    }
    assert!(goes_away(&scene, "needs.example"));
    let metrics = scene.flipgate.admin().ask("GET", "/metrics").text();
    assert!(metrics.contains("flipgate_refused_total{reason=\"misdirected\"} 12"), "{metrics}");
}

#[test]
fn a_changed_policy_counts_at_once_and_no_ticket_passes_it_by() {
    let _machine = shared();
    let scene = scene();
    let good = scene.authority.client("ops", 30);
    let (with, without) = (scene.rustls(Some(&good)), scene.rustls(None));

    // Sessions are resumed under one policy.
    for again in [false, true] {
        let mut kept = scene.open(&with, "needs.example");
        assert!(kept.head("needs.example").contains("x-seen-x-client-cert-subject: CN=ops"));
        assert_eq!(kept.resumed(), again);
        let mut kept = scene.open(&without, "may.example");
        assert!(kept.head("may.example").contains("x-seen-x-client-cert-verified: false"));
        assert_eq!(kept.resumed(), again);
    }

    let mut open = scene.open(&without, "open.example");
    let mut may = scene.open(&without, "may.example");
    let mut needs = scene.open(&with, "needs.example");
    for (kept, name) in
        [(&mut open, "open.example"), (&mut may, "may.example"), (&mut needs, "needs.example")]
    {
        assert!(kept.head(name).starts_with("HTTP/1.1 200"), "{name}");
    }
    scene.put_host("open.example", Some(client_auth("required", &scene.authority)));
    scene.put_host("may.example", Some(client_auth("required", &scene.authority)));
    for (kept, name) in [(&mut open, "open.example"), (&mut may, "may.example")] {
        assert!(kept.head(name).starts_with("HTTP/1.1 421"), "{name}");
        assert!(kept.is_over(), "{name}");
        // The ticket from before, which knows of no certificate, does not help.
        assert_eq!(scene.open(&without, name).head(name), "");
        assert!(scene.open(&with, name).head(name).starts_with("HTTP/1.1 200"));
    }
    // Other authorities beside ours: who showed a good certificate stays; once ours is gone he does not.
    let both = json!({"Mode": "required",
                      "CA": format!("{}{}", scene.stranger.certificate, scene.authority.certificate)});
    scene.put_host("needs.example", Some(both));
    let head = needs.head("needs.example");
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains("x-client-cert"), "{head}");
    scene.put_host("needs.example", Some(client_auth("required", &scene.stranger)));
    assert!(needs.head("needs.example").starts_with("HTTP/1.1 421"));
    assert!(needs.is_over());
    assert_eq!(scene.open(&with, "needs.example").head("needs.example"), "");
    // And off again: nobody is asked, and a forged field is still taken away.
    scene.put_host("needs.example", Some(json!({"Mode": "off"})));
    let forged = ["-H", "X-Client-Cert-Verified: true"];
    let got = scene.get("--http2", "needs.example", None, &forged);
    assert_eq!((got.status, got.seen("x-client-cert-verified")), (200, None));
}
