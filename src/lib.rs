//! Flipgate is an edge load balancer: it stands between the public internet and the pods, follows a routing table
//! kept in a store, and moves traffic between versions in one atomic step.
//!
//! # Words
//!
//! | word | meaning |
//! | --- | --- |
//! | downstream, upstream | the client's side, the pods' side of the proxy |
//! | listener | an address that accepts connections, with protocol, TLS settings and an optional scope |
//! | host | a TLS server name with its certificate |
//! | frontend | a route expression, settings and middlewares, and the backend it sends to |
//! | route, router | the parsed expression of a frontend; the index over all of them |
//! | middleware | one step that sees a request or an answer (rewrite, redirect, headers) |
//! | backend | a named group of servers with its balancing and timeouts; or an *alias* of a real backend |
//! | server | one upstream address, normally a pod's IP and port |
//! | object | any of the above as stored |
//! | store | where objects live: etcd, a directory, memory |
//! | revision | the store's version number |
//! | table | all valid objects compiled into one immutable value, with the revision it came from |
//! | problem | what is wrong with an object, and which form of it is in force |
//! | flip | the move of frontends or aliases from one backend to another |
//! | worker, inbox | one thread with its own event loop, sockets and upstream connections; the queue by which others talk to it |
//!
//! # Rooms
//!
//! Imports point down this list, never up and never sideways; `tests/it/house.rs` reads the sources and checks it.
//!
//! | layer | rooms |
//! | --- | --- |
//! | 7 | [`cli`] the verbs |
//! | 6 | [`app`] wiring: configuration in, running parts with their bound addresses out; the embedder's [`Gate`](app::Gate) |
//! | 5 | [`admin`] the API |
//! | 4 | [`proxy`] the data plane, and [`control`] the control plane, which do not know each other |
//! | 3 | [`table`] the compiled table, the one swap, and the board both planes share |
//! | 2 | [`route`] match, [`middleware`] change, [`upstream`] carry, [`store`] keep |
//! | 1 | [`message`] an HTTP message on its way, [`tls`], [`telemetry`], [`config`] |
//! | 0 | [`model`] the objects, [`expr`] the expression language |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod expr;
pub mod model;

pub mod config;
pub mod message;
pub mod telemetry;
pub mod tls;
pub mod wire;

pub mod middleware;
pub mod route;
pub mod store;
pub mod upstream;

pub mod table;

pub mod control;
pub mod proxy;

#[cfg(feature = "admin")]
pub mod admin;
pub mod app;
#[cfg(feature = "cli")]
pub mod cli;
