//! An application in this process's charge: its lock, its deployment under way, and the only way to write.
//!
//! Every write expects the application's record as it was when this process took it over. Who slept past its lock and
//! was followed by another can write nothing more; who merely was cut off goes on.

use super::flips::Flips;
use super::record::{Application, Deployment, Facts, application_key, deployment_key};
use crate::kubernetes::Name;
use crate::store::{Area, Expected, LeaseChoice, Operation, Store, StoreError, Transaction};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

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

/// An application in this process's charge.
pub struct Charge {
    pub(super) store: Arc<dyn Store>,
    /// Which.
    pub(super) app: Name,
    /// Its record. Only the end of a deployment changes it.
    #[allow(dead_code, reason = "the end of a deployment reads it")]
    pub(super) application: Application,
    /// Its version, which every write expects.
    pub(super) fence: u64,
    /// The deployment under way. Stages change its facts, and [`save`](Self::save) them.
    pub(super) deployment: Deployment,
    /// Its version.
    pub(super) version: u64,
    /// Lines of the log that are not written yet.
    pub(super) said: VecDeque<String>,
    /// Flips that this process runs for it.
    pub(super) flips: Flips,
}

impl Charge {
    /// An application whose record and deployment were written with these versions.
    #[doc(hidden)]
    pub fn new(
        store: Arc<dyn Store>,
        app: Name,
        (application, fence): (Application, u64),
        (deployment, version): (Deployment, u64),
    ) -> Self {
        let (said, flips) = (VecDeque::new(), Flips::default());
        Self { store, app, application, fence, deployment, version, said, flips }
    }

    /// The deployment under way, as it is known here.
    #[doc(hidden)]
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Adds a line to the deployment's log, unless it is what was said last.
    pub fn say(&mut self, line: impl Into<String>) {
        self.said.push_back(line.into());
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
    /// It was not written, or nobody knows.
    pub async fn save(&mut self, also: Transaction) -> Result<(), Trouble> {
        self.deployment.touch(SystemTime::now());
        let key = deployment_key(&self.app, &self.deployment.id);
        let mut transaction = also;
        transaction.expect.push(self.fence());
        transaction.expect.push((Area::State, key.clone(), Expected::Version(self.version)));
        let value = serde_json::to_vec(&self.deployment).unwrap_or_default().into();
        let put = Operation::Put { area: Area::State, key: key.clone(), value, lease: LeaseChoice::Without };
        transaction.operations.push(put);
        match self.store.commit(transaction).await {
            Ok(revision) => {
                self.version = revision.0;
                Ok(())
            }
            Err(StoreError::Conflict { key: found }) if *found == *application_key(&self.app) => {
                Err(Trouble::Lost(self.app.clone()))
            }
            Err(StoreError::Conflict { key }) => Err(Trouble::Changed(key)),
            Err(StoreError::Unavailable(reason)) => Err(Trouble::Away(reason)),
            Err(error) => Err(Trouble::Refused(error.to_string())),
        }
    }
}
