//! The control plane: from a store's feed to a published table.
//!
//! [`image`] knows what the store says and which form of every object is in force; the [`Publisher`] compiles its
//! changes and swaps the table; [`journal`] keeps the image on disk for the day the store is away; [`Control`] shows how
//! things stand. [`confirm`] is how people release what a mass removal holds; [`membership`] is this proxy's part in the
//! fleet. [`check_servers`] asks servers how they are.

pub mod confirm;
mod health;
pub mod image;
pub mod journal;
pub mod membership;
mod publisher;
mod status;
#[cfg(test)]
mod tests;

pub use health::check_servers;
pub use publisher::{Parts, Publisher, STORE_WAIT};
pub use status::{Control, Status, Swaps};
