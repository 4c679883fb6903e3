//! An application in this process's charge: its lock, its deployment under way, and the only way to write.
//!
//! Every write expects the application's record as it was when this process took it over. Who slept past its lock and
//! was followed by another can write nothing more; who merely was cut off goes on.

mod beat;
mod end;
mod log;
mod take;

pub(super) use beat::{Beat, beat};
pub(super) use log::one_line;
pub(super) use take::{begun, lock_put, put_state, take_over};

use super::flips::Flips;
use super::record::{Application, Deployment, Facts, LogLine, application_key, deployment_key};
use crate::kubernetes::Name;
use crate::store::{Area, Expected, Operation, Store, StoreError, Transaction};
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Operations of one transaction that leave room for what a store may count beside them.
pub(super) const OPERATIONS_MAX: usize = 100;

/// Why something was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Another process has the application in its charge. Nothing more is to be done here.
    #[error("another deployer has taken {0} over")]
    Lost(Name),
    /// The store does not answer. Whether it was written is not known; the next look finds out.
    #[error("the store does not answer: {0}")]
    Away(String),
    /// A routing object was changed meanwhile; nothing was written.
    #[error("{0} was changed meanwhile")]
    Changed(String),
    /// The store will not write it.
    #[error("{0}")]
    Refused(String),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(reason) => Self::Away(reason),
            StoreError::Conflict { key } => Self::Changed(key),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// How long things of a charge take.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// How long a lock holds without a sign of life.
    pub lock_ttl: Duration,
    /// How often such a sign is given.
    pub beat: Duration,
    /// Between two looks at the same stage.
    pub look: Duration,
    /// The longest pause before a charge whose lock is gone is taken over.
    pub takeover: Duration,
    /// Between two sweeps.
    pub sweep: Duration,
    /// How long looks get to end when the process ends.
    pub stop: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            lock_ttl: Duration::from_secs(10),
            beat: Duration::from_secs(2),
            look: Duration::from_millis(500),
            takeover: Duration::from_secs(1),
            sweep: Duration::from_secs(60),
            stop: Duration::from_secs(5),
        }
    }
}

/// What is known of the difference between the deployment here and as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// The store has what was saved last.
    None,
    /// A write did not take place: here may stand what was not written.
    Unwritten,
    /// Nobody knows what the store has.
    Unknown,
}

/// An application in this process's charge.
pub struct Charge {
    pub(super) store: Arc<dyn Store>,
    /// Which.
    pub(super) app: Name,
    /// Its record. Only the end of a deployment changes it.
    pub(super) application: Application,
    /// Its version, which every write expects.
    pub(super) fence: u64,
    /// The deployment under way. Stages change its facts, and [`save`](Self::save) them.
    pub(super) deployment: Deployment,
    /// Its version.
    pub(super) version: u64,
    /// Lines of the log that are not written yet.
    pub(super) said: VecDeque<LogLine>,
    /// Flips that this process runs for it.
    pub(super) flips: Flips,
    /// The number of the next line that is written.
    line: u64,
    /// What was said last.
    last_said: String,
    /// The deployment as it was written last.
    written: Deployment,
    doubt: Doubt,
    /// When what pods say of their health was last written.
    pub(super) health_noted: Option<tokio::time::Instant>,
}

impl Charge {
    /// An application whose record and deployment were written with these versions, and whose log has no line yet.
    pub fn new(
        store: Arc<dyn Store>,
        app: Name,
        (application, fence): (Application, u64),
        (deployment, version): (Deployment, u64),
    ) -> Self {
        let written = deployment.clone();
        let (said, flips, doubt) = (VecDeque::new(), Flips::default(), Doubt::None);
        let (line, last_said) = (1, String::new());
        Self {
            store,
            app,
            application,
            fence,
            deployment,
            version,
            said,
            flips,
            line,
            last_said,
            written,
            doubt,
            health_noted: None,
        }
    }

    /// The deployment under way, as it is known here.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// What every transaction expects.
    pub fn fence(&self) -> (Area, Box<str>, Expected) {
        (Area::State, application_key(&self.app), Expected::Version(self.fence))
    }

    /// Writes the deployment with changed facts together with `also`, all or nothing; what is not written is not kept here
    /// either.
    ///
    /// # Errors
    /// It was not written, or nobody knows.
    pub async fn note(&mut self, change: impl FnOnce(&mut Facts), also: Transaction) -> Result<(), Trouble> {
        let before = self.deployment.facts.clone();
        change(&mut self.deployment.facts);
        let saved = self.save(also).await;
        if saved.is_err() {
            self.deployment.facts = before;
        }
        saved
    }

    /// Writes the deployment as it is here together with `also`, all or nothing.
    ///
    /// # Errors
    /// It was not written, or nobody knows. [`settle`](Self::settle) then finds out, and puts what is stored in place of
    /// what stands here.
    pub async fn save(&mut self, also: Transaction) -> Result<(), Trouble> {
        if self.doubt == Doubt::Unknown && !self.learn().await? {
            return Err(Trouble::Lost(self.app.clone()));
        }
        let (old, new) = (&self.written, &self.deployment);
        if (old.status, &old.position) != (new.status, &new.position) {
            self.deployment.touch(SystemTime::now());
        }
        let key = deployment_key(&self.app, &self.deployment.id);
        let mut transaction = also;
        transaction.expect.push((Area::State, key.clone(), Expected::Version(self.version)));
        transaction.operations.push(put_state(key, &self.deployment));
        self.version = self.commit(transaction).await?;
        self.written.clone_from(&self.deployment);
        self.doubt = Doubt::None;
        Ok(())
    }

    /// Writes with the fence, and as many lines of the log as there is room for. The revision.
    async fn commit(&mut self, mut transaction: Transaction) -> Result<u64, Trouble> {
        // First, so that who was followed hears of that and not of what else was changed.
        transaction.expect.insert(0, self.fence());
        let lines = self.line_puts(OPERATIONS_MAX.saturating_sub(transaction.operations.len()));
        let count = lines.len();
        transaction.operations.extend(lines);
        let fence = application_key(&self.app);
        let moves_fence = transaction.operations.iter().any(|it| it.target() == (Area::State, &*fence));
        match self.store.commit(transaction).await {
            Ok(revision) => {
                self.lines_written(count);
                if moves_fence {
                    self.fence = revision.0;
                }
                Ok(revision.0)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&mut self, error: StoreError) -> Trouble {
        let own = deployment_key(&self.app, &self.deployment.id);
        let is_unknown = match &error {
            StoreError::Unavailable(_) => true,
            StoreError::Conflict { key } => **key == *own,
            _ => false,
        };
        if is_unknown {
            self.doubt = Doubt::Unknown;
        } else if self.doubt == Doubt::None {
            self.doubt = Doubt::Unwritten;
        }
        trouble(&self.app, error)
    }

    /// After a write that failed: puts the deployment as it is stored in place of what stands here. False: it is over.
    ///
    /// # Errors
    /// Another process has it in its charge, or the store does not answer.
    pub async fn settle(&mut self) -> Result<bool, Trouble> {
        match self.doubt {
            Doubt::None => return Ok(true),
            Doubt::Unwritten => {}
            Doubt::Unknown => {
                if !self.learn().await? {
                    return Ok(false);
                }
            }
        }
        self.deployment.clone_from(&self.written);
        self.doubt = Doubt::None;
        Ok(true)
    }

    /// Reads both records' versions. False: the deployment is over.
    async fn learn(&mut self) -> Result<bool, Trouble> {
        let lost = || Trouble::Lost(self.app.clone());
        let found = read::<Application>(&*self.store, &application_key(&self.app)).await;
        let (application, fence) = found.map_err(|error| trouble(&self.app, error))?.ok_or_else(lost)?;
        if (&application.holder, application.term) != (&self.application.holder, self.application.term) {
            return Err(lost());
        }
        if application.open.as_deref() != Some(&*self.deployment.id) {
            return Ok(false);
        }
        let key = deployment_key(&self.app, &self.deployment.id);
        let found = read::<Deployment>(&*self.store, &key).await;
        let (written, version) = found.map_err(|error| trouble(&self.app, error))?.ok_or_else(lost)?;
        (self.fence, self.version, self.written) = (fence, version, written);
        self.doubt = Doubt::Unwritten;
        Ok(true)
    }
}

/// A record with its version; none: it does not exist.
///
/// # Errors
/// The store's; also where it cannot be read.
pub(super) async fn read<T: DeserializeOwned>(
    store: &dyn Store,
    key: &str,
) -> Result<Option<(T, u64)>, StoreError> {
    let (_, entry) = store.get(Area::State, key).await?;
    let Some(entry) = entry else { return Ok(None) };
    match serde_json::from_slice(&entry.value) {
        Ok(value) => Ok(Some((value, entry.version))),
        Err(error) => Err(StoreError::Refused(format!("{key} cannot be read: {error}"))),
    }
}

/// What an error of a write with an application's fence means.
fn trouble(app: &Name, error: StoreError) -> Trouble {
    match error {
        StoreError::Conflict { key } if *key == *application_key(app) => Trouble::Lost(app.clone()),
        error => error.into(),
    }
}

/// Removes a key of the state area.
pub(super) fn delete_state(key: Box<str>) -> Operation {
    Operation::Delete { area: Area::State, key }
}

#[cfg(test)]
mod tests;
