//! Pods that join a backend by their label, as vulcanized had it.

use super::Converted;
use crate::model::BackendId;
use crate::registrar::world::World;

pub(super) fn convert(_world: &World, _backend: &BackendId, _converted: &mut Converted) {}
