//! Whose a record is: the sign that its owner lives, leaving it to others, taking it from the dead.

use super::{FIRST_READ, OWNER_BEAT, OWNER_TTL, Runner, put_state, revision_of};
use crate::flip::record::{FLIPS, Flip, OWNERS, Phase, write};
use crate::flip::{FlipError, OpenFlip};
use crate::model::Revision;
use crate::store::{Area, Expected, LeaseChoice, Operation, StoreError, Transaction};
use tokio::time::Instant;

impl Runner {
    /// Commits, if everything is still as the fence says.
    pub(in crate::flip) async fn commit_fenced(
        &self,
        mut transaction: Transaction,
    ) -> Result<Revision, StoreError> {
        // First, so that of several conflicts it is the one that is told.
        transaction.expect.splice(0..0, self.fence.iter().cloned());
        self.store.commit(transaction).await
    }

    /// Whether something else than the fence was changed by others, which the feed tells of soon.
    pub(super) fn is_passing(&self, error: &FlipError) -> bool {
        match error {
            FlipError::Store(StoreError::Conflict { key }) => !self.is_fence(key),
            _ => false,
        }
    }

    /// Whether a key is one of those that the fence is about.
    pub(in crate::flip) fn is_fence(&self, key: &str) -> bool {
        self.fence.iter().any(|(_, fenced, _)| **fenced == *key)
    }

    pub(in crate::flip) fn owner_put(&mut self, id: &str) -> Operation {
        self.beats += 1;
        self.beat_at = Instant::now() + OWNER_BEAT;
        let lease = if self.leases { LeaseChoice::Ttl(OWNER_TTL) } else { LeaseChoice::Keep };
        let (key, value) = (format!("{OWNERS}{id}").into(), format!("\"{} {}\"", self.me, self.beats).into());
        Operation::Put { area: Area::State, key, value, lease }
    }

    /// Says that this runner lives. If it cannot, others will find out.
    pub(super) async fn keep_owning(&mut self, id: &str) {
        if Instant::now() >= self.beat_at {
            let operations = vec![self.owner_put(id)];
            // Never in place of another owner.
            let expect = match self.fleet.flip(id) {
                Some(open) => {
                    vec![(Area::State, format!("{FLIPS}{id}").into(), Expected::Version(open.version))]
                }
                None => return,
            };
            let _ = self.store.commit(Transaction { expect, operations }).await;
        }
    }

    /// Leaves a written flip to others.
    pub(super) async fn release(&mut self, id: &str) {
        let mine = self.fleet.flip(id).filter(|open| open.flip.owner == self.me);
        let Some(version) = mine.map(|open| open.version) else { return };
        let operations = vec![Operation::Delete { area: Area::State, key: format!("{OWNERS}{id}").into() }];
        let expect = vec![(Area::State, format!("{FLIPS}{id}").into(), Expected::Version(version))];
        let _ = self.store.commit(Transaction { expect, operations }).await;
    }

    /// Takes a record away before anything was written.
    pub(super) async fn give_up(&mut self, id: &str) {
        let Some(open) = self.fleet.flip(id).filter(|open| open.flip.phase == Phase::Prepare) else { return };
        let expect = vec![(Area::State, format!("{FLIPS}{id}").into(), Expected::Version(open.version))];
        let delete = |key: String| Operation::Delete { area: Area::State, key: key.into() };
        let operations = vec![delete(format!("{FLIPS}{id}")), delete(format!("{OWNERS}{id}"))];
        // Without its owner it lapses in any case.
        let _ = self.store.commit(Transaction { expect, operations }).await;
    }

    pub(super) async fn rewrite(&mut self, flip: &Flip, version: u64) {
        let key: Box<str> = format!("{FLIPS}{}", flip.id).into();
        let expect = vec![(Area::State, key.clone(), Expected::Version(version))];
        let operations = vec![put_state(key, write(flip))];
        let _ = self.store.commit(Transaction { expect, operations }).await;
    }

    /// Makes an abandoned record this runner's own.
    pub(super) async fn claim(&mut self, id: &str) -> Result<OpenFlip, FlipError> {
        let Some(mut open) = self.fleet.flip(id).cloned() else {
            return Err(FlipError::Refused("its record is gone".into()));
        };
        if open.flip.phase == Phase::Committed {
            open.flip.revision = revision_of(&open);
        }
        open.flip.owner.clone_from(&self.me);
        let key: Box<str> = format!("{FLIPS}{id}").into();
        let expect = vec![(Area::State, key.clone(), Expected::Version(open.version))];
        let operations = vec![put_state(key, write(&open.flip)), self.owner_put(id)];
        self.commit_fenced(Transaction { expect, operations }).await?;
        let patience = Instant::now() + FIRST_READ;
        loop {
            if let Some(found) = self.fleet.flip(id).filter(|found| found.flip.owner == self.me) {
                return Ok(found.clone());
            }
            if Instant::now() >= patience {
                return Err(StoreError::Unavailable("the claim was not told in time".into()).into());
            }
            self.next(patience).await;
        }
    }
}
