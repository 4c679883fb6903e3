//! `flipgate import vulcand`: what vulcand keeps, or its command line.

use super::carry::{self, Carried, Fate, Note};
use super::{Writing, daemon, dump, finish, say_changes};
use crate::cli::context::{Context, Exit, Output};
use crate::cli::flags::{TargetFlags, open_other};
use crate::cli::plan::{Plan, plan};
use crate::cli::table::{count, table};
use crate::cli::target::{Target, objects};
use crate::store::{Area, Entry, Store, StoreError};
use anyhow::{anyhow, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What vulcand keeps as objects, or its command line as settings
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate import vulcand --from etcd://10.0.0.1:2379                       what would come over
  flipgate import vulcand --from etcd://10.0.0.1:2379 --store dir:routes --write    and write it
  flipgate import vulcand --file dump.json                                  from etcd's version 2:
       curl 'http://10.0.0.1:2379/v2/keys/vulcand?recursive=true' > dump.json
  flipgate import vulcand -- -etcd http://10.0.0.1:2379 -port 80 > flipgate.toml    its settings

Nothing is written without --write, and nothing that is there is overwritten without --force. There is no need to import \
for a proxy that is to serve vulcand's keys where they are: `flipgate proxy --prefix vulcand` does it. Exits with 1 if \
anything cannot be carried over.")]
pub(super) struct Vulcand {
    /// The etcd in which vulcand keeps its objects (API version 3)
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    from: Option<String>,
    /// vulcand's -etcdKey
    #[arg(long, value_name = "PREFIX", default_value = "vulcand")]
    from_prefix: String,
    /// A saved answer of etcd's API version 2; `-` is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    target: TargetFlags,
    /// vulcand's command line: prints the matching flipgate.toml
    #[arg(last = true, value_name = "VULCAND ARGS", conflicts_with_all = ["from", "file", "write"])]
    daemon: Vec<String>,
}

impl Vulcand {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        if !self.daemon.is_empty() {
            write!(context.io.stdout, "{}", daemon::settings(&self.daemon)?)?;
            return Ok(Exit::Done);
        }
        let (keys, mut notes) = self.read(context).await?;
        let found = keys.len();
        if found == 0 {
            context.note("there is nothing to import");
            return Ok(Exit::No);
        }
        let mut carried = carry::carry(keys);
        notes.append(&mut carried.notes);
        carried.notes = notes;
        let seal = self.target.seal_keys(context)?;
        let named = self.target.is_given() || self.target.store_named(context)?;
        let target = if named { Some(context.target(&self.target)?) } else { None };
        let stored = match &target {
            Some(target) => objects(target.list().await?).0,
            None => BTreeMap::new(),
        };
        let plan = plan(&carried.documents, &stored, false, &seal)?;
        report(context, &carried, &plan, target.as_ref())?;
        let lost = carried.notes.iter().any(|note| note.fate == Fate::NotCarried);
        finish(context, &plan, target.as_ref(), self.writing, if lost { Exit::No } else { Exit::Done }).await
    }

    /// Everything below vulcand's prefix, by the rest of the key.
    async fn read(&self, context: &mut Context<'_, '_>) -> anyhow::Result<(Vec<dump::Key>, Vec<Note>)> {
        if let Some(path) = &self.file {
            return dump::read(&context.read(path)?);
        }
        let Some(url) = &self.from else {
            bail!(
                "say where vulcand's objects are: --from etcd://HOST:PORT, or --file with a saved answer of etcd v2"
            );
        };
        let source = open_other(&self.target, context, ("--from", url), &self.from_prefix)?;
        let failed = |error: StoreError| anyhow!("{}: {error}", source.location());
        let snapshot = source.list(Area::Routing).await.map_err(failed)?;
        if snapshot.entries.is_empty() {
            twin(context, &source).await;
        }
        let key = |entry: Entry| dump::Key {
            key: entry.key.into(),
            value: entry.value.to_vec(),
            ends: entry.lease.is_some(),
        };
        Ok((snapshot.entries.into_iter().map(key).collect(), Vec::new()))
    }
}

/// The usual mistake: another spelling of the prefix.
async fn twin(context: &mut Context<'_, '_>, source: &Arc<dyn Store>) {
    if let Ok(Some(said)) = source.twin_prefix().await {
        context.note(format_args!("warning: {}", said.replace("--prefix", "--from-prefix")));
    }
}

fn report(
    context: &mut Context<'_, '_>,
    carried: &Carried,
    plan: &Plan,
    target: Option<&Target>,
) -> anyhow::Result<()> {
    let lost = carried.notes.iter().filter(|note| note.fate == Fate::NotCarried).count();
    if context.output == Output::Json {
        let notes = carried.notes.iter().map(|note| {
            let Note { fate, key, field, reason } = note;
            json!({ "what": fate.as_str(), "key": key, "field": field, "reason": reason })
        });
        let keys = carried.documents.keys().map(|key| key.canonical());
        let steps = plan.steps.iter().map(|step| json!({ "key": step.stored_key, "change": step.verb() }));
        let value = json!({
            "carried": keys.collect::<Vec<String>>(),
            "notes": notes.collect::<Vec<Value>>(),
            "changes": target.map(|_| steps.collect::<Vec<Value>>()),
        });
        return Ok(context.json(&value)?);
    }
    let mut kinds: BTreeMap<&'static str, usize> = BTreeMap::new();
    for key in carried.documents.keys() {
        *kinds.entry(key.kind().as_str()).or_default() += 1;
    }
    if !carried.notes.is_empty() {
        let rows = carried.notes.iter().map(|note| {
            [note.fate.as_str().to_owned(), note.key.clone(), note.field.clone(), note.reason.clone()]
        });
        context.say(table(["", "KEY", "FIELD", "REASON"], rows))?;
        context.say("")?;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, number)| count(*number, kind)).collect();
    context.say(format_args!(
        "carried over: {}",
        if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") }
    ))?;
    context.say(format_args!("not carried over: {}", count(lost, "remark")))?;
    say_changes(context, plan, target)
}
