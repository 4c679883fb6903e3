//! Until the flip's record is closed: the new side did well, and the old one is safe.

use super::alias::{self, Alias};
use super::drain::seconds_left;
use super::followed::{self, Open, Record};
use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::machine::Look;
use crate::deployer::world::World;
use crate::flip::record::{Ending, Past, unix_ms};
use std::time::{Duration, SystemTime};

pub(super) async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    followed::hear(charge)?;
    // A first version has nothing to be compared with.
    let Some(id) = charge.deployment.facts.flip.clone() else { return Ok(Look::Done) };
    match followed::record(world, &id).await? {
        Record::Open(open) => {
            followed::adopt(world, charge, &open);
            let far = followed::far(world, charge, &open).await?;
            Ok(Look::Waits(text(&open, &far.waiting)))
        }
        Record::Past(past) => Ok(over(&past)),
        Record::Gone => match alias::find(world, charge).await? {
            Alias::To { target, .. } if target == alias::green(charge) => {
                charge.say("the flip's record is gone, and the alias leads to the new version");
                Ok(Look::Done)
            }
            _ => Ok(Look::Failed("the flip's record is gone, and the alias leads elsewhere".to_owned())),
        },
    }
}

/// How a flip that is over leaves the deployment.
pub(super) fn over(past: &Past) -> Look {
    match past.ending {
        Ending::Closed => Look::Done,
        Ending::RolledBack => Look::Failed(format!("the flip was rolled back: {}", past.reason)),
        Ending::Superseded => Look::Failed(format!("the flip was overtaken: {}", past.reason)),
    }
}

/// `baking, 12s left; draining: gate-1: 3 requests are open on the old side`
fn text(open: &Open, waiting: &str) -> String {
    let mut texts = Vec::new();
    if let Some(bake) = &open.flip.bake {
        let passed = unix_ms(SystemTime::now()).saturating_sub(open.flip.committed_at);
        let left = seconds_left(Duration::from_millis(bake.millis), Duration::from_millis(passed));
        texts.extend(left.map(|left| format!("baking, {left} left")));
    }
    if !waiting.is_empty() {
        texts.push(format!("draining: {waiting}"));
    }
    if texts.is_empty() { "the flip's record is about to be closed".to_owned() } else { texts.join("; ") }
}
