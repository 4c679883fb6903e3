//! Private keys on their way through verbs: they are written, and not shown.
//!
//! What is shown has a marker in place of a key pair. A value that carries the marker back keeps the stored pair.

use super::value::field;
use crate::model::{KeyPairSource, Object, ObjectKey, Strictness, hidden};
use crate::tls::SealKeys;
use anyhow::bail;
use serde_json::{Value, json};

/// The field that tells a marker from a key pair, here and in the admin API.
const MARK: &str = "Redacted";

/// How a key pair is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pair {
    /// There is none.
    Absent,
    /// Only its files' names are stored.
    Files,
    /// Sealed.
    Sealed,
    /// As it is, or in a form that cannot be read and may be that.
    Plain,
    /// A marker stands for it.
    Hidden,
}

impl Pair {
    /// For a table.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "",
            Self::Files => "files",
            Self::Sealed => "sealed",
            Self::Plain => "plain",
            Self::Hidden => "hidden",
        }
    }
}

/// What a value has for a key pair.
pub(super) fn pair(key: &ObjectKey, value: &Value) -> Pair {
    let Some(place) = key.key_pair_field() else { return Pair::Absent };
    match field(value, place) {
        None | Some(Value::Null) => Pair::Absent,
        Some(pair) if field(pair, MARK).is_some() => Pair::Hidden,
        Some(_) => match source(key, value) {
            Some(KeyPairSource::Files { .. }) => Pair::Files,
            Some(KeyPairSource::Sealed { .. }) => Pair::Sealed,
            _ => Pair::Plain,
        },
    }
}

fn source(key: &ObjectKey, value: &Value) -> Option<KeyPairSource> {
    Object::parse_value(key, value, Strictness::Stored).object?.key_pair().cloned()
}

/// The value with markers in place of a key pair, passwords and other secrets.
pub(super) fn redacted(key: &ObjectKey, value: &Value) -> Value {
    let found = pair(key, value);
    let value = hidden::hide(key, value.clone());
    match found {
        Pair::Absent | Pair::Files | Pair::Hidden => value,
        Pair::Sealed | Pair::Plain => with_pair(key, &value, &json!({ MARK: found.as_str() })),
    }
}

/// The value with `pair` in every place that is spelled as the pair's.
fn with_pair(key: &ObjectKey, value: &Value, pair: &Value) -> Value {
    fn put(value: &mut Value, path: &str, pair: &Value) {
        let (part, rest) = path.split_once('.').map_or((path, None), |(part, rest)| (part, Some(rest)));
        let fields = value.as_object_mut().into_iter().flatten();
        for (_, there) in fields.filter(|(name, _)| name.eq_ignore_ascii_case(part)) {
            match rest {
                Some(rest) => put(there, rest, pair),
                None => there.clone_from(pair),
            }
        }
    }
    let mut value = value.clone();
    if let Some(place) = key.key_pair_field() {
        put(&mut value, place, pair);
    }
    value
}

/// What is written to a store for a value that someone gave: a marker becomes the stored pair again, a plain pair is
/// sealed where a seal key is given. A pair that is stored sealed already stays as it is.
///
/// # Errors
/// The marker stands for nothing; the pair cannot be sealed.
pub(super) fn admitted(
    key: &ObjectKey,
    value: &Value,
    stored: Option<&Value>,
    seal: &SealKeys,
) -> anyhow::Result<Value> {
    let mut value = value.clone();
    if let Err(field) = hidden::restore(key, &mut value, stored) {
        bail!("{key}: {field} stands for what is stored, and nothing is stored; give the value itself");
    }
    let value = &value;
    let Some(place) = key.key_pair_field() else { return Ok(value.clone()) };
    match pair(key, value) {
        Pair::Hidden => match stored.and_then(|stored| field(stored, place)) {
            Some(kept) => Ok(with_pair(key, value, kept)),
            None => {
                bail!("{key}: {place} stands for a stored key pair, and none is stored; give the pair itself")
            }
        },
        Pair::Plain if !seal.is_empty() => {
            let Some(KeyPairSource::Plain { cert, key: private }) = source(key, value) else {
                return Ok(value.clone());
            };
            if let Some(kept) = stored.filter(|stored| opens_to(key, stored, &cert, &private, seal)) {
                return Ok(with_pair(key, value, field(kept, place).unwrap_or(&Value::Null)));
            }
            let sealed = seal.seal_key_pair(&cert, &private)?;
            let Some(mut object) = Object::parse_value(key, value, Strictness::Stored).object else {
                return Ok(value.clone());
            };
            object.replace_key_pair(sealed);
            Ok(with_pair(key, value, field(&object.to_value(), place).unwrap_or(&Value::Null)))
        }
        _ => Ok(value.clone()),
    }
}

/// Whether the stored pair is this one, sealed.
fn opens_to(key: &ObjectKey, stored: &Value, cert: &[u8], private: &[u8], seal: &SealKeys) -> bool {
    let Some(KeyPairSource::Sealed { val, nonce }) = source(key, stored) else { return false };
    let Ok(plain) = seal.open(&val, &nonce) else { return false };
    let Ok(opened) = serde_json::from_slice::<Value>(&plain) else { return false };
    let same_pair = with_pair(key, stored, &opened);
    matches!(
        source(key, &same_pair),
        Some(KeyPairSource::Plain { cert: there, key: and_key }) if *there == *cert && *and_key == *private
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAL: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn host() -> ObjectKey {
        ObjectKey::parse("hosts/a.example/host").unwrap()
    }

    fn plain(text: &str) -> Value {
        let pem = |kind: &str| format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n");
        json!({ "settings": { "Default": true, "keyPair": { "Cert": pem("CERTIFICATE"), "Key": pem("PRIVATE KEY") } } })
    }

    #[test]
    fn keys_are_not_shown_and_come_back() {
        let stored = plain("one");
        let shown = redacted(&host(), &stored);
        assert_eq!(shown, json!({ "settings": { "Default": true, "keyPair": { "Redacted": "plain" } } }));
        let none = SealKeys::none();
        assert_eq!(admitted(&host(), &shown, Some(&stored), &none).unwrap(), stored);
        assert!(admitted(&host(), &shown, None, &none).is_err());
        let broken = json!({ "Settings": { "KeyPair": "LS0tLS1CRUdJTg" } });
        assert_eq!(pair(&host(), &broken), Pair::Plain);
        let middleware = ObjectKey::parse("middlewares/m").unwrap();
        for (key, stored) in [
            (&middleware, json!({ "Type": "auth", "Middleware": { "Username": "ann", "Password": "hush" } })),
            (&host(), json!({ "Settings": { "AutoCert": { "Key": "hush" } } })),
        ] {
            let shown = redacted(key, &stored);
            assert!(!shown.to_string().contains("hush"), "{shown}");
            assert_eq!(admitted(key, &shown, Some(&stored), &none).unwrap(), stored);
            assert!(admitted(key, &shown, None, &none).is_err());
        }
        assert!(!redacted(&host(), &broken).to_string().contains("LS0"));
    }

    #[test]
    fn a_plain_pair_is_sealed_once() {
        let seal = SealKeys::parse(&[SEAL]).unwrap();
        let sealed = admitted(&host(), &plain("one"), None, &seal).unwrap();
        assert_eq!(pair(&host(), &sealed), Pair::Sealed);
        assert_eq!(admitted(&host(), &plain("one"), Some(&sealed), &seal).unwrap(), sealed);
        assert_ne!(admitted(&host(), &plain("two"), Some(&sealed), &seal).unwrap(), sealed);
    }
}
