//! `flipgate undeploy`: nothing of an application is left, or a deployment under way goes back.

use super::begun;
use super::client::DeployerFlags;
use crate::cli::context::{Context, Exit};
use http::Method;

/// Take an application away, or send a deployment under way back
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Undeploy {
    /// The application, or a deployment's id
    #[arg(value_name = "APP|ID")]
    what: String,
    /// Show how it goes until it is over
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    deployer: DeployerFlags,
}

impl Undeploy {
    pub(in crate::cli) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let deployer = self.deployer.open(context, None)?;
        let id = deployer.live_or_id(&self.what).await?;
        let path = deployer.deployment(&id, "");
        let deployment = deployer.call(Method::DELETE, &path, None, &[]).await?;
        begun(context, &deployer, &deployment, self.wait).await
    }
}
