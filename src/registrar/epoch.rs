//! The leader's epoch: a key of the store that every new leader writes, and that every transaction expects as it was
//! written. A leader that slept past its lease finds it changed and cannot write, whatever its clock says.

use crate::store::{Area, Expected, LeaseChoice, Operation, Store, StoreError, Transaction};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A leader's time in office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Where it stands in the state area.
    pub key: Box<str>,
    /// As every transaction expects it.
    pub version: u64,
    /// Counted from 1.
    pub term: u64,
}

/// Where a cluster's epoch stands in the state area.
pub fn key(cluster: &str) -> Box<str> {
    format!("registrar/{cluster}/leader").into()
}

/// Begins a new epoch.
///
/// # Errors
/// The store's, and a conflict if somebody else began one at the same time.
pub async fn take(store: &dyn Store, cluster: &str, holder: &str) -> Result<Epoch, StoreError> {
    let key = key(cluster);
    let (_, before) = store.get(Area::State, &key).await?;
    let value = before.as_ref().and_then(|entry| serde_json::from_slice::<Value>(&entry.value).ok());
    let former = value.as_ref().and_then(|value| value.get("Term")).and_then(Value::as_u64);
    let term = former.unwrap_or_default().saturating_add(1);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let value = json!({ "Holder": holder, "Since": since, "Term": term });
    let expected = before.map_or(Expected::Absent, |entry| Expected::Version(entry.version));
    let put = Operation::Put {
        area: Area::State,
        key: key.clone(),
        value: value.to_string().into(),
        lease: LeaseChoice::Without,
    };
    let expect = vec![(Area::State, key.clone(), expected)];
    store.commit(Transaction { expect, operations: vec![put] }).await?;
    // A directory's version is a hash, which only reading tells.
    let (_, now) = store.get(Area::State, &key).await?;
    let is_ours = |stored: &[u8]| serde_json::from_slice::<Value>(stored).is_ok_and(|stored| stored == value);
    match now.filter(|entry| is_ours(&entry.value)) {
        Some(entry) => Ok(Epoch { key, version: entry.version, term }),
        None => Err(StoreError::Conflict { key: key.into() }),
    }
}
