//! TLS: certificates and which of them a client is shown, session tickets, and the settings of both sides.
//!
//! Everything here takes its cryptography from [`provider`], which is passed on explicitly and never installed for
//! the whole process, so that a program which embeds Flipgate keeps its own choice.
//!
//! The way of a certificate: a host object names a [`KeyPairSource`](crate::model::KeyPairSource), which
//! [`Certificate::load`] turns into a checked [`Certificate`]; all of them together make one immutable [`Certificates`];
//! and the table that holds them is swapped without touching a connection.

pub mod certificate;
pub mod certificates;
pub mod client;
pub mod client_auth;
mod keeper;
pub mod seal;
pub mod server;
mod subject;
pub mod tickets;

#[cfg(test)]
mod resolver;
#[cfg(test)]
mod tests;

pub use certificate::{Certificate, CertificateError, CertificateWarning};
pub use certificates::Certificates;
pub use client::{ClientTls, ClientTlsError, Trust, client_config};
pub use client_auth::{ClientAuthError, ClientPolicies, ClientPolicy, HostTls};
pub use keeper::{Keeper, with_pair, without_pair};
pub use seal::{SealError, SealKeys, Sealed};
pub use server::{provider, server_config};
pub use subject::{common_name, describe_client};
pub use tickets::{TicketRing, TicketRings};
