//! How a deployment is shown as it goes.
//!
//! In a terminal what it waits for is one line, which the next one replaces; elsewhere each line stays. For programs each
//! is an object, and the last one is the deployment.

use super::client::Deployer;
use crate::cli::context::{Context, Exit, Output, harmless};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::time::Duration;

/// Attempts to go on with a log that broke off, one after the other without a line in between.
const TRIES_MAX: u32 = 60;
const RETRY: Duration = Duration::from_secs(1);

/// Shows the log until the deployment is over, and how it came out. `judged`: failure is a negative answer.
pub(super) async fn to_the_end(
    context: &mut Context<'_, '_>,
    deployer: &Deployer,
    id: &str,
    judged: bool,
) -> anyhow::Result<Exit> {
    let mut shown = Shown { seen: 0, is_terminal: std::io::stdout().is_terminal(), is_open: false };
    let mut tries = 0;
    loop {
        let before = shown.seen;
        let result = tokio::select! {
            result = once(context, deployer, id, &mut shown) => result,
            _ = tokio::signal::ctrl_c() => {
                shown.close(context)?;
                context.note(format_args!("flipgate: it goes on; `flipgate logs {id} -f` shows how"));
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
    end(context, &deployment, judged)
}

fn end(context: &mut Context<'_, '_>, deployment: &Value, judged: bool) -> anyhow::Result<Exit> {
    let part = |name| deployment.get(name).and_then(Value::as_str);
    let status = part("status").unwrap_or("gone");
    match context.output {
        Output::Json => context.line(json!({ "event": "end", "deployment": deployment }))?,
        Output::Text => match part("reason") {
            Some(reason) => context.line(format_args!("{status}: {reason}"))?,
            None => context.line(status)?,
        },
    }
    let is_well = matches!(status, "DEPLOYED" | "UNDEPLOYED");
    Ok(if is_well || !judged { Exit::Done } else { Exit::No })
}

/// True: the deployment is over.
async fn once(
    context: &mut Context<'_, '_>,
    deployer: &Deployer,
    id: &str,
    shown: &mut Shown,
) -> anyhow::Result<bool> {
    let mut lines = deployer.events(id, shown.seen).await?;
    let (mut number, mut is_end) = (None, false);
    while let Some(line) = lines.next_bytes().await? {
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
    Ok(false)
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
