//! The verbs that speak to a deployer.

mod client;
mod deployments;
mod finish;
mod follow;
mod logs;
mod maintenance;
mod redeploy;
mod scale;
#[cfg(test)]
mod tests;
mod undeploy;

pub(super) use client::Refused;
pub(super) use deployments::Deployments;
pub(super) use finish::Finish;
pub(super) use logs::Logs;
pub(super) use maintenance::Maintenance;
pub(super) use redeploy::Redeploy;
pub(super) use scale::Scale;
pub(super) use undeploy::Undeploy;

use super::context::{Context, Exit, Output};
use super::value;
use anyhow::bail;
use client::{CallFlags, Deployer};
use follow::Aim;
use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;
use std::path::PathBuf;

/// Put a version of an application in the place of the one that is live
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate deploy -f shop.yaml --wait                 show how it goes, and how it comes out
  flipgate deploy -f shop.json --dry-run              whether it could be done, and what would be
  flipgate deploy -f shop.json --idempotency-key $CI_JOB_ID
  flipgate logs 019a1f... -f                          look again at one that was not waited for

The descriptor's fields are in the README. With --wait it ends when the new version has proved itself, while the one before \
may still be kept warm; an interrupt ends the waiting alone. Exits with 0 when it is live (without --wait: when it is under \
way), 1 when it failed or was refused, which leaves the version before as it was.")]
pub(super) struct Deploy {
    /// File with the descriptor, JSON or YAML; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Show how it goes until it is over
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// A call with the same key within a day is the same call
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    deployer: CallFlags,
}

impl Deploy {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let text = context.read(&self.file)?;
        let name = self.file.display().to_string();
        let [descriptor] = &value::parse(&name, &text)?[..] else {
            bail!("{name}: one descriptor is expected");
        };
        let own = descriptor.get("namespace").and_then(Value::as_str);
        let deployer = self.deployer.open(own)?;
        let path = deployer.path("/deployments/", if self.dry_run { &[("dryRun", "true")] } else { &[] });
        let mut fields = Vec::new();
        if let Some(key) = &self.idempotency_key {
            let Ok(value) = HeaderValue::try_from(key) else {
                bail!("--idempotency-key {key:?}: this cannot be sent; letters, digits and `-` can");
            };
            fields.push((HeaderName::from_static("idempotency-key"), value));
        }
        let answer = deployer.call(Method::POST, &path, Some(descriptor), &fields).await?;
        if self.dry_run {
            return would_do(context, &answer);
        }
        begun(context, &deployer, &answer, self.wait.then_some(Aim::Live)).await
    }
}

fn would_do(context: &mut Context<'_, '_>, answer: &Value) -> anyhow::Result<Exit> {
    if context.output == Output::Json {
        context.json(answer)?;
        return Ok(Exit::Done);
    }
    for line in answer.get("wouldDo").and_then(Value::as_array).into_iter().flatten() {
        context.say(line.as_str().unwrap_or_default())?;
    }
    Ok(Exit::Done)
}

/// Says that a deployment is under way, and follows it as far as is waited for.
async fn begun(
    context: &mut Context<'_, '_>,
    deployer: &Deployer,
    deployment: &Value,
    aim: Option<Aim>,
) -> anyhow::Result<Exit> {
    let part = |name: &str| deployment.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (id, version, status) = (part("id"), part("version"), part("status"));
    let Some(aim) = aim else {
        let how = format!("`flipgate logs {id} -f{}` shows how it goes", deployer.place());
        let text = format!("deployment {id} of version {version}: {status}; {how}");
        context.answer(text, || deployment.clone())?;
        return Ok(Exit::Done);
    };
    if context.output == Output::Text {
        context.line(format_args!("deployment {id} of version {version}"))?;
    }
    follow::to_the_end(context, deployer, &id, aim).await
}
