//! Tests of the whole: real sockets, real etcd, real files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
#![allow(unreachable_pub, missing_docs)]

mod store;
mod support;
