//! The deployer, on a real Kubernetes: single stages, and the whole as pipelines use it, between cluster, store and
//! registrar, with proxies that follow.

mod amdatu;
mod away;
mod calls;
mod deaths;
mod ends;
mod fails;
mod process;
mod scene;
mod stages;
mod walk;
