//! Nothing leads to the application any more.

use super::alias;
use super::back;
use super::change::removal;
use super::followed::{behind, watch};
use super::service;
use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::machine::Look;
use crate::deployer::world::World;
use crate::model::{Kind, ObjectKey};
use crate::store::{Area, Entry};

pub(super) async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    let all = world.store.list(Area::Routing).await?;
    let leading = all.entries.iter().filter(|entry| leads_to(charge, entry));
    let removal = removal(leading);
    if !removal.operations.is_empty() {
        let (backend, time) = (alias::green(charge), charge.deployment.descriptor.timeouts.drain);
        watch(world, charge, &backend, time).await?;
        let count = removal.operations.len();
        charge.save(removal).await?;
        charge.say(format!("{count} objects that led to {} are removed", charge.app));
        return Ok(Look::Waits("the proxies take it in".to_owned()));
    }
    match service::remove(world, charge).await? {
        Look::Done => {}
        other => return Ok(other),
    }
    // What was removed was removed with the last write of the deployment's record, or before it.
    let version = charge.version;
    match behind(world, charge, version, None).await? {
        Some(who) => Ok(Look::Waits(format!("the proxies take it in: {who}"))),
        None => {
            let backend = alias::green(charge);
            let waiting = back::empty(world, charge, &backend, version).await?;
            back::settled(world, charge, &backend, waiting).await
        }
    }
}

/// Whether an object is one of the application's that lead to its backends, and not a backend itself.
fn leads_to(charge: &Charge, entry: &Entry) -> bool {
    let key = &*entry.key;
    if key == alias::key(charge) {
        return true;
    }
    let is_ours = charge.application.keys.iter().any(|own| own == key)
        || charge.deployment.facts.before.contains_key(key);
    let kind = ObjectKey::parse(key).map(|key| key.kind());
    is_ours && !matches!(kind, Some(Kind::Backend | Kind::Server))
}
