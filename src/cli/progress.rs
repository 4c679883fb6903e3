//! How a flip is shown as it goes: the same lines whether this process runs it or a proxy does.

use super::api::ApiClient;
use super::context::{Context, Exit, Output};
use crate::flip::{Event, FlipError, Outcome};
use anyhow::{anyhow, bail};
use serde_json::Value;
use tokio::sync::mpsc;

/// A sink that can be handed to a runner, and where what it takes comes out.
pub(super) fn channel() -> (impl FnMut(Event) + Send, mpsc::UnboundedReceiver<Event>) {
    let (sender, events) = mpsc::unbounded_channel();
    // Whoever no longer reads does not stop a flip.
    (move |event| drop(sender.send(event)), events)
}

/// Shows events while `work` goes on, and its answer when it is there.
pub(super) async fn follow<T>(
    context: &mut Context<'_, '_>,
    id: &str,
    mut events: mpsc::UnboundedReceiver<Event>,
    work: impl Future<Output = T>,
) -> anyhow::Result<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => show(context, id, &event)?,
            answer = &mut work => {
                while let Ok(event) = events.try_recv() {
                    show(context, id, &event)?;
                }
                return Ok(answer);
            }
        }
    }
}

fn show(context: &mut Context<'_, '_>, id: &str, event: &Event) -> anyhow::Result<()> {
    match context.output {
        Output::Text => context.line(event)?,
        Output::Json => context.line(event.to_json(id))?,
    }
    Ok(())
}

/// Shows how it came out.
pub(super) fn end(context: &mut Context<'_, '_>, id: &str, outcome: &Outcome) -> anyhow::Result<Exit> {
    if context.output == Output::Json {
        context.line(outcome.to_json(id))?;
    }
    if let Some(message) = outcome.message() {
        context.note(format_args!("flipgate: {message}"));
    }
    Ok(exit(outcome.as_str()))
}

fn exit(outcome: &str) -> Exit {
    match outcome {
        "done" | "already" => Exit::Done,
        "notSafe" | "superseded" => Exit::NotSafe,
        _ => Exit::No,
    }
}

/// What could not be done: a negative answer, or an error.
pub(super) fn failed(context: &mut Context<'_, '_>, place: &str, error: FlipError) -> anyhow::Result<Exit> {
    match error {
        FlipError::Refused(reason) => {
            context.note(format_args!("flipgate: {reason}"));
            Ok(Exit::No)
        }
        FlipError::Invalid(reason) => bail!("{reason}"),
        FlipError::Store(error) => Err(anyhow!("{place}: {error}")),
    }
}

/// Lets a proxy do it, and shows what it tells.
pub(super) async fn through(
    context: &mut Context<'_, '_>,
    client: &ApiClient,
    path: &str,
    body: &Value,
) -> anyhow::Result<Exit> {
    let mut last = None;
    let mut lines = match client.post_lines(path, body).await? {
        Ok(lines) => lines,
        Err(refusal) => {
            context.note(format_args!("flipgate: {refusal}"));
            return Ok(Exit::No);
        }
    };
    while let Some(mut line) = lines.next().await? {
        let text = line.as_object_mut().and_then(|line| line.remove("text"));
        let is_end = line.get("event").and_then(Value::as_str) == Some("end");
        let is_already = line.get("outcome").and_then(Value::as_str) == Some("already");
        match (context.output, text.as_ref().and_then(Value::as_str)) {
            (Output::Json, _) => context.line(&line)?,
            (Output::Text, Some(text)) if is_end && !is_already => {
                context.note(format_args!("flipgate: {text}"))
            }
            (Output::Text, Some(text)) => context.line(text)?,
            (Output::Text, None) => {}
        }
        if is_end {
            last = Some(line);
        }
    }
    match last.as_ref().and_then(|line| line.get("outcome")).and_then(Value::as_str) {
        Some("error") => bail!("the flip was not done to its end"),
        Some(outcome) => Ok(exit(outcome)),
        None => bail!("{}: the answer broke off; `flipgate fleet` shows open flips", client.url()),
    }
}

/// Who asks, for the history.
pub(super) fn asker(context: &Context<'_, '_>) -> String {
    let user =
        (context.io.env)("USER").filter(|user| !user.is_empty()).unwrap_or_else(|| "somebody".to_owned());
    match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(machine) if !machine.trim().is_empty() => format!("{user}@{}", machine.trim()),
        _ => user,
    }
}
