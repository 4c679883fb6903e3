//! Documents: objects as files hold them. `{kind, id, spec}` in YAML or JSON, or a directory in a store's layout.

use super::context::Context;
use super::value;
use crate::model::{Kind, ObjectKey};
use crate::store::{Area, StoreOptions, StoreUrl, open, unreadable};
use anyhow::{anyhow, bail};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// One object as a file has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    /// Where it stands, for messages.
    pub(super) origin: String,
    /// As given, in whatever spelling.
    pub(super) value: Value,
}

/// Objects by key, and what is wrong with everything else, a line each.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) objects: BTreeMap<ObjectKey, Document>,
    pub(super) wrong: Vec<String>,
}

impl Documents {
    fn add(&mut self, key: ObjectKey, document: Document) {
        match self.objects.get(&key) {
            Some(first) => {
                let (kind, id) = (key.kind(), key.id());
                self.wrong.push(format!(
                    "{}: {kind} {id} stands in {} already; an object is given once",
                    document.origin, first.origin
                ));
            }
            None => {
                self.objects.insert(key, document);
            }
        }
    }

    /// The objects, if nothing is wrong.
    pub(super) fn complete(self) -> anyhow::Result<BTreeMap<ObjectKey, Document>> {
        if self.wrong.is_empty() { Ok(self.objects) } else { bail!("{}", self.wrong.join("\nflipgate: ")) }
    }
}

/// Reads `-f`: `-`, a file of documents, or a directory.
///
/// # Errors
/// It cannot be read at all.
pub(super) async fn read(context: &mut Context<'_, '_>, path: &Path) -> anyhow::Result<Documents> {
    if path.is_dir() {
        return from_directory(path).await;
    }
    let text = context.read(path)?;
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    from_text(&name, &text)
}

async fn from_directory(path: &Path) -> anyhow::Result<Documents> {
    let store = open(&StoreOptions::new(StoreUrl::Directory(path.to_owned())))?;
    let snapshot = store.list(Area::Routing).await.map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let mut documents = Documents::default();
    for entry in snapshot.entries {
        let origin = format!("{}/{}", path.display(), entry.key);
        let Some(key) = ObjectKey::parse(&entry.key) else {
            documents.wrong.push(format!(
                "{origin}: no object stands there; the layout is listeners/ID, hosts/NAME/host, \
                 frontends/ID/frontend, frontends/ID/middlewares/ID, middlewares/ID, backends/ID/backend and \
                 backends/ID/servers/ID"
            ));
            continue;
        };
        match (unreadable(&entry.value), serde_json::from_slice(&entry.value)) {
            (None, Ok(value)) => documents.add(key, Document { origin, value }),
            (Some(reason), _) => documents.wrong.push(format!("{origin}: {reason}")),
            (None, Err(error)) => documents.wrong.push(format!("{origin}: {error}")),
        }
    }
    Ok(documents)
}

fn from_text(name: &str, text: &str) -> anyhow::Result<Documents> {
    let values = value::parse(name, text)?;
    let many = values.len() > 1;
    let mut documents = Documents::default();
    for (index, value) in values.into_iter().enumerate() {
        let place = if many { format!("{name}, document {}", index + 1) } else { name.to_owned() };
        match value {
            Value::Array(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    add(&mut documents, format!("{place}, item {}", index + 1), &item);
                }
            }
            one => add(&mut documents, place, &one),
        }
    }
    if documents.objects.is_empty() && documents.wrong.is_empty() {
        bail!("{name} holds no document; `kind`, `id` and `spec` are expected");
    }
    Ok(documents)
}

fn add(documents: &mut Documents, origin: String, value: &Value) {
    match document(value) {
        Ok((key, spec)) => documents.add(key, Document { origin, value: spec }),
        Err(reason) => documents.wrong.push(format!("{origin}: {reason}")),
    }
}

fn document(value: &Value) -> anyhow::Result<(ObjectKey, Value)> {
    const NAMES: [&str; 3] = ["kind", "id", "spec"];
    let Some(fields) = value.as_object() else {
        bail!("this is no document: an object with `kind`, `id` and `spec` is expected");
    };
    if let Some(other) = fields.keys().find(|name| !NAMES.contains(&name.to_ascii_lowercase().as_str())) {
        bail!("a document has `kind`, `id` and `spec`, and not {other:?}");
    }
    let text = |name: &str| match value::field(value, name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => Err(anyhow!("`{name}` is no text")),
        None => Err(anyhow!("`{name}` is missing; a document has `kind`, `id` and `spec`")),
    };
    let kind: Kind = text("kind")?.parse()?;
    let key = ObjectKey::from_kind_id(kind, &text("id")?)?;
    match value::field(value, "spec") {
        Some(spec @ Value::Object(_)) => Ok((key, spec.clone())),
        Some(_) => bail!("`spec` is no object; the {kind}'s fields are expected in it"),
        None => bail!("`spec` is missing; the {kind}'s fields are expected in it"),
    }
}

/// An object as a document.
pub(super) fn written(key: &ObjectKey, value: &Value) -> Value {
    let mut fields = Map::new();
    fields.insert("kind".into(), key.kind().as_str().into());
    fields.insert("id".into(), key.id().into());
    fields.insert("spec".into(), value.clone());
    Value::Object(fields)
}

/// An object as lists show it.
pub(super) fn listed(key: &ObjectKey, entry: &crate::store::Entry, value: &Value) -> Value {
    let mut object = json!({
        "kind": key.kind().as_str(),
        "id": key.id(),
        "key": entry.key,
        "modRevision": entry.version,
        "value": value,
    });
    if let (Some(lease), Some(object)) = (entry.lease, object.as_object_mut()) {
        object.insert("lease".into(), format!("{lease:x}").into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, keys: &[&str], wrong: &[&str]) {
        let documents = from_text("f", text).unwrap();
        let found: Vec<String> = documents.objects.keys().map(ObjectKey::canonical).collect();
        assert_eq!(found, keys, "{text}");
        assert_eq!(documents.wrong, wrong, "{text}");
    }

    #[test]
    fn documents_name_what_is_wrong_with_each() {
        check("kind: backend\nid: b\nspec: {}", &["backends/b/backend"], &[]);
        check(
            "kind: Servers\nid: b/1\nspec: {url: 'http://a:1'}\n---\nkind: server\nid: b\nspec: {}",
            &["backends/b/servers/1"],
            &["f, document 2: a server is named as BACKEND/SERVER, \"b\" has no slash"],
        );
        check(
            r#"[{"kind":"backnd","id":"b","spec":{}},{"kind":"backend","id":5,"spec":{}},5]"#,
            &["backends/5/backend"],
            &[
                "f, item 1: \"backnd\" is no kind; a kind is listener, host, frontend, middleware, backend or server (did you \
                 mean `backend`?)",
                "f, item 3: this is no document: an object with `kind`, `id` and `spec` is expected",
            ],
        );
    }

    #[test]
    fn an_object_is_given_once() {
        check(
            "kind: backend\nid: b\nspec: {}\n---\nkind: backend\nid: b\nspec: {}",
            &["backends/b/backend"],
            &["f, document 2: backend b stands in f, document 1 already; an object is given once"],
        );
        check(
            "kind: backend\nid: b",
            &[],
            &["f: `spec` is missing; the backend's fields are expected in it"],
        );
        check(
            "kind: backend\nid: b\nspecs: {}",
            &[],
            &["f: a document has `kind`, `id` and `spec`, and not \"specs\""],
        );
        assert!(from_text("f", "# nothing").is_err());
    }
}
