//! What Flipgate needs of Kubernetes and no more: a client, the lease that one of several holds, and names.

mod ask;
mod client;
pub mod lease;
mod name;

pub use ask::{Backoff, Pauses, Refusal, in_time, only};
pub use client::{Access, ConnectError, Target, connect, explain};
pub use name::Name;
