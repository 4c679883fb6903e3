//! The registrar and what belongs to it, as users run it: between a real Kubernetes and a real store, with proxies that
//! follow.

mod doctor;
mod failures;
mod import;
mod ingress;
mod manifests;
mod many;
mod pods;
pub mod process;
mod told;
mod walk;
