//! The Service within the cluster.

use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::machine::Look;
use crate::deployer::world::World;

pub(super) async fn look(_world: &World, _charge: &mut Charge) -> Result<Look, Trouble> {
    Ok(Look::Done)
}

pub(super) async fn undo(_world: &World, _charge: &mut Charge) -> Result<Look, Trouble> {
    Ok(Look::Done)
}

/// Takes the Service away; it is no error that there is none.
pub(super) async fn remove(_world: &World, _charge: &mut Charge) -> Result<Look, Trouble> {
    Ok(Look::Done)
}
