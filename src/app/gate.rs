//! Flipgate within another program: a store to follow, and a `tower::Service` that answers requests by its table.

use super::StartError;
use super::handover::Legacy;
use super::wiring::{self, Member, Plan, Wired};
use crate::control::Control;
use crate::control::membership::Identity;
use crate::model::{Revision, RouteOrder};
use crate::proxy::{self, GateBody, GateError, Proxy, Settings};
use crate::store::{Store, StoreError, Transaction};
use crate::telemetry::AccessLog;
use crate::tls::SealKeys;
use bytes::Bytes;
use http_body::Body;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_util::sync::DropGuard;

/// A running Flipgate within this program. Clones share it; when the last is dropped without
/// [`shutdown`](Self::shutdown), it takes no more and ends once what is open has ended.
///
/// It is a `tower::Service<http::Request<B>>` that never fails, so that an axum program mounts it as it is, with
/// `fallback_service` or `nest_service` (which takes the prefix off the path) and layers of its own around it: once it
/// is shut, it answers 503. Who wants to tell that apart calls [`handle`](Self::handle). The client's address is taken
/// from a [`Peer`](super::Peer) request extension; the crate's [front page](crate#within-a-program) shows it.
///
/// The library installs no allocator, no crypto provider and no tracing subscriber.
#[derive(Clone)]
pub struct Gate {
    way_in: proxy::Gate,
    control: Control,
    store: Arc<dyn Store>,
    running: Arc<Mutex<Option<RunningParts>>>,
}

struct RunningParts {
    proxy: Proxy,
    stop: DropGuard,
    publisher: tokio::task::JoinHandle<()>,
    member: Member,
}

/// What a gate is made of.
pub struct Builder {
    store: Option<Arc<dyn Store>>,
    workers: usize,
    data_dir: Option<PathBuf>,
    secrets_dir: Option<PathBuf>,
    seal_key_files: Vec<PathBuf>,
    settings: Settings,
    name: Option<String>,
}

impl Builder {
    /// The store to follow; needed.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Threads that move traffic, at least 1; default 1.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Where the image is kept for a start without the store; by default nowhere.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Files named by hosts lie below it; by default hosts cannot name files.
    pub fn secrets_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.secrets_dir = Some(dir.into());
        self
    }

    /// A key that opens sealed key pairs; may be given several times.
    pub fn seal_key_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.seal_key_files.push(file.into());
        self
    }

    /// Its name in the fleet; by default the machine's, with a number where that is taken.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Limits and times.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Starts it on threads of its own and on the current runtime.
    ///
    /// # Errors
    /// No store is given, the data directory is another process's, or no thread can be started.
    pub async fn start(self) -> Result<Gate, StartError> {
        let store = self.store.ok_or(StartError::NoStore)?;
        let home = self.data_dir.as_deref().map(super::home);
        let plan = Plan {
            store: store.clone(),
            seal_keys: SealKeys::read(&self.seal_key_files).map_err(StartError::Seal)?,
            secrets_dir: self.secrets_dir,
            data_dir: self.data_dir,
            workers: self.workers,
            route_order: RouteOrder::default(),
            settings: self.settings,
            overrides: BTreeMap::new(),
            extra_listeners: Vec::new(),
            identity: Identity { name: self.name, home, isolation_stop_after: None },
            legacy: Legacy::default(),
        };
        let Wired { control, proxy, stop, publisher, member } =
            wiring::start(plan, &AccessLog::off()).await?;
        let way_in = proxy.gate();
        let parts = RunningParts { proxy, stop: stop.drop_guard(), publisher, member };
        let running = Arc::new(Mutex::new(Some(parts)));
        Ok(Gate { way_in, control, store, running })
    }
}

impl Gate {
    /// A gate in the making.
    pub fn builder() -> Builder {
        Builder {
            store: None,
            workers: 1,
            data_dir: None,
            secrets_dir: None,
            seal_key_files: Vec::new(),
            settings: Settings::default(),
            name: None,
        }
    }

    /// Commits to the store. The writes are in force once [`serving`](Self::serving) the revision.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn apply(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        self.store.commit(transaction).await
    }

    /// Waits until every worker serves `revision` or later; false: not within `timeout`.
    pub async fn serving(&self, revision: Revision, timeout: Duration) -> bool {
        self.control.wait_for(revision, timeout).await
    }

    /// How things stand, and what is wrong.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Answers one request as the proxy would. How many are answered at once is for the program's own layers to say.
    ///
    /// The client's address is taken from a [`Peer`](super::Peer) extension; an [`http::uri::Scheme::HTTPS`] extension
    /// says that the client came over TLS. A request to upgrade to WebSocket is passed on where it carries hyper's
    /// `OnUpgrade`, as requests of hyper and axum servers do. The body is polled on a worker's thread, which it must
    /// not block. Dropping the future or the answer's body ends the request to the server too.
    ///
    /// # Errors
    /// The gate is shut.
    pub async fn handle<B>(&self, request: http::Request<B>) -> Result<http::Response<GateBody>, GateError>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        self.way_in.handle(request).await
    }

    /// Takes no more requests, lets those that are open end within `deadline`, cuts off what is left, and ends.
    /// Tunnels are ended at once. Returns whether everything ended in time; a second call finds nothing to do.
    /// Dropping the future cuts off at once.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        let Some(RunningParts { proxy, stop, publisher, member }) = self.running.lock().await.take() else {
            return true;
        };
        member.lame.send_replace(true);
        let ended = proxy.drain(deadline).await.is_ok();
        drop(stop);
        // What it could not do it has said.
        let _ = member.task.await;
        publisher.await.is_ok() && ended
    }
}

impl<B> tower_service::Service<http::Request<B>> for Gate
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = http::Response<GateBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let way_in = self.way_in.clone();
        Box::pin(async move { Ok(way_in.handle(request).await.unwrap_or_else(GateError::response)) })
    }
}
