//! FLIP: traffic moves from one backend to another, over a whole fleet, in one write, and it is said when the old side
//! may die.
//!
//! [`record`] is what is written down of it in the state area, [`Fleet`] is what that area tells. [`request`] turns what
//! was asked into values to write. [`plan`] decides, from what is seen, what comes next: *prepare*, *guard*, *commit*,
//! *served*, *quiet*, *drained*, *safe*, *bake*, *closed*; it is pure. [`bake`] tells whether the new side is worse than
//! the old one was. A [`Runner`] carries it out against a store: the same for the command line, the admin API, and a
//! proxy that goes on with a flip whose owner has died. It speaks to the proxies only through the store.

pub mod bake;
mod fleet;
mod outcome;
mod past;
pub mod plan;
pub mod record;
mod report;
pub mod request;
mod runner;
mod told;
mod undo;

pub use fleet::{Fleet, MemberView, OpenFlip, SILENCE_MAX};
pub use outcome::Outcome;
pub use past::history;
pub use report::{forget, past_json, report};
pub use request::{Planned, Request};
pub use runner::{OWNER_TTL, Runner};
pub use told::{Event, Sink};

use crate::store::StoreError;

/// Why a flip was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlipError {
    /// It makes no sense as asked.
    #[error("{0}")]
    Invalid(String),
    /// What it is about is not as it would have to be; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// The store did not do what was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}
