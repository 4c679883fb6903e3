//! `flipgate export`: everything that the store holds, as files.

use super::context::{Context, Exit, Output};
use super::document;
use super::flags::TargetFlags;
use super::secret::{self, Pair};
use super::table::count;
use super::target::{Target, objects};
use super::value::{field, to_yaml};
use crate::model::{ObjectKey, edit};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Write everything that the store holds to files or to standard output
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate export routes/                 a directory in a store's layout, as `--store dir:routes` reads it
  flipgate export -                       documents {kind, id, spec} in YAML, as `apply -f -` reads them
  flipgate export - --format json         the same in JSON

Sealed key pairs stay sealed. Private keys that the store holds unsealed are left out, unless --with-keys asks for them;
passwords of middlewares are written. Only you can read the files.")]
pub(super) struct Export {
    /// A directory that does not exist or is empty; `-` is standard output
    #[arg(value_name = "DIR|-", default_value = "-")]
    to: PathBuf,
    /// How values are written
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,
    /// Also write private keys that are not sealed
    #[arg(long)]
    with_keys: bool,
    #[command(flatten)]
    target: TargetFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

impl Export {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let target = context.target(&self.target)?;
        if self.with_keys && matches!(target, Target::Admin(_)) {
            bail!("private keys do not pass the admin API; name the store itself with --store");
        }
        let snapshot = target.list().await?;
        let revision = snapshot.revision;
        let (entries, others) = objects(snapshot);
        let mut exported: Vec<(ObjectKey, Value)> = Vec::new();
        let leased = entries.values().filter(|entry| entry.lease.is_some()).count();
        for (key, entry) in entries {
            match serde_json::from_slice(&entry.value) {
                Ok(value) => {
                    let (value, left_out) = without_plain_keys(&key, value, self.with_keys);
                    if left_out {
                        let (kind, id) = (key.kind(), key.id());
                        context.note(format_args!("note: the private key of {kind} {id} is left out"));
                    }
                    exported.push((key, value));
                }
                Err(_) => context.note(format_args!("warning: {} is left out: it holds no JSON", entry.key)),
            }
        }
        if leased > 0 {
            let leased = count(leased, "object");
            context.note(format_args!(
                "note: {leased} here with a lease; applied elsewhere, they stay for good"
            ));
        }
        if !others.is_empty() {
            context.note(format_args!("note: {} left out that are no objects", count(others.len(), "key")));
        }
        let format =
            self.format.unwrap_or(if context.output == Output::Json { Format::Json } else { Format::Yaml });
        if self.to == Path::new("-") {
            print(context, format, &exported)?;
        } else {
            write(&self.to, format, &exported)?;
            let text = format!(
                "{} at revision {revision} written to {}",
                count(exported.len(), "object"),
                self.to.display()
            );
            context.answer(text, || json!({ "revision": revision, "objects": exported.len() }))?;
        }
        Ok(Exit::Done)
    }
}

/// The value as it may leave the store, and whether something was taken out.
fn without_plain_keys(key: &ObjectKey, mut value: Value, with_keys: bool) -> (Value, bool) {
    let mut left_out = false;
    let account = "Settings.AutoCert.Key";
    if !with_keys && matches!(key, ObjectKey::Host(_)) && field(&value, account).is_some() {
        // The path exists, so this cannot fail.
        left_out = edit::set_path(&mut value, account, Value::Null).is_ok();
    }
    let leaves = match secret::pair(key, &value) {
        Pair::Absent | Pair::Files | Pair::Sealed => true,
        Pair::Plain => with_keys,
        Pair::Hidden => false,
    };
    if leaves {
        return (value, left_out);
    }
    if let Some(place) = key.key_pair_field().filter(|place| field(&value, place).is_some()) {
        // The path exists, so this cannot fail.
        drop(edit::set_path(&mut value, place, Value::Null));
    }
    (value, true)
}

fn print(
    context: &mut Context<'_, '_>,
    format: Format,
    exported: &[(ObjectKey, Value)],
) -> anyhow::Result<()> {
    let documents = exported.iter().map(|(key, value)| document::written(key, value));
    match format {
        Format::Json => context.json(&documents.collect())?,
        Format::Yaml => {
            for document in documents {
                write!(context.io.stdout, "---\n{}", to_yaml(&document)?)?;
            }
        }
    }
    Ok(())
}

/// Files in a store's layout, for their owner alone: hosts and backends may hold keys, middlewares passwords.
fn write(root: &Path, format: Format, exported: &[(ObjectKey, Value)]) -> anyhow::Result<()> {
    let shown = root.display();
    fs::create_dir_all(root).with_context(|| format!("{shown} cannot be made"))?;
    if fs::read_dir(root).with_context(|| format!("{shown} cannot be read"))?.next().is_some() {
        bail!("{shown} is not empty; name a directory that is, or that does not exist");
    }
    for (key, value) in exported {
        let id_parts = key.canonical();
        if id_parts.split('/').any(|part| part.starts_with('.')) {
            bail!("{key} cannot be a file: its name would be hidden; `flipgate export -` takes it");
        }
        let (ending, text) = match format {
            Format::Yaml => ("yaml", to_yaml(value)?),
            Format::Json => ("json", format!("{value:#}\n")),
        };
        let path = root.join(format!("{id_parts}.{ending}"));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        }
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}
