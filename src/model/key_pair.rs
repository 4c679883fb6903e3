//! A certificate with its private key: in the object itself, sealed or not, or in files.

use super::fields::{Fields, not_one_of, show};
use super::{Backend, Object, ObjectKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The one way of sealing a key pair.
const SECRETBOX: &str = "secretbox.v1";

/// Where a certificate and private key come from. `Debug` never shows key material.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyPairSource {
    /// PEM texts, as the store holds them unsealed.
    Plain {
        /// PEM chain, leaf first.
        cert: Arc<[u8]>,
        /// PEM private key.
        key: Arc<[u8]>,
    },
    /// `{"Encryption":"secretbox.v1","Value":{"Val","Nonce"}}`, opened with a seal key.
    Sealed {
        /// Ciphertext.
        val: Arc<[u8]>,
        /// 24 bytes.
        nonce: [u8; 24],
    },
    /// `{"CertFile","KeyFile"}` (new): relative paths below the secrets directory.
    Files {
        /// PEM chain, leaf first.
        cert: PathBuf,
        /// PEM private key.
        key: PathBuf,
    },
}

impl std::fmt::Debug for KeyPairSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain { .. } => f.write_str("Plain(..)"),
            Self::Sealed { .. } => f.write_str("Sealed(..)"),
            Self::Files { cert, key } => {
                f.debug_struct("Files").field("cert", cert).field("key", key).finish()
            }
        }
    }
}

impl ObjectKey {
    /// The field in which an object of this kind may have a key pair, as a path with dots.
    pub fn key_pair_field(&self) -> Option<&'static str> {
        match self {
            Self::Host(_) => Some("Settings.KeyPair"),
            Self::Backend(_) => Some("Settings.TLS.KeyPair"),
            _ => None,
        }
    }
}

impl Object {
    /// Its key pair, if it has one.
    pub fn key_pair(&self) -> Option<&KeyPairSource> {
        match self {
            Self::Host(host) => host.key_pair.as_ref(),
            Self::Backend(Backend::Http { settings, .. }) => settings.tls.key_pair.as_ref(),
            _ => None,
        }
    }

    /// Puts another key pair in the place of the one that it has.
    pub fn replace_key_pair(&mut self, source: KeyPairSource) {
        match self {
            Self::Host(host) => host.key_pair = Some(source),
            Self::Backend(Backend::Http { settings, .. }) => {
                Arc::make_mut(settings).tls.key_pair = Some(source);
            }
            _ => {}
        }
    }
}

impl KeyPairSource {
    /// A sealed pair as vulcand's base64 string, any other as an object.
    /// It is for a store, never for an answer or a log.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Plain { cert, key } => json!({ "Cert": BASE64.encode(cert), "Key": BASE64.encode(key) }),
            Self::Sealed { val, nonce } => {
                let value = json!({ "Val": BASE64.encode(val), "Nonce": BASE64.encode(nonce) });
                let sealed = json!({ "Encryption": SECRETBOX, "Value": value });
                BASE64.encode(sealed.to_string()).into()
            }
            Self::Files { cert, key } => {
                json!({ "CertFile": cert.to_string_lossy(), "KeyFile": key.to_string_lossy() })
            }
        }
    }
}

/// Findings about a key pair never show a piece of it.
pub(super) fn read_key_pair(fields: &mut Fields<'_>) -> Option<KeyPairSource> {
    const NAME: &str = "KeyPair";
    let value = fields.value(NAME)?;
    let path = fields.path_of(NAME);
    let report = fields.report();
    match value {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => {
            let json = match text.trim_start().starts_with('{') {
                true => Some(text.trim().as_bytes().to_vec()),
                false => decode(text),
            };
            let Some(value) = json.and_then(|json| serde_json::from_slice::<Value>(&json).ok()) else {
                report.error(path, "is not base64 of a JSON object, sealed or with `Cert` and `Key`");
                return None;
            };
            // The value lives only here, so what is read from it is owned.
            Fields::read(report, &path, &value, read_key_pair_object).flatten()
        }
        Value::Object(_) => Fields::read(report, &path, value, read_key_pair_object).flatten(),
        other => {
            report.error(path, format!("is {}; a base64 string or an object is expected", show(other)));
            None
        }
    }
}

fn read_key_pair_object(fields: &mut Fields<'_>) -> Option<KeyPairSource> {
    let (cert, key) = (fields.text("Cert"), fields.text("Key"));
    let (cert_file, key_file) = (fields.text("CertFile"), fields.text("KeyFile"));
    let (encryption, sealed) = (fields.text("Encryption"), fields.value("Value").is_some());
    let forms = [
        cert.is_some() || key.is_some(),
        cert_file.is_some() || key_file.is_some(),
        encryption.is_some() || sealed,
    ];
    if forms.into_iter().filter(|form| *form).count() != 1 {
        let reason =
            "needs exactly one of `Cert` with `Key`, `CertFile` with `KeyFile`, `Encryption` with `Value`";
        fields.report().error(fields.path(), reason);
        return None;
    }
    if let [true, ..] = forms {
        let (cert, key) = (read_pem(fields, "Cert", cert), read_pem(fields, "Key", key));
        return Some(KeyPairSource::Plain { cert: cert?, key: key? });
    }
    if let [_, true, _] = forms {
        let (cert, key) = (read_file(fields, "CertFile", cert_file), read_file(fields, "KeyFile", key_file));
        return Some(KeyPairSource::Files { cert: cert?, key: key? });
    }
    match encryption {
        Some(SECRETBOX) => {}
        Some(other) => fields.error("Encryption", not_one_of(other, &[SECRETBOX])),
        None => fields.error("Encryption", format!("is missing: `{SECRETBOX}` is expected")),
    }
    if !sealed {
        fields.error("Value", "is missing: an object with `Val` and `Nonce` is expected");
    }
    fields.object("Value", read_sealed).flatten()
}

fn read_sealed(fields: &mut Fields<'_>) -> Option<KeyPairSource> {
    let mut bytes = |name: &'static str| {
        let text = fields.required_text(name, "base64 is expected")?;
        let bytes = decode(text);
        if bytes.is_none() {
            fields.error(name, "is not base64");
        }
        bytes
    };
    let (val, nonce) = (bytes("Val"), bytes("Nonce"));
    let nonce: [u8; 24] = match nonce?.try_into() {
        Ok(nonce) => nonce,
        Err(other) => {
            fields.error("Nonce", format!("has {} bytes; 24 are expected", other.len()));
            return None;
        }
    };
    Some(KeyPairSource::Sealed { val: val?.into(), nonce })
}

/// A PEM text, as it is or in base64.
fn read_pem(fields: &Fields<'_>, name: &str, text: Option<&str>) -> Option<Arc<[u8]>> {
    let is_pem = |bytes: &[u8]| bytes.windows(11).any(|window| window == b"-----BEGIN ");
    let Some(text) = text else {
        fields.error(name, "is missing: base64 of a PEM text is expected");
        return None;
    };
    let pem = if is_pem(text.as_bytes()) { Some(text.as_bytes().to_vec()) } else { decode(text) };
    match pem.filter(|pem| is_pem(pem)) {
        Some(pem) => Some(pem.into()),
        None => {
            fields.error(name, "is not base64 of a PEM text");
            None
        }
    }
}

/// A relative path that cannot leave its directory.
pub(super) fn read_file(fields: &Fields<'_>, name: &str, text: Option<&str>) -> Option<PathBuf> {
    let Some(text) = text else {
        fields.error(name, "is missing: a path below the secrets directory is expected");
        return None;
    };
    let path = Path::new(text);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !inside || text.contains('\0') || text.starts_with('/') {
        fields.error(
            name,
            "is not a relative path below the secrets directory: `..` and a leading `/` are refused",
        );
        return None;
    }
    Some(path.to_owned())
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(compact).ok()
}
