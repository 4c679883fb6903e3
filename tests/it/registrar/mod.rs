//! The registrar and what belongs to it.

mod doctor;
#[cfg(feature = "kubernetes")]
mod manifests;
