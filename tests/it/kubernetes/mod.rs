//! On a real Kubernetes.

mod cluster;
