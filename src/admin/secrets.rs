//! Private keys on their way through the API: they go in, and never come out.
//!
//! A host or backend is answered with a marker in place of its key pair. A value that carries the marker back keeps the pair that
//! the store has, so that what was read can be edited and written.

use super::answer::Failure;
use crate::model::hidden::HIDDEN;
use crate::model::{KeyPairSource, Object, ObjectKey, Strictness, edit};
use crate::telemetry::rfc3339;
use crate::tls::{Certificate, SealKeys};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// The field that tells a marker from a key pair.
pub(super) const MARK: &str = "Redacted";

/// Fields of a host that carry nothing secret, in lower case.
const HARMLESS: [&str; 6] = ["name", "default", "ocsp", "mode", "cafile", "forward"];

/// Fields of a backend's `Settings.TLS` that carry nothing secret, in lower case.
const HARMLESS_TLS: [&str; 8] = [
    "insecureskipverify",
    "servername",
    "preferserverciphersuites",
    "minversion",
    "maxversion",
    "sessionticketsdisabled",
    "sessioncache",
    "ciphersuites",
];

/// What is needed to look into key pairs and to seal them.
#[derive(Clone)]
pub(super) struct Secrets {
    pub(super) seal: Arc<SealKeys>,
    pub(super) secrets_dir: Option<PathBuf>,
}

impl Secrets {
    /// An object's value without its key pair. Fields that are not known are hidden where one may be: a misspelled
    /// `KeyPair` is one.
    pub(super) fn redact(&self, key: &ObjectKey, value: Value) -> Value {
        let redact = match key {
            ObjectKey::Host(_) => redact_host,
            ObjectKey::Backend(_) => redact_backend,
            _ => return value,
        };
        let Value::Object(fields) = &value else { return HIDDEN.into() };
        redact(fields, &|| self.marker(key, &value))
    }

    fn marker(&self, key: &ObjectKey, value: &Value) -> Value {
        let object = Object::parse_value(key, value, Strictness::Stored).object;
        let Some(source) = object.as_ref().and_then(Object::key_pair) else {
            return json!({ MARK: "unreadable" });
        };
        let form = match source {
            // Paths are no secret.
            KeyPairSource::Files { cert, key } => {
                return json!({ "CertFile": cert.to_string_lossy(), "KeyFile": key.to_string_lossy() });
            }
            KeyPairSource::Plain { .. } => "plain",
            KeyPairSource::Sealed { .. } => "sealed",
        };
        match Certificate::load(source, &self.seal, self.secrets_dir.as_deref()) {
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
        let Some(field) = key.key_pair_field() else { return Ok(()) };
        if let Some(pair) = pair_mut(value, field).filter(|pair| pair.get(MARK).is_some()) {
            match stored.and_then(|stored| pair_of(stored, field)) {
                Some(kept) => *pair = kept.clone(),
                None => {
                    let problem = json!({
                        "key": key.to_string(),
                        "field": field,
                        "reason": "stands for a stored key pair, and none is stored",
                        "severity": "error",
                    });
                    return Err(Failure::invalid(format!("the {} is not valid", key.kind()), vec![problem]));
                }
            }
        }
        if self.seal.is_empty() {
            return Ok(());
        }
        let Some(mut object) = Object::parse_value(key, value, Strictness::Stored).object else {
            return Ok(());
        };
        let Some(KeyPairSource::Plain { cert, key }) = object.key_pair() else { return Ok(()) };
        let sealed = self.seal.seal_key_pair(cert, key).map_err(|error| {
            Failure::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        })?;
        object.replace_key_pair(sealed);
        let written = object.to_value();
        if let (Some(pair), Some(sealed)) = (pair_mut(value, field), pair_of(&written, field)) {
            *pair = sealed.clone();
        }
        Ok(())
    }
}

type Fields = Map<String, Value>;

/// Each field as `show` makes it of its name in lower case and its value.
fn each(fields: &Fields, show: impl Fn(&str, &Value) -> Value) -> Value {
    let shown = |(name, value): (&String, &Value)| (name.clone(), show(&name.to_ascii_lowercase(), value));
    Value::Object(fields.iter().map(shown).collect())
}

fn redact_host(fields: &Fields, marker: &dyn Fn() -> Value) -> Value {
    each(fields, |name, value| match (name, value) {
        ("keypair", Value::Null) => Value::Null,
        ("keypair", _) => marker(),
        ("settings" | "clientauth", Value::Object(inner)) => redact_host(inner, marker),
        ("autocert", Value::Object(inner)) => without_key(inner),
        ("ca", value) => authorities(value),
        (known, value) if HARMLESS.contains(&known) => value.clone(),
        _ => HIDDEN.into(),
    })
}

/// The settings of ACME without the account's private key.
fn without_key(fields: &Fields) -> Value {
    each(fields, |name, value| match (name, value) {
        ("key", value) if value.as_str().is_none_or(|text| !text.is_empty()) => HIDDEN.into(),
        (_, value) => value.clone(),
    })
}

/// Other fields of a backend than its TLS are no secret, whatever they are called.
fn redact_backend(fields: &Fields, marker: &dyn Fn() -> Value) -> Value {
    each(fields, |name, value| match (name, value) {
        ("settings", Value::Object(settings)) => each(settings, |name, value| match (name, value) {
            ("tls", Value::Null) => Value::Null,
            ("tls", Value::Object(tls)) => each(tls, |name, value| match (name, value) {
                ("keypair", Value::Null) => Value::Null,
                ("keypair", _) => marker(),
                ("ca", value) => authorities(value),
                (known, value) if HARMLESS_TLS.contains(&known) => value.clone(),
                _ => HIDDEN.into(),
            }),
            ("tls", _) => HIDDEN.into(),
            (_, value) => value.clone(),
        }),
        (_, value) => value.clone(),
    })
}

/// Certificates are no secret; a private key that stands among them is.
fn authorities(value: &Value) -> Value {
    let Value::String(text) = value else { return HIDDEN.into() };
    let decoded = STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).unwrap_or_default();
    let [text_has, decoded_has] = [text.as_bytes(), &decoded].map(|bytes| {
        let has = |mark: &str| memchr::memmem::find(bytes, mark.as_bytes()).is_some();
        (has("-----BEGIN CERTIFICATE-----"), has("PRIVATE KEY"))
    });
    let is_public = (text_has.0 || decoded_has.0) && !text_has.1 && !decoded_has.1;
    if is_public || text.is_empty() { value.clone() } else { HIDDEN.into() }
}

/// What stands at a path with dots. The last one counts where there are several spellings.
fn pair_of<'v>(value: &'v Value, field: &str) -> Option<&'v Value> {
    field.split('.').try_fold(value, |value, part| edit::last_spelled(value.as_object()?, part))
}

fn pair_mut<'v>(value: &'v mut Value, field: &str) -> Option<&'v mut Value> {
    field.split('.').try_fold(value, |value, part| edit::last_spelled_mut(value.as_object_mut()?, part))
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
