//! `flipgate delete`: remove exactly one object.

use super::check::load;
use super::context::{Context, Exit};
use super::flags::TargetFlags;
use super::put::{Expect, warn_kept};
use super::target::{Committed, Target, objects, short};
use crate::model::{Kind, ObjectKey, Strictness};
use crate::store::{Area, Expected, Operation, Transaction};
use serde_json::json;

/// Remove one object
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate delete server shop-blue/a
  flipgate delete middleware shop/limit
  flipgate delete backend shop-blue --force

Exactly this object is removed, nothing below it. A backend that frontends or aliases name, and a shared middleware that \
frontends name, is removed only with --force; what named the backend then answers 503.")]
pub(super) struct Delete {
    /// listener, host, frontend, middleware, backend or server
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Id, or PARENT/ID of a server or a frontend's middleware
    #[arg(value_name = "ID")]
    id: String,
    /// Remove it only if it has this modification revision
    #[arg(long, value_name = "REVISION")]
    expect: Option<Expect>,
    /// Remove it although others name it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: TargetFlags,
}

impl Delete {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let key = ObjectKey::from_kind_id(self.kind, &self.id)?;
        let target = context.target(&self.target)?;
        let (kind, id) = (key.kind(), key.id());
        let (_, Some(stored)) = target.get(&key).await? else {
            context.note(format_args!("flipgate: there is no {kind} {id} in {}", target.place()));
            return Ok(Exit::No);
        };
        if !self.force
            && let Some(naming) = naming(&target, &key).await?
        {
            context.note(format_args!(
                "flipgate: {kind} {id} is named by {naming}; change those first, or remove it with --force"
            ));
            return Ok(Exit::No);
        }
        if matches!(self.expect, Some(Expect::Version(version)) if version != stored.version) {
            context.note(format_args!(
                "flipgate: {kind} {id} has the modification revision {}; nothing was removed",
                stored.version
            ));
            return Ok(Exit::No);
        }
        if let Ok(value) = serde_json::from_slice(&stored.value) {
            warn_kept(context, &key, &value, "write it without `Owner` first, and then remove it");
        }
        // Both forms, or the one left over would be the object again.
        let keys = [Some(key.canonical()), short(&key)].into_iter().flatten();
        let delete = |key: String| Operation::Delete { area: Area::Routing, key: key.into() };
        let expect = vec![(Area::Routing, stored.key, Expected::Version(stored.version))];
        let transaction = Transaction { expect, operations: keys.map(delete).collect() };
        match target.commit(transaction).await? {
            Committed::At(revision) => {
                let text = format!("{kind} {id} removed at revision {revision}");
                context.answer(text, || json!({ "revision": revision }))?;
                Ok(Exit::Done)
            }
            Committed::Conflict(message) => {
                context.note(format_args!("flipgate: {message}; nothing was removed"));
                Ok(Exit::No)
            }
        }
    }
}

/// Who names an object, for people.
async fn naming(target: &Target, key: &ObjectKey) -> anyhow::Result<Option<String>> {
    if !matches!(key, ObjectKey::Backend(_) | ObjectKey::SharedMiddleware(_)) {
        return Ok(None);
    }
    let (entries, _) = objects(target.list().await?);
    let (loaded, _) = load(&entries, Strictness::Stored);
    let naming: Vec<String> =
        loaded.naming(key).iter().map(|(key, _)| format!("{} {}", key.kind(), key.id())).collect();
    Ok((!naming.is_empty()).then(|| naming.join(", ")))
}
