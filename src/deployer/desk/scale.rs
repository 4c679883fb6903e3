//! Another number of pods for the live version.

use super::{Denied, Desk, TRIES_MAX, contended, denied};
use crate::deployer::charge::put_state;
use crate::deployer::descriptor::{REPLICAS_MAX, Wrong};
use crate::deployer::record::{Deployment, Made, application_key, deployment_key};
use crate::kubernetes::{Name, Refusal, in_time};
use crate::store::{Area, Expected, StoreError, Transaction};
use k8s_openapi::api::apps::v1::Deployment as Workload;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::time::SystemTime;

pub(super) async fn scale(
    desk: &Desk,
    app: &Name,
    id: &str,
    replicas: u32,
    by: &str,
) -> Result<Deployment, Denied> {
    if !(1..=REPLICAS_MAX).contains(&replicas) {
        let reason = format!("{replicas} is not from 1 to {REPLICAS_MAX}");
        return Err(Denied::Invalid(vec![Wrong { field: "replicas".into(), reason }]));
    }
    let Some((mut deployment, version)) = desk.deployment(app, id).await? else {
        return Err(Denied::NotFound(format!("{app} has no deployment {id}")));
    };
    let Some((application, fence)) = desk.application(app).await? else {
        return Err(Denied::NotFound(format!("there is no application {app}")));
    };
    if let Some(open) = &application.open {
        return Err(desk.busy(app, open).await);
    }
    let made = deployment.made.clone().filter(|_| application.live.as_deref() == Some(id));
    let Some(made) = made else {
        return Err(Denied::Conflict(format!("deployment {id} of {app} is not live")));
    };
    patch(desk, app, &made, replicas).await?;
    deployment.descriptor.replicas = replicas;
    deployment.touch(SystemTime::now());
    let key = deployment_key(app, id);
    let transaction = Transaction {
        expect: vec![
            (Area::State, application_key(app), Expected::Version(fence)),
            (Area::State, key.clone(), Expected::Version(version)),
        ],
        operations: vec![put_state(key, &deployment)],
    };
    match desk.store().commit(transaction).await {
        Ok(revision) => {
            tracing::info!(%app, deployment = id, replicas, by, "scaled");
            desk.heard(revision.0).await;
            Ok(deployment)
        }
        Err(StoreError::Conflict { .. }) => match desk.application(app).await? {
            Some((application, _)) if application.open.is_some() => {
                Err(desk.busy(app, &application.open.unwrap_or_default()).await)
            }
            _ => Err(contended(app)),
        },
        Err(error) => Err(denied(error)),
    }
}

async fn patch(desk: &Desk, app: &Name, made: &Made, replicas: u32) -> Result<(), Denied> {
    let api: Api<Workload> = Api::namespaced(desk.client().clone(), &app.namespace);
    for _ in 0..TRIES_MAX {
        let found = in_time(api.get_opt(&made.name)).await.map_err(refused)?;
        let uid = found.as_ref().and_then(|found| found.metadata.uid.clone());
        let Some(found) = found.filter(|_| made.uid.is_none() || made.uid == uid) else {
            return Err(Denied::Conflict(format!("the Deployment {} of {app} is gone", made.name)));
        };
        let patch = json!({
            "metadata": { "uid": uid, "resourceVersion": found.metadata.resource_version },
            "spec": { "replicas": replicas },
        });
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = async {
            match api.patch(&made.name, &parameters, &patch).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
                patched => patched.map(|_| true),
            }
        };
        if in_time(patched).await.map_err(refused)? {
            return Ok(());
        }
    }
    Err(contended(app))
}

fn refused(refusal: Refusal) -> Denied {
    match refusal {
        Refusal::Forbidden(reason) | Refusal::Final(reason) => Denied::Conflict(reason),
        Refusal::Later(reason) => Denied::Away(reason),
    }
}
