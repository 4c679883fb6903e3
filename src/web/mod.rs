//! What our own HTTP servers share: connections, who calls, what is read from a request, and the form of errors.

pub mod access;
pub mod answer;
pub mod extract;
pub mod openapi;
mod serve;
mod tls;

pub use serve::{
    CONNECTIONS_MAX, ClientName, Peer, REQUEST_TIMEOUT, common_fields, in_time, is_text, serve, serve_tls,
};
pub use tls::{ServerTls, TlsError, TlsFiles};
