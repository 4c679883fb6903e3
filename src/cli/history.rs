//! `flipgate history`: which flips there were.

use super::context::{Context, Exit, Output};
use super::flags::TargetFlags;
use super::fleet::targets;
use super::progress;
use super::table::table;
use super::target::Target;
use crate::flip::{history, past_json};
use anyhow::bail;
use serde_json::{Value, json};

/// Show the last flips and rollbacks, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate history
  flipgate history frontend/shop --output json

The last 1,000 are kept.")]
pub(super) struct History {
    /// Only those of this target: frontend/ID, alias/ID, or a bare id
    #[arg(value_name = "TARGET")]
    name: Option<String>,
    #[command(flatten)]
    target: TargetFlags,
}

impl History {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let target = context.target(&self.target)?;
        let place = target.place();
        let entries: Vec<Value> = match target {
            Target::Store(store) => match history(&store).await {
                Ok(entries) => entries.iter().map(past_json).collect(),
                Err(error) => return progress::failed(context, &place, error),
            },
            Target::Admin(client) => {
                let answer = client.get("/v3/history").await?;
                if !answer.status.is_success() {
                    bail!("{place}: {}", answer.message());
                }
                answer.body.get("flips").and_then(Value::as_array).cloned().unwrap_or_default()
            }
        };
        let is_wanted = |entry: &&Value| self.name.as_deref().is_none_or(|name| is_about(entry, name));
        let entries: Vec<Value> = entries.iter().filter(is_wanted).cloned().collect();
        if context.output == Output::Json {
            context.json(&json!({ "flips": entries }))?;
        } else if entries.is_empty() {
            context.say("there was no flip")?;
        } else {
            let head = ["AT", "REVISION", "BY", "WHAT", "TARGETS", "ENDING", "REASON"];
            context.say(table(head, entries.iter().map(row)))?;
        }
        Ok(Exit::Done)
    }
}

fn is_about(entry: &Value, name: &str) -> bool {
    let targets = entry.get("targets").and_then(Value::as_array).into_iter().flatten();
    let mut names = targets.filter_map(|target| target.get("target").and_then(Value::as_str));
    names.any(|target| target == name || target.split_once('/').is_some_and(|(_, id)| id == name))
}

fn row(entry: &Value) -> [String; 7] {
    let text = |name: &str| match entry.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    [text("at"), text("revision"), text("by"), text("deed"), targets(entry), text("ending"), text("reason")]
}
