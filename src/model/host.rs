//! A host: a TLS server name with its certificate.

use super::id::HostName;
use std::path::PathBuf;
use std::sync::Arc;

/// A TLS server name with its certificate. Routing does not need one.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// From the key; an exact name or `*.` and a name.
    pub name: HostName,
    /// Its certificate is shown when no other fits.
    pub default: bool,
    /// Absent: the host has no certificate of its own.
    pub key_pair: Option<KeyPairSource>,
}

/// Where a host's certificate and private key come from. `Debug` never shows key material.
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
