//! From `--store` and the flags around it to a store.

use super::Store;
use super::directory::DirectoryStore;
#[cfg(feature = "etcd")]
use super::etcd::{EtcdOptions, EtcdStore, PREFIX_DEFAULT, Timing};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `dir:PATH`
    Directory(PathBuf),
    /// `etcd://HOST:PORT,HOST:PORT`
    Etcd(Vec<String>),
}

/// Why a text names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStoreUrl {
    /// Neither form.
    #[error("{0:?} is no store: write dir:PATH or etcd://HOST:PORT,HOST:PORT")]
    Form(String),
    /// `dir:` alone.
    #[error("dir: needs a path, as in dir:/etc/flipgate/routes")]
    NoPath,
    /// An end point that is not `HOST:PORT`.
    #[error("{0:?} is no end point: write HOST:PORT, as in etcd://127.0.0.1:2379")]
    Endpoint(String),
}

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStoreUrl> {
        if let Some(path) = text.strip_prefix("dir:") {
            return if path.is_empty() {
                Err(InvalidStoreUrl::NoPath)
            } else {
                Ok(Self::Directory(path.into()))
            };
        }
        let Some(endpoints) = text.strip_prefix("etcd://") else {
            return Err(InvalidStoreUrl::Form(text.to_owned()));
        };
        let endpoint = |part: &str| match part.rsplit_once(':') {
            Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok_and(|port| port != 0) => {
                Ok(part.to_owned())
            }
            _ => Err(InvalidStoreUrl::Endpoint(part.to_owned())),
        };
        endpoints.split(',').map(str::trim).map(endpoint).collect::<Result<_, _>>().map(Self::Etcd)
    }
}

/// A name or address; one with colons stands in brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
            Self::Etcd(endpoints) => write!(f, "etcd://{}", endpoints.join(",")),
        }
    }
}

/// How to reach etcd, beyond its address. Files are read again at every connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EtcdAccess {
    /// Encrypts with the system's certificates; given a CA or a client certificate, encryption is implied.
    pub tls: bool,
    /// PEM file of the CA that signed etcd's certificate.
    pub ca: Option<PathBuf>,
    /// PEM file of our certificate.
    pub certificate: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
    /// Logs in as.
    pub user: Option<String>,
    /// File with the password; white space at its end does not count.
    pub password_file: Option<PathBuf>,
}

impl EtcdAccess {
    /// Whether connections are encrypted.
    pub fn uses_tls(&self) -> bool {
        self.tls || self.ca.is_some() || self.certificate.is_some()
    }
}

/// Everything that names a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// `--store`
    pub url: StoreUrl,
    /// `--prefix`; only etcd has one.
    pub prefix: Option<String>,
    /// `--state-prefix`; only etcd has one.
    pub state_prefix: Option<String>,
    /// `--etcd-ca` and its kin.
    pub access: EtcdAccess,
    /// Where a directory that cannot be written keeps its revision.
    pub counter: Option<PathBuf>,
}

impl StoreOptions {
    /// A store with defaults for everything else.
    pub fn new(url: StoreUrl) -> Self {
        Self { url, prefix: None, state_prefix: None, access: EtcdAccess::default(), counter: None }
    }
}

/// Why a store cannot be opened, known without asking it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The list of end points is empty.
    #[error("etcd needs at least one end point, as in etcd://127.0.0.1:2379")]
    NoEndpoint,
    /// `` or `/`.
    #[error("a prefix needs a name, as in /flipgate: everything else in etcd would be taken for routes")]
    EmptyPrefix,
    /// State would be read as routes.
    #[error(
        "the state prefix {state_prefix} lies within the prefix {prefix}: proxies would read it for routes"
    )]
    StateWithinPrefix {
        /// With its slash.
        prefix: String,
        /// With its slash.
        state_prefix: String,
    },
    /// A directory has no prefix.
    #[error("a directory store has no prefix: the directory itself is the root")]
    PrefixOfDirectory,
    /// `--etcd-cert` without `--etcd-key`, or the other way round.
    #[error("a client certificate needs its key, and the key its certificate")]
    HalfCertificate,
    /// `--etcd-password-file` without `--etcd-user`.
    #[error("a password needs the user that it belongs to")]
    PasswordWithoutUser,
    /// Built without the feature.
    #[error("this program was built without the feature `etcd`")]
    WithoutEtcd,
}

/// Opens a store. Nothing is asked yet; what cannot be reached says so in its feeds and answers.
pub fn open(options: &StoreOptions) -> Result<Arc<dyn Store>, OpenError> {
    match &options.url {
        StoreUrl::Directory(path) => {
            if options.prefix.is_some() || options.state_prefix.is_some() {
                return Err(OpenError::PrefixOfDirectory);
            }
            Ok(Arc::new(DirectoryStore::new(path.clone(), options.counter.clone())))
        }
        StoreUrl::Etcd(endpoints) => open_etcd(endpoints, options),
    }
}

#[cfg(feature = "etcd")]
fn open_etcd(endpoints: &[String], options: &StoreOptions) -> Result<Arc<dyn Store>, OpenError> {
    let access = options.access.clone();
    if access.certificate.is_some() != access.key.is_some() {
        return Err(OpenError::HalfCertificate);
    }
    if access.password_file.is_some() && access.user.is_none() {
        return Err(OpenError::PasswordWithoutUser);
    }
    let store = EtcdStore::new(EtcdOptions {
        endpoints: endpoints.to_vec(),
        prefix: options.prefix.clone().unwrap_or_else(|| PREFIX_DEFAULT.to_owned()),
        state_prefix: options.state_prefix.clone(),
        access,
        timing: Timing::default(),
    })?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "etcd"))]
fn open_etcd(_: &[String], _: &StoreOptions) -> Result<Arc<dyn Store>, OpenError> {
    Err(OpenError::WithoutEtcd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named_by_path_or_end_points() {
        let etcd = |parts: &[&str]| Ok(StoreUrl::Etcd(parts.iter().map(|part| part.to_string()).collect()));
        for (text, url) in [
            ("dir:routes", Ok(StoreUrl::Directory("routes".into()))),
            ("dir:/etc/x:y", Ok(StoreUrl::Directory("/etc/x:y".into()))),
            ("etcd://127.0.0.1:2379", etcd(&["127.0.0.1:2379"])),
            ("etcd://a:1,[::1]:2, b.c:3", etcd(&["a:1", "[::1]:2", "b.c:3"])),
            ("dir:", Err(InvalidStoreUrl::NoPath)),
            ("/etc/x", Err(InvalidStoreUrl::Form("/etc/x".into()))),
            ("http://a:1", Err(InvalidStoreUrl::Form("http://a:1".into()))),
            ("etcd://", Err(InvalidStoreUrl::Endpoint(String::new()))),
            ("etcd://a", Err(InvalidStoreUrl::Endpoint("a".into()))),
            ("etcd://a:0", Err(InvalidStoreUrl::Endpoint("a:0".into()))),
            ("etcd://a:1,", Err(InvalidStoreUrl::Endpoint(String::new()))),
            ("etcd://user@a:1", Err(InvalidStoreUrl::Endpoint("user@a:1".into()))),
            ("etcd://::1:1", Err(InvalidStoreUrl::Endpoint("::1:1".into()))),
        ] {
            assert_eq!(StoreUrl::from_str(text), url, "{text}");
        }
    }

    #[test]
    fn says_what_does_not_go_together() {
        let check = |url: &str, change: fn(&mut StoreOptions), error| {
            let mut options = StoreOptions::new(url.parse().unwrap());
            change(&mut options);
            assert_eq!(open(&options).err(), Some(error));
        };
        check("dir:x", |o| o.prefix = Some("/p".into()), OpenError::PrefixOfDirectory);
        if cfg!(feature = "etcd") {
            check("etcd://a:1", |o| o.prefix = Some("/".into()), OpenError::EmptyPrefix);
            check("etcd://a:1", |o| o.access.key = Some("k".into()), OpenError::HalfCertificate);
            check(
                "etcd://a:1",
                |o| o.access.password_file = Some("p".into()),
                OpenError::PasswordWithoutUser,
            );
        }
    }
}
