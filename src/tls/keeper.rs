//! Certificates of the cluster on their way into the store. Sealing gives another text every time, so what is stored is
//! opened and compared before anything is written.

use super::{Certificate, SealKeys};
use crate::model::KeyPairSource;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

const SETTINGS: &str = "Settings";
const KEY_PAIR: &str = "KeyPair";

/// How key pairs are stored.
#[derive(Debug, Clone, Copy)]
pub struct Keeper<'k> {
    /// The first one seals.
    pub seal_keys: &'k SealKeys,
    /// Without a seal key they are stored readable.
    pub plain_keys: bool,
}

impl Keeper<'_> {
    /// Whether what is stored is this pair, sealed with the first seal key. `certificate` and `key` are PEM.
    pub fn is(&self, stored: &KeyPairSource, certificate: &[u8], key: &[u8]) -> bool {
        match (stored, self.seal_keys.is_empty()) {
            (KeyPairSource::Sealed { val, nonce }, false) => {
                let opened = self.seal_keys.first().open(val, nonce);
                opened.is_ok_and(|text| is_of(&text, certificate, key))
            }
            (KeyPairSource::Plain { cert, key: own }, true) => {
                self.plain_keys && **cert == *certificate && **own == *key
            }
            _ => false,
        }
    }

    /// The pair as it is to be stored; both are PEM, the certificate's leaf first.
    ///
    /// # Errors
    /// It cannot be used or stored: why, as a predicate of what would hold it. Nothing of the key is in it.
    pub fn pair(&self, certificate: &[u8], key: &[u8]) -> Result<KeyPairSource, String> {
        Certificate::from_pem(certificate, key)
            .map_err(|error| format!("is not written, since its certificate cannot be used: {error}"))?;
        if !self.seal_keys.is_empty() {
            let sealed = self.seal_keys.seal_key_pair(certificate, key);
            return sealed.map_err(|error| format!("is not written: {error}"));
        }
        if self.plain_keys {
            return Ok(KeyPairSource::Plain { cert: certificate.into(), key: key.into() });
        }
        Err("is not written, since there is no seal key: give --seal-key-file, or --plain-keys to store it readable"
            .to_owned())
    }
}

/// Puts a key pair into a host's value. It is for a store, never for an answer or a log.
pub fn with_pair(mut host: Map<String, Value>, pair: &KeyPairSource) -> Map<String, Value> {
    let settings = host.entry(SETTINGS).or_insert_with(|| Map::new().into());
    if let Some(settings) = settings.as_object_mut() {
        settings.insert(KEY_PAIR.into(), pair.to_value());
    }
    host
}

/// A host's value without its key pair.
pub fn without_pair(mut host: Value) -> Value {
    if let Some(settings) = host.get_mut(SETTINGS).and_then(Value::as_object_mut) {
        settings.shift_remove(KEY_PAIR);
    }
    host
}

/// Whether `{"Key":base64,"Cert":base64}` is the pair.
fn is_of(text: &[u8], certificate: &[u8], key: &[u8]) -> bool {
    let expected = |field: &str, pem: &[u8]| {
        let mut part = Zeroizing::new(format!("\"{field}\":\""));
        BASE64.encode_string(pem, &mut part);
        part.push('"');
        part
    };
    let (key, cert) = (expected("Key", key), expected("Cert", certificate));
    // As sealed by us; other spellings are sealed anew once.
    let whole = Zeroizing::new(format!("{{{},{}}}", *key, *cert));
    text == whole.as_bytes()
}
