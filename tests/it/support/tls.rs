//! Certificates made for a test.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A self-signed certificate with its key.
pub struct TestCertificate {
    pub certificate: String,
    pub key: String,
}

impl TestCertificate {
    /// For host names.
    pub fn of(names: &[&str]) -> Self {
        let names = names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// A host object that holds the pair itself.
    pub fn host(&self, default: bool) -> Value {
        json!({"Settings": {"Default": default, "KeyPair": {"Cert": base64(&self.certificate), "Key": base64(&self.key)}}})
    }

    /// Writes the certificate for clients to trust.
    pub fn write(&self, dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, &self.certificate).unwrap();
        path
    }
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
