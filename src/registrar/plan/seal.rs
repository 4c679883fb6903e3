//! Certificates on their way into the store. Sealing gives another text every time, so what is stored is opened and
//! compared.

use super::Planner;
use crate::model::{KeyPairSource, OWNER, Object, ObjectKey, Strictness};
use crate::registrar::ledger::{WantedCertificate, is_same};
use crate::tls::{Certificate, SealKeys};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

const SETTINGS: &str = "Settings";
const KEY_PAIR: &str = "KeyPair";

impl Planner {
    /// Whether the stored text is the wanted host with the wanted certificate, sealed with the first seal key.
    pub(super) fn holds(
        &self,
        key: &ObjectKey,
        host: &WantedCertificate,
        owner: &str,
        stored: &[u8],
    ) -> bool {
        let Some(pair) =
            Object::parse(key, stored, Strictness::Stored).object.and_then(|it| it.key_pair().cloned())
        else {
            return false;
        };
        let is_pair = match (&pair, self.seal_keys.is_empty()) {
            (KeyPairSource::Sealed { val, nonce }, false) => {
                opened(&self.seal_keys.first(), val, nonce).is_some_and(|text| is_of(&text, host))
            }
            (KeyPairSource::Plain { cert, key }, true) => {
                self.plain_keys && **cert == **host.certificate && **key == **host.key
            }
            _ => false,
        };
        let Some(mut without) = serde_json::from_slice::<Value>(stored).ok() else { return false };
        if let Some(settings) = without.get_mut(SETTINGS).and_then(Value::as_object_mut) {
            settings.shift_remove(KEY_PAIR);
        }
        let mut value = host.value.clone();
        value.entry(SETTINGS).or_insert_with(|| Map::new().into());
        value.insert(OWNER.into(), owner.into());
        is_pair && is_same(Value::Object(value).to_string().as_bytes(), without.to_string().as_bytes())
    }

    /// The text of a host with its certificate; else why there is none, as a predicate.
    pub(super) fn make(&self, host: &WantedCertificate, owner: &str) -> Result<Vec<u8>, String> {
        Certificate::from_pem(&host.certificate, &host.key)
            .map_err(|error| format!("is not written, since its certificate cannot be used: {error}"))?;
        let pair = if !self.seal_keys.is_empty() {
            self.seal_keys
                .seal_key_pair(&host.certificate, &host.key)
                .map_err(|error| format!("is not written: {error}"))?
        } else if self.plain_keys {
            KeyPairSource::Plain { cert: (&**host.certificate).into(), key: (&**host.key).into() }
        } else {
            return Err("is not written, since there is no seal key: give --seal-key-file, or --plain-keys to store it \
                        readable"
                .to_owned());
        };
        let mut value = host.with_pair(&pair);
        value.insert(OWNER.into(), owner.into());
        Ok(Value::Object(value).to_string().into_bytes())
    }
}

fn opened(keys: &SealKeys, val: &[u8], nonce: &[u8; 24]) -> Option<Zeroizing<Vec<u8>>> {
    keys.open(val, nonce).ok()
}

/// Whether `{"Key":base64,"Cert":base64}` is the wanted pair.
fn is_of(text: &[u8], host: &WantedCertificate) -> bool {
    let expected = |field: &str, pem: &[u8]| {
        let mut part = Zeroizing::new(format!("\"{field}\":\""));
        BASE64.encode_string(pem, &mut part);
        part.push('"');
        part
    };
    let (key, cert) = (expected("Key", &host.key), expected("Cert", &host.certificate));
    // As sealed by us; other spellings are sealed anew once.
    let whole = Zeroizing::new(format!("{{{},{}}}", *key, *cert));
    text == whole.as_bytes()
}
