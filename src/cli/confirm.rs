//! `flipgate confirm`: let removals that are held take effect.

use super::context::{Context, Exit, Output};
use super::flags::TargetFlags;
use super::table::{count, table};
use super::target::Target;
use crate::control::confirm::{KEY, to_value};
use crate::control::image::Confirmation;
use crate::model::Revision;
use crate::store::{Area, LeaseChoice, Operation, Store, Transaction};
use anyhow::{anyhow, bail};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;

/// Let a mass removal take effect that proxies or a registrar hold
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate confirm                                     what the proxy on this machine holds, for the whole fleet
  flipgate confirm --store etcd://127.0.0.1:2379       every removal up to the store's revision

When much disappears from the store at once, proxies keep serving it and say so, in case it was a mistake. This says that \
it was meant. A registrar holds a mass removal before it is written; it hears a confirmation that is given to the store.")]
pub(super) struct Confirm {
    /// Only show what is held
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: TargetFlags,
}

impl Confirm {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let client = match context.target(&self.target)? {
            Target::Store(_) if self.dry_run => {
                bail!(
                    "what is held, proxies know and not the store; leave --store away, or name a proxy with --admin URL"
                )
            }
            Target::Store(store) => return confirm_in_store(context, &store).await,
            Target::Admin(client) => client,
        };
        let answer = client.get("/v3/status").await?;
        if !answer.status.is_success() {
            bail!("{}: {}", client.url(), answer.message());
        }
        let held = answer.body.get("held").and_then(Value::as_u64).unwrap_or_default();
        if context.output == Output::Text {
            let problems = client.get("/v3/problems").await?.body;
            let rows: Vec<[String; 2]> = held_problems(&problems).collect();
            if !rows.is_empty() {
                context.say(table(["OBJECT", "REASON"], rows))?;
            }
        }
        if held == 0 || self.dry_run {
            let text =
                if held == 0 { "nothing is held".to_owned() } else { format!("{} held", objects(held)) };
            context.answer(text, || json!({ "held": held, "confirmed": 0 }))?;
            return Ok(Exit::Done);
        }
        let answer = client.post("/v3/confirm", &json!({})).await?;
        if !answer.status.is_success() {
            bail!("{}: {}", client.url(), answer.message());
        }
        let confirmed = answer.body.get("confirmed").and_then(Value::as_u64).unwrap_or(held);
        let text = format!("{} confirmed", objects(confirmed));
        context.answer(text, || json!({ "held": held, "confirmed": confirmed }))?;
        Ok(Exit::Done)
    }
}

fn objects(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "object")
}

/// Problems that name this verb are about what is held.
fn held_problems(problems: &Value) -> impl Iterator<Item = [String; 2]> {
    let problems = problems.get("problems").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |problem: &Value, name: &str| {
        problem.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let rows = problems.into_iter().map(move |problem| [text(&problem, "key"), text(&problem, "reason")]);
    rows.filter(|[_, reason]| reason.contains("flipgate confirm"))
}

async fn confirm_in_store(context: &mut Context<'_, '_>, store: &Arc<dyn Store>) -> anyhow::Result<Exit> {
    let failed = |error| anyhow!("{}: {error}", store.location());
    let (revision, _) = store.get(Area::State, KEY).await.map_err(failed)?;
    let by = (context.io.env)("USER")
        .filter(|user| !user.is_empty())
        .unwrap_or_else(|| "flipgate confirm".to_owned());
    store.commit(confirmation(revision, SystemTime::now(), &by)).await.map_err(failed)?;
    let text = format!("every removal up to revision {revision} is confirmed");
    context.answer(text, || json!({ "revision": revision }))?;
    Ok(Exit::Done)
}

fn confirmation(revision: Revision, at: SystemTime, by: &str) -> Transaction {
    let value = to_value(&Confirmation { revision, at }, by).to_string();
    let (area, key) = (Area::State, KEY.into());
    let put = Operation::Put { area, key, value: value.into(), lease: LeaseChoice::Keep };
    Transaction { expect: Vec::new(), operations: vec![put] }
}
