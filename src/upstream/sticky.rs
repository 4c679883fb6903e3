//! Cookies that bring a client back to its server: signed, so that nobody chooses a server, and without a word of the
//! inside.

use crate::model::{BackendId, ServerId};
use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;

/// Bytes that stand for the server.
const HASH_BYTES: usize = 8;
/// Bytes of the signature.
const TAG_BYTES: usize = 16;
/// What of a secret this key is for; other keys of the same secret have nothing in common with it.
const PURPOSE: &[u8] = b"flipgate sticky cookies v1";

/// Signs sticky cookies. Proxies with the same key understand each other's.
#[derive(Clone)]
pub struct StickyKey(hmac::Key);

impl fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StickyKey(..)")
    }
}

impl From<[u8; 32]> for StickyKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }
}

impl StickyKey {
    /// A key that no other process has.
    pub fn random() -> Self {
        rand::random::<[u8; 32]>().into()
    }

    /// The key that belongs to `secret`: the same in every process, and telling nothing of the secret.
    pub fn derived(secret: &[u8]) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), PURPOSE);
        Self(hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref()))
    }

    /// The cookie's value for a server of a backend: 32 characters of base64url.
    pub fn encode(&self, backend: &BackendId, server: &ServerId) -> String {
        let hash = server_hash(server).to_be_bytes();
        let mut bytes = [0; HASH_BYTES + TAG_BYTES];
        let tag = self.tag(backend, hash);
        for (byte, value) in bytes.iter_mut().zip(hash.iter().chain(&tag)) {
            *byte = *value;
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The server that a cookie names, for [`Turn::sticky`](super::Turn); `None` where it was not signed with this key
    /// for this backend.
    pub fn decode(&self, backend: &BackendId, cookie: &str) -> Option<u64> {
        let mut bytes = [0; HASH_BYTES + TAG_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(cookie, &mut bytes).ok()?;
        let (hash, tag) = bytes.get(..length)?.split_first_chunk::<HASH_BYTES>()?;
        constant_time::verify_slices_are_equal(tag, &self.tag(backend, *hash)).ok()?;
        Some(u64::from_be_bytes(*hash))
    }

    /// Over the backend's id and what stands for the server's. No id has a 0 in it.
    fn tag(&self, backend: &BackendId, hash: [u8; HASH_BYTES]) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [backend.as_str().as_bytes(), &[0], &hash] {
            context.update(part);
        }
        context.sign().as_ref().first_chunk().copied().unwrap_or_default()
    }
}

/// What stands for a server in a cookie and on the ring of the policy `hash`: the same in every process.
pub(super) fn server_hash(server: &ServerId) -> u64 {
    let digest = digest::digest(&digest::SHA256, server.as_str().as_bytes());
    digest.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(backend: &str, server: &str) -> (BackendId, ServerId) {
        (backend.parse().unwrap(), server.parse().unwrap())
    }

    #[test]
    fn a_cookie_names_its_server_to_who_has_the_key() {
        let key = StickyKey::derived(b"one secret");
        let (backend, server) = ids("shop", "a");
        let cookie = key.encode(&backend, &server);
        assert_eq!(cookie.len(), 32);
        assert_eq!(key.decode(&backend, &cookie), Some(server_hash(&server)));
        let elsewhere = StickyKey::derived(b"one secret");
        assert_eq!(elsewhere.decode(&backend, &cookie), Some(server_hash(&server)));
        assert_eq!(server_hash(&server), 0xca97_8112_ca1b_bdca);
    }

    #[test]
    fn what_was_tampered_with_is_nothing() {
        let key = StickyKey::derived(b"one secret");
        let (backend, server) = ids("shop", "a");
        let cookie = key.encode(&backend, &server);
        let (other, _) = ids("shop2", "a");
        assert_eq!(key.decode(&other, &cookie), None);
        assert_eq!(StickyKey::random().decode(&backend, &cookie), None);
        for place in 0..cookie.len() {
            let mut changed = cookie.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(key.decode(&backend, std::str::from_utf8(&changed).unwrap()), None, "{place}");
        }
        let long = "A".repeat(4096);
        for text in ["", "A", "AAAAAAAAAAA", &cookie[..30], &format!("{cookie}AA"), "\u{e9}", &long] {
            assert_eq!(key.decode(&backend, text), None, "{text}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", StickyKey::from([7; 32])), "StickyKey(..)");
    }
}
