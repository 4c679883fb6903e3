//! Backends as the proxy uses them.
