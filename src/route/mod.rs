//! Which frontend takes a request.
//!
//! [`Router`] is the index over the routes of all frontends, and [`ShardedMap`] the map by which a table finds its
//! objects. Both are persistent: a clone costs nothing, and an edit of a clone copies the few nodes on its way and
//! shares all others with the original.
//!
//! Among the routes that match a request, the first by [`Rank`] wins, or, where a proxy is asked to keep vulcand's order,
//! the one that vulcand would prefer.

mod entry;
mod group;
mod listing;
mod query;
mod rank;
mod router;
mod sharded;
mod tree;
mod vulcand;

#[cfg(test)]
mod tests;

pub use listing::{Candidate, Outcome, Ranked};
pub use query::{Lookup, NoLookup, Params, Query};
pub use rank::{HostRank, PathRank, Rank};
pub use router::Router;
pub use sharded::ShardedMap;
pub use vulcand::{is_vulcands, lost_by_vulcand};
