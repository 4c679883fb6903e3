//! The deployer, on a real Kubernetes.

mod stages;
