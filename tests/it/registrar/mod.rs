//! The registrar as users run it: between a real Kubernetes and a real store, with proxies that follow.

mod doctor;
mod many;
#[cfg(feature = "kubernetes")]
mod manifests;
mod pods;
mod process;
