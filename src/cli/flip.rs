//! `flipgate flip`: move traffic to another backend, over the whole fleet, and say when the old one may go.

use super::context::{Context, Exit, Output};
use super::flags::TargetFlags;
use super::progress;
use super::put::parse_duration;
use super::target::Target;
use crate::expr::Condition;
use crate::flip::record::{BakePlan, MinHealthy};
use crate::flip::{self, Planned, Request, Runner};
use crate::model::duration;
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime};

/// Move traffic to another backend, over the whole fleet in one step
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate flip frontend/shop=shop-green
  flipgate flip shop=shop-green --expect shop-blue          an alias, or a frontend, whichever has that id
  flipgate flip frontend/shop=green frontend/api=green      together, in one write
  flipgate flip alias/shop=shop-green --bake 60s --rollback-on 'error_ratio > 0.01 && requests >= 100'

Every proxy connects to the new side first; the flip is refused when it is not well. After the write it is shown how many \
proxies serve it, whether a request can still begin on the old side, what is open there, and when it is safe to destroy.

With --bake the new side is compared with the old side's last minute; if it is worse, the values before are written \
again. A condition knows error_ratio, requests, errors and latency_ms of the new side since the flip.

Exits with 0 when it is safe (and baked), 1 when nothing was changed or it was rolled back, 3 when it is written but was \
not safe within --wait.")]
pub(super) struct Flip {
    /// frontend/ID=BACKEND, alias/ID=BACKEND, or ID=BACKEND
    #[arg(value_name = "TARGET=BACKEND", required = true, value_parser = parse_move)]
    moves: Vec<(String, String)>,
    /// Only if all targets lead to this backend now
    #[arg(long, value_name = "BACKEND")]
    expect: Option<String>,
    /// Servers of the new side, a number or a share of them, that must be well in the eyes of every proxy
    #[arg(long, value_name = "N|P%", default_value = "1")]
    min_healthy: MinHealthy,
    /// Longest time until it is safe
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    wait: Duration,
    /// Compare the new side with the old one for so long, and go back if it is worse
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    bake: Option<Duration>,
    /// Go back also when this holds
    #[arg(long, value_name = "CONDITION", requires = "bake", value_parser = parse_condition)]
    rollback_on: Option<String>,
    /// Keep the old side warm for so long after it is safe
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    keep_warm: Option<Duration>,
    /// Do it whatever the proxies say of the new side
    #[arg(long)]
    force: bool,
    /// Only show what would be written
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: TargetFlags,
}

fn parse_move(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((target, backend)) if !target.is_empty() && !backend.is_empty() => {
            Ok((target.to_owned(), backend.to_owned()))
        }
        _ => Err("is not of the form TARGET=BACKEND, like frontend/shop=shop-green".to_owned()),
    }
}

fn parse_condition(text: &str) -> Result<String, String> {
    Condition::parse(text).map(|condition| condition.to_string()).map_err(|error| error.to_string())
}

impl Flip {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let by = progress::asker(context);
        let target = context.target(&self.target)?;
        let place = target.place();
        let store = match target {
            Target::Store(store) => store,
            Target::Admin(client) => {
                return progress::through(context, &client, "/v3/flips", &self.body(&by)).await;
            }
        };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let request = Request {
            targets: self.moves,
            expect: self.expect,
            min_healthy: self.min_healthy,
            force: self.force,
            bake: self.bake.map(|bake| BakePlan { millis: millis(bake), rollback_on: self.rollback_on }),
            keep_warm_ms: self.keep_warm.map(millis),
            by,
        };
        let flip = match request.plan(&store, SystemTime::now()).await {
            Ok(Planned::Flip(flip)) => flip,
            Ok(Planned::Already(targets)) => {
                let text = already(&targets, &request.targets);
                context
                    .answer(text, || json!({ "event": "end", "outcome": "already", "targets": targets }))?;
                return Ok(Exit::Done);
            }
            Err(error) => return progress::failed(context, &place, error),
        };
        if self.dry_run {
            return dry_run(context, &flip);
        }
        let id = flip.id.clone();
        let mut runner = match Runner::open(store).await {
            Ok(runner) => runner,
            Err(error) => return progress::failed(context, &place, error),
        };
        let (mut sink, events) = progress::channel();
        let work = runner.flip(*flip, self.wait, &mut sink);
        match progress::follow(context, &id, events, work).await? {
            Ok(outcome) => progress::end(context, &id, &outcome),
            Err(error) => progress::failed(context, &place, error),
        }
    }

    /// What the admin API takes.
    fn body(&self, by: &str) -> Value {
        let mut body = Map::new();
        let targets: Vec<Value> =
            self.moves.iter().map(|(target, to)| json!({ "target": target, "backend": to })).collect();
        body.insert("targets".into(), targets.into());
        body.insert("minHealthy".into(), self.min_healthy.to_string().into());
        body.insert("wait".into(), duration::format(self.wait).into());
        body.insert("by".into(), by.into());
        let texts = [
            ("expect", self.expect.clone()),
            ("bake", self.bake.map(duration::format)),
            ("rollbackOn", self.rollback_on.clone()),
            ("keepWarm", self.keep_warm.map(duration::format)),
        ];
        body.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into()))));
        for (name, yes) in [("force", self.force), ("dryRun", self.dry_run)] {
            body.insert(name.into(), yes.into());
        }
        body.into()
    }
}

fn already(targets: &[String], moves: &[(String, String)]) -> String {
    let backends: Vec<&str> = moves.iter().map(|(_, to)| to.as_str()).collect();
    match (targets, backends.first()) {
        ([target], Some(backend)) => format!("{target} leads to {backend} already"),
        _ => "all targets lead there already".to_owned(),
    }
}

fn dry_run(context: &mut Context<'_, '_>, flip: &flip::record::Flip) -> anyhow::Result<Exit> {
    for target in &flip.targets {
        let (from, to) = (target.from.join(", "), target.to.join(", "));
        match context.output {
            Output::Text => context.line(format_args!("{}: {from} -> {to}", target.target))?,
            Output::Json => context.line(json!({
                "event": "planned", "target": target.target, "from": target.from, "to": target.to,
            }))?,
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_split_at_its_last_sign() {
        let is = |target: &str, to: &str| Ok((target.to_owned(), to.to_owned()));
        assert_eq!(parse_move("frontend/a=b"), is("frontend/a", "b"));
        assert_eq!(parse_move("a=b=c"), is("a=b", "c"));
        for wrong in ["", "a", "a=", "=b"] {
            assert!(parse_move(wrong).is_err(), "{wrong}");
        }
    }
}
