//! The history: the last flips that were written, newest first, and what is written when one is over.

use super::FlipError;
use super::record::{FLIPS, HISTORY, HISTORY_MAX, OWNERS, Past, read, write};
use crate::store::{Area, Expected, LeaseChoice, Operation, Store, Transaction};
use std::sync::Arc;

/// Old entries that one write takes away at the most.
const PRUNED_MAX: usize = 4;

/// Everything that is kept, newest first.
///
/// # Errors
/// The store does not answer.
pub async fn history(store: &Arc<dyn Store>) -> Result<Vec<Past>, FlipError> {
    let all = store.list(Area::State).await?;
    let entries = all.entries.iter().filter(|entry| entry.key.starts_with(HISTORY)).rev();
    Ok(entries.filter_map(|entry| read(&entry.key, &entry.value).ok()).collect())
}

/// The writes that end an open flip whose record has this version.
pub(super) fn end(transaction: &mut Transaction, past: &Past, version: u64) {
    let key: Box<str> = format!("{FLIPS}{}", past.id).into();
    transaction.expect.push((Area::State, key.clone(), Expected::Version(version)));
    let area = Area::State;
    transaction.operations.push(Operation::Delete { area, key });
    transaction.operations.push(Operation::Delete { area, key: format!("{OWNERS}{}", past.id).into() });
    let (key, value) = (past.key().into(), write(past));
    transaction.operations.push(Operation::Put { area, key, value, lease: LeaseChoice::Keep });
}

/// Takes away what is older than the last [`HISTORY_MAX`] entries, as far as one write goes. What goes wrong with it is
/// made up for by the next flip.
pub(super) async fn prune(store: &Arc<dyn Store>) {
    let Ok(all) = store.list(Area::State).await else { return };
    let keys: Vec<_> =
        all.entries.into_iter().map(|entry| entry.key).filter(|key| key.starts_with(HISTORY)).collect();
    let old = keys.len().saturating_sub(HISTORY_MAX).min(PRUNED_MAX);
    let operations: Vec<_> =
        keys.into_iter().take(old).map(|key| Operation::Delete { area: Area::State, key }).collect();
    if !operations.is_empty() {
        let _ = store.commit(Transaction { expect: Vec::new(), operations }).await;
    }
}
