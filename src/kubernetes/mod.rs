//! What Flipgate needs of Kubernetes and no more: a client, the lease that one of several holds, and names.

mod name;

pub use name::Name;
