//! The deployer: takes a descriptor, starts the new version beside the old one, flips the fleet in one movement, and
//! destroys the old version or goes back.
//!
//! # A deployment, hop by hop
//!
//! 1. [`api`] says who calls, reads a [`Descriptor`](descriptor::Descriptor) and asks the [`Desk`](desk::Desk).
//! 2. The desk writes down a [`Deployment`](record::Deployment), and that its application is in this process's
//!    [charge](charge::Charge): one transaction, so that of two calls at once one runs.
//! 3. [`runner`] looks at the stage in which the deployment is ([`stages`]); [`machine`] says what comes next; that is
//!    written down; then the next look. A process that dies leaves all it knew in the store, and another one, or the same
//!    one started again, goes on with the next look.
//! 4. The [`Book`](book::Book) follows what is written, for those who ask how things are.
//!
//! # Who may write
//!
//! A lock under a lease says that somebody is alive, no more. What keeps two from acting is compared with each write: in
//! the store the application's record, which whoever takes over writes; in the cluster the uid and resourceVersion of
//! the object, which whoever takes over stamps with their term.

pub mod api;
pub mod book;
mod capacity;
pub mod charge;
pub mod cluster;
pub mod descriptor;
pub mod desk;
mod flips;
pub mod machine;
mod maintenance;
mod objects;
pub mod record;
mod routing;
pub mod runner;
pub mod stages;
#[cfg(test)]
mod testing;
pub mod world;
