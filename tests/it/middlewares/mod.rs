//! Middlewares with real clients and servers, over HTTP/1.1 and HTTP/2.

mod compress;
mod cors;
mod forwardauth;
mod mirror;
mod trace;
mod way;
