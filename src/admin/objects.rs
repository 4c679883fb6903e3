//! Objects by kind and id: read, write, remove.

use super::Admin;
use super::answer::{Failure, finding, version, with, written};
use super::extract::{Conditions, Json, Query, duration};
use crate::model::{Finding, Kind, Object, ObjectKey, Severity, Strictness, hidden};
use crate::store::{Area, Entry, Expected, LeaseChoice, Operation, Transaction};
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The store's revision of what was read.
static REVISION: HeaderName = HeaderName::from_static("flipgate-revision");

type Nested = (String, String, String, String);

/// `ttl`: the key ends when it is not written again in time.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteOptions {
    ttl: Option<String>,
}

/// `recursive`: also everything below, that is a frontend's middlewares or a backend's servers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteOptions {
    #[serde(default)]
    recursive: bool,
}

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Path(kind): Path<String>,
) -> Result<Response, Failure> {
    list_below(&admin, &collection(&kind, None)?).await
}

pub(super) async fn list_nested(
    State(admin): State<Arc<Admin>>,
    Path((kind, parent, below)): Path<(String, String, String)>,
) -> Result<Response, Failure> {
    list_below(&admin, &collection(&kind, Some((&parent, &below)))?).await
}

pub(super) async fn get(
    State(admin): State<Arc<Admin>>,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Response, Failure> {
    admin.get(&object_key(&kind, &id)?).await
}

pub(super) async fn get_nested(
    State(admin): State<Arc<Admin>>,
    Path(path): Path<Nested>,
) -> Result<Response, Failure> {
    admin.get(&nested_key(&path)?).await
}

pub(super) async fn put(
    State(admin): State<Arc<Admin>>,
    Path((kind, id)): Path<(String, String)>,
    conditions: Conditions,
    Query(options): Query<WriteOptions>,
    body: Json,
) -> Result<Response, Failure> {
    admin.put(&object_key(&kind, &id)?, conditions, options, body.0).await
}

pub(super) async fn put_nested(
    State(admin): State<Arc<Admin>>,
    Path(path): Path<Nested>,
    conditions: Conditions,
    Query(options): Query<WriteOptions>,
    body: Json,
) -> Result<Response, Failure> {
    admin.put(&nested_key(&path)?, conditions, options, body.0).await
}

pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Path((kind, id)): Path<(String, String)>,
    conditions: Conditions,
    Query(options): Query<DeleteOptions>,
) -> Result<Response, Failure> {
    admin.delete(&object_key(&kind, &id)?, conditions, options).await
}

pub(super) async fn delete_nested(
    State(admin): State<Arc<Admin>>,
    Path(path): Path<Nested>,
    conditions: Conditions,
    Query(options): Query<DeleteOptions>,
) -> Result<Response, Failure> {
    admin.delete(&nested_key(&path)?, conditions, options).await
}

/// A value that may be written: what it will be in the store, and what is odd about it.
pub(super) struct Admitted {
    pub(super) value: Bytes,
    pub(super) warnings: Vec<Value>,
}

impl Admin {
    async fn get(&self, key: &ObjectKey) -> Result<Response, Failure> {
        let (revision, entry) = self.find(key).await?;
        let entry = entry.ok_or_else(|| missing(key))?;
        let Ok(value) = serde_json::from_slice::<Value>(&entry.value) else {
            return Err(Failure::invalid(
                format!("what the store holds at {} is not JSON", entry.key),
                Vec::new(),
            ));
        };
        let mut response = axum::Json(self.shown(key, value)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::ETAG, quoted(entry.version));
        headers.insert(REVISION.clone(), revision.0.into());
        Ok(response)
    }

    /// What may be shown of a value.
    fn shown(&self, key: &ObjectKey, value: Value) -> Value {
        self.secrets.redact(key, hidden::hide(key, value))
    }

    async fn put(
        &self,
        key: &ObjectKey,
        conditions: Conditions,
        options: WriteOptions,
        body: Bytes,
    ) -> Result<Response, Failure> {
        let lease = lease(options.ttl.as_deref())?;
        let (_, stored) = self.find(key).await?;
        let admitted = self.admit(key, &body, stored.as_ref())?;
        let target = stored.as_ref().map_or_else(|| key.canonical().into(), |entry| entry.key.clone());
        let mut expect = conditions.expect(&target);
        if conditions.is_absent() {
            expect.extend(short(key).map(|key| (Area::Routing, key.into(), Expected::Absent)));
        }
        let put = Operation::Put { area: Area::Routing, key: target, value: admitted.value, lease };
        let revision = self.store.commit(Transaction { expect, operations: vec![put] }).await?;
        tracing::info!(%key, %revision, "written through the admin API");
        Ok(written(revision, admitted.warnings))
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        conditions: Conditions,
        options: DeleteOptions,
    ) -> Result<Response, Failure> {
        let (_, stored) = self.find(key).await?;
        let mut gone: Vec<Box<str>> = Vec::new();
        if stored.is_some() {
            // Both forms, or the one left over would be the object again.
            gone.push(key.canonical().into());
            gone.extend(short(key).map(Into::into));
        }
        if let Some(below) = below(key).filter(|_| options.recursive) {
            let snapshot = self.store.list(Area::Routing).await?;
            let keys = snapshot.entries.into_iter().map(|entry| entry.key);
            gone.extend(keys.filter(|key| key.starts_with(&below)));
        }
        if gone.is_empty() {
            return Err(missing(key));
        }
        let named = stored.map_or_else(|| key.canonical().into(), |entry| entry.key);
        let expect = conditions.expect(&named);
        let operations = gone.into_iter().map(|key| Operation::Delete { area: Area::Routing, key }).collect();
        let revision = self.store.commit(Transaction { expect, operations }).await?;
        tracing::info!(%key, %revision, "removed through the admin API");
        Ok(written(revision, Vec::new()))
    }

    /// The entry of an object, in whichever form its key has; the canonical one wins.
    async fn find(&self, key: &ObjectKey) -> Result<(crate::model::Revision, Option<Entry>), Failure> {
        let (revision, entry) = self.store.get(Area::Routing, &key.canonical()).await?;
        match (&entry, short(key)) {
            (None, Some(short)) => Ok(self.store.get(Area::Routing, &short).await?),
            _ => Ok((revision, entry)),
        }
    }

    /// Checks a value as strictly as what is written through our own hands is checked.
    pub(super) fn admit(
        &self,
        key: &ObjectKey,
        body: &Bytes,
        stored: Option<&Entry>,
    ) -> Result<Admitted, Failure> {
        let mut bytes = body.clone();
        if let Ok(given) = serde_json::from_slice::<Value>(body) {
            let mut value = given.clone();
            let stored = stored.and_then(|entry| serde_json::from_slice(&entry.value).ok());
            if let Err(field) = hidden::restore(key, &mut value, stored.as_ref()) {
                let reason = "stands for what is stored, and nothing is stored";
                let problem =
                    json!({ "key": key.to_string(), "field": field, "reason": reason, "severity": "error" });
                return Err(Failure::invalid(format!("the {} is not valid", key.kind()), vec![problem]));
            }
            self.secrets.admit(key, &mut value, stored.as_ref())?;
            if value != given {
                bytes = value.to_string().into();
            }
        }
        let mut parsed = Object::parse(key, &bytes, Strictness::Written);
        if parsed.object.is_none()
            && stored.is_some_and(|entry| explains(key, &entry.value, &parsed.findings))
        {
            parsed = Object::parse(key, &bytes, Strictness::Stored);
        }
        let name = key.to_string();
        let problems = parsed.findings.iter().map(|one| finding(&name, one)).collect();
        if parsed.object.is_none() {
            return Err(Failure::invalid(format!("{} is not valid", key.kind()), problems));
        }
        let warnings = parsed.findings.iter().filter(|one| one.severity == Severity::Warning);
        Ok(Admitted { value: bytes, warnings: warnings.map(|one| finding(&name, one)).collect() })
    }
}

/// Whether everything that is wrong with a new value is wrong with the stored one already, such as a field of another
/// tool's, which a write keeps.
fn explains(key: &ObjectKey, stored: &[u8], errors: &[Finding]) -> bool {
    let before = Object::parse(key, stored, Strictness::Written).findings;
    errors.iter().filter(|error| error.severity == Severity::Error).all(|error| before.contains(error))
}

async fn list_below(admin: &Admin, collection: &Collection) -> Result<Response, Failure> {
    let snapshot = admin.store.list(Area::Routing).await?;
    let mut found: BTreeMap<ObjectKey, Entry> = BTreeMap::new();
    for entry in snapshot.entries {
        let Some(key) = ObjectKey::parse(&entry.key).filter(|key| collection.contains(key)) else { continue };
        if *entry.key == *key.canonical() || !found.contains_key(&key) {
            found.insert(key, entry);
        }
    }
    let objects: Vec<Value> = found.into_iter().map(|(key, entry)| listed(admin, &key, &entry)).collect();
    let mut response =
        axum::Json(json!({ "revision": snapshot.revision, "objects": objects })).into_response();
    response.headers_mut().insert(REVISION.clone(), snapshot.revision.0.into());
    Ok(response)
}

fn listed(admin: &Admin, key: &ObjectKey, entry: &Entry) -> Value {
    let object = json!({
        "kind": key.kind().as_str(),
        "id": key.id(),
        "key": entry.key,
        "modRevision": version(entry.version),
    });
    let object = match serde_json::from_slice(&entry.value) {
        Ok(value) => with(object, "value", admin.shown(key, value)),
        Err(_) => with(object, "unreadable", true),
    };
    match entry.lease {
        // Leases use all 64 bits.
        Some(lease) => with(object, "lease", format!("{lease:x}")),
        None => object,
    }
}

/// What a list is of.
enum Collection {
    /// Every object.
    All,
    Of(Kind),
    MiddlewaresOf(String),
    ServersOf(String),
}

impl Collection {
    fn contains(&self, key: &ObjectKey) -> bool {
        match (self, key) {
            (Self::MiddlewaresOf(frontend), ObjectKey::OwnMiddleware(parent, _)) => {
                parent.as_str() == frontend
            }
            (Self::ServersOf(backend), ObjectKey::Server(parent, _)) => parent.as_str() == backend,
            (Self::All, _) => true,
            (Self::Of(_), ObjectKey::OwnMiddleware(..) | ObjectKey::Server(..)) => false,
            (Self::Of(kind), key) => key.kind() == *kind,
            _ => false,
        }
    }
}

fn collection(kind: &str, nested: Option<(&str, &str)>) -> Result<Collection, Failure> {
    match (kind, nested) {
        ("objects", None) => Ok(Collection::All),
        ("listeners", None) => Ok(Collection::Of(Kind::Listener)),
        ("hosts", None) => Ok(Collection::Of(Kind::Host)),
        ("frontends", None) => Ok(Collection::Of(Kind::Frontend)),
        ("middlewares", None) => Ok(Collection::Of(Kind::Middleware)),
        ("backends", None) => Ok(Collection::Of(Kind::Backend)),
        ("frontends", Some((frontend, "middlewares"))) => Ok(Collection::MiddlewaresOf(frontend.to_owned())),
        ("backends", Some((backend, "servers"))) => Ok(Collection::ServersOf(backend.to_owned())),
        _ => Err(no_kind()),
    }
}

/// `/v3/KIND/ID`
fn object_key(kind: &str, id: &str) -> Result<ObjectKey, Failure> {
    let kind = match kind {
        "listeners" => Kind::Listener,
        "hosts" => Kind::Host,
        "frontends" => Kind::Frontend,
        "middlewares" => Kind::Middleware,
        "backends" => Kind::Backend,
        _ => return Err(no_kind()),
    };
    if id.contains('/') {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "an id cannot contain '/'"));
    }
    ObjectKey::from_kind_id(kind, id)
        .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error.to_string()))
}

/// `/v3/frontends/ID/middlewares/ID` and `/v3/backends/ID/servers/ID`
fn nested_key((kind, parent, below, id): &Nested) -> Result<ObjectKey, Failure> {
    let kind = match (kind.as_str(), below.as_str()) {
        ("frontends", "middlewares") => Kind::Middleware,
        ("backends", "servers") => Kind::Server,
        _ => return Err(no_kind()),
    };
    if parent.contains('/') || id.contains('/') {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "an id cannot contain '/'"));
    }
    ObjectKey::from_kind_id(kind, &format!("{parent}/{id}"))
        .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error.to_string()))
}

fn no_kind() -> Failure {
    let message = "there is nothing here; objects are at /v3/objects, /v3/listeners, /v3/hosts, /v3/frontends, /v3/middlewares, \
                   /v3/backends, /v3/frontends/ID/middlewares and /v3/backends/ID/servers";
    Failure::new(StatusCode::NOT_FOUND, message)
}

fn missing(key: &ObjectKey) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, format!("the store holds no {} {}", key.kind(), key.id()))
}

/// The other key under which an object is read.
pub(super) fn short(key: &ObjectKey) -> Option<String> {
    match key {
        ObjectKey::Frontend(id) => Some(format!("frontends/{id}")),
        ObjectKey::Backend(id) => Some(format!("backends/{id}")),
        ObjectKey::Host(name) => Some(format!("hosts/{name}")),
        _ => None,
    }
}

/// The prefix of the keys of what belongs to an object.
fn below(key: &ObjectKey) -> Option<String> {
    match key {
        ObjectKey::Frontend(id) => Some(format!("frontends/{id}/middlewares/")),
        ObjectKey::Backend(id) => Some(format!("backends/{id}/servers/")),
        _ => None,
    }
}

/// What becomes of the lease when a value is written.
pub(super) fn lease(ttl: Option<&str>) -> Result<LeaseChoice, Failure> {
    match ttl {
        None => Ok(LeaseChoice::Keep),
        Some(text) => Ok(LeaseChoice::Ttl(duration("ttl", text)?)),
    }
}

fn quoted(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// The stored form of an object whose key is given as the store has it.
pub(super) async fn stored(admin: &Admin, key: &str) -> Result<Option<Entry>, Failure> {
    Ok(admin.store.get(Area::Routing, key).await?.1)
}
