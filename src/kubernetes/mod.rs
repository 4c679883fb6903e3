//! What Flipgate needs of Kubernetes and no more: a client, the lease that one of several holds, names, and
//! which namespace may have which hosts.

mod ask;
mod client;
mod hosts;
pub mod lease;
mod name;

pub use ask::{Backoff, Pauses, Refusal, in_time, only};
pub use client::{Access, ConnectError, Target, connect, explain};
pub use hosts::Hosts;
pub use name::Name;
