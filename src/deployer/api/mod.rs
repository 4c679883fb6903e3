//! The API that pipelines talk to: Amdatu's, and what it lacked.

use super::desk::Desk;
use axum::Router;

/// All of it.
pub fn router(_desk: Desk) -> Router {
    Router::new()
}
