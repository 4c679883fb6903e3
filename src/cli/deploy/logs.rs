//! `flipgate logs`: what a deployment did.

use super::client::{CallFlags, Refused};
use super::follow::{self, Aim};
use crate::cli::context::{Context, Exit};

/// What a deployment did, and does
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate logs web -f
  flipgate logs 019a1f... -n shop")]
pub(in crate::cli) struct Logs {
    /// A deployment's id, or an application for its newest
    #[arg(value_name = "ID|APP")]
    what: String,
    /// Go on until it is over
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    deployer: CallFlags,
}

impl Logs {
    pub(in crate::cli) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let deployer = self.deployer.open(None)?;
        let id = deployer.newest_or_id(&self.what).await?;
        if deployer.get(&deployer.deployment(&id, "")).await?.is_none() {
            return Err(Refused(format!("there is no deployment {id} in this namespace")).into());
        }
        if self.follow {
            return follow::to_the_end(context, &deployer, &id, Aim::End).await;
        }
        let mut lines = deployer.text(&id).await?;
        while let Some(line) = lines.next_bytes().await? {
            context.say(String::from_utf8_lossy(&line).trim_end())?;
        }
        Ok(Exit::Done)
    }
}
