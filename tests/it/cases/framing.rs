//! HTTP/1.1: where a message begins and ends, H01 to H42.
