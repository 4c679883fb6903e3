//! One connection to one end point, with login, limits in time, and errors that say whether to try again.

use super::Shared;
use crate::model::Revision;
use crate::store::StoreError;
use crate::store::open::EtcdAccess;
use etcd_client::{
    Certificate, Client, ConnectOptions, Error, GetOptions, Identity, ResponseHeader, TlsOptions,
};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::timeout;

/// Largest message that is read, in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

// gRPC's numbers for its codes.
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const OUT_OF_RANGE: i32 = 11;
const UNAUTHENTICATED: i32 = 16;

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing left this machine.
    NotSent(String),
    /// No answer, or one that says that etcd cannot just now. A write may have happened.
    Away(String),
    /// The rights do not cover it, or the login is wrong.
    Denied(String),
    /// It would be refused again.
    Refused(String),
    /// An expectation did not hold.
    Conflict { key: String },
    /// The revision asked for is gone.
    Compacted,
    /// The answer is larger than [`MESSAGE_BYTES_MAX`].
    TooLarge,
}

impl Failure {
    /// Whether the connection is to blame, and another may do better.
    pub(super) fn is_connection(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Away(_) | Self::Denied(_))
    }

    /// For people.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::NotSent(reason) | Self::Away(reason) | Self::Refused(reason) => reason.clone(),
            Self::Denied(reason) => format!("not permitted: {reason}"),
            Self::Conflict { key } => format!("{key} is not as expected"),
            Self::Compacted => "the revision was compacted".to_owned(),
            Self::TooLarge => format!("one answer is larger than {MESSAGE_BYTES_MAX} bytes"),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Denied(reason) => Self::Denied(reason),
            Failure::Refused(reason) => Self::Refused(reason),
            Failure::Conflict { key } => Self::Conflict { key },
            other => Self::Unavailable(other.reason()),
        }
    }
}

/// The end of a text of errors and their sources, without what gRPC says of itself.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            let _ = write!(text, ": {inner_text}");
        }
        source = inner.source();
    }
    text
}

/// What started it: the last of an error's sources.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Tells from etcd-client's error what to do about it.
pub(super) fn judge(error: Error) -> Failure {
    let Error::GRpcStatus(status) = error else {
        return match error {
            Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
                Failure::Refused(error.to_string())
            }
            Error::TransportError(inner) => Failure::NotSent(describe(&inner)),
            other => Failure::Away(other.to_string()),
        };
    };
    let message = status.message().strip_prefix("etcdserver: ").unwrap_or(status.message()).to_owned();
    match i32::from(status.code()) {
        OUT_OF_RANGE if message.contains("compacted") => Failure::Compacted,
        OUT_OF_RANGE if message.contains("lease") => Failure::Refused(message),
        OUT_OF_RANGE if message.contains("too large") => Failure::TooLarge,
        PERMISSION_DENIED | UNAUTHENTICATED => Failure::Denied(message),
        INVALID_ARGUMENT if is_login(&message) => Failure::Denied(message),
        RESOURCE_EXHAUSTED | INVALID_ARGUMENT
            if message.contains("too large") || message.contains("larger than max") =>
        {
            Failure::Refused(format!(
                "{message}: etcd takes 1.5 MiB a request unless it was started with a larger --max-request-bytes"
            ))
        }
        NOT_FOUND if message.contains("lease") => Failure::Refused("the lease has ended".to_owned()),
        INVALID_ARGUMENT | RESOURCE_EXHAUSTED | FAILED_PRECONDITION | OUT_OF_RANGE => {
            Failure::Refused(message)
        }
        _ => {
            let text = describe(&status);
            let never_sent = ["tcp connect error", "dns error", "connection refused", "Connection refused"];
            if never_sent.iter().any(|part| text.contains(part)) {
                return Failure::NotSent(short(&text));
            }
            if message.contains("h2 protocol error") || message.contains("transport error") {
                return Failure::Away(format!("the connection broke: {}", innermost(&status)));
            }
            Failure::Away(if message.is_empty() { text } else { message })
        }
    }
}

fn short(text: &str) -> String {
    text.rsplit(": ").next().unwrap_or(text).to_owned()
}

/// Whether logging in again may help.
fn is_login(message: &str) -> bool {
    ["invalid auth token", "revision of auth store is old", "user name is empty", "authentication failed"]
        .iter()
        .any(|part| message.contains(part))
}

/// What every answer's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) cluster: u64,
    pub(super) term: u64,
    pub(super) revision: Revision,
}

impl Head {
    pub(super) fn of(header: Option<&ResponseHeader>) -> Result<Self, Failure> {
        let header = header.ok_or_else(|| Failure::Away("an answer without a header".to_owned()))?;
        Ok(Self {
            cluster: header.cluster_id(),
            term: header.raft_term(),
            revision: Revision(u64::try_from(header.revision()).unwrap_or(0)),
        })
    }
}

/// A client of one end point.
pub(super) struct Connection {
    pub(super) client: Client,
    limit: Duration,
    logs_in: bool,
}

impl Connection {
    /// Prepares a connection to an end point (counted round) and logs in. Without a login nothing is sent yet.
    pub(super) async fn open(shared: &Shared, endpoint: usize, watches: bool) -> Result<Self, Failure> {
        let count = shared.endpoints.len().max(1);
        let Some(address) = shared.endpoints.get(endpoint % count) else {
            return Err(Failure::Refused("no end point".to_owned()));
        };
        let timing = &shared.timing;
        let scheme = if shared.access.uses_tls() { "https" } else { "http" };
        let url = format!("{scheme}://{address}");
        let mut options = ConnectOptions::new()
            .with_connect_timeout(timing.connect)
            .with_keep_alive(timing.keep_alive, timing.keep_alive)
            // etcd closes a connection that pings while nothing is open on it.
            .with_keep_alive_while_idle(watches)
            .with_require_leader(true);
        if let Some(tls) = tls_options(&shared.access).await? {
            options = options.with_tls(tls);
        }
        let login = login(&shared.access).await?;
        let connect = |options: ConnectOptions| async {
            match timeout(timing.connect, Client::connect([&url], Some(options))).await {
                Ok(connected) => connected.map_err(judge),
                Err(_) => Err(Failure::NotSent(format!("{address} does not answer"))),
            }
        };
        let mut logs_in = login.is_some();
        let named = |failure| match failure {
            Failure::NotSent(reason) => Failure::NotSent(format!("{address}: {reason}")),
            Failure::Away(reason) => Failure::Away(format!("{address}: {reason}")),
            other => other,
        };
        let client = match login {
            None => connect(options).await,
            Some((user, password)) => match connect(options.clone().with_user(user, password)).await {
                Err(Failure::Refused(reason)) if reason.contains("not enabled") => {
                    logs_in = false;
                    connect(options).await
                }
                // The login is the first thing that is sent, and it changes nothing.
                Err(Failure::Away(reason)) => Err(Failure::NotSent(reason)),
                Err(Failure::Refused(reason)) => Err(Failure::Denied(reason)),
                connected => connected,
            },
        };
        let client = client.map_err(named)?;
        Ok(Self { client, limit: timing.request, logs_in })
    }

    /// One request, within its time. An old login is renewed once; etcd refuses such requests before doing anything.
    pub(super) async fn call<T, F, Fut>(&self, request: F) -> Result<T, Failure>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let once = || async {
            match timeout(self.limit, request(self.client.clone())).await {
                Ok(answer) => answer.map_err(judge),
                Err(_) => Err(Failure::Away(format!("no answer within {:?}", self.limit))),
            }
        };
        match once().await {
            Err(Failure::Denied(reason)) if self.logs_in && is_login(&reason) => {
                self.log_in().await?;
                once().await
            }
            answer => answer,
        }
    }

    /// Logs in anew.
    pub(super) async fn log_in(&self) -> Result<(), Failure> {
        match timeout(self.limit, self.client.refresh_token()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(match judge(error) {
                Failure::Refused(reason) => Failure::Denied(reason),
                other => other,
            }),
            Err(_) => Err(Failure::NotSent(format!("no login within {:?}", self.limit))),
        }
    }

    /// One key, linearizable.
    pub(super) async fn get(&self, key: &str) -> Result<(Head, Option<etcd_client::KeyValue>), Failure> {
        let mut found = self
            .call(|client| async move {
                client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX).get(key, None).await
            })
            .await?;
        Ok((Head::of(found.header())?, found.take_kvs().pop()))
    }

    /// The head of a linearizable read that costs nothing: of the key that is a root itself, which no object has.
    pub(super) async fn head(&self, root: &str) -> Result<Head, Failure> {
        let options = GetOptions::new().with_keys_only();
        let found = self
            .call(|client| {
                let options = options.clone();
                async move { client.kv_client().get(root, Some(options)).await }
            })
            .await?;
        Head::of(found.header())
    }

    /// Whether anything lies below a root.
    pub(super) async fn any_key(&self, root: &str) -> Result<bool, Failure> {
        let options = GetOptions::new().with_range(super::range_end(root)).with_keys_only().with_limit(1);
        let found = self
            .call(|client| {
                let options = options.clone();
                async move { client.kv_client().get(root, Some(options)).await }
            })
            .await?;
        Ok(!found.kvs().is_empty())
    }
}

async fn read(path: &std::path::Path, what: &str) -> Result<Vec<u8>, Failure> {
    tokio::fs::read(path)
        .await
        .map_err(|error| Failure::Refused(format!("cannot read the {what} {}: {error}", path.display())))
}

async fn tls_options(access: &EtcdAccess) -> Result<Option<TlsOptions>, Failure> {
    if !access.uses_tls() {
        return Ok(None);
    }
    let mut tls = TlsOptions::new();
    match &access.ca {
        Some(path) => tls = tls.ca_certificate(Certificate::from_pem(read(path, "CA file").await?)),
        None => tls = tls.with_enabled_roots(),
    }
    if let (Some(certificate), Some(key)) = (&access.certificate, &access.key) {
        let certificate = read(certificate, "client certificate").await?;
        tls = tls.identity(Identity::from_pem(certificate, read(key, "client key").await?));
    }
    Ok(Some(tls))
}

async fn login(access: &EtcdAccess) -> Result<Option<(String, String)>, Failure> {
    let Some(user) = &access.user else { return Ok(None) };
    let password = match &access.password_file {
        Some(path) => String::from_utf8_lossy(&read(path, "password file").await?).trim_end().to_owned(),
        None => String::new(),
    };
    Ok(Some((user.clone(), password)))
}
