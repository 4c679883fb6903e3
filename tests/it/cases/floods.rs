//! HTTP/2 floods, F01 to F14.
