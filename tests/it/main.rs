//! Tests of the whole: real sockets, real etcd, real files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod store;
mod support;
