//! `flipgate maintenance`: an application is closed, or open again.

use super::client::CallFlags;
use crate::cli::api::escape;
use crate::cli::context::{Context, Exit};
use anyhow::bail;
use http::Method;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Close an application to clients, or open it again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate maintenance web on -n shop --page closed.html --retry-after 600
  flipgate maintenance web off -n shop

Clients get 503 with the page. Nothing is stopped, and deployments go on.")]
pub(in crate::cli) struct Maintenance {
    /// The application
    app: String,
    /// Whether it is closed
    #[arg(value_parser = ["on", "off"])]
    state: String,
    /// File with the page that clients read
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Seconds after which clients are asked to come back
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u32>,
    /// Let what is under way, tunnels too, end by itself
    #[arg(long)]
    drain: bool,
    #[command(flatten)]
    deployer: CallFlags,
}

impl Maintenance {
    pub(in crate::cli) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let deployer = self.deployer.open(None)?;
        let path = deployer.path(&format!("/applications/{}/maintenance", escape(&self.app)), &[]);
        let closes = self.state == "on";
        if !closes && (self.page.is_some() || self.retry_after.is_some() || self.drain) {
            bail!("--page, --retry-after and --drain are of `on`");
        }
        let mut body = Map::new();
        if let Some(page) = &self.page {
            body.insert("page".into(), context.read(page)?.into());
        }
        body.extend(self.retry_after.map(|seconds| ("retryAfter".to_owned(), seconds.into())));
        if self.drain {
            body.insert("drain".into(), true.into());
        }
        let body = Value::Object(body);
        match closes {
            true => deployer.call(Method::PUT, &path, Some(&body), &[]).await?,
            false => deployer.call(Method::DELETE, &path, None, &[]).await?,
        };
        let is = if closes { "closed" } else { "open" };
        context
            .answer(format_args!("{} is {is}", self.app), || serde_json::json!({ "maintenance": closes }))?;
        Ok(Exit::Done)
    }
}
