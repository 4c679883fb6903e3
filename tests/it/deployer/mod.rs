//! The deployer as pipelines use it: between a real Kubernetes and a real store, with a registrar and proxies that
//! follow.

mod away;
mod calls;
mod deaths;
mod ends;
mod fails;
mod process;
mod scene;
