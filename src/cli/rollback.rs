//! `flipgate rollback`: undo the last flip of a target in one write.

use super::context::{Context, Exit};
use super::flags::TargetFlags;
use super::progress;
use super::put::parse_duration;
use super::target::Target;
use crate::flip::Runner;
use crate::model::duration;
use serde_json::json;
use std::time::Duration;

/// Undo the last flip of a target in one write
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate rollback frontend/shop
  flipgate rollback shop --wait 10s

The values before the flip are written again, a split too, and nothing is asked first: it works while the flip still \
bakes, and with nothing around but the store. All targets of that flip go back together. Refused when a target was moved \
since by other means. Exits like `flipgate flip`.")]
pub(super) struct Rollback {
    /// frontend/ID, alias/ID, or a bare id where it is unique
    #[arg(value_name = "TARGET")]
    name: String,
    /// Longest time until it is safe
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    wait: Duration,
    #[command(flatten)]
    target: TargetFlags,
}

impl Rollback {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let by = progress::asker(context);
        let target = context.target(&self.target)?;
        let place = target.place();
        let store = match target {
            Target::Store(store) => store,
            Target::Admin(client) => {
                let body = json!({ "target": self.name, "wait": duration::format(self.wait), "by": by });
                return progress::through(context, &client, "/v3/rollback", &body).await;
            }
        };
        let mut runner = match Runner::open(store).await {
            Ok(runner) => runner,
            Err(error) => return progress::failed(context, &place, error),
        };
        let id = runner.rollback_id();
        let (mut sink, events) = progress::channel();
        let work = runner.rollback(&id, &self.name, &by, self.wait, &mut sink);
        match progress::follow(context, &id, events, work).await? {
            Ok(outcome) => progress::end(context, &id, &outcome),
            Err(error) => progress::failed(context, &place, error),
        }
    }
}
