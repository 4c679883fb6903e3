//! The registrar keeps the store in step with Kubernetes: pods come and go, the routing table follows by itself.
//!
//! # A change in the cluster, hop by hop
//!
//! 1. [`watch`](watch::watch) lists and watches each kind; an object is cut down to what matters ([`seen`]) as it arrives.
//! 2. [`World`] takes it in and says which [`Unit`]s it concerns: the pods of one backend, a Service, an Ingress.
//! 3. [`convert`](convert::convert) says, for one unit, which objects should stand in the store. It is a pure function of
//!    the world.
//! 4. [`ledger`] puts the claims of all units together: who wants a key, and what it should hold. Where two units want
//!    different values, the older one wins and the other has a [`Note`].
//! 5. [`plan`] compares with the store as the registrar follows it ([`image`]), and makes the fewest transactions; one
//!    change is one transaction if it fits. Nothing is removed while a kind is not followed, and a mass removal waits for
//!    `flipgate confirm` (`hold`).
//! 6. [`runner`] commits them while this process leads, each under the leader's [`epoch`], and waits for the store's own
//!    word of it. Its [`Core`](runner::Core) holds what the steps from 2 on know and decide, without a store or a clock.
//! 7. What is said back: [`Notes`] go to [`events`] on the objects and to [`health`], the edge's addresses to the
//!    [`status`] of Ingresses, and how things stand is [`progress`].
//!
//! An object of the registrar's says so in its field `Owner`, which begins with the cluster's name and a colon. What has
//! no such `Owner` is never touched; who takes the field away takes the object over.

pub mod convert;
mod digest;
pub mod epoch;
pub mod events;
pub mod health;
mod hold;
pub mod image;
pub mod ledger;
pub mod metrics;
#[cfg(test)]
mod mock;
mod note;
mod notes;
mod pace;
pub mod plan;
pub mod progress;
mod remarks;
pub mod runner;
pub mod seen;
mod shared;
pub mod status;
mod unit;
pub mod watch;
mod world;

pub use note::{Note, problems};
pub use notes::{Finder, Notes};
pub use unit::{Source, Unit};
pub use world::{Change, Kind, World};
