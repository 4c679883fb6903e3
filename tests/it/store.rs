//! Stores against the real thing.

#[cfg(feature = "etcd")]
mod etcd;
