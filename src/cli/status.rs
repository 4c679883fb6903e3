//! `flipgate status`: how a proxy is.

use super::context::{Context, Exit, Output};
use super::flags::TargetFlags;
use super::put::parse_duration;
use super::table::{count, table};
use super::value::with;
use crate::model::{Revision, duration};
use anyhow::bail;
use http::StatusCode;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The API waits no longer than this for one request.
const WAIT_ONCE_MAX: Duration = Duration::from_secs(30);

/// Show how a proxy is: what it serves, its store, and what is wrong
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate status
  flipgate status --wait-revision 42 --timeout 10s    until every worker serves revision 42
  flipgate status --admin http://10.0.0.7:8182 --output json

Exits with 1 if the proxy is not ready, or does not serve the revision in time.")]
pub(super) struct Status {
    /// Wait until every worker serves this revision
    #[arg(long, value_name = "REVISION")]
    wait_revision: Option<u64>,
    /// Longest time to wait
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s", requires = "wait_revision")]
    timeout: Duration,
    #[command(flatten)]
    target: TargetFlags,
}

impl Status {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let client = self.target.admin(context)?;
        let start = Instant::now();
        let status = loop {
            let wait = self.timeout.saturating_sub(start.elapsed()).min(WAIT_ONCE_MAX);
            let path = match self.wait_revision {
                Some(revision) => {
                    format!("/v3/status?revision={revision}&timeout={}", duration::format(wait))
                }
                None => "/v3/status".to_owned(),
            };
            let answer = client.get_waiting(&path, wait).await?;
            match answer.status {
                StatusCode::OK => break answer.body,
                StatusCode::GATEWAY_TIMEOUT if start.elapsed() + Duration::from_millis(50) < self.timeout => {
                }
                StatusCode::GATEWAY_TIMEOUT => {
                    context.note(format_args!("flipgate: {}", answer.message()));
                    if context.output == Output::Json {
                        context.json(&answer.body)?;
                    }
                    return Ok(Exit::No);
                }
                _ => bail!("{}: {}", client.url(), answer.message()),
            }
        };
        let problems = client.get("/v3/problems").await?;
        let problems = problems.body.get("problems").cloned().unwrap_or_else(|| json!([]));
        let ready = status.get("ready").and_then(Value::as_bool) == Some(true);
        if context.output == Output::Json {
            context.json(&with(status, "listed", problems))?;
        } else {
            context.say(summary(&client.url(), &status))?;
            let rows: Vec<[String; 5]> = problems.as_array().into_iter().flatten().map(problem).collect();
            if !rows.is_empty() {
                context.say("")?;
                context.say(table(["SEVERITY", "OBJECT", "FIELD", "IN FORCE", "REASON"], rows))?;
            }
        }
        Ok(if ready { Exit::Done } else { Exit::No })
    }
}

fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn problem(problem: &Value) -> [String; 5] {
    ["severity", "key", "field", "inForce", "reason"].map(|name| text(problem, name))
}

/// Some lines for people.
fn summary(url: &str, status: &Value) -> String {
    let number = |name: &str| status.get(name).and_then(Value::as_u64).unwrap_or_default();
    let flag = |name: &str| status.get(name).and_then(Value::as_bool) == Some(true);
    let store = status.get("store").cloned().unwrap_or_default();
    let behind = match (Revision(number("revision")), Revision(number("storeRevision"))) {
        (served, known) if served == known => String::new(),
        (_, known) => format!(", the store is at {known}"),
    };
    let stale = if flag("stale") { ", which may be older than the store" } else { "" };
    let connected =
        if store.get("connected").and_then(Value::as_bool) == Some(true) { "connected" } else { "away" };
    let problems = status.get("problems").cloned().unwrap_or_default();
    let problem_count = |name: &str| problems.get(name).and_then(Value::as_u64).unwrap_or_default() as usize;
    let mut lines = vec![
        format!("{url} is {}", if flag("ready") { "ready" } else { "not ready" }),
        format!("serves    revision {}{behind}{stale}", number("revision")),
        format!("store     {}, {connected} since {}", text(&store, "kind"), text(&store, "since")),
        format!("workers   {}", number("workers")),
        format!(
            "problems  {}, {}",
            count(problem_count("error"), "error"),
            count(problem_count("warning"), "warning")
        ),
    ];
    if number("held") > 0 {
        let held = count(number("held") as usize, "object");
        lines.push(format!("held      {held}, removed in the store; `flipgate confirm` lets them go"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_matters() {
        let status = json!({
            "revision": 41, "storeRevision": 42, "ready": true, "stale": true, "held": 3, "workers": 2,
            "store": { "kind": "etcd", "connected": false, "since": "2026-11-23T03:00:00Z" },
            "problems": { "error": 1, "warning": 2 },
        });
        assert_eq!(
            summary("http://127.0.0.1:8182", &status),
            "http://127.0.0.1:8182 is ready\n\
             serves    revision 41, the store is at 42, which may be older than the store\n\
             store     etcd, away since 2026-11-23T03:00:00Z\n\
             workers   2\n\
             problems  1 error, 2 warnings\n\
             held      3 objects, removed in the store; `flipgate confirm` lets them go"
        );
    }
}
