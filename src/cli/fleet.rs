//! `flipgate fleet`: the proxies that follow the store, and the flips that are open.

use super::api::escape;
use super::context::{Context, Exit, Output};
use super::flags::TargetFlags;
use super::progress;
use super::table::{count, table};
use super::target::Target;
use crate::flip::{Runner, forget, report};
use anyhow::bail;
use http::StatusCode;
use serde_json::{Value, json};
use std::time::SystemTime;
use tokio::time::Instant;

/// Show the proxies that follow the store, and open flips
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate fleet --store etcd://127.0.0.1:2379
  flipgate fleet forget gate-3       it is gone for good, and serves nothing

A proxy that has not ended cleanly and is not heard of is lost: it may be cut off from the store and still send requests to \
where its last table leads, so no backend is said to be safe until it is back, or forgotten.")]
pub(super) struct Fleet {
    #[command(subcommand)]
    act: Option<Act>,
    #[command(flatten)]
    target: TargetFlags,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Take a lost proxy off the list, knowing that it serves nothing
    Forget {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        target: TargetFlags,
    },
}

impl Fleet {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let (flags, name) = match self.act {
            // The store may be named before the act or behind it.
            Some(Act::Forget { name, target }) => {
                (if self.target.is_given() { self.target } else { target }, Some(name))
            }
            None => (self.target, None),
        };
        let target = context.target(&flags)?;
        match name {
            Some(name) => forget_one(context, target, &name).await,
            None => show(context, target).await,
        }
    }
}

async fn forget_one(context: &mut Context<'_, '_>, target: Target, name: &str) -> anyhow::Result<Exit> {
    let place = target.place();
    match target {
        Target::Store(store) => {
            let done = async {
                let mut runner = Runner::open(store.clone()).await?;
                runner.poke().await?;
                forget(&store, runner.fleet(), name).await
            };
            let done = done.await;
            if let Err(error) = done {
                return progress::failed(context, &place, error);
            }
        }
        Target::Admin(client) => {
            let answer = client.delete(&format!("/v3/fleet/{}", escape(name))).await?;
            match answer.status {
                StatusCode::OK => {}
                StatusCode::CONFLICT | StatusCode::NOT_FOUND => {
                    context.note(format_args!("flipgate: {}", answer.message()));
                    return Ok(Exit::No);
                }
                _ => bail!("{place}: {}", answer.message()),
            }
        }
    }
    context.answer(format!("{name} is forgotten"), || json!({ "forgotten": name }))?;
    Ok(Exit::Done)
}

async fn show(context: &mut Context<'_, '_>, target: Target) -> anyhow::Result<Exit> {
    let place = target.place();
    let found = match target {
        Target::Store(store) => match Runner::open(store.clone()).await {
            Ok(mut runner) => {
                if let Err(error) = runner.poke().await {
                    return progress::failed(context, &place, error);
                }
                report(runner.fleet(), store.capabilities().leases, Instant::now(), SystemTime::now())
            }
            Err(error) => return progress::failed(context, &place, error),
        },
        Target::Admin(client) => {
            let answer = client.get("/v3/fleet").await?;
            if !answer.status.is_success() {
                bail!("{place}: {}", answer.message());
            }
            answer.body
        }
    };
    if context.output == Output::Json {
        context.json(&found)?;
        return Ok(Exit::Done);
    }
    let list = |name: &str| found.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let rows: Vec<[String; 7]> = list("members").iter().flat_map(rows).collect();
    if rows.is_empty() {
        context.say("no proxy is there")?;
    } else {
        context.say(table(["NAME", "STATE", "SERVED", "QUIET", "TABLE", "VERSION", "NOT IN FORCE"], rows))?;
    }
    let flips = list("flips");
    if !flips.is_empty() {
        context.say("")?;
        context.say(table(["FLIP", "BY", "SINCE", "PHASE", "TARGETS"], flips.iter().map(flip)))?;
    }
    for problem in list("unreadable") {
        context.note(format_args!("flipgate: {}", text(&problem)));
    }
    Ok(Exit::Done)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A line for each process of a member.
fn rows(member: &Value) -> Vec<[String; 7]> {
    let of = |value: &Value, name: &str| value.get(name).map(text).unwrap_or_default();
    let (name, state) = (of(member, "name"), of(member, "state"));
    let processes = member.get("processes").and_then(Value::as_array).cloned().unwrap_or_default();
    if processes.is_empty() {
        return vec![
            [name, state].into_iter().chain(std::iter::repeat(String::new())).take(7).collect::<Vec<_>>(),
        ]
        .into_iter()
        .filter_map(|row| row.try_into().ok())
        .collect();
    }
    let row = |process: &Value| {
        let keys: Vec<String> =
            process.get("notInForce").and_then(Value::as_array).into_iter().flatten().map(text).collect();
        let keys = if keys.len() > 3 { count(keys.len(), "object") } else { keys.join(", ") };
        let field = |name: &str| of(process, name);
        [name.clone(), state.clone(), field("served"), field("quiet"), field("hash"), field("version"), keys]
    };
    processes.iter().map(row).collect()
}

fn flip(flip: &Value) -> [String; 5] {
    let of = |name: &str| flip.get(name).map(text).unwrap_or_default();
    [of("id"), of("by"), of("since"), of("phase"), targets(flip)]
}

/// `frontend/shop: blue -> green`
pub(super) fn targets(flip: &Value) -> String {
    let list = |value: Option<&Value>| {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.map(text).collect::<Vec<_>>().join(", ")
    };
    let targets = flip.get("targets").and_then(Value::as_array).into_iter().flatten().map(|target| {
        let name = target.get("target").map(text).unwrap_or_default();
        format!("{name}: {} -> {}", list(target.get("from")), list(target.get("to")))
    });
    targets.collect::<Vec<_>>().join("; ")
}
