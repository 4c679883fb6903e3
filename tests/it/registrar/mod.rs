//! The registrar as users run it: between a real Kubernetes and a real store, with proxies that follow.

mod many;
mod pods;
mod process;
