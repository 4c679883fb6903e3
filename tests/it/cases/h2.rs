//! From HTTP/2 to HTTP/1.1, T01 to T13.
