//! The registrar as users run it: between a real Kubernetes and a real store, with proxies that follow. And what belongs
//! to it: the doctor, and the manifests.

mod doctor;
#[cfg(feature = "kubernetes")]
mod manifests;
#[cfg(feature = "kubernetes")]
mod many;
#[cfg(feature = "kubernetes")]
mod pods;
#[cfg(feature = "kubernetes")]
mod process;
