//! Reading: what the store holds, in vulcand's form.

use super::{Refusal, forms, shape, told};
use crate::admin::Admin;
use crate::model::edit::last_spelled;
use crate::model::{Host, Kind, Object, ObjectKey, Strictness};
use crate::store::{Area, Entry};
use crate::tls::Certificate;
use axum::extract::{Path, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Shared = State<Arc<Admin>>;
/// Parent and id.
pub(super) type Nested = Path<(String, String)>;

pub(super) async fn hosts(State(admin): Shared) -> Result<Response, Refusal> {
    let hosts = admin.forms(Kind::Host, None).await?;
    told(json!({ "Hosts": or_null(hosts) }))
}

pub(super) async fn host(State(admin): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    admin.one(Kind::Host, &id).await
}

pub(super) async fn listeners(State(admin): Shared) -> Result<Response, Refusal> {
    let listeners = admin.forms(Kind::Listener, None).await?;
    told(json!({ "Listeners": or_null(listeners) }))
}

pub(super) async fn listener(State(admin): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    admin.one(Kind::Listener, &id).await
}

pub(super) async fn frontends(State(admin): Shared) -> Result<Response, Refusal> {
    told(json!({ "Frontends": admin.forms(Kind::Frontend, None).await? }))
}

pub(super) async fn frontend(State(admin): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    admin.one(Kind::Frontend, &id).await
}

pub(super) async fn backends(State(admin): Shared) -> Result<Response, Refusal> {
    told(json!({ "Backends": admin.forms(Kind::Backend, None).await? }))
}

pub(super) async fn backend(State(admin): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    admin.one(Kind::Backend, &id).await
}

pub(super) async fn servers(State(admin): Shared, Path(backend): Path<String>) -> Result<Response, Refusal> {
    let servers = admin.forms(Kind::Server, Some(&backend)).await?;
    told(json!({ "Servers": or_null(servers) }))
}

pub(super) async fn server(State(admin): Shared, Path((parent, id)): Nested) -> Result<Response, Refusal> {
    admin.one(Kind::Server, &format!("{parent}/{id}")).await
}

pub(super) async fn middlewares(
    State(admin): Shared,
    Path(frontend): Path<String>,
) -> Result<Response, Refusal> {
    let middlewares = admin.forms(Kind::Middleware, Some(&frontend)).await?;
    told(json!({ "Middlewares": or_null(middlewares) }))
}

pub(super) async fn middleware(
    State(admin): Shared,
    Path((parent, id)): Nested,
) -> Result<Response, Refusal> {
    admin.one(Kind::Middleware, &format!("{parent}/{id}")).await
}

/// An empty list of these is null.
fn or_null(list: Vec<Value>) -> Value {
    if list.is_empty() { Value::Null } else { list.into() }
}

/// The id by which vulcand knows an object: its own, without its parent's.
fn own_id(key: &ObjectKey) -> String {
    match key {
        ObjectKey::OwnMiddleware(_, id) => id.to_string(),
        ObjectKey::Server(_, id) => id.to_string(),
        other => other.id(),
    }
}

impl Admin {
    /// One object.
    async fn one(&self, kind: Kind, id: &str) -> Result<Response, Refusal> {
        // A name that no object can have is one that nobody has.
        let key = ObjectKey::from_kind_id(kind, id).map_err(|_| Refusal::missing())?;
        let entry = self.stored(&key).await?.ok_or_else(Refusal::missing)?;
        told(self.form_of(&key, &entry).map_err(Refusal::failed)?)
    }

    /// Every object of a kind, in the order of their keys; those that vulcand could not read are left out.
    async fn forms(&self, kind: Kind, parent: Option<&str>) -> Result<Vec<Value>, Refusal> {
        let snapshot = self.store.list(Area::Routing).await?;
        let wanted = |key: &ObjectKey| match (key, parent) {
            (ObjectKey::SharedMiddleware(_), _) => false,
            (ObjectKey::OwnMiddleware(of, _), Some(parent)) => {
                kind == Kind::Middleware && of.as_str() == parent
            }
            (ObjectKey::Server(of, _), Some(parent)) => kind == Kind::Server && of.as_str() == parent,
            (key, None) => key.kind() == kind,
            _ => false,
        };
        let entries = snapshot.entries.iter();
        let keyed = entries.filter_map(|entry| Some((ObjectKey::parse(&entry.key).filter(wanted)?, entry)));
        let mut found: Vec<(ObjectKey, &Entry)> = Vec::new();
        for (key, entry) in keyed {
            // The short form comes first, and counts only where the other is not there.
            match found.last_mut().filter(|(last, _)| *last == key) {
                Some(last) => last.1 = entry,
                None => found.push((key, entry)),
            }
        }
        let form = |(key, entry): (ObjectKey, &Entry)| match self.form_of(&key, entry) {
            Ok(form) => Some(form),
            Err(reason) => {
                tracing::debug!(%key, reason, "left out of a list of the API's version 2");
                None
            }
        };
        Ok(found.into_iter().filter_map(form).collect())
    }

    /// The stored form of an object, under whichever key it has; the canonical one wins.
    pub(super) async fn stored(&self, key: &ObjectKey) -> Result<Option<Entry>, Refusal> {
        let (_, entry) = self.store.get(Area::Routing, &key.canonical()).await?;
        match (entry, crate::admin::objects::short(key)) {
            (None, Some(short)) => Ok(self.store.get(Area::Routing, &short).await?.1),
            (entry, _) => Ok(entry),
        }
    }

    /// What a stored value is in vulcand's form.
    fn form_of(&self, key: &ObjectKey, entry: &Entry) -> Result<Value, String> {
        let value: Value = serde_json::from_slice(&entry.value)
            .map_err(|_| format!("what the store holds at {} is not JSON", entry.key))?;
        let id = own_id(key);
        match key {
            ObjectKey::Host(_) => {
                let stored = shape::read(forms::STORED_HOST, &value)?;
                let mut form = without_key_pair(&stored);
                let pair = key_pair(&stored).filter(|pair| !is_empty(pair));
                if let (Some(_), Some(settings)) = (pair, settings_mut(&mut form)) {
                    settings.insert(
                        "KeyPair".into(),
                        json!({ "Key": null, "Cert": self.certificate(key, &value) }),
                    );
                }
                forms::form(Kind::Host, &form, Some(&id))
            }
            _ => forms::form(key.kind(), &value, Some(&id)),
        }
    }

    /// The certificates of a host's key pair, in base64 of PEM: taken from the parsed chain, so that whatever else
    /// stood in the text stays in.
    pub(super) fn certificate(&self, key: &ObjectKey, value: &Value) -> Value {
        let source = match Object::parse_value(key, value, Strictness::Stored).object {
            Some(Object::Host(Host { key_pair: Some(source), .. })) => source,
            _ => return Value::Null,
        };
        let loaded = Certificate::load(&source, &self.secrets.seal, self.secrets.secrets_dir.as_deref());
        let Ok(certificate) = loaded else { return Value::Null };
        let mut pem = String::new();
        for der in &certificate.key().cert {
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            let text = BASE64.encode(der);
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let (line, more) = rest.split_at(rest.len().min(64));
                pem.push_str(line);
                pem.push('\n');
                rest = more;
            }
            pem.push_str("-----END CERTIFICATE-----\n");
        }
        BASE64.encode(pem).into()
    }
}

/// The key pair of a host in the stored or the told form.
pub(super) fn key_pair(form: &Value) -> Option<&Value> {
    last_spelled(form.get("Settings")?.as_object()?, "KeyPair")
}

pub(super) fn settings_mut(form: &mut Value) -> Option<&mut Map<String, Value>> {
    form.get_mut("Settings")?.as_object_mut()
}

fn without_key_pair(stored: &Value) -> Value {
    let mut form = stored.clone();
    if let Some(settings) = settings_mut(&mut form) {
        settings.insert("KeyPair".into(), Value::Null);
    }
    form
}

fn is_empty(pair: &Value) -> bool {
    pair.is_null() || pair.as_str().is_some_and(str::is_empty)
}
