//! The registrar and what belongs to it.

mod doctor;
#[cfg(feature = "kubernetes")]
mod import;
#[cfg(feature = "kubernetes")]
mod manifests;
#[cfg(feature = "kubernetes")]
mod told;
