//! The alias leads where it did before, and nothing is open on the new version any more.

use super::alias::{self, Alias};
use super::flip::by;
use super::followed::{self, Record, adopt, behind, far, hear, since_entered, start, unwatch, watch};
use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::flips::Work;
use crate::deployer::machine::Look;
use crate::deployer::world::World;
use crate::flip::record::{Ending, MinHealthy, Phase, new_id};
use crate::flip::{FlipError, Planned, Request};
use crate::store::Transaction;
use std::time::SystemTime;

pub(super) async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    hear(charge)?;
    if let Some(look) = lapse(world, charge).await? {
        return Ok(look);
    }
    let (green, blue) = (alias::green(charge), alias::blue(charge));
    match alias::find(world, charge).await? {
        Alias::To { target, version, key } if target == green => match blue {
            Some(blue) => give_back(world, charge, &green, &blue).await,
            None => remove(world, charge, &green, (key, version)).await,
        },
        Alias::To { target, version, .. } if Some(&target) == blue.as_ref() => {
            drained(world, charge, &green, version).await
        }
        Alias::To { target, .. } => {
            charge.say(format!("the alias leads to {target}, where somebody has moved it; it stays"));
            Ok(Look::Done)
        }
        Alias::Absent if charge.deployment.facts.before.contains_key(&alias::key(charge)) => {
            removed(world, charge, &green).await
        }
        Alias::Absent | Alias::Other => Ok(Look::Done),
    }
}

/// Takes a flip away that is not written yet.
async fn lapse(world: &World, charge: &mut Charge) -> Result<Option<Look>, Trouble> {
    let Some(id) = charge.deployment.facts.flip.clone() else { return Ok(None) };
    match followed::record(world, &id).await? {
        Record::Open(open) if open.flip.phase == Phase::Prepare => {}
        // It may be about to write its record: what has to be taken away then is seen by the next look.
        Record::Gone if charge.flips.is_running(&id) => {
            charge.flips.stop(&id);
            return Ok(Some(Look::Waits("the flip is called off".to_owned())));
        }
        _ => return Ok(None),
    }
    // Of a flip that was not written, what goes on with it takes the record away.
    if !charge.flips.is_resuming(&id) {
        charge.flips.stop(&id);
        start(world, charge, &id, Work::Resume);
    }
    Ok(Some(Look::Waits("the flip is called off".to_owned())))
}

/// Lets the alias lead to the version before: as a rollback of the flip where the history has it, else by a flip.
async fn give_back(world: &World, charge: &mut Charge, green: &str, blue: &str) -> Result<Look, Trouble> {
    let waits = Ok(Look::Waits(format!("the alias is led back to {blue}")));
    let id = match charge.deployment.facts.undoing.clone() {
        Some(id) => id,
        None => {
            let id = new_id(SystemTime::now());
            charge.note(|facts| facts.undoing = Some(id.clone()), Transaction::default()).await?;
            id
        }
    };
    if charge.flips.is_running(&id) {
        return waits;
    }
    let wait = charge.deployment.descriptor.timeouts.drain;
    let target = format!("alias/{}", alias::id(charge));
    let work = match followed::record(world, &id).await? {
        // It was not written, and whoever ran it is gone.
        Record::Open(_) => Work::Resume,
        _ if charge.flips.refusal(&id).is_none() => Work::Rollback { target, by: by(charge), wait },
        _ => {
            let request = Request {
                targets: vec![(target, blue.to_owned())],
                expect: Some(green.to_owned()),
                min_healthy: MinHealthy::Count(0),
                force: true,
                bake: None,
                keep_warm_ms: None,
                by: by(charge),
            };
            match request.plan(&world.store, SystemTime::now()).await {
                Ok(Planned::Flip(mut flip)) => {
                    flip.id.clone_from(&id);
                    Work::Flip(flip, wait)
                }
                Ok(Planned::Already(_)) => return waits,
                Err(error @ FlipError::Store(_)) => return Err(error.into()),
                Err(error) => return Ok(Look::Failed(error.to_string())),
            }
        }
    };
    start(world, charge, &id, work);
    waits
}

/// Waits until nothing is open on the new version, for as long as requests may be open.
async fn drained(world: &World, charge: &mut Charge, green: &str, version: u64) -> Result<Look, Trouble> {
    let waiting = match charge.deployment.facts.undoing.clone() {
        Some(id) => match followed::record(world, &id).await? {
            Record::Open(open) => {
                adopt(world, charge, &open);
                let far = far(world, charge, &open).await?;
                (!far.safe).then_some(far.waiting)
            }
            Record::Past(_) | Record::Gone => None,
        },
        None if was_rolled_back(world, charge).await? => empty(world, charge, green, version).await?,
        None => None,
    };
    settled(world, charge, green, waiting).await
}

/// Whether the flip was written, and led back by its own bake.
async fn was_rolled_back(world: &World, charge: &Charge) -> Result<bool, Trouble> {
    let Some(id) = &charge.deployment.facts.flip else { return Ok(false) };
    let record = followed::record(world, id).await?;
    Ok(matches!(record, Record::Past(past) if past.ending == Ending::RolledBack))
}

/// The first version: there is nothing to lead back to.
async fn remove(
    world: &World,
    charge: &mut Charge,
    green: &str,
    (key, version): (Box<str>, u64),
) -> Result<Look, Trouble> {
    watch(world, charge, green, charge.deployment.descriptor.timeouts.drain).await?;
    charge.save(alias::removal(key, version)).await?;
    charge.say(format!("the alias {} is gone, as before", alias::id(charge)));
    Ok(Look::Waits("the proxies take it in".to_owned()))
}

/// Waits until nothing is open on the first version, and what came through the Service has had its time.
async fn removed(world: &World, charge: &mut Charge, green: &str) -> Result<Look, Trouble> {
    // The alias was removed with the last write of the deployment's record, or before it.
    let version = charge.version;
    let mut waiting = empty(world, charge, green, version).await?;
    if waiting.is_none() && since_entered(charge) < charge.deployment.descriptor.timeouts.cluster_drain {
        waiting = Some("time for what came through the Service to end".to_owned());
    }
    settled(world, charge, green, waiting).await
}

/// Who has not drained a backend that no record of a flip is about.
pub(super) async fn empty(
    world: &World,
    charge: &mut Charge,
    backend: &str,
    version: u64,
) -> Result<Option<String>, Trouble> {
    let time = charge.deployment.descriptor.timeouts.drain;
    watch(world, charge, backend, time).await?;
    behind(world, charge, version, Some(backend)).await
}

/// Waits for who has not drained it yet, for as long as requests may be open.
pub(super) async fn settled(
    world: &World,
    charge: &mut Charge,
    green: &str,
    waiting: Option<String>,
) -> Result<Look, Trouble> {
    if let Some(who) = waiting {
        if since_entered(charge) < charge.deployment.descriptor.timeouts.drain {
            return Ok(Look::Waits(format!("requests on {green} end: {who}")));
        }
        charge.say(format!("requests on {green} did not end in time, and it is not waited for them: {who}"));
    }
    unwatch(world, charge, green).await;
    Ok(Look::Done)
}
