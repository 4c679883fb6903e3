//! `flipgate scale`: another number of pods.

use super::client::CallFlags;
use crate::cli::context::{Context, Exit};
use http::Method;
use serde_json::json;

/// Give the version that is live another number of pods
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Pods that go may still get requests in the moment in which they are told to end: let them go on for some seconds, by a \
preStop pause in the descriptor's podspec, as the README has it.

Examples:
  flipgate scale web 5 -n shop")]
pub(in crate::cli) struct Scale {
    /// The application, or its deployment's id
    #[arg(value_name = "APP|ID")]
    what: String,
    /// Pods
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    replicas: u32,
    #[command(flatten)]
    deployer: CallFlags,
}

impl Scale {
    pub(in crate::cli) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let deployer = self.deployer.open(None)?;
        let id = deployer.live_or_id(&self.what).await?;
        let body = json!({ "replicas": self.replicas });
        let path = deployer.deployment(&id, "");
        let scaled = deployer.call(Method::PATCH, &path, Some(&body), &[]).await?;
        context.answer(format_args!("{} has {} replicas", self.what, self.replicas), || scaled)?;
        Ok(Exit::Done)
    }
}
