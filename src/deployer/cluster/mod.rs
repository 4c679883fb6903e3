//! What is done in the cluster, so that one who slept while another went on does no harm.
//!
//! Every change and removal names the uid and the resourceVersion of the object as it was read, and nothing is done to an
//! object that bears a higher term than this charge's: [`Trouble::Lost`]. Whoever takes an application over writes their
//! own term on its objects first ([`stamp`]); from then on what was read before fits no more.

mod mark;
mod objects;
mod pods;
mod room;
mod stamp;
mod tail;

pub(super) use mark::{Mark, whose};
pub(super) use objects::{Change, Cluster, Fate, Which};
pub(super) use pods::{Pods, is_ready, trouble_of};
pub use stamp::stamp;
pub(super) use tail::job_tail;

use super::charge::{Charge, Trouble};
use super::machine::Look;
use super::record::Deployment;
use super::world::World;
use crate::kubernetes::Refusal;
use crate::store::{Area, Entry, StoreError, Transaction};

/// Why a look ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// What it came to.
    Look(Look),
    /// Something was not written.
    Trouble(Trouble),
}

impl Stop {
    /// It will not be done.
    pub(super) fn failed(reason: impl Into<String>) -> Self {
        Self::Look(Look::Failed(reason.into()))
    }

    /// Not yet.
    pub(super) fn waits(what: impl Into<String>) -> Self {
        Self::Look(Look::Waits(what.into()))
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Forbidden(reason) | Refusal::Final(reason) => Self::failed(reason),
            // The server answers; it is somebody else's program that does not, and may never.
            Refusal::Later(reason) if reason.contains("webhook") => Self::waits(reason),
            Refusal::Later(reason) => Self::Look(Look::Away(format!("the API server: {reason}"))),
        }
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Trouble(error.into())
    }
}

/// What a look came to, however it ended.
pub(super) fn settle(ended: Result<Look, Stop>) -> Result<Look, Trouble> {
    match ended {
        Ok(look) | Err(Stop::Look(look)) => Ok(look),
        Err(Stop::Trouble(trouble)) => Err(trouble),
    }
}

/// Changes the deployment and writes it down together with `also`. Where that fails it is as before.
pub(super) async fn record(
    charge: &mut Charge,
    change: impl FnOnce(&mut Deployment),
    also: Transaction,
) -> Result<(), Trouble> {
    let before = charge.deployment.clone();
    change(&mut charge.deployment);
    let saved = charge.save(also).await;
    if saved.is_err() {
        charge.deployment = before;
    }
    saved
}

/// What stands at a key of the table.
pub(super) async fn routing(world: &World, key: &str) -> Result<Option<Entry>, Stop> {
    let (_, entry) = world.store.get(Area::Routing, key).await?;
    Ok(entry)
}
