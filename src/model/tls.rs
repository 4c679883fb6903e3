//! Versions and cipher suites of TLS: vulcand's names, mapped to what is sound.

use super::fields::{Fields, nearest, not_one_of, quote};
use serde_json::{Map, Value};

/// The TLS versions spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246
    V1_2,
    /// RFC 8446
    V1_3,
}

/// A cipher suite of TLS 1.2 with forward secrecy and authenticated encryption: what is offered of that version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CipherSuite {
    /// `TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384` (new)
    EcdsaAes256Gcm,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`
    EcdsaAes128Gcm,
    /// `TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256` (new)
    EcdsaChaCha20,
    /// `TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384` (new)
    RsaAes256Gcm,
    /// `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`
    RsaAes128Gcm,
    /// `TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256` (new)
    RsaChaCha20,
}

/// Names of suites that vulcand knows and that are broken, or lack forward secrecy or authenticated encryption.
pub const UNSOUND_SUITES: [&str; 11] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

impl TlsVersion {
    const NAMES: [&'static str; 4] = ["VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"];

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "VersionTLS12",
            Self::V1_3 => "VersionTLS13",
        }
    }
}

impl CipherSuite {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::EcdsaAes256Gcm,
        Self::EcdsaAes128Gcm,
        Self::EcdsaChaCha20,
        Self::RsaAes256Gcm,
        Self::RsaAes128Gcm,
        Self::RsaChaCha20,
    ];

    /// As stored, and as IANA calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaAes256Gcm => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            Self::EcdsaAes128Gcm => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::EcdsaChaCha20 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::RsaAes256Gcm => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            Self::RsaAes128Gcm => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            Self::RsaChaCha20 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        }
    }
}

/// `MinVersion` and `MaxVersion`: default TLS 1.2 and 1.3.
pub(super) fn read_versions(fields: &mut Fields<'_>) -> (TlsVersion, TlsVersion) {
    let min = read_version(fields, "MinVersion").unwrap_or(TlsVersion::V1_2);
    let max = read_version(fields, "MaxVersion").unwrap_or(TlsVersion::V1_3);
    if min > max {
        let (min, max) = (min.as_str(), max.as_str());
        fields.error("MinVersion", format!("is {min}, above MaxVersion, which is {max}"));
    }
    (min, max)
}

fn read_version(fields: &mut Fields<'_>, name: &'static str) -> Option<TlsVersion> {
    let text = fields.text(name)?;
    match text {
        "VersionTLS12" => Some(TlsVersion::V1_2),
        "VersionTLS13" => Some(TlsVersion::V1_3),
        "VersionTLS10" | "VersionTLS11" => {
            fields.warning(name, format!("is {text}, which is broken; VersionTLS12 is used"));
            Some(TlsVersion::V1_2)
        }
        other => {
            fields.error(name, not_one_of(other, &TlsVersion::NAMES));
            None
        }
    }
}

/// `CipherSuites`: those of TLS 1.2 that are offered, as listed; empty: all that are sound.
pub(super) fn read_suites(fields: &mut Fields<'_>) -> Vec<CipherSuite> {
    let (mut suites, mut unsound) = (Vec::new(), Vec::new());
    for (path, name) in fields.texts("CipherSuites") {
        match CipherSuite::ALL.into_iter().find(|suite| suite.as_str() == name) {
            Some(suite) if suites.contains(&suite) => {}
            Some(suite) => suites.push(suite),
            None if UNSOUND_SUITES.contains(&name) => unsound.push(name),
            None => {
                let mut reason = format!("is {}, which is no cipher suite that is known here", quote(name));
                let known = CipherSuite::ALL.iter().map(|suite| suite.as_str()).chain(UNSOUND_SUITES);
                match nearest(name, known) {
                    Some(near) => reason.push_str(&format!("; did you mean `{near}`?")),
                    None => reason.push_str("; those of TLS 1.3 are always offered, and not listed"),
                }
                fields.report().error(path, reason);
            }
        }
    }
    if !unsound.is_empty() {
        let mut reason = format!("are not sound and not offered: {}", unsound.join(", "));
        if suites.is_empty() {
            reason.push_str("; all sound ones are");
        }
        fields.warning("CipherSuites", reason);
    }
    suites
}

pub(super) fn write(
    value: &mut Map<String, Value>,
    (min, max): (TlsVersion, TlsVersion),
    suites: &[CipherSuite],
) {
    if min != TlsVersion::V1_2 {
        value.insert("MinVersion".into(), min.as_str().into());
    }
    if max != TlsVersion::V1_3 {
        value.insert("MaxVersion".into(), max.as_str().into());
    }
    if !suites.is_empty() {
        let names = suites.iter().map(|suite| suite.as_str().into());
        value.insert("CipherSuites".into(), Value::Array(names.collect()));
    }
}
