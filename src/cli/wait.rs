//! `flipgate wait`: until the whole fleet is as far as a revision.

use super::context::{Context, Exit};
use super::flags::TargetFlags;
use super::progress;
use super::put::parse_duration;
use super::target::Target;
use crate::flip::record::{WATCH, new_id};
use crate::flip::{Fleet, Runner};
use crate::model::BackendId;
use crate::store::{Area, LeaseChoice, Operation, Store, Transaction};
use anyhow::{anyhow, bail};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How often a proxy is asked, through the admin API.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Wait until every proxy serves a revision
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate wait --revision 42
  flipgate wait --revision 42 --drained shop-blue      and nothing leads or is open to shop-blue

Exits with 1 when that is not so within --timeout, and names the proxies; a lost one counts.")]
pub(super) struct Wait {
    /// Every worker of every proxy serves it, or a later one
    #[arg(long, value_name = "REVISION")]
    revision: u64,
    /// Nothing in force names this backend, and no request is open to it
    #[arg(long, value_name = "BACKEND")]
    drained: Option<String>,
    /// Longest time to wait
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    timeout: Duration,
    #[command(flatten)]
    target: TargetFlags,
}

impl Wait {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let target = context.target(&self.target)?;
        let place = target.place();
        if let Some(backend) = &self.drained
            && let Err(error) = BackendId::try_from(backend.as_str())
        {
            bail!("--drained {backend:?}: {error}");
        }
        let until = Instant::now() + self.timeout;
        let missing = match target {
            Target::Store(store) => {
                let mut runner = match Runner::open(store.clone()).await {
                    Ok(runner) => runner,
                    Err(error) => return progress::failed(context, &place, error),
                };
                let own = new_id(SystemTime::now());
                self.watch(&store, &own, true).await?;
                let missing = loop {
                    let missing = self.missing(runner.fleet());
                    if missing.is_empty() || Instant::now() >= until {
                        break missing;
                    }
                    runner.changed(until.min(Instant::now() + ASK_EVERY)).await;
                };
                self.watch(&store, &own, false).await?;
                missing
            }
            Target::Admin(client) => {
                if self.drained.is_some() {
                    bail!("--drained needs the store itself: --store dir:PATH or --store etcd://HOST:PORT");
                }
                loop {
                    let answer = client.get("/v3/fleet").await?;
                    if !answer.status.is_success() {
                        bail!("{place}: {}", answer.message());
                    }
                    let missing = self.missing_of(&answer.body);
                    if missing.is_empty() || Instant::now() >= until {
                        break missing;
                    }
                    tokio::time::sleep(ASK_EVERY).await;
                }
            }
        };
        if missing.is_empty() {
            let text = match &self.drained {
                Some(backend) => format!("revision {} is served, and {backend} is drained", self.revision),
                None => format!("revision {} is served", self.revision),
            };
            context.answer(text, || json!({ "revision": self.revision, "drained": self.drained }))?;
            return Ok(Exit::Done);
        }
        context.note(format_args!("flipgate: {}", missing.join("; ")));
        Ok(Exit::No)
    }

    /// Asks the proxies to tell of the backend, or no longer.
    async fn watch(&self, store: &Arc<dyn Store>, own: &str, begins: bool) -> anyhow::Result<()> {
        // A key that names no backend makes proxies write how they are.
        let backend = self.drained.as_deref().unwrap_or("-");
        let (area, key) = (Area::State, format!("{WATCH}{backend}/{own}").into());
        let lease = match store.capabilities().leases {
            true => LeaseChoice::Ttl(self.timeout + Duration::from_secs(10)),
            false => LeaseChoice::Keep,
        };
        let operation = match begins {
            true => Operation::Put { area, key, value: "{}".into(), lease },
            false => Operation::Delete { area, key },
        };
        let transaction = Transaction { expect: Vec::new(), operations: vec![operation] };
        store.commit(transaction).await.map_err(|error| anyhow!("{}: {error}", store.location()))?;
        Ok(())
    }

    /// Who is not so far, and why.
    fn missing(&self, fleet: &Fleet) -> Vec<String> {
        let now = Instant::now();
        if fleet.members(now).is_empty() {
            return vec!["no proxy is there".to_owned()];
        }
        let mut missing = fleet.behind(self.revision, self.drained.as_deref(), now);
        missing.extend(fleet.lost(now).into_iter().map(|name| format!("{name} is lost")));
        missing.sort();
        missing
    }

    fn missing_of(&self, fleet: &Value) -> Vec<String> {
        let members = fleet.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
        if members.is_empty() {
            return vec!["no proxy is there".to_owned()];
        }
        let mut missing = Vec::new();
        for member in members {
            let name = member.get("name").and_then(Value::as_str).unwrap_or_default();
            let processes = member.get("processes").and_then(Value::as_array).cloned().unwrap_or_default();
            if processes.is_empty() {
                missing.push(format!("{name} is lost"));
            }
            let served = processes.iter().filter_map(|it| it.get("served").and_then(Value::as_u64));
            missing.extend(
                served
                    .filter(|served| *served < self.revision)
                    .map(|served| format!("{name} serves revision {served}")),
            );
        }
        missing
    }
}
