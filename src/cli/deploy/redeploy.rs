//! `flipgate redeploy`: an earlier deployment once more, which is also the way back.

use super::begun;
use super::client::CallFlags;
use super::follow::Aim;
use crate::cli::context::{Context, Exit};
use http::Method;
use serde_json::Value;

/// Deploy an earlier version again: the way back
#[derive(Debug, clap::Args)]
#[command(after_help = "\
While the version that took its place keeps it warm, or has not yet destroyed it, the traffic is moved back at once and the \
newer version is removed. Otherwise it is deployed again as it was then.

Examples:
  flipgate redeploy 019a1f... -n shop --wait")]
pub(in crate::cli) struct Redeploy {
    /// The deployment's id, as `flipgate deployments` shows it
    id: String,
    /// Show how it goes until it is over
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    deployer: CallFlags,
}

impl Redeploy {
    pub(in crate::cli) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let deployer = self.deployer.open(None)?;
        let path = deployer.deployment(&self.id, "");
        let deployment = deployer.call(Method::PUT, &path, None, &[]).await?;
        let status = deployment.get("status").and_then(Value::as_str);
        if status == Some("DEPLOYING") {
            return begun(context, &deployer, &deployment, self.wait.then_some(Aim::Live)).await;
        }
        // It was still there, and the one that took its place goes back.
        let app = deployment.pointer("/descriptor/appName").and_then(Value::as_str).unwrap_or_default();
        let newer = match deployer.open_of(app).await? {
            Some(id) => deployer.get(&deployer.deployment(&id, "")).await?,
            None => None,
        };
        let newer = newer.as_ref().unwrap_or(&deployment);
        begun(context, &deployer, newer, self.wait.then_some(Aim::Back)).await
    }
}
