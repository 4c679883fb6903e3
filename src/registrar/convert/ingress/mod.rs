//! Ingresses, with the annotations of ingress-nginx.

mod annotations;

pub use annotations::{ANNOTATIONS, Annotation, PREFIX, Support};

use super::{Converted, Rules};
use crate::kubernetes::Name;
use crate::registrar::world::World;

pub(super) fn convert(_world: &World, _name: &Name, _rules: &Rules, _converted: &mut Converted) {}
