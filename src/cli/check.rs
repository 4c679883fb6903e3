//! `flipgate check`: everything that is wrong with documents, or with what a store holds.

use super::context::{Context, Exit, Output};
use super::document::{self, Document};
use super::flags::TargetFlags;
use super::get::severity;
use super::references::Objects;
use super::table::{count, table};
use super::target::{Target, objects};
use super::value::with;
use super::vulcand::{self, Differences};
use crate::model::{Finding, FrontendId, KeyPairSource, Object, ObjectKey, Severity, Strictness};
use crate::store::{Entry, Snapshot, unreadable};
use crate::tls::SealKeys;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Find what is wrong with files, or with what the store holds
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate check -f routes/                        a directory in a store's layout
  flipgate check -f routes.yaml                    documents {kind, id, spec}
  flipgate check --store etcd://127.0.0.1:2379     what the store holds now
  flipgate check --vulcand                         and what vulcand would do differently with it

Files are read as strictly as `apply` reads them. Exits with 1 if anything is an error, and with --vulcand if a request \
would go elsewhere.")]
pub(super) struct Check {
    /// Documents or a directory, in place of the store; `-` is standard input
    #[arg(short, long, value_name = "FILE|DIR")]
    file: Option<PathBuf>,
    /// Show a request for each pair of routes that vulcand prefers the other way round
    #[arg(long)]
    vulcand: bool,
    #[command(flatten)]
    target: TargetFlags,
}

/// A finding with where it is.
pub(super) struct Row {
    /// A key, or the place in a file.
    pub(super) place: String,
    pub(super) finding: Finding,
}

impl Check {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let (checked, loaded, mut rows) = match &self.file {
            Some(path) => {
                let documents = document::read(context, path).await?;
                let mut rows: Vec<Row> = documents.wrong.iter().map(|wrong| misplaced(wrong)).collect();
                let (loaded, found) = load_documents(&documents.objects);
                rows.extend(found);
                (documents.objects.len(), loaded, rows)
            }
            None => {
                let target = context.target(&self.target)?;
                let through_admin = matches!(target, Target::Admin(_));
                let (checked, loaded, mut rows) =
                    load_stored(target.list().await?, &self.target.seal_keys(context)?);
                if through_admin {
                    // Hidden key pairs are not what is wrong.
                    let pairs = ["Settings.KeyPair", "Settings.TLS.KeyPair"];
                    rows.retain(|row| !pairs.iter().any(|pair| row.finding.field.starts_with(pair)));
                }
                (checked, loaded, rows)
            }
        };
        let in_store = self.file.is_none() && self.target.store_named(context)?;
        if self.vulcand || (in_store && vulcand::is_vulcands_prefix(&self.target.prefix(context)?)) {
            rows.extend(vulcand::shared(&loaded));
        }
        let differences = self.vulcand.then(|| vulcand::differences(&loaded));
        rows.extend(differences.iter().flat_map(|differences| &differences.lost).map(lost));
        rows.sort_by(|a, b| (b.finding.severity, &a.place).cmp(&(a.finding.severity, &b.place)));
        print(context, checked, &rows, differences.as_ref())
    }
}

fn print(
    context: &mut Context<'_, '_>,
    checked: usize,
    rows: &[Row],
    differences: Option<&Differences>,
) -> anyhow::Result<Exit> {
    let errors = rows.iter().filter(|row| row.finding.severity == Severity::Error).count();
    if context.output == Output::Json {
        let problems: Vec<Value> = rows.iter().map(to_json).collect();
        let mut value = json!({ "checked": checked, "errors": errors, "problems": problems });
        if let Some(differences) = differences {
            value = with(value, "vulcand", differences.to_json());
        }
        context.json(&value)?;
    } else {
        if !rows.is_empty() {
            let cells = |row: &Row| {
                let Finding { field, reason, severity: how } = &row.finding;
                [severity(*how).to_owned(), row.place.clone(), field.clone(), reason.clone()]
            };
            context.say(table(["SEVERITY", "OBJECT", "FIELD", "REASON"], rows.iter().map(cells)))?;
        }
        if let Some(differences) = differences {
            if !rows.is_empty() && !differences.found.is_empty() {
                context.say("")?;
            }
            differences.print(context)?;
        }
        let warnings = rows.len() - errors;
        let found = format!("{}, {}", count(errors, "error"), count(warnings, "warning"));
        context.note(format_args!("{} checked: {found}", count(checked, "object")));
    }
    let differs = differences.is_some_and(|differences| !differences.found.is_empty());
    Ok(if errors == 0 && !differs { Exit::Done } else { Exit::No })
}

/// Sealed key pairs that none of the keys opens. Without any key nobody asked.
fn closed(loaded: &Objects, keys: &SealKeys) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, (object, _)) in &loaded.valid {
        if let (Some(KeyPairSource::Sealed { val, nonce }), Some(field)) =
            (object.key_pair(), key.key_pair_field())
            && !keys.is_empty()
            && keys.open(val, nonce).is_err()
        {
            let reason = "is sealed, and none of the seal keys given opens it".to_owned();
            let finding = Finding { field: field.to_owned(), reason, severity: Severity::Error };
            rows.push(row((key.clone(), finding)));
        }
    }
    rows
}

/// A route that vulcand's router takes and never finds.
fn lost((id, why): &(FrontendId, &'static str)) -> Row {
    let (field, reason) = ("Route".to_owned(), format!("is found here; vulcand never finds it: it {why}"));
    let place = ObjectKey::Frontend(id.clone()).canonical();
    Row { place, finding: Finding { field, reason, severity: Severity::Warning } }
}

fn to_json(row: &Row) -> Value {
    let Finding { field, reason, severity } = &row.finding;
    json!({ "key": row.place, "field": field, "reason": reason, "severity": severity })
}

fn row((key, finding): (ObjectKey, Finding)) -> Row {
    Row { place: key.canonical(), finding }
}

fn misplaced(wrong: &str) -> Row {
    let (place, reason) = wrong.split_once(": ").unwrap_or(("", wrong));
    let (field, reason) = (String::new(), reason.to_owned());
    Row { place: place.to_owned(), finding: Finding { field, reason, severity: Severity::Error } }
}

/// A key that no object has: other programs keep theirs beside ours.
fn foreign(entry: &Entry) -> Row {
    let (field, reason) = (String::new(), "is no key of an object; it is left alone".to_owned());
    Row { place: entry.key.to_string(), finding: Finding { field, reason, severity: Severity::Warning } }
}

/// What a store holds: how many objects, those that can be read, and everything that is wrong. `keys` are those that
/// should open what is sealed.
pub(super) fn load_stored(snapshot: Snapshot, keys: &SealKeys) -> (usize, Objects, Vec<Row>) {
    let (entries, others) = objects(snapshot);
    let (loaded, mut rows) = load(&entries, Strictness::Stored);
    rows.extend(loaded.findings().into_iter().map(row));
    rows.extend(closed(&loaded, keys));
    rows.extend(others.iter().map(foreign));
    (entries.len(), loaded, rows)
}

/// Reads stored objects; what is wrong with each.
pub(super) fn load(entries: &BTreeMap<ObjectKey, Entry>, strictness: Strictness) -> (Objects, Vec<Row>) {
    let (mut loaded, mut rows) = (Objects::default(), Vec::new());
    for (key, entry) in entries {
        let place = || entry.key.to_string();
        if let Some(reason) = unreadable(&entry.value) {
            let (field, severity) = (String::new(), Severity::Error);
            rows.push(Row { place: place(), finding: Finding { field, reason, severity } });
            loaded.invalid.insert(key.clone());
            continue;
        }
        let parsed = Object::parse(key, &entry.value, strictness);
        rows.extend(parsed.findings.into_iter().map(|finding| Row { place: place(), finding }));
        match parsed.object {
            Some(object) => drop(loaded.valid.insert(key.clone(), (object, entry.created))),
            None => drop(loaded.invalid.insert(key.clone())),
        }
    }
    (loaded, rows)
}

/// Documents, and everything that is wrong with them, as strictly as they would be written.
pub(super) fn load_documents(documents: &BTreeMap<ObjectKey, Document>) -> (Objects, Vec<Row>) {
    let (mut loaded, mut rows) = (Objects::default(), Vec::new());
    for (key, document) in documents {
        let parsed = Object::parse_value(key, &document.value, Strictness::Written);
        rows.extend(parsed.findings.into_iter().map(|finding| row((key.clone(), finding))));
        match parsed.object {
            Some(object) => drop(loaded.valid.insert(key.clone(), (object, 0))),
            None => drop(loaded.invalid.insert(key.clone())),
        }
    }
    rows.extend(loaded.findings().into_iter().map(row));
    (loaded, rows)
}
