//! The alias moves, by the procedure of all flips.

use super::alias::{self, Alias};
use super::followed::{self, Open, Record, adopt, behind, far, hear, start};
use super::{back, bake};
use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::flips::Work;
use crate::deployer::machine::Look;
use crate::deployer::world::World;
use crate::flip::record::{BakePlan, Phase};
use crate::flip::{FlipError, Planned, Request};
use crate::store::Transaction;
use std::time::SystemTime;

/// Refusals after which the new version counts as not fit: one may come of a store that was away meanwhile.
const REFUSALS_MAX: usize = 3;

pub(super) async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    hear(charge)?;
    if let Some(id) = charge.deployment.facts.flip.clone() {
        match followed::record(world, &id).await? {
            Record::Open(open) => return under_way(world, charge, &open).await,
            Record::Past(past) => return Ok(bake::over(&past)),
            Record::Gone if charge.flips.is_running(&id) => {
                return Ok(Look::Waits("the flip is being written".to_owned()));
            }
            Record::Gone => {
                if let Some(reason) =
                    charge.flips.refusal(&id).filter(|_| charge.flips.refusals() >= REFUSALS_MAX)
                {
                    return Ok(Look::Failed(reason.to_owned()));
                }
            }
        }
    }
    let green = alias::green(charge);
    match alias::find(world, charge).await? {
        Alias::Absent => create(charge, &green).await,
        Alias::To { target, version, .. } if target == green => {
            let behind = behind(world, charge, version, None).await?;
            Ok(behind.map_or(Look::Done, |who| Look::Waits(format!("the alias leads to {green}: {who}"))))
        }
        Alias::To { target, .. } if alias::blue(charge).as_ref() == Some(&target) => {
            begin(world, charge, &target, &green).await
        }
        Alias::To { target, .. } => Ok(Look::Failed(format!(
            "the alias {} leads to {target}, which is not the version before: somebody has moved it",
            alias::id(charge)
        ))),
        Alias::Other => Ok(Look::Failed(format!("backend {} is no alias", alias::id(charge)))),
    }
}

pub(super) async fn undo(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    back::look(world, charge).await
}

/// The first version: the alias is made, and that it was not there before is written down with it.
async fn create(charge: &mut Charge, green: &str) -> Result<Look, Trouble> {
    let (key, creation) = (alias::key(charge), alias::creation(charge, green));
    charge.note(|facts| drop(facts.before.insert(key, None)), creation).await?;
    charge.say(format!("the alias {} leads to {green}, for the first time", alias::id(charge)));
    Ok(Look::Waits("the proxies take the alias in".to_owned()))
}

/// Writes the flip's id down, and begins it.
async fn begin(world: &World, charge: &mut Charge, blue: &str, green: &str) -> Result<Look, Trouble> {
    let request = match request(charge, blue, green) {
        Ok(request) => request,
        Err(reason) => return Ok(Look::Failed(reason)),
    };
    let flip = match request.plan(&world.store, SystemTime::now()).await {
        Ok(Planned::Flip(flip)) => flip,
        Ok(Planned::Already(_)) => return Ok(Look::Waits("the alias leads there already".to_owned())),
        Err(error @ FlipError::Store(_)) => return Err(error.into()),
        Err(error) => return Ok(Look::Failed(error.to_string())),
    };
    let id = flip.id.clone();
    charge.note(|facts| facts.flip = Some(id.clone()), Transaction::default()).await?;
    let descriptor = &charge.deployment.descriptor;
    let wait = descriptor.timeouts.flip + descriptor.flip.bake + descriptor.timeouts.drain;
    start(world, charge, &id, Work::Flip(flip, wait));
    Ok(Look::Waits(format!("the proxies get ready for {green}")))
}

fn request(charge: &Charge, blue: &str, green: &str) -> Result<Request, String> {
    let plan = &charge.deployment.descriptor.flip;
    let bake = (!plan.bake.is_zero()).then(|| BakePlan {
        millis: u64::try_from(plan.bake.as_millis()).unwrap_or(u64::MAX),
        rollback_on: plan.rollback_on.clone(),
    });
    Ok(Request {
        targets: vec![(format!("alias/{}", alias::id(charge)), green.to_owned())],
        expect: Some(blue.to_owned()),
        min_healthy: plan.min_healthy.parse()?,
        force: false,
        bake,
        keep_warm_ms: None,
        by: by(charge),
    })
}

/// Who asks for flips.
pub(super) fn by(charge: &Charge) -> String {
    format!("deployer {}-{}", charge.app.name, charge.deployment.version)
}

/// Waits until the proxies serve it, or, before it is written, until they are ready.
async fn under_way(world: &World, charge: &mut Charge, open: &Open) -> Result<Look, Trouble> {
    adopt(world, charge, open);
    if open.flip.phase == Phase::Prepare {
        return Ok(Look::Waits(match charge.flips.last_line(&open.flip.id) {
            "" => "the proxies get ready".to_owned(),
            line => format!("the proxies get ready: {line}"),
        }));
    }
    let far = far(world, charge, open).await?;
    Ok(if far.served { Look::Done } else { Look::Waits(format!("the proxies take it in: {}", far.waiting)) })
}
