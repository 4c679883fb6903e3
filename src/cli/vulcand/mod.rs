//! For those who come from vulcand: what it would do differently with what a store holds.

mod example;
mod names;
mod order;

pub(super) use names::{is_vulcands_prefix, shared};
pub(super) use order::{Differences, differences};
