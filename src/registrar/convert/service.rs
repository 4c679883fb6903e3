//! Services with a route of their own.

use super::Converted;
use crate::kubernetes::Name;
use crate::registrar::world::World;

pub(super) fn convert(_world: &World, _name: &Name, _converted: &mut Converted) {}
