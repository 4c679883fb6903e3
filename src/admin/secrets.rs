//! Private keys on their way through the API: they go in, and never come out.
//!
//! A host is answered with a marker in place of its key pair. A value that carries the marker back keeps the pair that
//! the store has, so that what was read can be edited and written.

use super::answer::Failure;
use crate::model::{Host, KeyPairSource, Object, ObjectKey, Strictness};
use crate::telemetry::rfc3339;
use crate::tls::{Certificate, SealKeys};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// The field that tells a marker from a key pair.
const MARK: &str = "Redacted";

/// What stands for a value that is not known to be harmless.
const HIDDEN: &str = "(hidden)";

/// Fields of a host that carry nothing secret, in lower case.
const HARMLESS: [&str; 5] = ["name", "default", "autocert", "ocsp", "settings"];

/// What is needed to look into key pairs and to seal them.
#[derive(Clone)]
pub(super) struct Secrets {
    pub(super) seal: Arc<SealKeys>,
    pub(super) secrets_dir: Option<PathBuf>,
}

impl Secrets {
    /// A host's value without its key pair. Fields that are not known are hidden: a misspelled `KeyPair` is one.
    pub(super) fn redact(&self, key: &ObjectKey, value: &Value) -> Value {
        let marker = self.marker(key, value);
        let Value::Object(fields) = value else { return HIDDEN.into() };
        redact_fields(fields, &marker)
    }

    fn marker(&self, key: &ObjectKey, value: &Value) -> Value {
        let source = match Object::parse_value(key, value, Strictness::Stored).object {
            Some(Object::Host(Host { key_pair: Some(source), .. })) => source,
            _ => return json!({ MARK: "unreadable" }),
        };
        let form = match &source {
            // Paths are no secret.
            KeyPairSource::Files { cert, key } => {
                return json!({ "CertFile": cert.to_string_lossy(), "KeyFile": key.to_string_lossy() });
            }
            KeyPairSource::Plain { .. } => "plain",
            KeyPairSource::Sealed { .. } => "sealed",
        };
        match Certificate::load(&source, &self.seal, self.secrets_dir.as_deref()) {
            Ok(certificate) => json!({
                MARK: form,
                "Names": certificate.names().iter().map(|name| &**name).collect::<Vec<_>>(),
                "NotAfter": rfc3339(certificate.not_after()),
                "Fingerprint": fingerprint(&certificate),
            }),
            Err(_) => json!({ MARK: form }),
        }
    }

    /// Puts the stored key pair in place of a marker, and seals one that came in plain.
    pub(super) fn admit(
        &self,
        key: &ObjectKey,
        value: &mut Value,
        stored: Option<&Value>,
    ) -> Result<(), Failure> {
        if let Some(pair) = key_pair_mut(value).filter(|pair| pair.get(MARK).is_some()) {
            match stored.and_then(key_pair) {
                Some(kept) => *pair = kept.clone(),
                None => {
                    let problem = json!({
                        "key": key.to_string(),
                        "field": "Settings.KeyPair",
                        "reason": "stands for a stored key pair, and none is stored",
                        "severity": "error",
                    });
                    return Err(Failure::invalid("the host is not valid", vec![problem]));
                }
            }
        }
        if self.seal.is_empty() {
            return Ok(());
        }
        let Some(Object::Host(mut host)) = Object::parse_value(key, value, Strictness::Stored).object else {
            return Ok(());
        };
        let Some(KeyPairSource::Plain { cert, key }) = &host.key_pair else { return Ok(()) };
        let sealed = self.seal.seal_key_pair(cert, key);
        host.key_pair = Some(sealed.map_err(|error| {
            Failure::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        })?);
        let written = Object::Host(host).to_value();
        if let (Some(pair), Some(sealed)) = (key_pair_mut(value), key_pair(&written)) {
            *pair = sealed.clone();
        }
        Ok(())
    }
}

fn redact_fields(fields: &Map<String, Value>, marker: &Value) -> Value {
    let redact = |(name, value): (&String, &Value)| {
        let shown = match (name.to_ascii_lowercase().as_str(), value) {
            ("keypair", Value::Null) => Value::Null,
            ("keypair", _) => marker.clone(),
            ("settings", Value::Object(inner)) => redact_fields(inner, marker),
            ("autocert", Value::Object(inner)) => without_key(inner),
            ("settings", _) => HIDDEN.into(),
            (known, value) if HARMLESS.contains(&known) => value.clone(),
            _ => HIDDEN.into(),
        };
        (name.clone(), shown)
    };
    Value::Object(fields.iter().map(redact).collect())
}

/// The settings of ACME without the account's private key.
fn without_key(fields: &Map<String, Value>) -> Value {
    let shown = |(name, value): (&String, &Value)| {
        let secret = is("key")(name) && value.as_str().is_none_or(|text| !text.is_empty());
        (name.clone(), if secret { HIDDEN.into() } else { value.clone() })
    };
    Value::Object(fields.iter().map(shown).collect())
}

fn is(name: &'static str) -> impl Fn(&str) -> bool {
    move |found| found.eq_ignore_ascii_case(name)
}

/// The last one counts where there are several spellings.
fn key_pair(value: &Value) -> Option<&Value> {
    let settings = value.as_object()?.iter().rfind(|(name, _)| is("settings")(name))?.1;
    Some(settings.as_object()?.iter().rfind(|(name, _)| is("keypair")(name))?.1)
}

fn key_pair_mut(value: &mut Value) -> Option<&mut Value> {
    let settings = value.as_object_mut()?.iter_mut().filter(|(name, _)| is("settings")(name)).last()?.1;
    Some(settings.as_object_mut()?.iter_mut().filter(|(name, _)| is("keypair")(name)).last()?.1)
}

/// SHA-256 of the server's own certificate, as browsers and `openssl x509 -fingerprint` show it.
fn fingerprint(certificate: &Certificate) -> String {
    let leaf = certificate.key().cert.first().map(|leaf| leaf.as_ref()).unwrap_or_default();
    let mut text = String::from("sha256");
    for byte in digest(&SHA256, leaf).as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(text, ":{byte:02X}");
    }
    text
}
