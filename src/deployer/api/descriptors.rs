//! Descriptors that are stored by themselves.

use super::Api;
use super::call::{self, Call, Nothing, bad, invalid, no, record, seen, unchanged};
use super::once::{Answer, Request, once};
use crate::deployer::book::Kept;
use crate::deployer::descriptor::{Descriptor, Wrong};
use crate::deployer::record::StoredDescriptor;
use crate::kubernetes::Name;
use crate::web::answer::Failure;
use crate::web::extract::Query;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    appname: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeQuery {
    appname: Option<String>,
    #[serde(rename = "keepLatest")]
    keep_latest: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValidateQuery {
    namespace: Option<String>,
}

/// Amdatu's answers 404 where there is none.
pub(super) async fn list(State(api): State<Arc<Api>>, call: Call<ListQuery>) -> Result<Response, Failure> {
    let book = api.office.book();
    let found = newest_first(&book.descriptors, &call.namespace, call.query.appname.as_deref(), age);
    let found: Vec<Value> = found.into_iter().map(|(_, kept)| kept.value.0.public()).collect();
    match found.is_empty() {
        true => Err(Failure::new(StatusCode::NOT_FOUND, "there is no descriptor in this namespace")),
        false => Ok(axum::Json(found).into_response()),
    }
}

/// Records of a namespace, or of one application in it, those that sort last by `age` first.
pub(super) fn newest_first<'a, T, Age: Ord>(
    records: &'a BTreeMap<(Name, Box<str>), Kept<T>>,
    namespace: &str,
    app: Option<&str>,
    age: impl Fn(&'a Kept<T>) -> Age,
) -> Vec<(&'a Name, &'a Kept<T>)> {
    let is_asked =
        |name: &Name| *name.namespace == *namespace && app.is_none_or(|app| same_name(&name.name, app));
    let own = records.iter().filter(|((name, _), _)| is_asked(name));
    let mut found: Vec<_> = own.map(|((name, _), kept)| (name, kept)).collect();
    found.sort_by_key(|(_, kept)| Reverse(age(kept)));
    found
}

fn age(kept: &Kept<StoredDescriptor>) -> (&str, &str) {
    (&kept.value.0.last_modified, &kept.value.0.id)
}

/// A name as a descriptor gives it may have capitals, `.` and `_`.
fn same_name(own: &str, asked: &str) -> bool {
    own.len() == asked.len()
        && own.bytes().zip(asked.bytes()).all(|(own, asked)| match asked {
            b'.' | b'_' => own == b'-',
            other => own == other.to_ascii_lowercase(),
        })
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    call: Call<Nothing>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let body = call::body(body).await?;
    let work = async {
        let descriptor = call::descriptor(&body, &call.namespace).map_err(|wrong| invalid(&wrong))?;
        if !descriptor.id.is_empty() {
            let reason = "is given by the deployer; leave it out".to_owned();
            return Err(invalid(&[Wrong { field: "id".into(), reason }]));
        }
        let (id, version) = api.office.store_descriptor(descriptor, None, None).await?;
        let location = format!("/descriptors/{id}/?namespace={}", call.namespace);
        Ok(Answer {
            status: StatusCode::CREATED,
            location: Some(location),
            version: Some(version),
            body: json!({ "id": id }),
        })
    };
    let Call { caller, namespace, .. } = &call;
    let request = Request { caller, namespace, what: "POST /descriptors", headers: &headers, body: &body };
    once(&api, request, work, |_| None).await
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    call: Call<Nothing>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (_, kept) = find(&api, &call.namespace, &id)?;
    Ok(record(&headers, kept.version, kept.value.0.public()))
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    call: Call<Nothing>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let body = call::body(body).await?;
    let (app, kept) = find(&api, &call.namespace, &id)?;
    unchanged(&headers, kept.version)?;
    let descriptor = call::descriptor(&body, &call.namespace).map_err(|wrong| invalid(&wrong))?;
    let wrong = renamed(&descriptor, &app, &id);
    if !wrong.is_empty() {
        return Err(invalid(&wrong));
    }
    api.office.store_descriptor(descriptor, Some(&id), seen(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn renamed(descriptor: &Descriptor, app: &Name, id: &str) -> Vec<Wrong> {
    let wrong = |field: &str, own: &str| Wrong {
        field: field.into(),
        reason: format!("is {own:?}, and stays so; store another descriptor"),
    };
    let mut all = Vec::new();
    if descriptor.app_name != *app.name {
        all.push(wrong("appName", &app.name));
    }
    if !descriptor.id.is_empty() && descriptor.id != id {
        all.push(wrong("id", id));
    }
    all
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    call: Call<Nothing>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (app, kept) = find(&api, &call.namespace, &id)?;
    unchanged(&headers, kept.version)?;
    api.office.forget_descriptors(&app, &[id]).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// All descriptors of an application go, but the newest one unless that is asked for.
pub(super) async fn purge(State(api): State<Arc<Api>>, call: Call<PurgeQuery>) -> Result<Response, Failure> {
    let app = call.query.appname.as_deref().ok_or_else(|| bad("`?appname=` is missing"))?;
    let spared = usize::from(call.query.keep_latest.unwrap_or(true));
    let (name, ids) = {
        let book = api.office.book();
        let found = newest_first(&book.descriptors, &call.namespace, Some(app), age);
        let Some((name, _)) = found.first() else { return Err(no("descriptor of", app)) };
        let ids: Vec<String> = found.iter().skip(spared).map(|(_, kept)| kept.value.0.id.clone()).collect();
        ((*name).clone(), ids)
    };
    if !ids.is_empty() {
        api.office.forget_descriptors(&name, &ids).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// 204, or 200 with all that is wrong as text, as Amdatu's clients read it. Needs no namespace.
pub(super) async fn validate(Query(query): Query<ValidateQuery>, body: Body) -> Result<Response, Failure> {
    let body = call::body(body).await?;
    let read = match &query.namespace {
        Some(namespace) => call::descriptor(&body, namespace),
        None => Descriptor::read(&body),
    };
    Ok(match read {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(wrong) => {
            let line =
                |wrong: &Wrong| format!("Error: invalid descriptor: {} {}\n", wrong.field, wrong.reason);
            wrong.iter().map(line).collect::<String>().into_response()
        }
    })
}

/// A descriptor by its id, with its application.
pub(super) fn find(api: &Api, namespace: &str, id: &str) -> Result<(Name, Kept<StoredDescriptor>), Failure> {
    let book = api.office.book();
    let found = book.descriptor(namespace, id).map(|(app, kept)| (app.clone(), kept.clone()));
    found.ok_or_else(|| no("descriptor", id))
}
