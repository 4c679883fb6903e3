//! Many writes that happen together or not at all.

use super::Admin;
use super::answer::{self, Failure};
use super::extract::Json;
use super::objects::{lease, stored};
use crate::model::hidden::HIDDEN;
use crate::model::{Object, ObjectKey, Strictness};
use crate::store::{Area, Expected, Operation, Transaction};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default)]
    expect: Vec<Expect>,
    #[serde(default)]
    put: Vec<Put>,
    #[serde(default)]
    delete: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    key: String,
    #[serde(rename = "modRevision")]
    version: Version,
}

/// 0 is a key that does not exist. Text, because not every reader keeps a large number exact.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Version {
    Number(u64),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    key: String,
    value: Value,
    ttl: Option<String>,
}

pub(super) async fn commit(State(admin): State<Arc<Admin>>, body: Json) -> Result<Response, Failure> {
    let request: Request = serde_json::from_slice(&body.0)
        .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("no transaction: {error}")))?;
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let mut written = HashSet::new();
    let mut operations = Vec::new();
    let keys =
        request.put.iter().map(|put| put.key.as_str()).chain(request.delete.iter().map(String::as_str));
    for key in keys {
        if !written.insert(key) {
            problems.push(bad_key(key, "is written twice in one transaction"));
        }
    }
    for put in &request.put {
        let Some(key) = ObjectKey::parse(&put.key) else {
            problems.push(bad_key(&put.key, "is no key of an object"));
            continue;
        };
        // A marker may stand for what is stored; of others only what is refused is compared.
        let text = put.value.to_string();
        let known = !text.contains(HIDDEN) && !text.contains(super::secrets::MARK);
        let before = match known && Object::parse(&key, text.as_bytes(), Strictness::Written).object.is_some()
        {
            true => None,
            false => stored(&admin, &put.key).await?,
        };
        match admin.admit(&key, &text.into(), before.as_ref()) {
            Ok(admitted) => {
                warnings.extend(admitted.warnings);
                let lease = lease(put.ttl.as_deref())?;
                let key = put.key.as_str().into();
                operations.push(Operation::Put { area: Area::Routing, key, value: admitted.value, lease });
            }
            Err(failure) => problems.extend(failure.into_problems()?),
        }
    }
    for key in &request.delete {
        match ObjectKey::parse(key) {
            Some(_) => operations.push(Operation::Delete { area: Area::Routing, key: key.as_str().into() }),
            None => problems.push(bad_key(key, "is no key of an object")),
        }
    }
    let mut expect = Vec::new();
    for Expect { key, version } in request.expect {
        match expected(&version) {
            Some(version) => expect.push((Area::Routing, key.into(), version)),
            None => problems.push(bad_key(&key, "is expected at a `modRevision` that is no number")),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::invalid("the transaction is not valid; nothing was written", problems));
    }
    if operations.is_empty() {
        return Err(Failure::invalid("the transaction writes nothing", Vec::new()));
    }
    let count = operations.len();
    let revision = admin.store.commit(Transaction { expect, operations }).await?;
    tracing::info!(operations = count, %revision, "transaction committed through the admin API");
    Ok(answer::written(revision, warnings))
}

fn expected(version: &Version) -> Option<Expected> {
    let number = match version {
        Version::Number(number) => *number,
        Version::Text(text) => text.parse().ok()?,
    };
    Some(if number == 0 { Expected::Absent } else { Expected::Version(number) })
}

fn bad_key(key: &str, reason: &str) -> Value {
    json!({ "key": key, "field": "", "reason": reason, "severity": "error" })
}
