//! How much of what is over is kept.

use super::{Denied, Desk, denied};
use crate::deployer::charge::{OPERATIONS_MAX, delete_state};
use crate::deployer::record::{deployment_key, health_key, log_key};
use crate::kubernetes::Name;
use crate::store::{Area, Expected, Operation, StoreError, Transaction};

/// Deployments of an application that are over and kept.
pub(super) const CLOSED_MAX: usize = 50;
/// Of those that are too many, how many go each time.
const REMOVED_MAX: usize = 5;

/// Removes the oldest deployments of an application beyond those that are kept. What fails goes the next time.
pub(super) async fn sweep(desk: &Desk, app: &Name) {
    for id in excess(desk, app) {
        if let Err(error) = forget(desk, app, std::slice::from_ref(&id)).await {
            tracing::warn!(%app, deployment = id, %error, "an old deployment is kept for now");
        }
    }
}

fn excess(desk: &Desk, app: &Name) -> Vec<String> {
    let book = desk.book();
    let own = book.deployments.iter().filter(|((of, _), kept)| of == app && kept.value.status.is_over());
    let mut closed: Vec<(&str, &str)> =
        own.map(|((_, id), kept)| (&*kept.value.last_modified, &**id)).collect();
    closed.sort_unstable();
    let count = closed.len().saturating_sub(CLOSED_MAX).min(REMOVED_MAX);
    closed.into_iter().take(count).map(|(_, id)| id.to_owned()).collect()
}

/// Removes records with their logs.
pub(super) async fn forget(desk: &Desk, app: &Name, ids: &[String]) -> Result<(), Denied> {
    let mut over = Vec::new();
    for id in ids {
        match desk.deployment(app, id).await? {
            Some((deployment, version)) if deployment.status.is_over() => over.push((id, version)),
            Some(_) => return Err(Denied::Conflict(format!("deployment {id} of {app} is not over"))),
            None => {}
        }
    }
    for (id, version) in over {
        forget_lines(desk, app, id, version).await?;
        remove(desk, app, id, version, vec![delete_state(deployment_key(app, id))]).await?;
    }
    Ok(())
}

/// Removes what was said of a deployment whose record has this version.
pub(super) async fn forget_lines(desk: &Desk, app: &Name, id: &str, version: u64) -> Result<(), Denied> {
    let mut keys: Vec<Box<str>> = {
        let book = desk.book();
        let health = book.health.keys().filter(|(of, own, _)| of == app && **own == *id);
        let health: Vec<Box<str>> = health.map(|(_, _, pod)| health_key(app, id, pod)).collect();
        book.log(app, id).map(|(number, _)| log_key(app, id, number)).chain(health).collect()
    };
    while !keys.is_empty() {
        let rest = keys.split_off(keys.len().min(OPERATIONS_MAX));
        let operations = std::mem::replace(&mut keys, rest).into_iter().map(delete_state).collect();
        remove(desk, app, id, version, operations).await?;
    }
    Ok(())
}

async fn remove(
    desk: &Desk,
    app: &Name,
    id: &str,
    version: u64,
    operations: Vec<Operation>,
) -> Result<(), Denied> {
    let expect = vec![(Area::State, deployment_key(app, id), Expected::Version(version))];
    match desk.store().commit(Transaction { expect, operations }).await {
        Ok(revision) => {
            desk.heard(revision.0).await;
            Ok(())
        }
        Err(StoreError::Conflict { .. }) => {
            Err(Denied::Conflict(format!("deployment {id} of {app} was changed meanwhile")))
        }
        Err(error) => Err(denied(error)),
    }
}
