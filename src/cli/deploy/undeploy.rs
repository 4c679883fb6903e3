//! `flipgate undeploy`: nothing of an application is left, or a deployment under way goes back.

use super::begun;
use super::client::CallFlags;
use super::follow::Aim;
use crate::cli::context::{Context, Exit};
use http::Method;

/// Take an application away, or send a deployment under way back
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate undeploy web --wait          what is live of it, with its routes and its Service
  flipgate undeploy 019a1f...           this one; if it is under way, it goes back")]
pub(in crate::cli) struct Undeploy {
    /// The application, or a deployment's id
    #[arg(value_name = "APP|ID")]
    what: String,
    /// Show how it goes until it is over
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    deployer: CallFlags,
}

impl Undeploy {
    pub(in crate::cli) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let deployer = self.deployer.open(None)?;
        let id = deployer.live_or_id(&self.what).await?;
        let path = deployer.deployment(&id, "");
        let deployment = deployer.call(Method::DELETE, &path, None, &[]).await?;
        let goes_back = deployment.get("status").is_some_and(|status| status == "DEPLOYING");
        let aim = if goes_back { Aim::Back } else { Aim::Gone };
        begun(context, &deployer, &deployment, self.wait.then_some(aim)).await
    }
}
