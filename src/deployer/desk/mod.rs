//! What can be asked of a deployer: every call of the API ends here. Whatever is asked is written down before the answer
//! is given; the [runner](super::runner) of this process or of another one does it.

mod asks;
mod begin;
mod descriptors;
mod names;
mod retention;
mod scale;

use super::book::Book;
use super::charge::{Charge, Timings, read};
use super::descriptor::{Descriptor, Wrong};
use super::machine::{Ask, Position, Stage};
use super::maintenance;
use super::record::{Application, Deployment, application_key, deployment_key};
use super::world::World;
use crate::flip::record::new_id;
use crate::kubernetes::Name;
use crate::store::{Event, Expected, Store, StoreError};
use crate::telemetry::rfc3339;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch};

/// How long the book gets to hear of what was written.
const HEARD_MAX: Duration = Duration::from_secs(5);
/// Most bytes of one namespace's records: every proxy hears of all of them, and the store holds those of all namespaces.
const NAMESPACE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Times that something is tried because others wrote meanwhile.
const TRIES_MAX: usize = 5;

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

struct Shared {
    book: RwLock<Book>,
    changed: watch::Sender<u64>,
    /// The book's revision.
    heard: watch::Sender<u64>,
    store: Arc<dyn Store>,
    client: kube::Client,
    holder: RwLock<String>,
    /// What stages work with, once the runner has begun.
    world: OnceLock<Arc<World>>,
    timings: Timings,
    /// Charges that began here, for the runner.
    begun: Mutex<Vec<Charge>>,
    has_begun: Notify,
}

impl Desk {
    /// A desk with an empty book.
    pub fn new(store: Arc<dyn Store>, client: kube::Client) -> Self {
        Self::with(store, client, Timings::default())
    }

    pub(super) fn with(store: Arc<dyn Store>, client: kube::Client, timings: Timings) -> Self {
        let shared = Shared {
            book: RwLock::default(),
            changed: watch::Sender::new(0),
            heard: watch::Sender::new(0),
            store,
            client,
            holder: RwLock::new(new_id(SystemTime::now())),
            world: OnceLock::new(),
            timings,
            begun: Mutex::default(),
            has_begun: Notify::new(),
        };
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

    /// Takes into the book what the store tells.
    pub(super) fn hear(&self, event: &Event) {
        let (is_changed, revision) = {
            let mut book = self.shared.book.write().unwrap_or_else(PoisonError::into_inner);
            (book.apply(event), book.revision.0)
        };
        self.shared.heard.send_if_modified(|heard| std::mem::replace(heard, revision) != revision);
        if is_changed {
            self.shared.changed.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    pub(super) fn client(&self) -> &kube::Client {
        &self.shared.client
    }

    /// Gives this process its name.
    pub(super) fn set_holder(&self, holder: &str) {
        holder.clone_into(&mut self.shared.holder.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets [`check`](Self::check) look at the cluster.
    pub(super) fn set_world(&self, world: Arc<World>) {
        let _ = self.shared.world.set(world);
    }

    fn world(&self) -> Option<Arc<World>> {
        self.shared.world.get().cloned()
    }

    fn holder(&self) -> String {
        self.shared.holder.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Charges that began here and that nobody has taken yet.
    pub(super) fn take_begun(&self) -> Vec<Charge> {
        std::mem::take(&mut *self.shared.begun.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Until something begins here.
    pub(super) async fn has_begun(&self) {
        self.shared.has_begun.notified().await;
    }

    /// What is asked of a deployment under way, as far as is known, and what a write expects that no other ask be missed.
    pub(super) fn asked(&self, app: &Name, id: &str) -> (Option<Ask>, Expected) {
        let book = self.book();
        match book.asks.get(app) {
            None => (None, Expected::Absent),
            Some(kept) => {
                let ask = (kept.value.deployment == id).then_some(kept.value.ask);
                (ask, Expected::Version(kept.version))
            }
        }
    }

    /// Writes down a new deployment and takes its application into this process's charge. With `again`, an earlier
    /// deployment is done once more under its own id. The book knows of it when this returns.
    ///
    /// # Errors
    /// Another one is under way, the version is live or exists, or the store is away.
    pub async fn deploy(
        &self,
        descriptor: Descriptor,
        again: Option<&str>,
        by: &str,
    ) -> Result<Deployment, Denied> {
        begin::deploy(self, descriptor, again, by).await
    }

    /// What a deployment of this descriptor would do, for people, if it were asked for now. Writes nothing.
    ///
    /// # Errors
    /// It could not be done, or the store is away.
    pub async fn check(&self, descriptor: &Descriptor) -> Result<Vec<String>, Denied> {
        begin::check(self, descriptor).await
    }

    /// Writes down that the live deployment of an application is to go.
    ///
    /// # Errors
    /// It is not live, another one is under way, or the store is away.
    pub async fn undeploy(&self, app: &Name, id: &str, by: &str) -> Result<Deployment, Denied> {
        begin::undeploy(self, app, id, by).await
    }

    /// Asks something of the deployment under way.
    ///
    /// # Errors
    /// It is not under way, cannot do that any more, or the store is away.
    pub async fn ask(&self, app: &Name, id: &str, ask: Ask, by: &str) -> Result<(), Denied> {
        asks::ask(self, app, id, ask, by).await
    }

    /// Gives the live version another number of pods.
    ///
    /// # Errors
    /// It is not live, a deployment is under way, or the cluster refuses.
    pub async fn scale(&self, app: &Name, id: &str, replicas: u32, by: &str) -> Result<Deployment, Denied> {
        scale::scale(self, app, id, replicas, by).await
    }

    /// Stores a descriptor: a new one, or another form of the one with this id and, if given, of this version. The id and
    /// the version.
    ///
    /// # Errors
    /// There is none with this id, it has another version or names another application, or the store is away.
    pub async fn store_descriptor(
        &self,
        descriptor: Descriptor,
        id: Option<&str>,
        version: Option<u64>,
    ) -> Result<(String, u64), Denied> {
        descriptors::store(self, descriptor, id, version).await
    }

    /// Removes descriptors.
    ///
    /// # Errors
    /// The store is away.
    pub async fn forget_descriptors(&self, app: &Name, ids: &[String]) -> Result<(), Denied> {
        descriptors::forget(self, app, ids).await
    }

    /// Removes the records of deployments that are over, with their logs.
    ///
    /// # Errors
    /// One is not over, or the store is away.
    pub async fn forget_deployments(&self, app: &Name, ids: &[String]) -> Result<(), Denied> {
        retention::forget(self, app, ids).await
    }

    /// Puts an application's frontends into maintenance, with a page and the seconds of `Retry-After`, or takes them out.
    ///
    /// # Errors
    /// The application has no frontend, or the store is away.
    pub async fn maintain(&self, app: &Name, maintenance: Option<Maintenance>) -> Result<(), Denied> {
        let application = self.application(app).await?.map(|(application, _)| application);
        let keys = application.map(|application| application.keys).unwrap_or_default();
        maintenance::set(self.store(), &keys, maintenance.as_ref()).await
    }

    /// Refuses another record in a namespace that has too much of them.
    fn check_room(&self, namespace: &str) -> Result<(), Denied> {
        match self.book().bytes_of(namespace) {
            ..NAMESPACE_BYTES_MAX => Ok(()),
            _ => Err(Denied::Conflict(format!(
                "the records of the namespace {namespace} have more than {} MiB; remove descriptors and deployments that \
                 are over",
                NAMESPACE_BYTES_MAX >> 20
            ))),
        }
    }

    /// The application's record as the store has it now.
    async fn application(&self, app: &Name) -> Result<Option<(Application, u64)>, Denied> {
        read(&**self.store(), &application_key(app)).await.map_err(denied)
    }

    /// A deployment's record as the store has it now.
    async fn deployment(&self, app: &Name, id: &str) -> Result<Option<(Deployment, u64)>, Denied> {
        read(&**self.store(), &deployment_key(app, id)).await.map_err(denied)
    }

    /// That another deployment is under way, with how it is to be ended.
    async fn busy(&self, app: &Name, id: &str) -> Denied {
        match self.deployment(app, id).await {
            Ok(found) => {
                let reason = busy_reason(app, id, found.as_ref().map(|(record, _)| record));
                Denied::Busy { id: id.to_owned(), reason }
            }
            Err(denied) => denied,
        }
    }

    /// Waits until the book knows of a revision, for a time.
    async fn heard(&self, revision: u64) {
        let mut heard = self.shared.heard.subscribe();
        let known = heard.wait_for(|heard| *heard >= revision);
        if tokio::time::timeout(HEARD_MAX, known).await.is_err() {
            tracing::warn!(revision, "what was written is not heard of");
        }
    }
}

/// What an error of the store means to who asked.
pub(super) fn denied(error: StoreError) -> Denied {
    match error {
        StoreError::Unavailable(_) => Denied::Away(error.to_string()),
        _ => Denied::Conflict(error.to_string()),
    }
}

/// Others write all the time.
fn contended(app: &Name) -> Denied {
    Denied::Conflict(format!("{app} is changed by others at the same time; try again"))
}

fn busy_reason(app: &Name, id: &str, record: Option<&Deployment>) -> String {
    let Some((record, position)) = record.and_then(|it| Some((it, it.position.as_ref()?))) else {
        return format!("deployment {id} of {app} is under way");
    };
    let what = format!("deployment {id} of {app}, version {},", record.version);
    let Position { stage, course, .. } = position;
    match (course, stage) {
        (super::machine::Course::Back, _) => {
            format!("{what} goes back and undoes {stage}; it ends by itself")
        }
        (_, Stage::KeepWarm) => {
            let until = Duration::from_millis(position.entered) + record.descriptor.flip.keep_warm;
            let until = rfc3339(SystemTime::UNIX_EPOCH + until);
            format!(
                "{what} keeps the version before warm until {until}; ask it to finish, or to go back, to end that sooner"
            )
        }
        _ if position.can_go_back() => {
            format!("{what} is under way, in stage {stage}; ask it to go back to end it sooner")
        }
        _ => format!("{what} is under way, in stage {stage}; it cannot go back any more and ends by itself"),
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

#[cfg(test)]
mod tests;
