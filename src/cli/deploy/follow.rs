//! How a deployment is shown as it goes.
//!
//! In a terminal what it waits for is one line, which the next one replaces; elsewhere each line stays. For programs each
//! is an object, and the last one is the deployment.

use super::client::Deployer;
use crate::cli::context::{Context, Exit, Output, harmless};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Attempts to go on with a log that broke off, one after the other without a line in between.
const TRIES_MAX: u32 = 60;
const RETRY: Duration = Duration::from_secs(1);

/// Between looks at the deployment itself: that the old version stays warm says no line of the log by itself.
const LOOK: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// It is live and has proved itself. The version before may be kept warm.
    Live,
    /// It is live, and the version before is gone.
    Alone,
    /// It has gone back.
    Back,
    /// It is gone.
    Gone,
    /// Whatever its end is.
    End,
}

impl Aim {
    fn is_reached(self, deployment: &Value) -> bool {
        let status = part(deployment, "status");
        match self {
            Self::Live => status == "DEPLOYED" || is_warm(deployment),
            Self::Alone => status == "DEPLOYED",
            Self::Back => status == "FAILURE",
            Self::Gone => status == "UNDEPLOYED",
            Self::End => true,
        }
    }
}

fn part<'d>(deployment: &'d Value, name: &str) -> &'d str {
    deployment.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// All that is left is that the version before goes, later.
fn is_warm(deployment: &Value) -> bool {
    (part(deployment, "stage"), part(deployment, "course")) == ("keepWarm", "forward")
}

/// Shows the log until the deployment is over, or has come as far as is waited for; and how it came out.
pub(super) async fn to_the_end(
    context: &mut Context<'_, '_>,
    deployer: &Deployer,
    id: &str,
    aim: Aim,
) -> anyhow::Result<Exit> {
    let mut shown = Shown { seen: 0, is_terminal: std::io::stdout().is_terminal(), is_open: false };
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tries = 0;
    loop {
        let before = shown.seen;
        let result = tokio::select! {
            result = once(context, deployer, id, aim, &mut shown, &mut looks) => result,
            _ = tokio::signal::ctrl_c() => {
                shown.close(context)?;
                let place = deployer.place();
                context.note(format_args!(
                    "flipgate: it goes on; `flipgate logs {id} -f{place}` shows how, `flipgate undeploy {id}{place}` \
                     sends it back"
                ));
                return Ok(Exit::Error);
            }
        };
        tries = if shown.seen > before { 0 } else { tries + 1 };
        match result {
            Ok(true) => break,
            Err(error) if tries >= TRIES_MAX => return Err(error),
            // Its deployer may be about to be replaced.
            Ok(false) | Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
    shown.close(context)?;
    let deployment = deployer.get(&deployer.deployment(id, "")).await?.unwrap_or_default();
    end(context, &deployment, aim)
}

fn end(context: &mut Context<'_, '_>, deployment: &Value, aim: Aim) -> anyhow::Result<Exit> {
    let is_reached = aim.is_reached(deployment);
    let text = outcome(deployment, aim);
    match context.output {
        Output::Json => {
            context.line(json!({ "event": "end", "reached": is_reached, "deployment": deployment }))?;
        }
        Output::Text if is_reached => context.line(text)?,
        Output::Text => context.note(format_args!("flipgate: {text}")),
    }
    Ok(if is_reached { Exit::Done } else { Exit::No })
}

/// For people.
fn outcome(deployment: &Value, aim: Aim) -> String {
    let app = deployment.pointer("/descriptor/appName").and_then(Value::as_str).unwrap_or_default();
    let what = format!("{app} {}", part(deployment, "version"));
    match (part(deployment, "status"), part(deployment, "reason")) {
        ("DEPLOYED", _) => format!("{what} is live"),
        ("UNDEPLOYED", _) => format!("{what} is gone"),
        ("FAILURE", _) if aim == Aim::Back => format!("{what} has gone back"),
        ("FAILURE", reason) => format!("{what} failed: {reason}"),
        (_, _) if is_warm(deployment) => format!("{what} is live; the version before is kept warm"),
        ("", _) => "its record is gone".to_owned(),
        (status, _) => format!("{what} is {status}"),
    }
}

/// True: the deployment is over, or as far as is waited for.
async fn once(
    context: &mut Context<'_, '_>,
    deployer: &Deployer,
    id: &str,
    aim: Aim,
    shown: &mut Shown,
    looks: &mut Interval,
) -> anyhow::Result<bool> {
    let mut lines = deployer.events(id, shown.seen).await?;
    let (mut number, mut is_end) = (None, false);
    loop {
        let line = tokio::select! {
            line = lines.next_bytes() => line?,
            _ = looks.tick(), if aim == Aim::Live => {
                let deployment = deployer.get(&deployer.deployment(id, "")).await?;
                if deployment.is_some_and(|deployment| is_warm(&deployment)) {
                    return Ok(true);
                }
                continue;
            }
        };
        let Some(line) = line else { return Ok(false) };
        let line = String::from_utf8_lossy(&line);
        match line.trim_end().split_once(':').map(|(name, value)| (name, value.trim_start())) {
            Some(("id", value)) => number = value.parse().ok(),
            Some(("event", value)) => is_end = value == "end",
            Some(("data", _)) if is_end => return Ok(true),
            Some(("data", value)) => {
                shown.line(context, value)?;
                shown.seen = number.unwrap_or(shown.seen);
            }
            _ => {}
        }
    }
}

/// What stands on the screen.
struct Shown {
    /// The last line's number.
    seen: u64,
    is_terminal: bool,
    /// The last line may be replaced.
    is_open: bool,
}

impl Shown {
    fn line(&mut self, context: &mut Context<'_, '_>, line: &str) -> anyhow::Result<()> {
        if context.output == Output::Json {
            let (at, text) = line.split_once(' ').unwrap_or(("", line));
            context.line(json!({ "event": "line", "at": at, "text": text }))?;
            return Ok(());
        }
        if !self.is_terminal {
            context.line(line)?;
            return Ok(());
        }
        let stays = is_milestone(line);
        let clear = if self.is_open { "\r\x1b[2K" } else { "" };
        let end = if stays { "\n" } else { "" };
        write!(context.io.stdout, "{clear}{}{end}", harmless(line))?;
        context.io.stdout.flush()?;
        self.is_open = !stays;
        Ok(())
    }

    fn close(&mut self, context: &mut Context<'_, '_>) -> anyhow::Result<()> {
        if std::mem::take(&mut self.is_open) {
            writeln!(context.io.stdout)?;
        }
        Ok(())
    }
}

/// Whether it says more than what is waited for.
fn is_milestone(line: &str) -> bool {
    let text = line.split_once(' ').map_or(line, |(_, text)| text);
    let told = text.split_once(": ").map_or(text, |(_, told)| told);
    told == "done" || !text.contains(": ") || text.starts_with("goes back")
}

#[cfg(test)]
mod tests {
    use super::is_milestone;

    #[test]
    fn what_is_waited_for_is_replaced() {
        for (text, stays) in [
            ("flip: begins", false),
            ("ready: 2 of 3 pods are ready", false),
            ("ready: done", true),
            ("goes back: health: not in time", true),
            ("version 2 is deployed", true),
        ] {
            assert_eq!(is_milestone(&format!("2026-01-01T00:00:00Z {text}")), stays, "{text}");
        }
    }
}
