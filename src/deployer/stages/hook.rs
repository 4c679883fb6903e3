//! Jobs before and after the flip.

use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::machine::Look;
use crate::deployer::world::World;

pub(super) async fn before(_world: &World, _charge: &mut Charge) -> Result<Look, Trouble> {
    Ok(Look::Done)
}

pub(super) async fn undo_before(_world: &World, _charge: &mut Charge) -> Result<Look, Trouble> {
    Ok(Look::Done)
}

pub(super) async fn after(_world: &World, _charge: &mut Charge) -> Result<Look, Trouble> {
    Ok(Look::Done)
}

pub(super) async fn undo_after(_world: &World, _charge: &mut Charge) -> Result<Look, Trouble> {
    Ok(Look::Done)
}
