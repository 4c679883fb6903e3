//! Times that only pass.

use super::alias::{self, Alias};
use super::followed::since_entered;
use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::machine::Look;
use crate::deployer::world::World;
use std::time::Duration;

pub(super) fn look(charge: &mut Charge) -> Result<Look, Trouble> {
    let left = left(charge, charge.deployment.descriptor.timeouts.cluster_drain);
    Ok(left.map_or(Look::Done, |left| {
        Look::Waits(format!("time for what came through the Service to end, {left} left"))
    }))
}

pub(super) async fn keep_warm(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    let Some(previous) = &charge.deployment.facts.previous else { return Ok(Look::Done) };
    // Somebody flipped by hand: from the next stage on there would be no way back.
    let blue = &previous.made.backend;
    if matches!(alias::find(world, charge).await?, Alias::To { target, .. } if target == *blue) {
        return Ok(Look::Failed(format!("somebody has led the alias {} back to {blue}", alias::id(charge))));
    }
    let left = left(charge, charge.deployment.descriptor.flip.keep_warm);
    Ok(left.map_or(Look::Done, |left| {
        Look::Waits(format!("version {} is kept warm, {left} left", previous.version))
    }))
}

/// What is left of a time since the stage began, in whole seconds.
fn left(charge: &Charge, time: Duration) -> Option<String> {
    seconds_left(time, since_entered(charge))
}

/// What is left of a time, for people; none: nothing.
pub(super) fn seconds_left(time: Duration, passed: Duration) -> Option<String> {
    let left = time.saturating_sub(passed);
    (!left.is_zero()).then(|| format!("{}s", left.as_millis().div_ceil(1_000)))
}
