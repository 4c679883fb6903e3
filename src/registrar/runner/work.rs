//! The one thing that is under way at the store, and what becomes of its end.

use super::{Runner, epoch};
use crate::control::confirm;
use crate::control::image::Confirmation;
use crate::kubernetes::Pauses;
use crate::model::Revision;
use crate::registrar::epoch::Epoch;
use crate::registrar::plan::{Act, Step};
use crate::store::{Area, Expected, LeaseChoice, Operation, Store, StoreError, Transaction};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// After something failed at the store.
pub(super) const PAUSES: Pauses = Pauses { least: Duration::from_millis(100), most: Duration::from_secs(10) };
/// So many conflicts in a row, and the store is listed afresh.
const CONFLICTS_MAX: u32 = 5;

/// Something at the store. Polled by the runner's loop alone.
pub(super) struct Work {
    future: BoxFuture<'static, Ended>,
    steps: usize,
}

/// What came of it.
pub(super) enum Ended {
    /// A transaction.
    Commit {
        /// What it was to do.
        steps: Vec<Step>,
        /// The revision at which it is visible.
        result: Result<Revision, StoreError>,
    },
    /// The beginning of an epoch.
    Epoch(Result<Epoch, StoreError>),
    /// A word to the proxies, of removals up to a revision.
    Confirm(Revision, Result<Revision, StoreError>),
}

impl Work {
    pub(super) fn take_epoch(store: Arc<dyn Store>, cluster: Box<str>, holder: String) -> Self {
        let future = async move { Ended::Epoch(epoch::take(&*store, &cluster, &holder).await) };
        Self { future: future.boxed(), steps: 1 }
    }

    pub(super) fn commit(store: Arc<dyn Store>, epoch: &Epoch, steps: Vec<Step>) -> Self {
        let (transaction, count) = (transaction(epoch, &steps), steps.len());
        let future = async move { Ended::Commit { result: store.commit(transaction).await, steps } };
        Self { future: future.boxed(), steps: count }
    }

    /// Tells the proxies that removals up to a revision are meant.
    pub(super) fn confirm(store: Arc<dyn Store>, epoch: &Epoch, revision: Revision) -> Self {
        let mut transaction = transaction(epoch, &[]);
        let confirmation = Confirmation { revision, at: SystemTime::now() };
        transaction.operations.push(Operation::Put {
            area: Area::State,
            key: confirm::REGISTRAR_KEY.into(),
            value: confirm::to_value(&confirmation, "registrar").to_string().into(),
            lease: LeaseChoice::Without,
        });
        let future = async move { Ended::Confirm(revision, store.commit(transaction).await) };
        Self { future: future.boxed(), steps: 1 }
    }

    /// How many keys it is about.
    pub(super) fn len(&self) -> usize {
        self.steps
    }

    /// Waits for its end; for ever if there is nothing under way.
    pub(super) async fn end(work: &mut Option<Self>) -> Ended {
        let ended = match work {
            Some(work) => (&mut work.future).await,
            None => std::future::pending().await,
        };
        *work = None;
        ended
    }
}

impl Runner {
    /// Takes in what came of the work.
    pub(super) fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Epoch(Ok(epoch)) => {
                tracing::info!(term = epoch.term, "a new epoch begins");
                self.backoff.worked();
                // Only who leads says them; these were found before.
                for note in self.parts.notes.all() {
                    tracing::warn!(about = %note.about, "{}", note.sentence());
                }
                (self.epoch, self.dethroned, self.refusal) = (Some(epoch), None, None);
                self.core.soil_all();
            }
            Ended::Epoch(Err(error)) => {
                let refusal = (!matches!(error, StoreError::Conflict { .. })).then(|| error.to_string());
                // It is tried for as long as a store is away.
                if refusal.is_none() || self.refusal != refusal {
                    tracing::warn!(%error, "the leader's epoch cannot begin");
                }
                self.refusal = refusal;
                self.backoff.failed();
            }
            Ended::Confirm(_, Ok(_)) => self.backoff.worked(),
            Ended::Confirm(revision, Err(error)) => {
                if matches!(error, StoreError::Unavailable(_)) {
                    self.core.set_confirmed(revision);
                }
                self.failed(Vec::new(), error);
            }
            Ended::Commit { steps, result: Ok(revision) } => self.committed(&steps, revision),
            Ended::Commit { steps, result: Err(error) } => self.failed(steps, error),
        }
    }

    fn committed(&mut self, steps: &[Step], revision: Revision) {
        self.backoff.worked();
        self.refusal = None;
        self.awaited = self.awaited.max(revision);
        self.parts.meters.committed();
        if let Some(since) = steps.iter().filter_map(|step| step.since).min() {
            self.parts.meters.lag(since.elapsed());
        }
        tracing::info!(%revision, keys = steps.len(), "written");
    }

    fn failed(&mut self, steps: Vec<Step>, error: StoreError) {
        self.parts.meters.failed(&error);
        match error {
            StoreError::Conflict { key } => {
                let is_epoch = self.epoch.as_ref().is_some_and(|epoch| *epoch.key == *key);
                self.requeue(steps);
                if is_epoch {
                    tracing::warn!("another registrar of this cluster leads: its epoch stands in the store");
                    self.resign();
                    self.dethroned = Some(Instant::now());
                } else {
                    tracing::info!(key, "changed by somebody else meanwhile");
                    if self.backoff.failed().is_multiple_of(CONFLICTS_MAX) {
                        self.follow_anew("the store is listed afresh after conflicts");
                    }
                }
            }
            // Whether it took place a fresh list tells.
            StoreError::Unavailable(reason) => {
                self.requeue(steps);
                self.backoff.failed();
                tracing::warn!(reason, "a transaction failed");
                self.follow_anew(&reason);
            }
            StoreError::Refused(reason) | StoreError::Unsupported(reason) => self.split(steps, &reason),
            StoreError::Denied(_) => {
                self.requeue(steps);
                self.backoff.failed();
                let refusal = Some(error.to_string());
                if self.refusal != refusal {
                    tracing::error!(%error, "the store does not let this registrar write");
                }
                self.refusal = refusal;
            }
        }
    }

    /// Finds out which step the store refuses, so that the others take place.
    fn split(&mut self, mut steps: Vec<Step>, reason: &str) {
        if steps.len() > 1 {
            let rest = steps.split_off(steps.len() / 2);
            self.queue.push_front(rest);
            self.queue.push_front(steps);
        } else if let Some(step) = steps.first() {
            tracing::error!(key = &*step.path, reason, "the store refuses");
            self.core.refused(step, reason);
        }
    }

    fn requeue(&mut self, steps: Vec<Step>) {
        let queued = std::mem::take(&mut self.queue).into_iter().flatten();
        self.core.requeue(steps.into_iter().chain(queued));
    }
}

/// Each key is expected as it was last seen, and the epoch as it was begun.
fn transaction(epoch: &Epoch, steps: &[Step]) -> Transaction {
    let mut transaction = Transaction::default();
    transaction.expect.push((Area::State, epoch.key.clone(), Expected::Version(epoch.version)));
    for step in steps {
        let (area, key) = (Area::Routing, step.path.clone());
        transaction.expect.push((area, key.clone(), step.expected.clone()));
        transaction.operations.push(match &step.act {
            Act::Put(value) => {
                Operation::Put { area, key, value: value.clone(), lease: LeaseChoice::Without }
            }
            Act::Delete => Operation::Delete { area, key },
        });
    }
    transaction
}
