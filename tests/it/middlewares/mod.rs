//! Middlewares with real clients and servers, over HTTP/1.1 and HTTP/2.

mod breaker;
mod compress;
mod cors;
mod doors;
mod forwardauth;
mod limits;
mod mirror;
mod trace;
mod way;
