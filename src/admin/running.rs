//! What the API needs to know of the running process, as plain values, so that it can be tested without a proxy.

use super::top::Top;
use crate::model::{BackendId, FrontendId, Problem, Revision};
use crate::telemetry::{FrontendLabels, Scrape};
use futures_util::future::BoxFuture;
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// The running process, as the API sees it.
pub trait Running: Send + Sync + 'static {
    /// How it is.
    fn state(&self) -> State;
    /// Waits until every worker serves everything up to `revision`; false: not within `timeout`. Cancel-safe.
    fn wait_for(&self, revision: Revision, timeout: Duration) -> BoxFuture<'_, bool>;
    /// What the table in force serves, best first: all of it, one frontend's routes, or those that a request for
    /// `host` may match. At most `limit`.
    fn routes(&self, host: Option<&str>, frontend: Option<&FrontendId>, limit: usize) -> Routes;
    /// Everything that is wrong, errors first, and the revision of the table that it is about.
    fn problems(&self) -> (Revision, Vec<Problem>);
    /// Lets what is held take effect, for the whole fleet; how many objects that were.
    fn confirm(&self) -> BoxFuture<'_, Result<usize, ConfirmError>>;
    /// What frontends and servers did of late, those that did anything: all of them, or those of one backend and of the
    /// aliases that lead to it. In no order.
    fn top(&self, backend: Option<&BackendId>) -> Top;
    /// Connections that are open, by the listener's bound address.
    fn connections(&self) -> Vec<(String, u64)>;
    /// Adds every counter and gauge.
    fn scrape(&self, scrape: &mut Scrape, labels: &mut FrontendLabels);
}

/// How the process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Every worker serves it, or a later one.
    pub revision: Revision,
    /// The last one that the store told of.
    pub store_revision: Revision,
    /// The store answers.
    pub connected: bool,
    /// Since when it does, or does not.
    pub since: SystemTime,
    /// Why it does not answer, for people.
    pub reason: Option<String>,
    /// Order-free sum of the hashes of all objects in force; members that serve the same have the same.
    pub hash: u64,
    /// Listeners that accept connections.
    pub listeners: Vec<ListenerView>,
    /// Why no traffic should be sent here; none: it should.
    pub not_ready: Option<String>,
    /// What is served may be older than what the store holds.
    pub stale: bool,
    /// Objects whose removal waits for confirmation.
    pub held: usize,
    /// Threads that move traffic.
    pub workers: usize,
    /// Problems of objects that are not in force as stored.
    pub errors: usize,
    /// Problems of objects that are.
    pub warnings: usize,
}

/// A listener that accepts connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerView {
    /// From the key.
    pub id: String,
    /// As bound: `127.0.0.1:8080` or `unix:/run/flipgate.sock`.
    pub address: String,
}

/// Routes of one table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Routes {
    /// The table's.
    pub revision: Revision,
    /// `flipgate` or `vulcand`: in which order routes of the same priority are preferred.
    pub order: &'static str,
    /// Best first.
    pub routes: Vec<RouteView>,
    /// More routes fit than were asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteView {
    /// From 1.
    pub rank: usize,
    /// Whose it is.
    pub frontend: String,
    /// The alternative's expression.
    pub route: String,
    /// The frontend's.
    pub priority: i64,
    /// As the frontend names it.
    pub backend: String,
    /// The real backend behind that name.
    pub resolved: Option<String>,
    /// Its servers.
    pub servers: Vec<ServerView>,
}

/// One server of a route.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerView {
    /// From the key.
    pub id: String,
    /// `http://10.2.3.4:8080`
    pub url: String,
    /// `active`, `draining` or `disabled`.
    pub state: String,
    /// It gets requests now.
    pub healthy: bool,
    /// `well`, `unknown`, `unwell`, `ejected`, `draining` or `disabled`.
    pub standing: String,
    /// Requests that have not ended.
    pub in_flight: u64,
}

/// Why nothing was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    /// The confirmation could not be written where the fleet looks for it.
    #[error("the confirmation could not be written: {0}")]
    Store(#[from] crate::store::StoreError),
}
