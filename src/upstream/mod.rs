//! CARRY: backends and their servers as requests see them: who gets the next request, and over which connection.

mod backend;
mod connect;
mod http2;
mod pool;
mod server;

pub use backend::{Backend, BackendGuard, ConnectionPermit, Observation, Turn};
pub use connect::{ConnectError, Connected, Connector};
pub use http2::{LocalExecutor, Multiplexed, StreamGuard};
pub use pool::{Lent, Pool};
pub use server::{Server, ServerGuard};
