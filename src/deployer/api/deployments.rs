//! Deployments: asked for, looked at, repeated, scaled, sent back and taken away.

use super::Api;
use super::call::{self, Call, Nothing, bad, invalid, no, record, unchanged};
use super::descriptors::{self, newest_first};
use super::office::Office;
use super::once::{Answer, Begun, Request, once};
use super::shares::Share;
use crate::deployer::book::{Book, Kept};
use crate::deployer::descriptor::Descriptor;
use crate::deployer::machine::Ask;
use crate::deployer::record::{Deployment, Status};
use crate::kubernetes::Name;
use crate::web::answer::Failure;
use crate::web::extract::duration;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Most deployments whose records wait to be removed once they are undeployed.
pub(super) const REMOVALS_MAX: usize = 64;

/// Most of them in one namespace.
const REMOVALS_OF_ONE_MAX: usize = 16;

/// Longest wait of such a record; after that it stays.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(3600);

/// Leave to wait for the end of a deployment.
type Removal = (OwnedSemaphorePermit, [Share; 2]);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    appname: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateQuery {
    #[serde(rename = "descriptorId")]
    descriptor_id: Option<String>,
    #[serde(rename = "dryRun")]
    dry_run: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeQuery {
    appname: Option<String>,
    undeploy: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    #[serde(rename = "deleteDeployment")]
    delete_deployment: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    replicas: Option<u32>,
    flip: Option<PatchedFlip>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PatchedFlip {
    keep_warm: String,
}

/// Amdatu's answers 404 where there is none. `limit`: so many of each application.
pub(super) async fn list(State(api): State<Arc<Api>>, call: Call<ListQuery>) -> Result<Response, Failure> {
    let limit = call.query.limit.unwrap_or(usize::MAX);
    if limit == 0 {
        return Err(bad("`limit` is at least 1"));
    }
    let book = api.office.book();
    let mut counts = BTreeMap::<&Name, usize>::new();
    let mut found =
        newest_first(&book.deployments, &call.namespace, call.query.appname.as_deref(), Kept::age);
    found.retain(|(app, _)| {
        let count = counts.entry(app).or_default();
        *count += 1;
        *count <= limit
    });
    match found.is_empty() {
        true => Err(Failure::new(StatusCode::NOT_FOUND, "there is no deployment in this namespace")),
        false => {
            let all: Vec<Value> = found.into_iter().map(|(_, kept)| kept.value.public()).collect();
            Ok(axum::Json(all).into_response())
        }
    }
}

/// A stored descriptor, or the one in the body.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    call: Call<CreateQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let body = call::body(body).await?;
    let id = call.query.descriptor_id.as_deref();
    let read = || match id {
        Some(id) => descriptors::find(&api, &call.namespace, id).map(|(_, kept)| kept.value.0),
        None => call::descriptor(&body, &call.namespace).map_err(|wrong| invalid(&wrong)),
    };
    if call.query.dry_run == Some(true) {
        return dry_run(&api, &read()?).await;
    }
    let work = async {
        let deployment = api.office.deploy(read()?, None, &call.caller.name).await?;
        Ok(accepted(&call.namespace, &deployment))
    };
    let what = format!("POST /deployments {}", id.unwrap_or_default());
    let left = |begun: &Begun| read().ok().and_then(|descriptor| left_behind(&api, &descriptor, begun));
    let Call { caller, namespace, .. } = &call;
    let request = Request { caller, namespace, what: &what, headers: &headers, body: &body };
    once(&api, request, work, left).await
}

async fn dry_run(api: &Api, descriptor: &Descriptor) -> Result<Response, Failure> {
    let would_do = api.office.check(descriptor).await?;
    let app = json!({ "namespace": descriptor.namespace, "appName": descriptor.app_name });
    Ok(axum::Json(json!({ "application": app, "dryRun": true, "wouldDo": would_do })).into_response())
}

/// What a call whose process died has left, if it came so far.
fn left_behind(api: &Api, descriptor: &Descriptor, begun: &Begun) -> Option<Answer> {
    let book = api.office.book();
    let app = descriptor.app();
    let of_it = |kept: &&Kept<Deployment>| {
        let own = &kept.value.descriptor;
        begun.covers(&kept.value.created)
            && own.podspec == descriptor.podspec
            && own.replicas == descriptor.replicas
            && own.environment == descriptor.environment
            && (own.new_version == descriptor.new_version || kept.value.version == descriptor.new_version)
    };
    let mut of_app =
        book.deployments.iter().filter(|((name, _), _)| *name == app).map(|(_, kept)| kept).filter(of_it);
    of_app.next().map(|kept| accepted(&app.namespace, &kept.value))
}

/// 202 with where to look.
fn accepted(namespace: &str, deployment: &Deployment) -> Answer {
    let location = format!("/deployments/{}/?namespace={namespace}", deployment.id);
    Answer {
        status: StatusCode::ACCEPTED,
        location: Some(location),
        version: None,
        body: deployment.public(),
    }
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    call: Call<Nothing>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (_, kept) = find(&api, &call.namespace, &id)?;
    Ok(record(&headers, kept.version, kept.value.public()))
}

/// What pods said of their health.
pub(super) async fn health(
    State(api): State<Arc<Api>>,
    call: Call<Nothing>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let (app, _) = find(&api, &call.namespace, &id)?;
    let book = api.office.book();
    let first = (app.clone(), id.as_str().into(), Box::default());
    let of_it = |(name, own, _): &(Name, Box<str>, Box<str>)| *name == app && **own == *id;
    let said = book.health.range(first..).take_while(|(key, _)| of_it(key));
    let said: Vec<Value> =
        said.map(|((_, _, pod), value)| json!({ "podName": pod, "value": value })).collect();
    Ok(axum::Json(said).into_response())
}

/// Redeploys it; or, while the version that followed it keeps it warm, sends that one back.
pub(super) async fn again(
    State(api): State<Arc<Api>>,
    call: Call<Nothing>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (app, kept) = find(&api, &call.namespace, &id)?;
    unchanged(&headers, kept.version)?;
    let by = &call.caller.name;
    let newer = keeps_warm(&api.office.book(), &app, &id);
    let deployment = match newer {
        Some(newer) => {
            api.office.ask(&app, &newer, Ask::Back, by).await?;
            kept.value
        }
        None => api.office.deploy(kept.value.descriptor, Some(&id), by).await?,
    };
    Ok(accepted(&call.namespace, &deployment).into_response())
}

/// The deployment under way that has taken the place of this one, or is about to, and can still go back.
fn keeps_warm(book: &Book, app: &Name, id: &str) -> Option<String> {
    let open = book.applications.get(app)?.value.open.as_deref()?;
    let newer = &book.deployments.get(&(app.clone(), open.into()))?.value;
    let follows = newer.facts.previous.as_ref().is_some_and(|previous| previous.id == id);
    let can = newer.position.as_ref().is_some_and(|position| position.can_go_back());
    (follows && can).then(|| newer.id.clone())
}

pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    call: Call<Nothing>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let body = call::body(body).await?;
    let (app, kept) = find(&api, &call.namespace, &id)?;
    unchanged(&headers, kept.version)?;
    let patch: Patch = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the body is not a change of a deployment: {error}")))?;
    let by = &call.caller.name;
    match patch {
        Patch { replicas: Some(0), .. } => Err(bad("`replicas` is at least 1")),
        Patch { replicas: Some(replicas), flip: None } => {
            let scaled = api.office.scale(&app, &id, replicas, by).await?;
            Ok(axum::Json(scaled.public()).into_response())
        }
        Patch { replicas: None, flip: Some(flip) } => {
            if !duration("flip.keepWarm", &flip.keep_warm)?.is_zero() {
                return Err(bad("`flip.keepWarm` of a deployment under way can only be ended: `0s`"));
            }
            api.office.ask(&app, &id, Ask::Finish, by).await?;
            Ok(accepted(&call.namespace, &kept.value).into_response())
        }
        _ => Err(bad("either `replicas` or `flip.keepWarm` is to be given")),
    }
}

/// Undeploys what is live, sends back what is on its way, and removes the record if that is asked for.
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    call: Call<DeleteQuery>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (app, kept) = find(&api, &call.namespace, &id)?;
    unchanged(&headers, kept.version)?;
    let remove = call.query.delete_deployment == Some(true);
    let deployment = take_away(&api, &app, kept.value, remove, &call.caller.name).await?;
    Ok(accepted(&call.namespace, &deployment).into_response())
}

async fn take_away(
    api: &Api,
    app: &Name,
    deployment: Deployment,
    remove: bool,
    by: &str,
) -> Result<Deployment, Failure> {
    let id = deployment.id.clone();
    let removal = match remove && !deployment.status.is_over() {
        true => removal(api, app, &id)?,
        false => None,
    };
    let deployment = match deployment.status {
        Status::Deployed => api.office.undeploy(app, &id, by).await?,
        Status::Deploying => {
            api.office.ask(app, &id, Ask::Back, by).await?;
            deployment
        }
        Status::Undeploying => deployment,
        Status::Undeployed | Status::Failure if remove => {
            api.office.forget_deployments(app, std::slice::from_ref(&id)).await?;
            deployment
        }
        Status::Undeployed | Status::Failure => deployment,
    };
    if let Some(removal) = removal {
        tokio::spawn(remove_later(Arc::clone(&api.office), app.clone(), id, removal));
    }
    Ok(deployment)
}

/// Leave to wait for the end of a deployment. None: somebody waits already.
fn removal(api: &Api, app: &Name, id: &str) -> Result<Option<Removal>, Failure> {
    let too_many = || Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too many deployments are being removed");
    let Some(own) = api.removal_shares.take(&format!("{app}/{id}"), 1) else { return Ok(None) };
    let share = api.removal_shares.take(&app.namespace, REMOVALS_OF_ONE_MAX).ok_or_else(too_many)?;
    let permit = Arc::clone(&api.removals).try_acquire_owned().map_err(|_| too_many())?;
    Ok(Some((permit, [own, share])))
}

/// Removes a record once its deployment is over. If this process ends before, the record stays.
async fn remove_later(office: Arc<dyn Office>, app: Name, id: String, _removal: Removal) {
    let wait = async {
        let mut changes = office.changes();
        loop {
            changes.borrow_and_update();
            let status = {
                let book = office.book();
                book.deployments.get(&(app.clone(), id.as_str().into())).map(|kept| kept.value.status)
            };
            if status.is_none_or(Status::is_over) || changes.changed().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(REMOVAL_PATIENCE, wait).await.is_ok()
        && let Err(error) = office.forget_deployments(&app, std::slice::from_ref(&id)).await
    {
        tracing::warn!(%app, id, %error, "the record of a deployment that was undeployed stays");
    }
}

/// Removes the records of an application that are over; with `undeploy=true` also what is live.
pub(super) async fn purge(State(api): State<Arc<Api>>, call: Call<PurgeQuery>) -> Result<Response, Failure> {
    let app = call.query.appname.as_deref().ok_or_else(|| bad("`?appname=` is missing"))?;
    let (name, over, live) = {
        let book = api.office.book();
        let found = newest_first(&book.deployments, &call.namespace, Some(app), Kept::age);
        let Some((name, _)) = found.first() else { return Err(no("deployment of", app)) };
        let over: Vec<String> = found
            .iter()
            .filter(|(_, kept)| kept.value.status.is_over())
            .map(|(_, kept)| kept.value.id.clone())
            .collect();
        let live = found.iter().find(|(_, kept)| kept.value.status == Status::Deployed);
        ((*name).clone(), over, live.map(|(_, kept)| kept.value.clone()))
    };
    if !over.is_empty() {
        api.office.forget_deployments(&name, &over).await?;
    }
    match live.filter(|_| call.query.undeploy == Some(true)) {
        Some(live) => {
            let deployment = take_away(&api, &name, live, true, &call.caller.name).await?;
            Ok(accepted(&call.namespace, &deployment).into_response())
        }
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// A deployment by its id, with its application.
pub(super) fn find(api: &Api, namespace: &str, id: &str) -> Result<(Name, Kept<Deployment>), Failure> {
    let book = api.office.book();
    let found = book.deployment(namespace, id).map(|(app, kept)| (app.clone(), kept.clone()));
    found.ok_or_else(|| no("deployment", id))
}
