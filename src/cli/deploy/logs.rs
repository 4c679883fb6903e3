//! `flipgate logs`: what a deployment did.

use super::client::DeployerFlags;
use super::follow;
use crate::cli::context::{Context, Exit};
use anyhow::bail;

/// What a deployment did, and does
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Logs {
    /// The deployment's id
    id: String,
    /// Go on until it is over
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    deployer: DeployerFlags,
}

impl Logs {
    pub(in crate::cli) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let deployer = self.deployer.open(context, None)?;
        if deployer.get(&deployer.deployment(&self.id, "")).await?.is_none() {
            bail!("there is no deployment {} in this namespace", self.id);
        }
        if self.follow {
            return follow::to_the_end(context, &deployer, &self.id, false).await;
        }
        let mut lines = deployer.text(&self.id).await?;
        while let Some(line) = lines.next_bytes().await? {
            context.say(String::from_utf8_lossy(&line).trim_end())?;
        }
        Ok(Exit::Done)
    }
}
