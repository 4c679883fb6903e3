//! The etcd store, version 3 API, etcd 3.4 and later.
//!
//! Each feed has a connection of its own to one end point (see `feed`); reads and writes share another. etcd-client's
//! balancer is not used, because it picks dead end points: a connection knows one end point, and the next one is tried
//! when it fails.

mod commit;
mod connect;
mod feed;
mod list;
mod watch;

use super::check::{check, check_key};
use super::open::{EtcdAccess, OpenError};
use super::{Area, Capabilities, Entry, Feed, Snapshot, Store, StoreError, Transaction};
use crate::model::Revision;
use connect::{Connection, Failure};
use futures_util::future::BoxFuture;
use list::{entry, list, prefix_end};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// The prefix of those who name none.
pub const PREFIX_DEFAULT: &str = "/flipgate";

/// etcd's own limit of operations in a transaction, `--max-txn-ops`.
const OPERATIONS_MAX: usize = 128;
/// Above what any etcd takes; the server's `--max-request-bytes` (1.5 MiB by default) decides.
const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long things take and how often they are done. The defaults are meant for production; tests shorten them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Longest time to connect and log in.
    pub connect: Duration,
    /// Longest time for one request.
    pub request: Duration,
    /// How often a feed compares revision and cluster with a linearizable read. At most 5 s less the quiet time.
    pub check: Duration,
    /// How long the watch must be quiet before its progress is believed: etcd 3.4 may send progress before events.
    pub quiet: Duration,
    /// How often everything is listed and compared with what the feed told.
    pub compare: Duration,
    /// Least time between two tries at one end point.
    pub retry: Duration,
    /// Least time between two tries where the store's rights do not cover the area.
    pub retry_denied: Duration,
    /// Pings on an idle feed, and the longest wait for their answer.
    pub keep_alive: Duration,
    /// A reader that takes nothing for so long costs its watch, which is resumed later.
    pub slow_reader: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(5),
            check: Duration::from_secs(4),
            quiet: Duration::from_millis(250),
            compare: Duration::from_secs(300),
            retry: Duration::from_secs(1),
            retry_denied: Duration::from_secs(15),
            keep_alive: Duration::from_secs(2),
            slow_reader: Duration::from_secs(10),
        }
    }
}

/// Where etcd is and what in it is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdOptions {
    /// `HOST:PORT`, at least one.
    pub endpoints: Vec<String>,
    /// Literal: `vulcand`, `/vulcand` and `/vulcan` are three stores. A trailing slash is implied.
    pub prefix: String,
    /// Below it and the prefix without its outer slashes lies state; by default `/flipgate.state`.
    pub state_prefix: Option<String>,
    /// Encryption and login.
    pub access: EtcdAccess,
    /// Waits and intervals.
    pub timing: Timing,
}

impl EtcdOptions {
    /// Plain text to these end points, no login, default prefix and times.
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            prefix: PREFIX_DEFAULT.to_owned(),
            state_prefix: None,
            access: EtcdAccess::default(),
            timing: Timing::default(),
        }
    }
}

/// What all parts of the store share.
struct Shared {
    endpoints: Vec<String>,
    access: EtcdAccess,
    timing: Timing,
    /// With its trailing slash.
    routing_root: String,
    /// With its trailing slash.
    state_root: String,
}

impl Shared {
    fn root(&self, area: Area) -> &str {
        match area {
            Area::Routing => &self.routing_root,
            Area::State => &self.state_root,
        }
    }

    fn key(&self, area: Area, key: &str) -> String {
        format!("{}{key}", self.root(area))
    }
}

/// Keeps objects in etcd. Its futures run within the Tokio runtime that first used it.
pub struct EtcdStore {
    shared: Arc<Shared>,
    /// The connection of reads and writes, once there is one.
    requests: Mutex<Option<Arc<Connection>>>,
    /// The end point to try first.
    preferred: AtomicUsize,
}

impl EtcdStore {
    /// A store that connects when it is first asked. Fails for what can be known without connecting.
    pub fn new(options: EtcdOptions) -> Result<Self, OpenError> {
        if options.endpoints.is_empty() {
            return Err(OpenError::NoEndpoint);
        }
        let bare = options.prefix.trim_matches('/');
        if bare.is_empty() {
            return Err(OpenError::EmptyPrefix);
        }
        let rooted = |prefix: &str| format!("{}/", prefix.trim_end_matches('/'));
        let state_root = match &options.state_prefix {
            Some(prefix) if prefix.trim_matches('/').is_empty() => return Err(OpenError::EmptyPrefix),
            Some(prefix) => format!("{}/{bare}/", prefix.trim_end_matches('/')),
            None => format!("/flipgate.state/{bare}/"),
        };
        let routing_root = rooted(&options.prefix);
        if state_root.starts_with(&routing_root) {
            return Err(OpenError::StateWithinPrefix { prefix: routing_root, state_prefix: state_root });
        }
        let EtcdOptions { endpoints, access, timing, .. } = options;
        let shared = Arc::new(Shared { endpoints, access, timing, routing_root, state_root });
        Ok(Self { shared, requests: Mutex::new(None), preferred: AtomicUsize::new(0) })
    }

    /// Asks over the shared connection. A request that did not leave this machine, and a read that failed, are tried
    /// at every end point; a write that left is not tried again, because it may have happened.
    async fn ask<T, F, Fut>(&self, writes: bool, request: F) -> Result<T, StoreError>
    where
        F: Fn(Arc<Connection>) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let mut last = Failure::Away("no end point".to_owned());
        for _ in 0..self.shared.endpoints.len() {
            let asked = match self.connection().await {
                Ok(connection) => request(connection).await,
                Err(failure) => Err(failure),
            };
            match asked {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    if failure.is_connection() {
                        *self.requests.lock().await = None;
                        self.preferred.fetch_add(1, Ordering::Relaxed);
                    }
                    let again = match &failure {
                        Failure::NotSent(_) => true,
                        Failure::Away(_) => !writes,
                        _ => false,
                    };
                    last = failure;
                    if !again {
                        break;
                    }
                }
            }
        }
        Err(last.into())
    }

    async fn connection(&self) -> Result<Arc<Connection>, Failure> {
        let mut requests = self.requests.lock().await;
        if let Some(connection) = &*requests {
            return Ok(connection.clone());
        }
        let endpoint = self.preferred.load(Ordering::Relaxed);
        let connection = Arc::new(Connection::open(&self.shared, endpoint, false).await?);
        *requests = Some(connection.clone());
        Ok(connection)
    }

    async fn find_twin(&self) -> Result<Option<String>, StoreError> {
        let root = self.shared.routing_root.as_str();
        let twin = match root.strip_prefix('/') {
            Some(bare) => bare.to_owned(),
            None => format!("/{root}"),
        };
        if self.ask(false, |to| async move { to.any_key(root).await }).await? {
            return Ok(None);
        }
        let other = twin.as_str();
        let found = self.ask(false, |to| async move { to.any_key(other).await }).await;
        // Rights that do not cover the twin are no news.
        Ok(matches!(found, Ok(true)).then(|| {
            let (empty, full) = (root.trim_end_matches('/'), other.trim_end_matches('/'));
            format!("the prefix {empty:?} is empty, but {full:?} is not: was --prefix {full} meant?")
        }))
    }
}

impl Store for EtcdStore {
    fn kind(&self) -> &'static str {
        "etcd"
    }

    fn location(&self) -> String {
        format!("etcd://{} {}", self.shared.endpoints.join(","), self.shared.routing_root)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { leases: true, operations_max: OPERATIONS_MAX, value_bytes_max: VALUE_BYTES_MAX }
    }

    fn follow(&self, area: Area) -> Feed {
        feed::start(self.shared.clone(), area)
    }

    fn list(&self, area: Area) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        let root = self.shared.root(area);
        Box::pin(async move {
            let listed = self
                .ask(false, |to| async move { list(&to, root, false, |kv| entry(root, kv)).await })
                .await?;
            let entries = listed.items.into_iter().flatten().collect();
            Ok(Snapshot { revision: listed.head.revision, entries })
        })
    }

    fn get<'a>(
        &'a self,
        area: Area,
        key: &'a str,
    ) -> BoxFuture<'a, Result<(Revision, Option<Entry>), StoreError>> {
        Box::pin(async move {
            check_key(key)?;
            let full = &self.shared.key(area, key);
            let (head, found) = self.ask(false, |to| async move { to.get(full).await }).await?;
            Ok((head.revision, found.and_then(|kv| entry(self.shared.root(area), kv))))
        })
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            check(&transaction, &self.capabilities())?;
            let transaction = &transaction;
            self.ask(true, |to| async move { commit::commit(&to, &self.shared, transaction).await }).await
        })
    }

    fn twin_prefix(&self) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        Box::pin(self.find_twin())
    }
}

/// First key that does not start with `prefix`.
fn range_end(prefix: &str) -> Vec<u8> {
    prefix_end(prefix.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(prefix: &str, state: Option<&str>) -> Result<(String, String), OpenError> {
        let mut options = EtcdOptions::new(vec!["127.0.0.1:2379".into()]);
        options.prefix = prefix.into();
        options.state_prefix = state.map(str::to_owned);
        EtcdStore::new(options)
            .map(|store| (store.shared.routing_root.clone(), store.shared.state_root.clone()))
    }

    #[test]
    fn prefixes_are_literal_and_end_with_a_slash() {
        for (prefix, state, routing_root, state_root) in [
            ("/flipgate", None, "/flipgate/", "/flipgate.state/flipgate/"),
            ("vulcand", None, "vulcand/", "/flipgate.state/vulcand/"),
            ("/vulcand/", None, "/vulcand/", "/flipgate.state/vulcand/"),
            ("/a/b", Some("/mine/"), "/a/b/", "/mine/a/b/"),
        ] {
            assert_eq!(roots(prefix, state), Ok((routing_root.to_owned(), state_root.to_owned())));
        }
        assert_eq!(range_end("vulcand/"), b"vulcand0");
        for (prefix, state) in [("", None), ("/", None), ("/a", Some("/")), ("/a", Some("/a/state"))] {
            assert!(roots(prefix, state).is_err(), "{prefix} {state:?}");
        }
    }
}
