//! The gate stands: a proxy on real etcd, re-routed by one key edit. Each file holds one line of what must be shown.

pub mod bad_objects;
mod cpu;
mod demo;
mod embedding;
mod flips;
mod latency;
mod streams;
mod transactions;
