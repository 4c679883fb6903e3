//! What tests run against.

#[cfg(feature = "etcd")]
pub mod etcd;
