//! HTTP/1.1 over the wire, byte for byte.
