//! Applications: what is live of them, and their maintenance.

use super::Api;
use super::access::is_label;
use super::call::{self, Call, Nothing, bad, no};
use crate::deployer::book::Book;
use crate::deployer::desk::Maintenance;
use crate::kubernetes::Name;
use crate::web::answer::Failure;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;

/// Most deployments shown of an application.
const DEPLOYMENTS_MAX: usize = 20;

pub(super) async fn list(State(api): State<Arc<Api>>, call: Call<Nothing>) -> Response {
    let book = api.office.book();
    let own = book.applications.keys().filter(|app| app.namespace == call.namespace);
    axum::Json(own.map(|app| view(&book, app)).collect::<Vec<Value>>()).into_response()
}

fn view(book: &Book, app: &Name) -> Value {
    let state = book.applications.get(app).map(|kept| &kept.value);
    let one = |id: Option<&String>| {
        let key = (app.clone(), id?.as_str().into());
        let deployment = &book.deployments.get(&key)?.value;
        let stage = deployment.position.as_ref().map(|position| position.stage.as_str());
        let course = deployment.position.as_ref().map(|position| position.course);
        Some(json!({
            "id": deployment.id, "version": deployment.version, "status": deployment.status,
            "stage": stage, "course": course, "lastModified": deployment.last_modified,
        }))
    };
    let mut all: Vec<_> = book.deployments.iter().filter(|((name, _), _)| name == app).collect();
    all.sort_by(|(_, a), (_, b)| b.age().cmp(&a.age()));
    let versions: Vec<Value> =
        all.iter().take(DEPLOYMENTS_MAX).filter_map(|(_, kept)| one(Some(&kept.value.id))).collect();
    json!({
        "namespace": app.namespace,
        "appName": app.name,
        "live": one(state.and_then(|state| state.live.as_ref())),
        "open": one(state.and_then(|state| state.open.as_ref())),
        "inCharge": book.locks.contains_key(app),
        "versions": versions,
    })
}

/// The body may be empty.
pub(super) async fn close(
    State(api): State<Arc<Api>>,
    call: Call<Nothing>,
    Path(app): Path<String>,
    body: Body,
) -> Result<Response, Failure> {
    let body = call::body(body).await?;
    let maintenance: Maintenance = match body.trim_ascii() {
        [] => Maintenance::default(),
        text => serde_json::from_slice(text)
            .map_err(|error| bad(format!("the body is not a maintenance: {error}")))?,
    };
    api.office.maintain(&name(&call.namespace, &app)?, Some(maintenance)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn open(
    State(api): State<Arc<Api>>,
    call: Call<Nothing>,
    Path(app): Path<String>,
) -> Result<Response, Failure> {
    api.office.maintain(&name(&call.namespace, &app)?, None).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// An application as a path names it, which may not lead elsewhere among the keys.
fn name(namespace: &str, app: &str) -> Result<Name, Failure> {
    match is_label(app) {
        true => Ok(Name::new(namespace, app)),
        false => Err(no("application", app)),
    }
}
