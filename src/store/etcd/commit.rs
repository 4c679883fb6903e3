//! One transaction of ours as one of etcd's.

use super::connect::{Connection, Failure, Head};
use super::{OPERATIONS_MAX, Shared};
use crate::model::Revision;
use crate::store::{Area, Expected, LeaseChoice, Operation, Transaction};
use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Times that a transaction is sent because keys were made or removed between looking and writing.
const TRIES_MAX: usize = 5;

/// Commits, or says why not. A lease is granted for each length asked for, and given back if nothing was written.
pub(super) async fn commit(
    connection: &Connection,
    shared: &Shared,
    transaction: &Transaction,
) -> Result<Revision, Failure> {
    let leases = grant(connection, transaction).await?;
    let committed = send(connection, shared, transaction, &leases).await;
    if matches!(committed, Err(Failure::Conflict { .. } | Failure::Refused(_) | Failure::Denied(_))) {
        for lease in leases.into_values() {
            // It ends by itself if this fails.
            let _ = connection.call(|client| async move { client.lease_client().revoke(lease).await }).await;
        }
    }
    committed
}

/// A put that keeps its key's lease is told so to etcd, which refuses that for a key that does not exist. Where no
/// expectation says whether it does, it is read first and tried again if that changed meanwhile. (An inner transaction
/// could decide it in one step, but it doubles the request, and etcd 3.4 does not check rights within it.)
async fn send(
    connection: &Connection,
    shared: &Shared,
    transaction: &Transaction,
    leases: &HashMap<Duration, i64>,
) -> Result<Revision, Failure> {
    let known: HashSet<(Area, &str)> =
        transaction.expect.iter().map(|(area, key, _)| (*area, &**key)).collect();
    let unknown: Vec<(Area, &str)> = transaction
        .operations
        .iter()
        .filter(|operation| matches!(operation, Operation::Put { lease: LeaseChoice::Keep, .. }))
        .map(Operation::target)
        .filter(|target| !known.contains(target))
        .collect();
    for _ in 0..TRIES_MAX {
        let missing = missing(connection, shared, &unknown).await?;
        let mut compares = compares(shared, transaction)?;
        compares.extend(
            missing
                .iter()
                .map(|(area, key)| Compare::create_revision(shared.key(*area, key), CompareOp::Equal, 0)),
        );
        if compares.len() > OPERATIONS_MAX {
            return Err(Failure::Refused(format!(
                "a transaction has at most {OPERATIONS_MAX} expectations and new keys, this one has {}",
                compares.len()
            )));
        }
        let txn = Txn::new()
            .when(compares)
            .and_then(operations(shared, transaction, leases, &missing))
            .or_else(looks(shared, transaction));
        let sent = connection
            .call(|client| {
                let txn = txn.clone();
                async move { client.kv_client().txn(txn).await }
            })
            .await;
        let answer = match sent {
            Err(Failure::Refused(reason)) if reason.contains("key not found") => continue,
            answer => answer?,
        };
        if answer.succeeded() {
            return Ok(Head::of(answer.header())?.revision);
        }
        let found = answer.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(found) => found.kvs().first().map(KeyValue::mod_revision),
            _ => None,
        });
        let wrong =
            transaction.expect.iter().zip(found).find(|((_, _, expected), found)| !holds(expected, *found));
        if let Some(((_, key, _), _)) = wrong {
            return Err(Failure::Conflict { key: key.to_string() });
        }
    }
    let key = unknown.first().map_or_else(|| "a key".to_owned(), |(_, key)| (*key).to_owned());
    Err(Failure::Conflict { key })
}

/// Those of the keys that do not exist.
async fn missing<'a>(
    connection: &Connection,
    shared: &Shared,
    keys: &[(Area, &'a str)],
) -> Result<HashSet<(Area, &'a str)>, Failure> {
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let looks: Vec<TxnOp> = keys.iter().map(|(area, key)| look(shared.key(*area, key))).collect();
    let answer = connection
        .call(|client| {
            let txn = Txn::new().and_then(looks.clone());
            async move { client.kv_client().txn(txn).await }
        })
        .await?;
    let empty =
        |response: &TxnOpResponse| matches!(response, TxnOpResponse::Get(found) if found.kvs().is_empty());
    Ok(keys
        .iter()
        .zip(answer.op_responses())
        .filter(|(_, response)| empty(response))
        .map(|(key, _)| *key)
        .collect())
}

fn look(key: String) -> TxnOp {
    TxnOp::get(key, Some(GetOptions::new().with_keys_only()))
}

fn holds(expected: &Expected, found: Option<i64>) -> bool {
    match expected {
        Expected::Version(version) => found.and_then(|found| u64::try_from(found).ok()) == Some(*version),
        Expected::Absent => found.is_none(),
        Expected::Present => found.is_some(),
    }
}

fn compares(shared: &Shared, transaction: &Transaction) -> Result<Vec<Compare>, Failure> {
    let mut compares = Vec::with_capacity(transaction.expect.len());
    for (area, key, expected) in &transaction.expect {
        let full = shared.key(*area, key);
        compares.push(match expected {
            // etcd's modification revision of a missing key is 0, which is no version.
            Expected::Version(0) => return Err(Failure::Conflict { key: key.to_string() }),
            Expected::Version(version) => {
                let version = i64::try_from(*version).unwrap_or(i64::MAX);
                Compare::mod_revision(full, CompareOp::Equal, version)
            }
            Expected::Absent => Compare::create_revision(full, CompareOp::Equal, 0),
            Expected::Present => Compare::create_revision(full, CompareOp::Greater, 0),
        });
    }
    Ok(compares)
}

/// Reads that tell which expectation did not hold.
fn looks(shared: &Shared, transaction: &Transaction) -> Vec<TxnOp> {
    transaction.expect.iter().map(|(area, key, _)| look(shared.key(*area, key))).collect()
}

fn operations(
    shared: &Shared,
    transaction: &Transaction,
    leases: &HashMap<Duration, i64>,
    missing: &HashSet<(Area, &str)>,
) -> Vec<TxnOp> {
    let absent = |target: (Area, &str)| {
        let named = |(area, key, expected): &(Area, Box<str>, Expected)| {
            (*area, &**key) == target && *expected == Expected::Absent
        };
        missing.contains(&target) || transaction.expect.iter().any(named)
    };
    let operation = |operation: &Operation| {
        let (area, key) = operation.target();
        let full = shared.key(area, key);
        let Operation::Put { value, lease, .. } = operation else { return TxnOp::delete(full, None) };
        let options = match lease {
            LeaseChoice::Ttl(ttl) => PutOptions::new().with_lease(leases.get(ttl).copied().unwrap_or(0)),
            LeaseChoice::Existing(id) => PutOptions::new().with_lease(*id),
            LeaseChoice::Without => PutOptions::new(),
            LeaseChoice::Keep if absent((area, key)) => PutOptions::new(),
            LeaseChoice::Keep => PutOptions::new().with_ignore_lease(),
        };
        TxnOp::put(full, value.to_vec(), Some(options))
    };
    transaction.operations.iter().map(operation).collect()
}

/// A lease for each length, in whole seconds, rounded up.
async fn grant(
    connection: &Connection,
    transaction: &Transaction,
) -> Result<HashMap<Duration, i64>, Failure> {
    let wanted: HashSet<Duration> = transaction
        .operations
        .iter()
        .filter_map(|operation| match operation {
            Operation::Put { lease: LeaseChoice::Ttl(ttl), .. } => Some(*ttl),
            _ => None,
        })
        .collect();
    let mut leases = HashMap::with_capacity(wanted.len());
    for ttl in wanted {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(seconds.max(1)).unwrap_or(i64::MAX);
        let granted =
            connection.call(|client| async move { client.lease_client().grant(seconds, None).await }).await;
        let lease = granted.map_err(|failure| match failure {
            // A lease that may have been granted hangs on nothing.
            Failure::Away(reason) => Failure::NotSent(reason),
            other => other,
        })?;
        leases.insert(ttl, lease.id());
    }
    Ok(leases)
}
