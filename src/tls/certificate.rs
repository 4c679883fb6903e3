//! One certificate with its private key: read, unsealed and checked before anything serves it.

use super::seal::{SealError, SealKeys};
use crate::model::{HostName, KeyPairSource};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::{Zeroize, Zeroizing};

/// Largest PEM text taken, in bytes, of a chain or a key.
pub const PEM_BYTES_MAX: usize = 1024 * 1024;

/// A certificate chain with the private key that belongs to it. `Debug` shows names and dates only.
pub struct Certificate {
    names: Vec<Arc<str>>,
    not_before: SystemTime,
    not_after: SystemTime,
    key: Arc<CertifiedKey>,
}

/// Which half of a key pair is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The chain.
    Cert,
    /// The private key.
    Key,
    /// The certificates of authorities.
    Authorities,
}

/// Why a key pair cannot be used. Never shows key material.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It is sealed and cannot be opened.
    #[error("the key pair is sealed: {0}")]
    Seal(#[from] SealError),
    /// What was sealed is something else.
    #[error(
        "what the seal holds is not a key pair; it should be {{\"Key\",\"Cert\"}} with both PEM texts in base64"
    )]
    SealedContent,
    /// Files are named, but none may be read.
    #[error(
        "{part} is to be read from a file, and there is no secrets directory; name it with --secrets-dir"
    )]
    NoSecretsDir {
        /// Whose file.
        part: Part,
    },
    /// The path, or where its symbolic links lead, lies elsewhere.
    #[error("the file of {part}, {}, lies outside the secrets directory; files are read below it only", path.display())]
    OutsideSecretsDir {
        /// Whose file.
        part: Part,
        /// As the object names it.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("the file of {part}, {}, cannot be read: {source}", path.display())]
    File {
        /// Whose file.
        part: Part,
        /// As the object names it.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is longer than [`PEM_BYTES_MAX`].
    #[error("{0} is longer than 1 MiB")]
    TooLong(Part),
    /// The text holds no such PEM section.
    #[error("{0} is not there: the text has no PEM section \"{expected}\"", expected = .0.section())]
    Missing(Part),
    /// A PEM section is damaged.
    #[error("{part} is not well-formed PEM: {what}")]
    Pem {
        /// Which text.
        part: Part,
        /// What is wrong, without showing it.
        what: &'static str,
    },
    /// The private key asks for a passphrase.
    #[error(
        "the private key is encrypted with a passphrase, which nobody is there to type; store it without one, and sealed"
    )]
    Passphrase,
    /// Neither RSA, ECDSA on P-256, P-384 or P-521, nor Ed25519, or damaged.
    #[error(
        "the private key is damaged or of a kind that is not supported; RSA (2048 bits or more), ECDSA and Ed25519 are"
    )]
    UnsupportedKey,
    /// The first certificate of the chain is not X.509 version 3.
    #[error("the first certificate of the chain cannot be read; it should be an X.509 version 3 certificate")]
    Leaf,
    /// The private key belongs to some other certificate.
    #[error(
        "the private key does not belong to the first certificate of the chain (for {}); the server's own certificate comes first, then its issuers",
        names.join(", ")
    )]
    KeyMismatch {
        /// Names in the first certificate.
        names: Vec<Arc<str>>,
    },
}

/// What is worth saying about a certificate that is used all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateWarning {
    /// Clients refuse it.
    Expired {
        /// Whole days since.
        days: u64,
    },
    /// Clients refuse it for now.
    NotYetValid {
        /// Whole days to go, at least 1.
        days: u64,
    },
    /// Clients that ask for the host refuse it.
    NameNotCovered {
        /// The host.
        host: HostName,
        /// What is in the certificate.
        names: Vec<Arc<str>>,
    },
}

impl Certificate {
    /// Reads a key pair, opens its seal where it has one, and checks that it can be served. Files are read below
    /// `secrets_dir` only, wherever symbolic links lead.
    pub fn load(
        source: &KeyPairSource,
        seal: &SealKeys,
        secrets_dir: Option<&Path>,
    ) -> Result<Self, CertificateError> {
        match source {
            KeyPairSource::Plain { cert, key } => Self::from_pem(cert, key),
            KeyPairSource::Sealed { val, nonce } => {
                let (cert, key) = sealed_texts(&seal.open(val, nonce)?)?;
                Self::from_pem(&cert, &key)
            }
            KeyPairSource::Files { cert, key } => {
                let cert = read_below(secrets_dir, cert, Part::Cert)?;
                let key = read_below(secrets_dir, key, Part::Key)?;
                Self::from_pem(&cert, &key)
            }
        }
    }

    /// Takes a chain, the server's own certificate first, and its private key as PEM texts.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = read_chain(cert)?;
        let leaf = chain.first().ok_or(CertificateError::Missing(Part::Cert))?;
        let Leaf { names, not_before, not_after } = read_leaf(leaf)?;

        let mut der = read_key(key)?;
        let signing_key = any_supported_type(&der);
        der.zeroize();
        let key = CertifiedKey::new(chain, signing_key.map_err(|_| CertificateError::UnsupportedKey)?);
        match key.keys_match() {
            Ok(()) => Ok(Self { names, not_before, not_after, key: Arc::new(key) }),
            Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(CertificateError::KeyMismatch { names })
            }
            Err(TlsError::InconsistentKeys(_)) => Err(CertificateError::UnsupportedKey),
            Err(_) => Err(CertificateError::Leaf),
        }
    }

    /// DNS names it is for, in lower case; the subject's common name where there are none. May be empty.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Valid from here.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Valid up to here.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whole days until it expires, rounded down; negative once it has.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        match self.not_after.duration_since(now) {
            Ok(left) => days(left) as i64,
            Err(over) => -1 - days(over.duration()) as i64,
        }
    }

    /// Seconds until it expires; negative once it has.
    pub fn seconds_left(&self, now: SystemTime) -> i64 {
        match self.not_after.duration_since(now) {
            Ok(left) => i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            Err(over) => -i64::try_from(over.duration().as_secs()).unwrap_or(i64::MAX),
        }
    }

    /// What a handshake needs.
    pub fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// Whether clients that ask for `host` accept its names (RFC 6125 section 6.4: a wildcard stands for one label).
    pub fn covers(&self, host: &HostName) -> bool {
        let host = normalised(host.as_str());
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| {
            **name == *host || name.strip_prefix("*.").is_some_and(|of| Some(of) == parent && !of.is_empty())
        })
    }

    /// What to say about serving it as `host` at this time.
    pub fn warnings(&self, host: &HostName, now: SystemTime) -> Vec<CertificateWarning> {
        let mut warnings = Vec::new();
        if let Ok(over) = now.duration_since(self.not_after)
            && !over.is_zero()
        {
            warnings.push(CertificateWarning::Expired { days: days(over) });
        }
        if let Ok(ahead) = self.not_before.duration_since(now)
            && !ahead.is_zero()
        {
            warnings.push(CertificateWarning::NotYetValid { days: days(ahead) + 1 });
        }
        if !self.covers(host) {
            let names = self.names.clone();
            warnings.push(CertificateWarning::NameNotCovered { host: host.clone(), names });
        }
        warnings
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Part {
    fn section(self) -> &'static str {
        match self {
            Self::Cert | Self::Authorities => "-----BEGIN CERTIFICATE-----",
            Self::Key => "-----BEGIN PRIVATE KEY-----",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cert => "the certificate",
            Self::Key => "the private key",
            Self::Authorities => "the authorities' certificates",
        })
    }
}

impl CertificateError {
    /// The host object's field that it is about, in vulcand's spelling.
    pub fn field(&self) -> &'static str {
        match self {
            Self::NoSecretsDir { part } | Self::OutsideSecretsDir { part, .. } | Self::File { part, .. } => {
                match part {
                    Part::Cert => "Settings.KeyPair.CertFile",
                    Part::Key => "Settings.KeyPair.KeyFile",
                    Part::Authorities => "Settings.ClientAuth.CAFile",
                }
            }
            _ => "Settings.KeyPair",
        }
    }
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { days: 0 } => f.write_str("the certificate has expired today; clients refuse it"),
            Self::Expired { days } => {
                write!(f, "the certificate expired {days} {} ago; clients refuse it", days_word(*days))
            }
            Self::NotYetValid { days } => write!(
                f,
                "the certificate becomes valid within {days} {}; clients refuse it until then",
                days_word(*days)
            ),
            Self::NameNotCovered { host, names } if names.is_empty() => {
                write!(f, "the certificate holds no DNS name; clients that ask for {host} refuse it")
            }
            Self::NameNotCovered { host, names } => {
                write!(
                    f,
                    "the certificate is for {}; clients that ask for {host} refuse it",
                    names.join(", ")
                )
            }
        }
    }
}

struct Leaf {
    names: Vec<Arc<str>>,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Lower case, without the dot that ends a fully qualified name.
pub(super) fn normalised(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn days(time: Duration) -> u64 {
    time.as_secs() / 86_400
}

fn days_word(days: u64) -> &'static str {
    if days == 1 { "day" } else { "days" }
}

fn read_chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    if text.len() > PEM_BYTES_MAX {
        return Err(CertificateError::TooLong(Part::Cert));
    }
    CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem_error(Part::Cert, &error))
}

fn read_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    if text.len() > PEM_BYTES_MAX {
        return Err(CertificateError::TooLong(Part::Key));
    }
    let is_encrypted = [&b"ENCRYPTED PRIVATE KEY-----"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| memchr::memmem::find(text, mark).is_some());
    if is_encrypted {
        return Err(CertificateError::Passphrase);
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| pem_error(Part::Key, &error))
}

/// The library's own words are not passed on: they can quote the text.
fn pem_error(part: Part, error: &pem::Error) -> CertificateError {
    let what = match error {
        pem::Error::NoItemsFound => return CertificateError::Missing(part),
        pem::Error::MissingSectionEnd { .. } => "a section has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is damaged",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be read",
    };
    CertificateError::Pem { part, what }
}

fn read_leaf(der: &CertificateDer<'_>) -> Result<Leaf, CertificateError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Leaf)?;
    let alternatives = certificate.subject_alternative_name().map_err(|_| CertificateError::Leaf)?;
    let mut names: Vec<Arc<str>> = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(normalised(name).into()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        names.extend(
            certificate
                .subject()
                .iter_common_name()
                .filter_map(|name| name.as_str().ok())
                .filter(|name| {
                    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control())
                })
                .map(|name| normalised(name).into()),
        );
    }
    let validity = certificate.validity();
    Ok(Leaf {
        names,
        not_before: system_time(validity.not_before.timestamp()),
        not_after: system_time(validity.not_after.timestamp()),
    })
}

fn system_time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

type PemTexts = (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

/// `{"Key","Cert"}` -> chain and key.
fn sealed_texts(plain: &[u8]) -> Result<PemTexts, CertificateError> {
    #[derive(serde::Deserialize)]
    struct RawKeyPair<'a> {
        #[serde(rename = "Key", alias = "key", borrow)]
        key: &'a str,
        #[serde(rename = "Cert", alias = "cert", borrow)]
        cert: &'a str,
    }
    let raw: RawKeyPair<'_> = serde_json::from_slice(plain).map_err(|_| CertificateError::SealedContent)?;
    let decode =
        |text| STANDARD.decode(text).map(Zeroizing::new).map_err(|_| CertificateError::SealedContent);
    Ok((decode(raw.cert)?, decode(raw.key)?))
}

/// The certificates of authorities from a file below the secrets directory.
pub(super) fn read_authorities(
    dir: Option<&Path>,
    path: &Path,
) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let text = read_below(dir, path, Part::Authorities)?;
    if text.len() > PEM_BYTES_MAX { Err(CertificateError::TooLong(Part::Authorities)) } else { Ok(text) }
}

/// Reads a regular file whose real path lies below the real path of `dir`.
fn read_below(dir: Option<&Path>, path: &Path, part: Part) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    use std::io::Read;
    let dir = dir.ok_or(CertificateError::NoSecretsDir { part })?;
    let failed = |source| CertificateError::File { part, path: path.into(), source };
    let root = dir.canonicalize().map_err(failed)?;
    let real = root.join(path).canonicalize().map_err(failed)?;
    if !real.starts_with(&root) {
        return Err(CertificateError::OutsideSecretsDir { part, path: path.into() });
    }
    if !real.metadata().map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is not a regular file")));
    }
    let mut text = Zeroizing::new(Vec::new());
    let limit = PEM_BYTES_MAX as u64 + 1;
    std::fs::File::open(&real).and_then(|file| file.take(limit).read_to_end(&mut text)).map_err(failed)?;
    Ok(text)
}
