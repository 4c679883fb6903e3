//! Seal keys: what lies in a store as `secretbox.v1`, the form that vulcand writes with its `-sealKey`.
//!
//! The seal is NaCl's secretbox (XSalsa20 and Poly1305) under a key of 32 bytes. Sealed in it is
//! `{"Key":base64,"Cert":base64}` with the PEM texts of a key pair.

use crate::model::KeyPairSource;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes of a seal key; its file holds twice as many hexadecimal digits.
pub const SEAL_KEY_BYTES: usize = 32;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;

/// The only encryption there is.
pub const ENCRYPTION: &str = "secretbox.v1";

/// Largest seal key file read, in bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// Why something cannot be sealed or opened. Never shows key material.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The file cannot be read.
    #[error("the seal key file {} cannot be read", path.display())]
    File {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not a key.
    #[error(
        "{origin} is not a seal key: it holds {found}, and 64 hexadecimal digits are expected (`flipgate secret new-key`)"
    )]
    NotAKey {
        /// The file, or the place of the key in its list.
        origin: String,
        /// What is there instead, without showing it.
        found: &'static str,
    },
    /// There is nothing to seal or open with.
    #[error("no seal key is given; name its file with --seal-key-file")]
    NoKey,
    /// Every key was tried.
    #[error(
        "none of the seal keys given ({0}) opens it; name the file of the one that sealed it with --seal-key-file"
    )]
    WrongKey(usize),
    /// The system has no randomness to offer, or the text is too long to seal.
    #[error("it cannot be sealed")]
    CannotSeal,
}

/// The seal keys of a process, in order: all of them open, the first one seals. `Debug` shows how many there are.
#[derive(Clone, Default)]
pub struct SealKeys {
    keys: Vec<Zeroizing<[u8; SEAL_KEY_BYTES]>>,
}

/// A sealed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Poly1305 tag and ciphertext.
    pub val: Vec<u8>,
    /// Random, made anew for each sealing.
    pub nonce: [u8; NONCE_BYTES],
}

impl SealKeys {
    /// No key at all: nothing can be sealed or opened.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads one key from each file.
    pub fn read<P: AsRef<Path>>(paths: &[P]) -> Result<Self, SealError> {
        let mut keys = Vec::with_capacity(paths.len());
        for path in paths.iter().map(AsRef::as_ref) {
            let text = read_text(path).map_err(|source| SealError::File { path: path.into(), source })?;
            keys.push(parse_key(&text).map_err(|found| SealError::NotAKey {
                origin: format!("the seal key file {}", path.display()),
                found,
            })?);
        }
        Ok(Self { keys })
    }

    /// Takes the keys as texts of 64 hexadecimal digits; white space around them is ignored.
    pub fn parse(texts: &[&str]) -> Result<Self, SealError> {
        let mut keys = Vec::with_capacity(texts.len());
        for (place, text) in texts.iter().enumerate() {
            keys.push(
                parse_key(text).map_err(|found| SealError::NotAKey {
                    origin: format!("seal key {}", place + 1),
                    found,
                })?,
            );
        }
        Ok(Self { keys })
    }

    /// Keys given as texts, and behind them those of files.
    ///
    /// # Errors
    /// One of them is no key, or a file cannot be read.
    pub fn gather<P: AsRef<Path>>(texts: &[&str], paths: &[P]) -> Result<Self, SealError> {
        let mut all = Self::parse(texts)?;
        all.keys.extend(Self::read(paths)?.keys);
        Ok(all)
    }

    /// A new key: 64 hexadecimal digits.
    ///
    /// # Errors
    /// The system has no randomness to offer.
    pub fn new_key() -> Result<Zeroizing<String>, SealError> {
        let mut key = Zeroizing::new([0; SEAL_KEY_BYTES]);
        aws_lc_rs::rand::fill(&mut key[..]).map_err(|_| SealError::CannotSeal)?;
        let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
        let digits = key.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        Ok(Zeroizing::new(digits.collect()))
    }

    /// The first key alone, which seals.
    pub fn first(&self) -> Self {
        Self { keys: self.keys.iter().take(1).cloned().collect() }
    }

    /// Seals anew, with the first key, what any of them opens.
    ///
    /// # Errors
    /// None opens it.
    pub fn seal_again(&self, val: &[u8], nonce: &[u8; NONCE_BYTES]) -> Result<Sealed, SealError> {
        self.seal(&self.open(val, nonce)?)
    }

    /// A secret for another purpose, the same in every process with the same first key; `None`: there is no key.
    pub fn derive(&self, purpose: &[u8]) -> Option<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.keys.first()?[..]);
        hmac::sign(&key, purpose).as_ref().try_into().ok()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Seals with the first key.
    pub fn seal(&self, plain: &[u8]) -> Result<Sealed, SealError> {
        let key = self.keys.first().ok_or(SealError::NoKey)?;
        let mut nonce = [0; NONCE_BYTES];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| SealError::CannotSeal)?;
        let val =
            secretbox(key).encrypt(Nonce::from_slice(&nonce), plain).map_err(|_| SealError::CannotSeal)?;
        Ok(Sealed { val, nonce })
    }

    /// Opens with whichever key fits. What comes out is wiped from memory when dropped.
    pub fn open(&self, val: &[u8], nonce: &[u8; NONCE_BYTES]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if self.keys.is_empty() {
            return Err(SealError::NoKey);
        }
        self.keys
            .iter()
            .find_map(|key| secretbox(key).decrypt(Nonce::from_slice(nonce), val).ok())
            .map(Zeroizing::new)
            .ok_or(SealError::WrongKey(self.keys.len()))
    }

    /// Seals the PEM texts of a key pair, as a host object stores them.
    pub fn seal_key_pair(&self, cert: &[u8], key: &[u8]) -> Result<KeyPairSource, SealError> {
        let mut plain = Zeroizing::new(String::with_capacity(2 * (cert.len() + key.len())));
        plain.push_str("{\"Key\":\"");
        STANDARD.encode_string(key, &mut plain);
        plain.push_str("\",\"Cert\":\"");
        STANDARD.encode_string(cert, &mut plain);
        plain.push_str("\"}");
        let sealed = self.seal(plain.as_bytes())?;
        Ok(KeyPairSource::Sealed { val: sealed.val.into(), nonce: sealed.nonce })
    }
}

impl Sealed {
    /// `{"Encryption":"secretbox.v1","Value":{"Val","Nonce"}}`. vulcand keeps this text in base64 once more.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::json!({
            "Encryption": ENCRYPTION,
            "Value": { "Val": STANDARD.encode(&self.val), "Nonce": STANDARD.encode(self.nonce) },
        })
    }
}

impl std::fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealKeys({})", self.keys.len())
    }
}

fn secretbox(key: &[u8; SEAL_KEY_BYTES]) -> XSalsa20Poly1305 {
    XSalsa20Poly1305::new(crypto_secretbox::Key::from_slice(key))
}

fn read_text(path: &Path) -> std::io::Result<Zeroizing<String>> {
    use std::io::Read;
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The error says what the text is instead of a key, without showing it.
fn parse_key(text: &str) -> Result<Zeroizing<[u8; SEAL_KEY_BYTES]>, &'static str> {
    let digits = text.trim().as_bytes();
    match digits.len() {
        0 => return Err("nothing"),
        length if length < 2 * SEAL_KEY_BYTES => return Err("too few characters"),
        length if length > 2 * SEAL_KEY_BYTES => return Err("too many characters"),
        _ => {}
    }
    let mut key = Zeroizing::new([0; SEAL_KEY_BYTES]);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16).ok_or("characters other than 0 to 9 and a to f")?;
            *byte = *byte << 4 | value as u8;
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const OTHER: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    // Made by libsodium through PyNaCl, under KEY with the nonce 100, 101, .. 123.
    const VAL: &str =
        "W+hrKPJdG4JjwuPKn++5knmb0qxDlPTL0c91oX7M8XRb4mmaxoppWMN+NrYwqZC6/haQXyNa+rO7fnMlVXS5Ipekylkvuxsi";
    const PLAIN: &str = r#"{"Key":"a2V5IHRleHQ=","Cert":"Y2VydGlmaWNhdGUgdGV4dA=="}"#;

    fn vector() -> (Vec<u8>, [u8; NONCE_BYTES]) {
        (STANDARD.decode(VAL).unwrap(), std::array::from_fn(|i| 100 + i as u8))
    }

    #[test]
    fn opens_what_libsodium_sealed() {
        let (val, nonce) = vector();
        let keys = SealKeys::parse(&[KEY]).unwrap();
        assert_eq!(keys.open(&val, &nonce).unwrap().as_slice(), PLAIN.as_bytes());
        let sealed = secretbox(&keys.keys[0]).encrypt(Nonce::from_slice(&nonce), PLAIN.as_bytes()).unwrap();
        assert_eq!(sealed, val);
    }

    #[test]
    fn every_key_opens_and_the_first_seals() {
        let (val, nonce) = vector();
        let both = SealKeys::parse(&[OTHER, KEY]).unwrap();
        assert_eq!(both.open(&val, &nonce).unwrap().as_slice(), PLAIN.as_bytes());
        let sealed = both.seal(b"text").unwrap();
        assert!(SealKeys::parse(&[KEY]).unwrap().open(&sealed.val, &sealed.nonce).is_err());
        let first = SealKeys::parse(&[OTHER]).unwrap();
        assert_eq!(first.open(&sealed.val, &sealed.nonce).unwrap().as_slice(), b"text");
        assert_ne!(both.seal(b"text").unwrap().nonce, sealed.nonce);
    }

    #[test]
    fn a_changed_text_or_a_missing_key_opens_nothing() {
        let (mut val, nonce) = vector();
        val[20] ^= 1;
        let keys = SealKeys::parse(&[KEY, OTHER]).unwrap();
        assert!(matches!(keys.open(&val, &nonce), Err(SealError::WrongKey(2))));
        assert!(matches!(keys.open(&[], &nonce), Err(SealError::WrongKey(2))));
        assert!(matches!(SealKeys::none().open(&val, &nonce), Err(SealError::NoKey)));
        assert!(matches!(SealKeys::none().seal(b""), Err(SealError::NoKey)));
    }

    #[test]
    fn keys_are_read_from_hexadecimal_text() {
        let cases: &[(&str, Option<&str>)] = &[
            (KEY, None),
            (&KEY.to_uppercase(), None),
            (&format!("\n {KEY}\r\n"), None),
            ("", Some("nothing")),
            (&KEY[2..], Some("too few")),
            (&format!("{KEY}00"), Some("too many")),
            (&KEY.replace('a', "g"), Some("other than")),
        ];
        for (text, expected) in cases {
            match (SealKeys::parse(&[text]), expected) {
                (Ok(keys), None) => assert_eq!(keys.keys[0][31], 31),
                (Err(error), Some(words)) => {
                    let said = error.to_string();
                    assert!(said.contains(words) && said.contains("seal key 1"), "{said}");
                }
                (result, _) => panic!("{text:?}: {result:?}"),
            }
        }
    }

    #[test]
    fn keys_are_read_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        std::fs::write(&path, format!("{KEY}\n")).unwrap();
        let keys = SealKeys::read(&[&path]).unwrap();
        assert_eq!(format!("{keys:?}"), "SealKeys(1)");
        let said = SealKeys::read(&[dir.path().join("absent")]).unwrap_err().to_string();
        assert!(said.contains("absent"), "{said}");
    }

    #[test]
    fn the_stored_form_is_vulcands() {
        let (val, nonce) = vector();
        let text = Sealed { val, nonce }.to_value().to_string();
        assert!(text.starts_with(r#"{"Encryption":"secretbox.v1","Value":{"Val":""#), "{text}");
        assert!(text.ends_with(r#"","Nonce":"ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7"}}"#), "{text}");
    }
}
