//! Does what is written down: takes applications into this process's charge, and moves their deployments on.

use super::desk::Desk;
use super::world::World;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Follows the store into the desk's book, goes on with every deployment whose one in charge is dead, and runs those of
/// this process, until `stop`.
pub async fn run(_desk: Desk, _world: Arc<World>, _holder: String, stop: CancellationToken) {
    stop.cancelled().await;
}
