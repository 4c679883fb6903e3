//! `flipgate deployments`: what was deployed, and what is.

use super::client::CallFlags;
use crate::cli::context::{Context, Exit, Output};
use crate::cli::table::table;
use serde_json::Value;

/// What was deployed, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate deployments -n shop
  flipgate deployments web -n shop --limit 3")]
pub(in crate::cli) struct Deployments {
    /// Only of this application
    app: Option<String>,
    /// At most so many of each application
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: u32,
    #[command(flatten)]
    deployer: CallFlags,
}

impl Deployments {
    pub(in crate::cli) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let deployer = self.deployer.open(None)?;
        let limit = self.limit.max(1).to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(self.app.as_deref().map(|app| ("appname", app)));
        let found = deployer.get(&deployer.path("/deployments/", &query)).await?;
        let found = found.unwrap_or_else(|| Value::Array(Vec::new()));
        if context.output == Output::Json {
            context.json(&found)?;
            return Ok(Exit::Done);
        }
        let rows: Vec<[String; 6]> = found.as_array().into_iter().flatten().map(row).collect();
        if rows.is_empty() {
            context.note("nothing was deployed");
            return Ok(Exit::Done);
        }
        context.say(table(["ID", "APP", "VERSION", "STATUS", "CHANGED", "WHAT"], rows))?;
        Ok(Exit::Done)
    }
}

fn row(deployment: &Value) -> [String; 6] {
    let part = |name: &str| deployment.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let app = deployment.get("descriptor").and_then(|it| it.get("appName")).and_then(Value::as_str);
    let what = match (part("stage"), part("course").as_str(), part("reason")) {
        (stage, "back", reason) => format!("undoes {stage}: {reason}"),
        (stage, _, reason) if stage.is_empty() => reason,
        (stage, _, _) => stage,
    };
    [
        part("id"),
        app.unwrap_or_default().to_owned(),
        part("version"),
        part("status"),
        part("lastModified"),
        what,
    ]
}
