//! TLS and the PROXY protocol, L01 to L13.
