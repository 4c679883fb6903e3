//! `flipgate import`: what another load balancer keeps, as our objects and settings.

mod carry;
mod daemon;
mod dump;
#[cfg(feature = "kubernetes")]
mod ingress_nginx;
mod vulcand;

use super::context::{Context, Exit};
use super::plan::Plan;
use super::table::count;
use super::target::{Committed, Target};
use anyhow::bail;

/// Take over what another load balancer keeps
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate import vulcand --from etcd://10.0.0.1:2379    its objects, from its etcd
  flipgate import vulcand -- -etcd http://10.0.0.1:2379 -port 80    its command line, as settings
  flipgate import ingress-nginx --dry-run                what becomes of Ingresses, and of their annotations

Nothing is written without --write.")]
pub(super) struct Import {
    #[command(subcommand)]
    whose: Whose,
}

#[derive(Debug, clap::Subcommand)]
enum Whose {
    Vulcand(vulcand::Vulcand),
    #[cfg(feature = "kubernetes")]
    IngressNginx(ingress_nginx::IngressNginx),
}

/// Whether and how to write.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Writing {
    /// Write nothing, which is so without --write in any case
    #[arg(long, conflicts_with = "write")]
    dry_run: bool,
    /// Write what can be carried over
    #[arg(long)]
    write: bool,
    /// Overwrite what is there
    #[arg(long, requires = "write")]
    force: bool,
}

impl Import {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        match self.whose {
            Whose::Vulcand(import) => import.run(context).await,
            #[cfg(feature = "kubernetes")]
            Whose::IngressNginx(import) => import.run(context).await,
        }
    }
}

/// Says how what is to come differs from what is stored.
fn say_changes(context: &mut Context<'_, '_>, plan: &Plan, target: Option<&Target>) -> anyhow::Result<()> {
    let Some(target) = target else { return Ok(()) };
    let new = plan.steps.iter().filter(|step| step.old.is_none()).count();
    let there = plan.steps.len() - new;
    context.say(format_args!(
        "{}: {new} to be new, {there} to be overwritten, {} so already",
        target.place(),
        plan.unchanged
    ))?;
    Ok(())
}

/// Writes, or says why not; `done` is the exit if nothing stands in the way.
async fn finish(
    context: &mut Context<'_, '_>,
    plan: &Plan,
    target: Option<&Target>,
    writing: Writing,
    done: Exit,
) -> anyhow::Result<Exit> {
    if !writing.write {
        if !writing.dry_run {
            context.note("nothing was written (--write does it, to the store that --store names)");
        }
        return Ok(done);
    }
    let Some(target) = target else {
        bail!("no store is named to write to: give --store dir:PATH or --store etcd://HOST:PORT")
    };
    let there = plan.steps.iter().filter(|step| step.old.is_some()).count();
    if there > 0 && !writing.force {
        let there = count(there, "object");
        context.note(format_args!(
            "flipgate: {there} would be overwritten; nothing was written (--force does it)"
        ));
        return Ok(Exit::No);
    }
    write(context, target, plan).await?;
    Ok(done)
}

/// What is named is written before what names it, in as many transactions as it takes.
async fn write(context: &mut Context<'_, '_>, target: &Target, plan: &Plan) -> anyhow::Result<()> {
    let transactions = plan.transactions(target.operations_max());
    let total = transactions.len();
    for (index, transaction) in transactions.into_iter().enumerate() {
        let number = index + 1;
        match target.commit(transaction).await {
            Ok(Committed::At(revision)) => {
                context.note(format_args!("transaction {number} of {total} written at revision {revision}"));
            }
            Ok(Committed::Conflict(message)) => {
                bail!("{message} (transaction {number} of {total}); run it again for the rest")
            }
            Err(error) => bail!("{error:#} (transaction {number} of {total}); run it again for the rest"),
        }
    }
    Ok(())
}
