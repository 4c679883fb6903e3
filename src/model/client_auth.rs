//! What a host asks of its clients: a certificate of authorities that it names.

use super::fields::{Fields, not_one_of};
use super::key_pair::{decode, read_file};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;

/// The values of `Mode`.
const MODES: [&str; 3] = ["off", "optional", "required"];

/// What a host asks of its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// `Mode`: whether they are asked for a certificate, and must show one.
    pub mode: ClientAuthMode,
    /// Whose certificates are good. Always there unless the mode is [`ClientAuthMode::Off`].
    pub authorities: Option<AuthoritiesSource>,
    /// `Forward`: servers are told, in `X-Client-Cert-Verified`, `-Subject` and `-Fingerprint`; default false.
    pub forward: bool,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthMode {
    /// `off`: they are not.
    Off,
    /// `optional`: one that is shown must be good.
    Optional,
    /// `required`: a good one must be shown.
    Required,
}

/// Where the certificates of authorities come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthoritiesSource {
    /// `CA`: a PEM text, as it is or in base64.
    Pem(Arc<[u8]>),
    /// `CAFile`: a relative path below the secrets directory.
    File(PathBuf),
}

impl ClientAuthMode {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<ClientAuth> {
    let mode = match fields.required_text("Mode", "`off`, `optional` or `required` is expected") {
        Some("off") => Some(ClientAuthMode::Off),
        Some("optional") => Some(ClientAuthMode::Optional),
        Some("required") => Some(ClientAuthMode::Required),
        Some(other) => {
            fields.error("Mode", not_one_of(other, &MODES));
            None
        }
        None => None,
    };
    let forward = fields.boolean("Forward").unwrap_or(false);
    let authorities = match (fields.text("CA"), fields.text("CAFile")) {
        (Some(text), None) => read_pem(fields, text).map(AuthoritiesSource::Pem),
        (None, Some(path)) => read_file(fields, "CAFile", Some(path)).map(AuthoritiesSource::File),
        (Some(_), Some(_)) => {
            fields.error("CAFile", "stands beside `CA`; one of them is expected");
            None
        }
        (None, None) => {
            if mode.is_some_and(|mode| mode != ClientAuthMode::Off) {
                fields.error(
                    "CA",
                    "is missing: the authorities' certificates are expected, or a `CAFile` with them",
                );
            }
            None
        }
    };
    Some(ClientAuth { mode: mode?, authorities, forward })
}

/// Findings never show a piece of it: somebody may have taken a private key for it.
fn read_pem(fields: &Fields<'_>, text: &str) -> Option<Arc<[u8]>> {
    let has = |text: &[u8], mark: &str| memchr::memmem::find(text, mark.as_bytes()).is_some();
    let pem = if text.contains("-----BEGIN ") { Some(text.as_bytes().to_vec()) } else { decode(text) };
    let Some(pem) = pem.filter(|pem| has(pem, "-----BEGIN CERTIFICATE-----")) else {
        fields.error("CA", "holds no certificate; PEM text is expected, as it is or in base64");
        return None;
    };
    if has(&pem, "PRIVATE KEY-----") {
        fields.error(
            "CA",
            "holds a private key; only certificates belong here, and an authority's key nowhere near",
        );
        return None;
    }
    Some(pem.into())
}

impl ClientAuth {
    pub(super) fn to_value(&self) -> Value {
        let mut value = Map::new();
        value.insert("Mode".into(), self.mode.as_str().into());
        match &self.authorities {
            Some(AuthoritiesSource::Pem(pem)) => {
                let text = std::str::from_utf8(pem).map_or_else(|_| BASE64.encode(pem), str::to_owned);
                value.insert("CA".into(), text.into());
            }
            Some(AuthoritiesSource::File(path)) => {
                value.insert("CAFile".into(), path.to_string_lossy().into());
            }
            None => {}
        }
        if self.forward {
            value.insert("Forward".into(), true.into());
        }
        value.into()
    }
}
