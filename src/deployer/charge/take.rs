//! How an application comes into this process's charge.

use super::{Charge, Trouble, read, trouble};
use crate::deployer::record::{Application, Deployment, application_key, deployment_key, lock_key, log_key};
use crate::kubernetes::Name;
use crate::store::{Area, Expected, LeaseChoice, Operation, Store, StoreError, Transaction};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Lines that are looked for beyond those known.
const LINES_LOOKED_FOR: u64 = super::log::LINES_MAX;

/// Writes a record.
pub(in crate::deployer) fn put_state<T: Serialize>(key: Box<str>, value: &T) -> Operation {
    let value = serde_json::to_vec(value).unwrap_or_default().into();
    Operation::Put { area: Area::State, key, value, lease: LeaseChoice::Without }
}

/// The sign of life.
pub(in crate::deployer) fn lock_put(app: &Name, holder: &str, ttl: Duration) -> Operation {
    let (area, key) = (Area::State, lock_key(app));
    Operation::Put { area, key, value: holder.to_owned().into(), lease: LeaseChoice::Ttl(ttl) }
}

/// Writes that a deployment begins, with its application in the charge of whom `application` names. None: something was
/// changed meanwhile.
///
/// # Errors
/// The store's.
pub(in crate::deployer) async fn begun(
    store: &Arc<dyn Store>,
    app: &Name,
    (application, expected): (Application, Expected),
    (deployment, its_own): (Deployment, Expected),
    ttl: Duration,
) -> Result<Option<Charge>, StoreError> {
    let (key, own) = (application_key(app), deployment_key(app, &deployment.id));
    let expect = vec![(Area::State, key.clone(), expected), (Area::State, own.clone(), its_own)];
    let lock = lock_put(app, &application.holder, ttl);
    let operations = vec![put_state(key, &application), put_state(own, &deployment), lock];
    match store.commit(Transaction { expect, operations }).await {
        Ok(at) => {
            let (application, deployment) = ((application, at.0), (deployment, at.0));
            Ok(Some(Charge::new(store.clone(), app.clone(), application, deployment)))
        }
        Err(StoreError::Conflict { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes an application over whose one in charge gives no sign of life. `lines`: of its deployment's log, as far as is
/// known.
///
/// # Errors
/// Somebody else has it, there is nothing to go on with, or the store is away.
pub(in crate::deployer) async fn take_over(
    store: &Arc<dyn Store>,
    app: &Name,
    holder: &str,
    lines: u64,
    ttl: Duration,
) -> Result<Charge, Trouble> {
    let failed = |error| trouble(app, error);
    let key = application_key(app);
    let found = read::<Application>(&**store, &key).await.map_err(failed)?;
    let Some((mut application, version)) = found else { return Err(Trouble::Lost(app.clone())) };
    let Some(id) = application.open.clone() else { return Err(Trouble::Lost(app.clone())) };
    let own = deployment_key(app, &id);
    let found = read::<Deployment>(&**store, &own).await.map_err(failed)?;
    let mut transaction = Transaction::default();
    transaction.expect.push((Area::State, key.clone(), Expected::Version(version)));
    transaction.expect.push((Area::State, lock_key(app), Expected::Absent));
    let Some((deployment, own_version)) = found else {
        tracing::warn!(%app, deployment = id, "the record of a deployment under way is gone: it is taken for over");
        application.open = None;
        transaction.operations.push(put_state(key, &application));
        store.commit(transaction).await.map_err(failed)?;
        return Err(Trouble::Lost(app.clone()));
    };
    holder.clone_into(&mut application.holder);
    application.term = application.term.saturating_add(1);
    transaction.expect.push((Area::State, own, Expected::Version(own_version)));
    transaction.operations.push(put_state(key, &application));
    transaction.operations.push(lock_put(app, holder, ttl));
    let at = store.commit(transaction).await.map_err(failed)?;
    let lines = count_lines(&**store, app, &id, lines).await.map_err(failed)?;
    let mut charge = Charge::new(store.clone(), app.clone(), (application, at.0), (deployment, own_version));
    charge.log_goes_on_after(lines);
    Ok(charge)
}

/// Nobody else writes any more, so what is found is all there will be.
async fn count_lines(store: &dyn Store, app: &Name, id: &str, known: u64) -> Result<u64, StoreError> {
    for number in known..known.saturating_add(LINES_LOOKED_FOR) {
        let key = log_key(app, id, number.saturating_add(1));
        if store.get(Area::State, &key).await?.1.is_none() {
            return Ok(number);
        }
    }
    Ok(known.saturating_add(LINES_LOOKED_FOR))
}
