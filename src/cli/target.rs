//! What verbs read and write: a store, or a proxy's admin API in front of one. Each verb is written once.

use super::api::{Answer, ApiClient, escape};
use crate::model::{Kind, ObjectKey, Revision};
use crate::store::{Area, Entry, Expected, LeaseChoice, Operation, Snapshot, Store, StoreError, Transaction};
use anyhow::{anyhow, bail};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where objects are read and written.
pub(super) enum Target {
    /// Itself.
    Store(Arc<dyn Store>),
    /// Through a proxy. Key pairs come as markers, and unreadable values as text.
    Admin(ApiClient),
}

/// What became of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Committed {
    /// Written, visible at this revision.
    At(Revision),
    /// Something was not as expected; nothing was written. The message says what.
    Conflict(String),
}

impl Target {
    /// For messages.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Store(store) => store.location(),
            Self::Admin(client) => client.url(),
        }
    }

    /// Most operations of one transaction.
    pub(super) fn operations_max(&self) -> usize {
        match self {
            Self::Store(store) => store.capabilities().operations_max,
            // The API does not say; etcd's limit is the smallest.
            Self::Admin(_) => 128,
        }
    }

    /// All objects, and through a store all other keys as well.
    pub(super) async fn list(&self) -> anyhow::Result<Snapshot> {
        match self {
            Self::Store(store) => store.list(Area::Routing).await.map_err(|error| failed(store, &error)),
            Self::Admin(client) => Ok(collection(client, "objects").await?.into_snapshot()),
        }
    }

    /// Objects of a kind, those of a backend with its servers; there may be more.
    pub(super) async fn list_kind(&self, kind: Kind) -> anyhow::Result<Snapshot> {
        match self {
            Self::Admin(client) if !matches!(kind, Kind::Backend | Kind::Server | Kind::Middleware) => {
                Ok(collection(client, kind.plural()).await?.into_snapshot())
            }
            _ => self.list().await,
        }
    }

    /// One object with the store's revision, under whichever of its keys it stands; the canonical one counts.
    pub(super) async fn get(&self, key: &ObjectKey) -> anyhow::Result<(Revision, Option<Entry>)> {
        let store = match self {
            Self::Store(store) => store,
            Self::Admin(client) => return get_one(client, key).await,
        };
        let get =
            async |key: String| store.get(Area::Routing, &key).await.map_err(|error| failed(store, &error));
        let (revision, entry) = get(key.canonical()).await?;
        match (&entry, short(key)) {
            (None, Some(short)) => get(short).await,
            _ => Ok((revision, entry)),
        }
    }

    /// Writes all or nothing.
    ///
    /// # Errors
    /// The store is away or refuses. That something is not as expected is no error.
    pub(super) async fn commit(&self, transaction: Transaction) -> anyhow::Result<Committed> {
        match self {
            Self::Store(store) => match store.commit(transaction).await {
                Ok(revision) => Ok(Committed::At(revision)),
                Err(error @ StoreError::Conflict { .. }) => Ok(Committed::Conflict(error.to_string())),
                Err(error) => Err(failed(store, &error)),
            },
            Self::Admin(client) => {
                let answer = client.post("/v3/transactions", &request(&transaction)?).await?;
                match answer.status {
                    StatusCode::PRECONDITION_FAILED => Ok(Committed::Conflict(answer.message())),
                    status if status.is_success() => Ok(Committed::At(revision(&answer)?)),
                    _ => bail!("{}: {}{}", client.url(), answer.message(), answer.problems()),
                }
            }
        }
    }
}

fn failed(store: &Arc<dyn Store>, error: &StoreError) -> anyhow::Error {
    anyhow!("{}: {error}", store.location())
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

/// The entries that count: one an object, the canonical key before the short one. What is left are keys that are no
/// object's.
pub(super) fn objects(snapshot: Snapshot) -> (BTreeMap<ObjectKey, Entry>, Vec<Entry>) {
    let (mut objects, mut others) = (BTreeMap::new(), Vec::new());
    for entry in snapshot.entries {
        match ObjectKey::parse(&entry.key) {
            Some(key) if *entry.key == *key.canonical() || !objects.contains_key(&key) => {
                objects.insert(key, entry);
            }
            Some(_) => {}
            None => others.push(entry),
        }
    }
    (objects, others)
}

/// `/v3/backends/b/servers/s`
fn path(key: &ObjectKey) -> String {
    let (kind, id) = (key.kind().plural(), key.id());
    match key {
        ObjectKey::OwnMiddleware(parent, id) => {
            format!("/v3/frontends/{}/middlewares/{}", escape(parent.as_str()), escape(id.as_str()))
        }
        ObjectKey::Server(parent, id) => {
            format!("/v3/backends/{}/servers/{}", escape(parent.as_str()), escape(id.as_str()))
        }
        _ => format!("/v3/{kind}/{}", escape(&id)),
    }
}

fn revision(answer: &Answer) -> anyhow::Result<Revision> {
    match answer.body.get("revision").and_then(Value::as_u64) {
        Some(revision) => Ok(Revision(revision)),
        None => bail!("what answers is no admin API of Flipgate: the answer has no revision"),
    }
}

/// A part of what the API lists.
#[derive(Default)]
struct Collection {
    revision: Revision,
    entries: Vec<Entry>,
}

impl Collection {
    fn into_snapshot(mut self) -> Snapshot {
        self.entries.sort_by(|a, b| a.key.cmp(&b.key));
        Snapshot { revision: self.revision, entries: self.entries }
    }
}

async fn collection(client: &ApiClient, path: &str) -> anyhow::Result<Collection> {
    let answer = client.get(&format!("/v3/{path}")).await?;
    if !answer.status.is_success() {
        bail!("{}: {}", client.url(), answer.message());
    }
    let objects = answer.body.get("objects").and_then(Value::as_array);
    let entries = objects.into_iter().flatten().filter_map(entry).collect();
    Ok(Collection { revision: revision(&answer)?, entries })
}

fn entry(object: &Value) -> Option<Entry> {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let value = match object.get("value") {
        Some(value) => value.to_string(),
        None => "unreadable".to_owned(),
    };
    let lease = object.get("lease").and_then(Value::as_str);
    Some(Entry {
        key: object.get("key")?.as_str()?.into(),
        value: Bytes::from(value),
        version: number(object.get("modRevision")?)?,
        created: 0,
        lease: lease.and_then(|lease| i64::from_str_radix(lease, 16).ok()),
    })
}

async fn get_one(client: &ApiClient, key: &ObjectKey) -> anyhow::Result<(Revision, Option<Entry>)> {
    // The list gives version and lease along with the value.
    let path = path(key);
    let (parent, _) = path.rsplit_once('/').unwrap_or_default();
    let listed = collection(client, parent.trim_start_matches("/v3/")).await?;
    let is_it = |entry: &Entry| ObjectKey::parse(&entry.key).as_ref() == Some(key);
    Ok((listed.revision, listed.entries.into_iter().find(is_it)))
}

fn request(transaction: &Transaction) -> anyhow::Result<Value> {
    let (mut expect, mut put, mut delete) = (Vec::new(), Vec::new(), Vec::new());
    for (_, key, expected) in &transaction.expect {
        let version = match expected {
            Expected::Version(version) => *version,
            Expected::Absent => 0,
            Expected::Present => bail!("the admin API cannot expect a key of any version"),
        };
        expect.push(json!({ "key": key, "modRevision": version.to_string() }));
    }
    for operation in &transaction.operations {
        match operation {
            Operation::Put { key, value, lease, .. } => {
                let mut one = Map::new();
                one.insert("key".into(), json!(key));
                one.insert("value".into(), serde_json::from_slice(value)?);
                if let LeaseChoice::Ttl(ttl) = lease {
                    one.insert("ttl".into(), crate::model::duration::format(*ttl).into());
                }
                put.push(Value::Object(one));
            }
            Operation::Delete { key, .. } => delete.push(json!(key)),
        }
    }
    Ok(json!({ "expect": expect, "put": put, "delete": delete }))
}
