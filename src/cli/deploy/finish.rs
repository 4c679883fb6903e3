//! `flipgate finish`: the version before goes now.

use super::begun;
use super::client::CallFlags;
use super::follow::Aim;
use crate::cli::context::{Context, Exit};
use http::Method;
use serde_json::json;

/// Keep the version before warm no longer
#[derive(Debug, clap::Args)]
#[command(after_help = "\
While a version is kept warm its application's deployment is under way, and no other can begin. Exits with 1 where none is \
under way.

Examples:
  flipgate finish web --wait")]
pub(in crate::cli) struct Finish {
    /// The application, or its deployment's id
    #[arg(value_name = "APP|ID")]
    what: String,
    /// Show how it goes until it is over
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    deployer: CallFlags,
}

impl Finish {
    pub(in crate::cli) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let deployer = self.deployer.open(None)?;
        let id = deployer.open_of(&self.what).await?.unwrap_or(self.what);
        let body = json!({ "flip": { "keepWarm": "0s" } });
        let path = deployer.deployment(&id, "");
        let deployment = deployer.call(Method::PATCH, &path, Some(&body), &[]).await?;
        begun(context, &deployer, &deployment, self.wait.then_some(Aim::Alone)).await
    }
}
