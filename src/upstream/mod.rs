//! CARRY: backends and their servers as requests see them: how they stand, who gets the next request, and over which
//! connection.
//!
//! What a server's [`Standing`] is follows from what the store says of it, what active checks found (`known`), and what
//! became of requests (`outlier`); a `view` holds those that get requests now, and `pick` chooses among them by turns
//! (`rotation`), by two draws, by recent `latency` or on the `ring`. What is open is counted in `circuit`, what may be
//! tried again in `budget`; `names` keeps where a name last led to. All of it is values and atomics that outlive tables; workers share it without a lock.

mod backend;
mod budget;
mod check;
mod circuit;
mod clock;
mod connect;
mod http2;
mod known;
mod latency;
mod names;
mod outlier;
mod pick;
mod pool;
mod ring;
mod rotation;
mod server;
mod sticky;
#[cfg(test)]
mod tests;
mod view;

pub use backend::{Backend, BackendGuard, HealthCounts};
pub use check::{CheckFailure, Checker};
pub use circuit::{ConnectionPermit, Full, PendingPermit};
pub use clock::mix;
pub use connect::{ConnectError, Connected, Connector};
pub use http2::{LocalExecutor, Multiplexed, StreamGuard};
pub use outlier::Observation;
pub use pick::Turn;
pub use pool::{Lent, Pool};
pub use server::{Server, ServerGuard, Standing};
pub use sticky::StickyKey;
