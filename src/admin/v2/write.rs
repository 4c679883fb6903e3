//! Writing: upserts and removals, with vulcand's checks before our own.

use super::objects::{Nested, key_pair, settings_mut};
use super::{Refusal, forms, read_body, shape, told};
use crate::admin::Admin;
use crate::model::edit::last_spelled;
use crate::model::{BackendId, Host, Kind, Object, ObjectKey, Severity, Strictness, duration};
use crate::store::{Area, Entry, Expected, LeaseChoice, Operation, StoreError, Transaction};
use crate::tls::Certificate;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Times that a write begins anew because others wrote meanwhile.
const TRIES_MAX: usize = 5;

type Shared = State<Arc<Admin>>;

pub(super) async fn host(State(admin): Shared, body: Body) -> Result<Response, Refusal> {
    admin.upsert(Kind::Host, None, body).await
}

pub(super) async fn listener(State(admin): Shared, body: Body) -> Result<Response, Refusal> {
    admin.upsert(Kind::Listener, None, body).await
}

pub(super) async fn frontend(State(admin): Shared, body: Body) -> Result<Response, Refusal> {
    admin.upsert(Kind::Frontend, None, body).await
}

pub(super) async fn backend(State(admin): Shared, body: Body) -> Result<Response, Refusal> {
    admin.upsert(Kind::Backend, None, body).await
}

pub(super) async fn server(
    State(admin): Shared,
    Path(backend): Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    admin.upsert(Kind::Server, Some(&backend), body).await
}

pub(super) async fn middleware(
    State(admin): Shared,
    Path(frontend): Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    admin.upsert(Kind::Middleware, Some(&frontend), body).await
}

pub(super) async fn delete_host(State(admin): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    admin.remove(Kind::Host, &id).await?;
    told(json!({ "message": format!("Host '{id}' deleted") }))
}

pub(super) async fn delete_listener(
    State(admin): Shared,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    admin.remove(Kind::Listener, &id).await?;
    told(json!({ "message": "Listener deleted" }))
}

pub(super) async fn delete_frontend(
    State(admin): Shared,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    admin.remove(Kind::Frontend, &id).await?;
    told(json!({ "message": "Frontend deleted" }))
}

pub(super) async fn delete_backend(
    State(admin): Shared,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    admin.remove(Kind::Backend, &id).await?;
    told(json!({ "message": "Backend deleted" }))
}

pub(super) async fn delete_server(
    State(admin): Shared,
    Path((parent, id)): Nested,
) -> Result<Response, Refusal> {
    admin.remove(Kind::Server, &format!("{parent}/{id}")).await?;
    told(json!({ "message": "Server deleted" }))
}

pub(super) async fn delete_middleware(
    State(admin): Shared,
    Path((parent, id)): Nested,
) -> Result<Response, Refusal> {
    admin.remove(Kind::Middleware, &format!("{parent}/{id}")).await?;
    told(json!({ "message": "Middleware deleted" }))
}

/// What a body asks for.
struct Wanted {
    /// Of the object, as vulcand's form.
    form: Value,
    key: ObjectKey,
    /// The key ends when it is not written again in time.
    ttl: Option<Duration>,
}

/// Reads `{"Backend": {...}, "TTL": "5s"}`.
fn wanted(kind: Kind, parent: Option<&str>, body: &[u8]) -> Result<Wanted, Refusal> {
    let name = match kind {
        Kind::Listener => "Listener",
        Kind::Host => "Host",
        Kind::Frontend => "Frontend",
        Kind::Middleware => "Middleware",
        Kind::Backend => "Backend",
        Kind::Server => "Server",
    };
    let pack: Value = serde_json::from_slice(body).map_err(|error| {
        Refusal::wrong(match error.is_eof() {
            true => "unexpected end of JSON input".to_owned(),
            false => format!("the body is not JSON: {error}"),
        })
    })?;
    let missing = || Refusal::wrong(format!("Missing mandatory parameter: {name}"));
    let fields = match &pack {
        Value::Object(fields) => fields,
        Value::Null => return Err(missing()),
        _ => return Err(Refusal::wrong(format!("an object with the field {name} is expected"))),
    };
    let value = last_spelled(fields, name).filter(|value| !value.is_null()).ok_or_else(missing)?;
    let form = forms::form(kind, value, None).map_err(Refusal::wrong)?;
    let ttl = match (kind, last_spelled(fields, "TTL")) {
        (Kind::Host | Kind::Listener | Kind::Backend, _) | (_, None | Some(Value::Null)) => None,
        (_, Some(Value::String(text))) if text.is_empty() => None,
        (_, Some(Value::String(text))) => {
            let ttl = duration::parse(text)
                .map_err(|error| Refusal::wrong(format!("time: invalid duration {text:?}: it {error}")))?;
            Some(ttl).filter(|ttl| !ttl.is_zero())
        }
        (_, Some(_)) => return Err(Refusal::wrong("TTL: a duration like \"5s\" is expected")),
    };
    let id = forms::text(&form, &[if kind == Kind::Host { "Name" } else { "Id" }]);
    if id.is_empty() || parent.is_some_and(str::is_empty) {
        return Err(Refusal::wrong(match kind {
            Kind::Listener => "listener id can not be empty",
            Kind::Host => "hostname can not be empty",
            Kind::Frontend => "frontend id can not be empty",
            Kind::Middleware => "frontend id and middleware id can not be empty",
            Kind::Backend => "backend id can not be empty",
            Kind::Server => "backend id and server id can not be empty",
        }));
    }
    if id.contains('/') {
        return Err(Refusal::wrong("an id cannot contain '/'"));
    }
    let id = parent.map_or_else(|| id.to_owned(), |parent| format!("{parent}/{id}"));
    let key = ObjectKey::from_kind_id(kind, &id).map_err(|error| Refusal::wrong(error.to_string()))?;
    Ok(Wanted { form, key, ttl })
}

impl Admin {
    async fn upsert(&self, kind: Kind, parent: Option<&str>, body: Body) -> Result<Response, Refusal> {
        let wanted = wanted(kind, parent, &read_body(body).await?)?;
        for _ in 0..TRIES_MAX {
            let transaction = self.upserting(&wanted).await?;
            let borrows = transaction
                .operations
                .iter()
                .any(|operation| matches!(operation, Operation::Put { lease: LeaseChoice::Existing(_), .. }));
            match self.store.commit(transaction).await {
                Err(StoreError::Conflict { .. }) => {}
                // Its frontend's lease ended meanwhile.
                Err(StoreError::Refused(_)) if borrows => {}
                Err(error) => return Err(error.into()),
                Ok(revision) => {
                    tracing::info!(key = %wanted.key, %revision, "written through the admin API, version 2");
                    return told(echo(wanted.form));
                }
            }
        }
        Err(Refusal::new(StatusCode::CONFLICT, format!("{} is written by others all the time", wanted.key)))
    }

    /// The writes of an upsert, which hold only as long as what was read for them is as it was.
    async fn upserting(&self, wanted: &Wanted) -> Result<Transaction, Refusal> {
        let key = &wanted.key;
        let parent = match key {
            ObjectKey::Server(backend, _) => Some(ObjectKey::Backend(backend.clone())),
            ObjectKey::OwnMiddleware(frontend, _) => Some(ObjectKey::Frontend(frontend.clone())),
            ObjectKey::Frontend(_) => {
                let backend = forms::text(&wanted.form, &["BackendId"]);
                let backend = BackendId::try_from(backend).map_err(|_| Refusal::missing())?;
                Some(ObjectKey::Backend(backend))
            }
            _ => None,
        };
        let parent = match &parent {
            Some(parent) => Some(self.stored(parent).await?.ok_or_else(Refusal::missing)?),
            None => None,
        };
        let stored = self.stored(key).await?;
        let value = self.merged(wanted, stored.as_ref())?;
        let lease = match (wanted.ttl, key, parent.and_then(|parent| parent.lease)) {
            (Some(ttl), ..) => LeaseChoice::Ttl(ttl),
            // It goes with its frontend.
            (None, ObjectKey::OwnMiddleware(..), Some(lease)) => LeaseChoice::Existing(lease),
            (None, ..) => LeaseChoice::Without,
        };
        let target = stored.as_ref().map_or_else(|| key.canonical().into(), |entry| entry.key.clone());
        let expected = stored.as_ref().map_or(Expected::Absent, |entry| Expected::Version(entry.version));
        let mut transaction = Transaction {
            expect: vec![(Area::Routing, target.clone(), expected)],
            operations: vec![put(target, value.to_string().into(), lease)],
        };
        let was_leased = stored.as_ref().and_then(|entry| entry.lease);
        if let ObjectKey::Frontend(_) = key
            && (wanted.ttl.is_some() || was_leased.is_some())
        {
            self.take_along(key, was_leased, lease, &mut transaction).await?;
        }
        Ok(transaction)
    }

    /// A frontend's own middlewares that have no lease of their own get the one that it gets.
    async fn take_along(
        &self,
        frontend: &ObjectKey,
        was_leased: Option<i64>,
        lease: LeaseChoice,
        transaction: &mut Transaction,
    ) -> Result<(), Refusal> {
        let below = format!("frontends/{}/middlewares/", frontend.id());
        let snapshot = self.store.list(Area::Routing).await?;
        let own = snapshot.entries.into_iter().filter(|entry| entry.key.starts_with(&below));
        for entry in own.filter(|entry| entry.lease.is_none() || entry.lease == was_leased) {
            let Entry { key, value, version, .. } = entry;
            transaction.expect.push((Area::Routing, key.clone(), Expected::Version(version)));
            transaction.operations.push(put(key, value, lease));
        }
        Ok(())
    }

    /// The stored value with the fields of the wanted one in it, checked as any value is.
    fn merged(&self, wanted: &Wanted, stored: Option<&Entry>) -> Result<Value, Refusal> {
        let key = &wanted.key;
        let before = stored.and_then(|entry| serde_json::from_slice::<Value>(&entry.value).ok());
        let mut merged = before.clone().unwrap_or(Value::Null);
        if kind_of(before.as_ref()) == Some("alias") && key.kind() == Kind::Backend {
            let message =
                format!("backend {} is an alias, which this version of the API cannot tell", key.id());
            return Err(Refusal::new(StatusCode::CONFLICT, message));
        }
        if let ObjectKey::Host(_) = key {
            let form = self.host_to_store(wanted, before.as_ref())?;
            shape::merge(forms::STORED_HOST, &mut merged, &form);
            self.secrets.admit(key, &mut merged, None).map_err(|failure| {
                let problems = failure.into_problems();
                Refusal::wrong(problems.map_or_else(|_| "the key pair cannot be sealed".into(), reasons))
            })?;
        } else {
            if key.kind() == Kind::Middleware && kind_of(before.as_ref()) != kind_of(Some(&wanted.form)) {
                merged = Value::Null;
            }
            let fields = forms::fields_of(key.kind(), &wanted.form).map_err(Refusal::wrong)?;
            shape::merge(fields, &mut merged, &wanted.form);
        }
        let parsed = Object::parse_value(key, &merged, Strictness::Stored);
        let Some(object) = parsed.object else {
            let errors = parsed.findings.iter().filter(|one| one.severity == Severity::Error);
            let errors: Vec<_> = errors.map(|one| format!("{} {}", one.field, one.reason)).collect();
            return Err(Refusal::wrong(format!("{key}: {}", errors.join("; ").trim())));
        };
        if let Object::Host(Host { key_pair: Some(pair), .. }) = &object
            && key_pair(&wanted.form).is_some_and(|pair| !pair.is_null())
            && let Err(error) =
                Certificate::load(pair, &self.secrets.seal, self.secrets.secrets_dir.as_deref())
        {
            return Err(Refusal::wrong(error.to_string()));
        }
        Ok(merged)
    }

    /// A host's form as it is stored. A key pair without its private key is the one that was told: it stays.
    fn host_to_store(&self, wanted: &Wanted, before: Option<&Value>) -> Result<Value, Refusal> {
        let mut form = wanted.form.clone();
        let pair = key_pair(&wanted.form).cloned().unwrap_or(Value::Null);
        let has = |name| !forms::text(&pair, &[name]).is_empty();
        let kept = match (pair.is_null(), has("Cert"), has("Key")) {
            (true, ..) => Value::Null,
            (_, true, true) => pair,
            _ => {
                let told = before.map(|before| self.certificate(&wanted.key, before));
                let same = told
                    .is_some_and(|told| told.as_str().unwrap_or_default() == forms::text(&pair, &["Cert"]));
                let before = before.and_then(|before| shape::read(forms::STORED_HOST, before).ok());
                match before.as_ref().and_then(key_pair).filter(|kept| same && !kept.is_null()) {
                    Some(kept) => kept.clone(),
                    None => {
                        return Err(Refusal::wrong("Provide non-empty certificate and a private key"));
                    }
                }
            }
        };
        if let Some(settings) = settings_mut(&mut form) {
            settings.insert("KeyPair".into(), kept);
            settings.shift_remove("AutoCert");
        }
        Ok(form)
    }

    /// Removes an object and everything below it, and nothing else. One that is not there is no error.
    async fn remove(&self, kind: Kind, id: &str) -> Result<(), Refusal> {
        let Ok(key) = ObjectKey::from_kind_id(kind, id) else { return Ok(()) };
        let mut gone: Vec<Box<str>> = vec![key.canonical().into()];
        gone.extend(crate::admin::objects::short(&key).map(Into::into));
        if matches!(kind, Kind::Frontend | Kind::Backend) {
            let below = format!("{}/{id}/", kind.plural());
            let snapshot = self.store.list(Area::Routing).await?;
            if let ObjectKey::Backend(backend) = &key {
                let users = users(backend, &snapshot.entries);
                if !users.is_empty() {
                    let users = users.join(" ");
                    return Err(Refusal::failed(format!(
                        "can not delete backend '{id}', it is in use by [{users}]"
                    )));
                }
            }
            let keys = snapshot.entries.into_iter().map(|entry| entry.key);
            gone.extend(keys.filter(|found| found.starts_with(&below) && **found != *key.canonical()));
        }
        let most = self.store.capabilities().operations_max.max(1);
        for keys in gone.chunks(most) {
            let keys = keys.iter().cloned();
            let operations = keys.map(|key| Operation::Delete { area: Area::Routing, key }).collect();
            self.store.commit(Transaction { expect: Vec::new(), operations }).await?;
        }
        tracing::info!(%key, "removed through the admin API, version 2");
        Ok(())
    }
}

fn put(key: Box<str>, value: bytes::Bytes, lease: LeaseChoice) -> Operation {
    Operation::Put { area: Area::Routing, key, value, lease }
}

/// What is answered to an upsert: the object as it was sent, without its private key.
fn echo(mut form: Value) -> Value {
    if let Some(Value::Object(pair)) =
        settings_mut(&mut form).and_then(|settings| settings.get_mut("KeyPair"))
    {
        pair.insert("Key".into(), Value::Null);
    }
    if let Some(settings) = settings_mut(&mut form).filter(|settings| settings.contains_key("AutoCert")) {
        // It is not stored, and may hold a key of its own.
        settings.insert("AutoCert".into(), Value::Null);
    }
    form
}

fn kind_of(value: Option<&Value>) -> Option<&str> {
    last_spelled(value?.as_object()?, "Type")?.as_str()
}

fn reasons(problems: Vec<Value>) -> String {
    let reasons = problems.iter().map(|problem| forms::text(problem, &["reason"]));
    reasons.collect::<Vec<_>>().join("; ")
}

/// Frontends and aliases that lead to a backend.
fn users(backend: &BackendId, entries: &[Entry]) -> Vec<String> {
    let names = |entry: &Entry| {
        let key = ObjectKey::parse(&entry.key)?;
        if !matches!(key, ObjectKey::Frontend(_) | ObjectKey::Backend(_)) {
            return None;
        }
        let object = Object::parse(&key, &entry.value, Strictness::Stored).object?;
        let leads = match &object {
            Object::Frontend(frontend) => frontend.backends().any(|named| named == backend),
            Object::Backend(crate::model::Backend::Alias { target, .. }) => target == backend,
            _ => false,
        };
        leads.then(|| key.id())
    };
    let mut users: Vec<String> = entries.iter().filter_map(names).collect();
    users.dedup();
    users
}
