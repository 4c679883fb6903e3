//! Tests of the whole: the program as users run it, real sockets, real etcd, upstream servers of other people's making.
//!
//! `tests/run` runs them in a few minutes. With `FLIPGATE_FULL=1` (`tests/acceptance`) the same tests run at full
//! length and hold the figures to their bounds; `FLIPGATE_BIN` names the program to be tested then.
#![cfg(all(feature = "cli", feature = "etcd"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

mod cases;
#[cfg(feature = "kubernetes")]
mod deployer;
mod edge;
mod embed;
mod failures;
mod flip;
mod frontends;
mod fuzz;
mod house;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod middlewares;
mod moving;
mod program;
mod readme;
#[cfg(feature = "kubernetes")]
mod registrar;
mod spine;
mod store;
mod support;
mod top;
mod upstreams;
mod vulcand;
mod wire;
