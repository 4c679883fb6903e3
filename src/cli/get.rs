//! `flipgate get`: what the store holds.

use super::context::{Context, Exit, Output};
use super::document::listed;
use super::flags::TargetFlags;
use super::secret;
use super::table::table;
use super::target::objects;
use super::value::{self, shown, to_yaml};
use crate::model::{Kind, Object, ObjectKey, Revision, Severity, Strictness};
use crate::store::Entry;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// List the objects of a kind, or print one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate get frontends                    all of them, as a table
  flipgate get frontend shop                one, as YAML
  flipgate get servers shop-blue            the servers of a backend
  flipgate get server shop-blue/a           one of them
  flipgate get backend shop --output json   with its revision, for `put --expect`

Private keys are not shown.")]
pub(super) struct Get {
    /// listener, host, frontend, middleware, backend or server
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Id, or PARENT/ID of a server or a frontend's middleware
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    target: TargetFlags,
}

impl Get {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let target = context.target(&self.target)?;
        let parent = match (self.kind, &self.id) {
            (Kind::Server, Some(id)) if !id.contains('/') => Some(format!("{id}/")),
            (_, Some(id)) => return one(context, &target, &ObjectKey::from_kind_id(self.kind, id)?).await,
            _ => None,
        };
        let snapshot = target.list_kind(self.kind).await?;
        let revision = snapshot.revision;
        let (all, _) = objects(snapshot);
        let is_wanted = |key: &ObjectKey| {
            key.kind() == self.kind && parent.as_ref().is_none_or(|parent| key.id().starts_with(parent))
        };
        let servers = server_counts(&all);
        let found: Vec<(ObjectKey, Entry)> = all.into_iter().filter(|(key, _)| is_wanted(key)).collect();
        list(context, self.kind, revision, &found, &servers)?;
        Ok(Exit::Done)
    }
}

async fn one(
    context: &mut Context<'_, '_>,
    target: &super::target::Target,
    key: &ObjectKey,
) -> anyhow::Result<Exit> {
    let (_, entry) = target.get(key).await?;
    let Some(entry) = entry else {
        context.note(format_args!("flipgate: there is no {} {} in {}", key.kind(), key.id(), target.place()));
        return Ok(Exit::No);
    };
    let Ok(value) = serde_json::from_slice::<Value>(&entry.value) else {
        anyhow::bail!("{} holds no JSON at {}", target.place(), entry.key);
    };
    let value = secret::redacted(key, &value);
    match context.output {
        Output::Json => context.json(&listed(key, &entry, &value))?,
        Output::Text => {
            let lease = entry.lease.map_or(String::new(), |lease| format!(", lease {lease:x}"));
            context.say(format_args!("# {}, modification revision {}{lease}", entry.key, entry.version))?;
            let yaml = to_yaml(&value)?;
            context.say(yaml.strip_suffix('\n').unwrap_or(&yaml))?;
        }
    }
    for finding in Object::parse(key, &entry.value, Strictness::Stored).findings {
        if !is_about_marker(key, &value, &finding.field) {
            context.note(format_args!(
                "{}: {} {}",
                severity(finding.severity),
                finding.field,
                finding.reason
            ));
        }
    }
    Ok(Exit::Done)
}

/// What the admin API puts in place of a key pair is no key pair.
fn is_about_marker(key: &ObjectKey, value: &Value, field: &str) -> bool {
    key.key_pair_field().is_some_and(|pair| field.starts_with(pair))
        && secret::pair(key, value) == secret::Pair::Hidden
}

/// `error` or `warning`.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn server_counts(all: &BTreeMap<ObjectKey, Entry>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for key in all.keys() {
        if let ObjectKey::Server(backend, _) = key {
            *counts.entry(backend.to_string()).or_default() += 1;
        }
    }
    counts
}

fn list(
    context: &mut Context<'_, '_>,
    kind: Kind,
    revision: Revision,
    found: &[(ObjectKey, Entry)],
    servers: &BTreeMap<String, usize>,
) -> anyhow::Result<()> {
    let values: Vec<(&ObjectKey, &Entry, Value)> = found
        .iter()
        .map(|(key, entry)| {
            let value = serde_json::from_slice(&entry.value).unwrap_or_default();
            (key, entry, secret::redacted(key, &value))
        })
        .collect();
    if context.output == Output::Json {
        let objects: Vec<Value> =
            values.iter().map(|(key, entry, value)| listed(key, entry, value)).collect();
        return Ok(context.json(&json!({ "revision": revision, "objects": objects }))?);
    }
    if values.is_empty() && (kind != Kind::Backend || servers.is_empty()) {
        context.note(format_args!("no {}", kind.plural()));
        return Ok(());
    }
    let rows = values.iter().map(|(key, entry, value)| (key.id(), note(key, entry, value), *entry, value));
    let text = match kind {
        Kind::Listener => table(
            ["ID", "PROTOCOL", "ADDRESS", "SCOPE", ""],
            rows.map(|(id, note, _, v)| {
                [id, shown(v, "Protocol"), shown(v, "Address.Address"), shown(v, "Scope"), note]
            }),
        ),
        Kind::Host => table(
            ["NAME", "DEFAULT", "KEY PAIR", ""],
            values.iter().map(|(key, entry, v)| {
                let pair = match v {
                    v if value::field(v, "Settings.KeyPair.Redacted").is_some() => {
                        shown(v, "Settings.KeyPair.Redacted")
                    }
                    v => secret::pair(key, v).as_str().to_owned(),
                };
                [key.id(), shown(v, "Settings.Default"), pair, note(key, entry, v)]
            }),
        ),
        Kind::Frontend => table(
            ["ID", "PRIORITY", "ROUTE", "BACKEND", ""],
            rows.map(|(id, note, _, v)| {
                [id, shown(v, "Priority"), shown(v, "Route"), shown(v, "BackendId"), note]
            }),
        ),
        Kind::Middleware => table(
            ["ID", "TYPE", "PRIORITY", ""],
            rows.map(|(id, note, _, v)| [id, shown(v, "Type"), shown(v, "Priority"), note]),
        ),
        Kind::Backend => {
            let own = rows.map(|(id, note, _, v)| {
                let count = servers.get(&id).map_or(String::new(), usize::to_string);
                match value::field(v, "Target") {
                    Some(_) => [id, "alias".to_owned(), format!("-> {}", shown(v, "Target")), note],
                    None => [id, "http".to_owned(), count, note],
                }
            });
            // Servers make a backend, even without an object.
            let bare = servers.iter().filter(|(id, _)| !found.iter().any(|(key, _)| key.id() == **id));
            let bare = bare.map(|(id, count)| {
                [id.clone(), "http".to_owned(), count.to_string(), "servers alone".to_owned()]
            });
            table(["ID", "TYPE", "SERVERS", ""], own.chain(bare))
        }
        Kind::Server => table(
            ["ID", "URL", "WEIGHT", "STATE", "LEASE", ""],
            rows.map(|(id, note, entry, v)| {
                let lease = entry.lease.map_or(String::new(), |lease| format!("{lease:x}"));
                [id, shown(v, "URL"), shown(v, "Weight"), shown(v, "State"), lease, note]
            }),
        ),
    };
    Ok(context.say(text)?)
}

/// What stands at the end of a row whose object is not valid.
fn note(key: &ObjectKey, entry: &Entry, shown: &Value) -> String {
    let parsed = Object::parse(key, &entry.value, Strictness::Stored);
    let errors = parsed.findings.iter().filter(|finding| finding.severity == Severity::Error);
    let mut errors = errors.filter(|finding| !is_about_marker(key, shown, &finding.field));
    errors.next().map_or(String::new(), |error| format!("not valid: {} {}", error.field, error.reason))
}
