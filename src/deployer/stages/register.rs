//! All ready pods are servers of the backend.

use super::{alias, followed};
use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::machine::Look;
use crate::deployer::world::World;
use crate::model::{Object, ObjectKey, ServerState, Strictness};
use crate::store::{Area, Entry};
use std::time::Duration;

/// How long a registrar may take before somebody asks whether there is one.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    let backend = alias::green(charge);
    let all = world.store.list(Area::Routing).await?;
    let (active, other) = count(&all.entries, &backend);
    let wanted = charge.deployment.descriptor.replicas;
    if active >= wanted {
        charge.say(format!("{active} servers of {backend} take requests"));
        return Ok(Look::Done);
    }
    let mut text = format!("{active} of {wanted} servers of {backend} are in the store and take requests");
    if other > 0 {
        text.push_str(&format!(", {other} more do not"));
    }
    if followed::since_entered(charge) >= PATIENCE {
        text.push_str(&format!("; is a registrar running for the namespace {}?", charge.app.namespace));
    }
    Ok(Look::Waits(text))
}

/// Servers of a backend that take requests, and those that do not.
fn count(entries: &[Entry], backend: &str) -> (u32, u32) {
    let below = format!("backends/{backend}/servers/");
    let (mut active, mut other) = (0, 0);
    for entry in entries.iter().filter(|entry| entry.key.starts_with(&below)) {
        let parsed = ObjectKey::parse(&entry.key)
            .and_then(|key| Object::parse(&key, &entry.value, Strictness::Stored).object);
        match parsed {
            Some(Object::Server(server)) if server.state == ServerState::Active => active += 1,
            _ => other += 1,
        }
    }
    (active, other)
}
