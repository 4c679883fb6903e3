//! CARRY: backends and their servers as requests see them: who gets the next request, and over which connection.

mod backend;
mod connect;
mod pool;
mod server;

pub use backend::{Backend, BackendGuard};
pub use connect::{ConnectError, connect};
pub use pool::Pool;
pub use server::{Server, ServerGuard};
