//! Middlewares with real clients and servers, over HTTP/1.1 and HTTP/2.

mod breaker;
mod doors;
mod limits;
