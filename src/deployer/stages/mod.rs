//! What is done in each stage, and undone. Each is a look: it finds out how far things are, does what is still to do, and
//! says what it came to. So it makes no difference whether the same process looks again, or another one after a death.

pub(super) mod alias;
mod back;
mod bake;
mod certificate;
mod change;
mod create;
mod destroy;
mod detach;
mod drain;
mod flip;
mod followed;
mod health;
mod hook;
mod ready;
mod register;
mod route;
mod service;
#[cfg(test)]
mod tests;
mod validate;

use super::charge::{Charge, Trouble};
use super::cluster::Stop;
use super::machine::{Course, Look, Stage};
use super::record::ROOT;
use super::world::World;
use crate::store::Area;
use std::collections::BTreeMap;
use std::time::Duration;

/// One look at the stage in which the deployment is.
///
/// # Errors
/// The store did not take a write.
pub async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    let Some(position) = charge.deployment.position.clone() else { return Ok(Look::Done) };
    match (position.course, position.stage) {
        (Course::Forward, Stage::Validate) => validate::look(world, charge).await,
        (Course::Forward, Stage::Migrate) => hook::before(world, charge).await,
        (Course::Forward, Stage::Create) => create::look(world, charge).await,
        (Course::Forward, Stage::Ready) => ready::look(world, charge).await,
        (Course::Forward, Stage::Health) => health::look(world, charge).await,
        (Course::Forward, Stage::Register) => register::look(world, charge).await,
        (Course::Forward, Stage::Flip) => flip::look(world, charge).await,
        (Course::Forward, Stage::Route) => route::look(world, charge).await,
        (Course::Forward, Stage::Service) => service::look(world, charge).await,
        (Course::Forward, Stage::Bake) => bake::look(world, charge).await,
        (Course::Forward, Stage::Follow) => hook::after(world, charge).await,
        (Course::Forward, Stage::Drain) => drain::look(charge),
        (Course::Forward, Stage::KeepWarm) => drain::keep_warm(world, charge).await,
        (Course::Forward, Stage::Detach) => detach::look(world, charge).await,
        (Course::Forward, Stage::Destroy) => destroy::look(world, charge).await,
        (Course::Back, Stage::Migrate) => hook::undo_before(world, charge).await,
        (Course::Back, Stage::Create) => create::undo(world, charge).await,
        (Course::Back, Stage::Flip) => flip::undo(world, charge).await,
        (Course::Back, Stage::Route) => route::undo(world, charge).await,
        (Course::Back, Stage::Service) => service::undo(world, charge).await,
        (Course::Back, Stage::Follow) => hook::undo_after(world, charge).await,
        (Course::Back, _) => Ok(Look::Done),
    }
}

/// How long a stage may take; none: as long as it takes.
pub fn time(stage: Stage, charge: &Charge) -> Option<Duration> {
    const STEP: Duration = Duration::from_secs(60);
    let descriptor = &charge.deployment.descriptor;
    let hook =
        |hook: &Option<super::descriptor::Hook>| hook.as_ref().map_or(STEP, |hook| hook.timeout + STEP);
    Some(match stage {
        Stage::Validate | Stage::Create | Stage::Register | Stage::Route | Stage::Service => STEP,
        Stage::Migrate => hook(&descriptor.hooks.before),
        Stage::Follow => hook(&descriptor.hooks.after),
        Stage::Ready => descriptor.timeouts.ready,
        Stage::Health => descriptor.timeouts.health,
        Stage::Flip => descriptor.timeouts.flip,
        Stage::Bake => descriptor.flip.bake + descriptor.timeouts.drain,
        Stage::Drain | Stage::KeepWarm | Stage::Detach | Stage::Destroy => return None,
    })
}

/// Variables for all pods, as they stand now.
async fn environment(world: &World) -> Result<BTreeMap<String, String>, Stop> {
    let below = format!("{ROOT}environment/");
    let all = world.store.list(Area::State).await?;
    let variables = all.entries.iter().filter_map(|entry| {
        let name = entry.key.strip_prefix(&below)?;
        Some((name.to_owned(), String::from_utf8_lossy(&entry.value).into_owned()))
    });
    Ok(variables.collect())
}
