//! `flipgate apply`: bring the store to what files say.

use super::context::{Context, Exit, Output, harmless};
use super::document;
use super::flags::TargetFlags;
use super::get::severity;
use super::plan::{Plan, plan};
use super::table::count;
use super::target::{Committed, Target, objects};
use super::value::with;
use crate::model::Revision;
use anyhow::bail;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Bring the store to what files say, in one transaction
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate apply -f routes.yaml                    documents {kind, id, spec}, in YAML or JSON
  flipgate apply -f routes/ --dry-run --diff       a directory in a store's layout; show what would change
  flipgate apply -f routes/ --prune                also remove objects that are not in the files
  flipgate export - | flipgate apply --store etcd://10.0.0.2:2379 -f -

A document says what an object is: fields that it lacks go, but for those that are not Flipgate's. What is so already is \
not written again. Nothing is removed without --prune, and then only objects of kinds that the files have, and \
none whose key ends with a lease. If someone \
changes an object meanwhile, nothing is written.")]
pub(super) struct Apply {
    /// Documents or a directory in a store's layout; `-` is standard input
    #[arg(short, long, value_name = "FILE|DIR")]
    file: PathBuf,
    /// Remove objects that are not in the files, of kinds that are
    #[arg(long)]
    prune: bool,
    /// Write nothing
    #[arg(long)]
    dry_run: bool,
    /// Show every change as a unified diff
    #[arg(long)]
    diff: bool,
    /// Use several transactions where one cannot hold everything; what is between them is served, too
    #[arg(long)]
    split: bool,
    /// Prune what others still name
    #[arg(long, requires = "prune")]
    force: bool,
    #[command(flatten)]
    target: TargetFlags,
}

impl Apply {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let documents = document::read(context, &self.file).await?.complete()?;
        let (target, seal) = (context.target(&self.target)?, self.target.seal_keys(context)?);
        let (stored, _) = objects(target.list().await?);
        let plan = plan(&documents, &stored, self.prune, &seal)?;
        let consequences = plan.consequences(&stored);
        for (key, finding) in &consequences {
            let (kind, id) = (key.kind(), key.id());
            let how = severity(finding.severity);
            context
                .note(format_args!("{how} once written: {kind} {id}: {} {}", finding.field, finding.reason));
        }
        let broken = plan.breaks(&consequences);
        if !broken.is_empty() && !self.force {
            context.note(
                "flipgate: pruning would remove what others name; nothing was written (--force does it)",
            );
            return Ok(Exit::No);
        }
        if self.diff && context.output == Output::Text {
            for step in &plan.steps {
                write!(context.io.stdout, "{}", harmless(&step.diff()?))?;
            }
        }
        if self.dry_run || plan.steps.is_empty() {
            self.report(context, &plan, None)?;
            return Ok(Exit::Done);
        }
        self.write(context, &target, &plan).await
    }

    async fn write(
        &self,
        context: &mut Context<'_, '_>,
        target: &Target,
        plan: &Plan,
    ) -> anyhow::Result<Exit> {
        let most = target.operations_max();
        let transactions = plan.transactions(most);
        let total = transactions.len();
        if total > 1 && !self.split {
            let operations: usize = transactions.iter().map(|transaction| transaction.operations.len()).sum();
            bail!(
                "{} takes {most} operations in one transaction, and this needs {operations}; nothing was written. Move \
                 traffic through an alias, apply fewer objects at a time, or give --split: then {total} \
                 transactions are written one after the other, and each is served as it comes",
                target.place()
            );
        }
        let mut revision = Revision::default();
        for (index, transaction) in transactions.into_iter().enumerate() {
            match target.commit(transaction).await {
                Ok(Committed::At(at)) => revision = at,
                Ok(Committed::Conflict(message)) => {
                    let written = if index == 0 { "nothing was written" } else { "the rest was not written" };
                    let of = if total > 1 {
                        format!(" (transaction {} of {total})", index + 1)
                    } else {
                        String::new()
                    };
                    context.note(format_args!("flipgate: {message}{of}; {written}, apply again"));
                    return Ok(Exit::No);
                }
                Err(error) if index > 0 => {
                    bail!("{error:#}; {index} of {total} transactions were written, apply again for the rest")
                }
                Err(error) => return Err(error),
            }
        }
        self.report(context, plan, Some(revision))?;
        Ok(Exit::Done)
    }

    fn report(
        &self,
        context: &mut Context<'_, '_>,
        plan: &Plan,
        revision: Option<Revision>,
    ) -> anyhow::Result<()> {
        if context.output == Output::Json {
            let steps = plan.steps.iter().map(|step| {
                let one = json!({ "key": step.stored_key, "change": step.verb() });
                Ok(if self.diff { with(one, "diff", step.diff()?) } else { one })
            });
            let steps = steps.collect::<anyhow::Result<Vec<Value>>>()?;
            let answer = json!({ "revision": revision, "changes": steps, "unchanged": plan.unchanged });
            return Ok(context.json(&answer)?);
        }
        if !self.diff {
            for step in &plan.steps {
                context.say(format_args!("{:8} {} {}", step.verb(), step.key.kind(), step.key.id()))?;
            }
        }
        let changes = count(plan.steps.len(), "change");
        let unchanged = format!("{} so already", count(plan.unchanged, "object"));
        match revision {
            Some(revision) => {
                context.say(format_args!("{changes} written at revision {revision}, {unchanged}"))?
            }
            None if plan.steps.is_empty() => context.say(format_args!("nothing to do, {unchanged}"))?,
            None => context.say(format_args!("{changes} to write, {unchanged}; nothing was written"))?,
        }
        Ok(())
    }
}
