//! What can be asked of a deployer: every call of the API ends here. Whatever is asked is written down before the answer
//! is given; the [runner](super::runner) of this process or of another one does it.

use super::book::Book;
use super::descriptor::{Descriptor, Wrong};
use super::machine::Ask;
use super::record::Deployment;
use crate::kubernetes::Name;
use crate::store::Store;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Another deployment of the application is under way.
    #[error("{reason}")]
    Busy {
        /// Which.
        id: String,
        /// For people: what it does, and how to end it.
        reason: String,
    },
    /// The descriptor is not valid.
    #[error("the descriptor is not valid")]
    Invalid(Vec<Wrong>),
    /// It cannot be done as things are.
    #[error("{0}")]
    Conflict(String),
    /// It was changed since the caller last saw it.
    #[error("it was changed meanwhile; its version is {0} now")]
    Changed(u64),
    /// The store or the API server does not answer.
    #[error("{0}")]
    Away(String),
}

/// The counter at which callers stand. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    shared: Arc<Shared>,
}

#[allow(dead_code, reason = "calls read it")]
struct Shared {
    book: RwLock<Book>,
    changed: watch::Sender<u64>,
    store: Arc<dyn Store>,
    client: kube::Client,
}

impl Desk {
    /// A desk with an empty book.
    pub fn new(store: Arc<dyn Store>, client: kube::Client) -> Self {
        let shared = Shared { book: RwLock::default(), changed: watch::Sender::new(0), store, client };
        Self { shared: Arc::new(shared) }
    }

    /// What is known. Never held across an `await`.
    pub fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.shared.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes with every change of the book.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Writes down a new deployment and takes its application into this process's charge. With `again`, an earlier
    /// deployment is done once more under its own id. The book knows of it when this returns.
    ///
    /// # Errors
    /// Another one is under way, the version is live or exists, or the store is away.
    pub async fn deploy(
        &self,
        _descriptor: Descriptor,
        _again: Option<&str>,
        _by: &str,
    ) -> Result<Deployment, Denied> {
        Err(Denied::Away("not built".into()))
    }

    /// What a deployment of this descriptor would do, for people, if it were asked for now. Writes nothing.
    ///
    /// # Errors
    /// It could not be done, or the API server is away.
    pub async fn check(&self, _descriptor: &Descriptor) -> Result<Vec<String>, Denied> {
        Err(Denied::Away("not built".into()))
    }

    /// Writes down that the live deployment of an application is to go.
    ///
    /// # Errors
    /// It is not live, another one is under way, or the store is away.
    pub async fn undeploy(&self, _app: &Name, _id: &str, _by: &str) -> Result<Deployment, Denied> {
        Err(Denied::Away("not built".into()))
    }

    /// Asks something of the deployment under way.
    ///
    /// # Errors
    /// It is not under way, cannot do that any more, or the store is away.
    pub async fn ask(&self, _app: &Name, _id: &str, _ask: Ask, _by: &str) -> Result<(), Denied> {
        Err(Denied::Away("not built".into()))
    }

    /// Gives the live version another number of pods.
    ///
    /// # Errors
    /// It is not live, a deployment is under way, or the cluster refuses.
    pub async fn scale(
        &self,
        _app: &Name,
        _id: &str,
        _replicas: u32,
        _by: &str,
    ) -> Result<Deployment, Denied> {
        Err(Denied::Away("not built".into()))
    }

    /// Stores a descriptor: a new one, or another form of the one with this id and, if given, of this version. The id and
    /// the version.
    ///
    /// # Errors
    /// There is none with this id, it has another version or names another application, or the store is away.
    pub async fn store_descriptor(
        &self,
        _descriptor: Descriptor,
        _id: Option<&str>,
        _version: Option<u64>,
    ) -> Result<(String, u64), Denied> {
        Err(Denied::Away("not built".into()))
    }

    /// Removes descriptors.
    ///
    /// # Errors
    /// The store is away.
    pub async fn forget_descriptors(&self, _app: &Name, _ids: &[String]) -> Result<(), Denied> {
        Err(Denied::Away("not built".into()))
    }

    /// Removes the records of deployments that are over, with their logs.
    ///
    /// # Errors
    /// One is not over, or the store is away.
    pub async fn forget_deployments(&self, _app: &Name, _ids: &[String]) -> Result<(), Denied> {
        Err(Denied::Away("not built".into()))
    }

    /// Puts an application's frontends into maintenance, with a page and the seconds of `Retry-After`, or takes them out.
    ///
    /// # Errors
    /// The application has no frontend, or the store is away.
    pub async fn maintain(&self, _app: &Name, _maintenance: Option<Maintenance>) -> Result<(), Denied> {
        Err(Denied::Away("not built".into()))
    }
}

/// How an application is closed.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Maintenance {
    /// What clients read.
    pub page: Option<String>,
    /// Seconds of `Retry-After`.
    pub retry_after: Option<u32>,
    /// Requests that are under way and tunnels may go on; new ones are refused as with the page.
    pub drain: bool,
}
