//! A key pair that vctl has sealed, and clients that speak TLS.

use super::vctl_program;
use crate::support::TestCertificate;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// The host that the certificate is for.
pub const SECURE_HOST: &str = "secure.test";

/// A certificate whose host object is sealed as vulcand's own tools do it.
pub struct SealedPair {
    pub seal_key: String,
    pub host: Value,
    certificate: TestCertificate,
    dir: TempDir,
}

impl SealedPair {
    /// `None`: there is no vctl to seal with.
    pub fn new() -> Option<Self> {
        let vctl = vctl_program()?;
        let dir = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| {
            let output = Command::new(&vctl).args(arguments).current_dir(dir.path()).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "vctl {arguments:?}: {text}");
            text.trim().to_owned()
        };
        let certificate = TestCertificate::of(&[SECURE_HOST]);
        std::fs::write(dir.path().join("crt"), &certificate.certificate).unwrap();
        std::fs::write(dir.path().join("key"), &certificate.key).unwrap();
        let seal_key = run(&["secret", "new_key"]);
        std::fs::write(dir.path().join("seal"), &seal_key).unwrap();
        let flags = ["-sealKey", &seal_key, "-cert", "crt", "-privateKey", "key"];
        let sealed = run(&[&["secret", "seal_keypair"][..], &flags].concat());
        use base64::Engine;
        let pair = base64::engine::general_purpose::STANDARD.encode(sealed);
        let host = json!({"Name": SECURE_HOST, "Settings": {"Default": true, "KeyPair": pair}});
        Some(Self { seal_key, host, certificate, dir })
    }

    /// As `--seal-key-file` takes it.
    pub fn seal_key_file(&self) -> String {
        self.dir.path().join("seal").display().to_string()
    }

    /// An address that carries what it gets to `to` in TLS, as long as the runtime lives.
    pub fn encrypted(&self, runtime: &Runtime, to: SocketAddr) -> SocketAddr {
        let config = self.certificate.trusting().with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((mut plain, _)) = listener.accept().await {
                let connector = connector.clone();
                tokio::spawn(async move {
                    let stream = TcpStream::connect(to).await?;
                    let name = ServerName::try_from(SECURE_HOST).unwrap();
                    let mut stream = connector.connect(name, stream).await?;
                    tokio::io::copy_bidirectional(&mut plain, &mut stream).await
                });
            }
        });
        address
    }
}
