//! Flipgate is an edge load balancer: it stands between the public internet and the pods, follows a routing table
//! kept in a store, and moves traffic between versions in one atomic step.
//!
//! The `flipgate` program is made of this library, and any program on Tokio can hold it as a part of its own: see
//! [below](#within-a-program). What the program's flags, keys and files mean stands in the README; this page is about
//! how it is built.
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
//! | split | the backends among which a frontend shares its requests, by weight and by pins |
//! | middleware | one step that sees a request or an answer: it changes, answers, copies or records it, or asks another service about it |
//! | backend | a named group of servers with its balancing and timeouts; or an *alias* of a real backend |
//! | server | one upstream address, normally a pod's IP and port |
//! | standing | whether a server may get requests, by its state, its checks and what requests told: well, unknown, unwell, ejected, draining or disabled |
//! | object | any of the above as stored |
//! | store | where objects live: etcd, a directory, memory |
//! | revision | the store's version number |
//! | table | all valid objects compiled into one immutable value, with the revision it came from |
//! | problem | what is wrong with an object, and which form of it is in force |
//! | flip | the move of frontends or aliases from one backend to another; a recorded procedure whose commit is one write |
//! | trust | whose word counts for who a client is: its own, or that of proxies in known networks before this one |
//! | page | what a client reads in place of an answer's bare words |
//! | meter | a count over a time of late, shared by all workers: of a rate, of a breaker, of `top` |
//! | trace | the record of one request that a middleware asks for |
//! | member, fleet | a proxy that follows a store; all of them |
//! | served, quiet, drained, safe | every worker uses a table of the revision; no older request can still begin an attempt; nothing is open on the old side; nothing in force names it and every member has drained it |
//! | registrar, unit | the process that keeps the store in step with Kubernetes; a part of the cluster that it converts as one |
//! | source, owner | the object of the cluster that something comes from; the field of a stored object that names its registrar's cluster and its source |
//! | claim, ledger | what one unit wants to stand at a key; the claims of all units, and who gets each key |
//! | note | what the author of an object in the cluster must know: what is wrong with it, or not carried over |
//! | epoch | the time in office of the registrar that leads, as a key of the store that each of its transactions expects |
//! | deployer, application, deployment | the server that performs blue/green deployments; what is deployed, over all its versions; one version's way to life and away again |
//! | stage, course | a part of a deployment that is done or undone as one; which of the two: forward or back |
//! | look | one visit to a stage, which does what is still to do and says what it came to |
//! | charge, term | an application that one deployer works on, under a lock; how often that has changed hands, which its objects in the cluster bear |
//! | desk, book | where callers of a deployer ask; what it knows of all applications, as the store told it |
//! | worker, inbox | one thread with its own event loop, sockets and upstream connections; the queue by which others talk to it |
//!
//! # Rooms
//!
//! Imports point down this list, never up and never sideways, but that [`model`] uses [`expr`];
//! `tests/it/house.rs` reads the sources and checks it.
//!
//! | layer | rooms |
//! | --- | --- |
//! | 7 | `cli` the verbs |
//! | 6 | [`app`] wiring: configuration in, running parts with their bound addresses out; the embedder's [`Gate`](app::Gate) |
//! | 5 | `admin` the API, `registrar` which keeps the store in step with Kubernetes, `deployer` which puts one version in the place of another |
//! | 4 | [`proxy`] the data plane, and [`control`] the control plane, which do not know each other |
//! | 3 | [`table`] the compiled table, the one swap, and the board both planes share; [`flip`] the way from one backend to another, over a whole fleet |
//! | 2 | [`route`] match, [`middleware`] change, [`upstream`] carry, [`store`] keep, `web` what our own HTTP servers share |
//! | 1 | [`message`] an HTTP message on its way, [`wire`] the bytes under it, [`tls`], [`telemetry`], [`config`], [`meter`] what happened of late, `kubernetes` a client and the lease that one of several holds |
//! | 0 | [`model`] the objects, [`expr`] the expression language |
//!
//! What decides is pure: [`model`], [`expr`], [`message`], [`meter`], [`route`], [`middleware`] and the compiling in [`table`] know
//! no socket, clock or file. `cli`, `admin` and `kubernetes` are features; without them and `etcd` the library builds
//! with neither their dependencies nor `protoc`.
//!
//! # A request, hop by hop
//!
//! It stays on one worker's thread. Nothing on its way takes a lock, but what has to count over all workers: rates,
//! limits, breakers and passwords, each for a moment and only where a frontend has them.
//!
//! 1. `proxy::listeners` binds, `proxy::worker` accepts, within the limit of connections.
//! 2. `proxy::connection` takes the client's address from a proxy that is trusted with it (`proxy::proxied`), does the
//!    TLS handshake (`proxy::handshake`; [`tls::Certificates`] finds the certificate) and the choice of protocol.
//! 3. `proxy::http1` reads a head with [`message`]: what is ambiguous is refused here. HTTP/2 is hyper's:
//!    `proxy::http2` makes the same head of each stream; `proxy::gate` of each request of an embedding program.
//! 4. `proxy::request` loads the table once and decides from it: `proxy::client_auth` holds the request to what its host
//!    asks of clients ([`tls::ClientPolicies`]), [`route::Router`] finds the frontend, `proxy::trust` settles who the client
//!    is, `proxy::headers` takes away what concerned only the client's connection and tells of the client, the
//!    [`middleware::Chain`] changes the request or answers it, the table names the backend. A chain that has to ask
//!    another service is resumed by `proxy::ask`, with what the same table said; `proxy::mirror` sends copies, and
//!    `proxy::webhooks` makes the calls of a breaker, beside the request. What the proxy answers
//!    itself is made in `proxy::own`, with the words or pages of `proxy::pages`.
//! 5. `proxy::forward` picks a server ([`upstream::Backend`]) by what the request says (`proxy::choice`), finds or makes a
//!    connection (`proxy::connect`, [`upstream::Pool`]), writes the head anew, and tries again only where the request
//!    cannot have run or its frontend asks for it. The exchange that begins (`proxy::exchange`) goes over HTTP/1.1 or a
//!    stream of a shared HTTP/2 connection (`proxy::over_http1`, `proxy::over_http2`).
//! 6. The answer's head goes back through the chain. Bodies (`proxy::body`) flow both ways at once, as fast as the slower
//!    side takes them: `proxy::upload` carries the request's, `proxy::pump` the answer's over HTTP/1.1, `proxy::stream`
//!    over HTTP/2 and to an embedding program, through `proxy::change` where a step compresses it; after `101`,
//!    `proxy::tunnel` carries bytes.
//! 7. `proxy::passage` ends: the counts drop, what [`meter`] counts goes on, and the log line, the metrics and the traces
//!    are written.
//!
//! # An edit, hop by hop
//!
//! 1. `cli` or `admin` parses the value as [`model`] does, strictly, and commits it to the [`store`] with the version it
//!    expects. A script may write the key itself.
//! 2. The store's feed yields whole revisions ([`store::Event`]).
//! 3. [`control::image`] takes them in: it keeps the last good form of each object, lists what is wrong as problems, and
//!    holds back a mass removal until it is confirmed.
//! 4. [`control::Publisher`] compiles the next [`table::Table`], with work proportional to the change; everything that
//!    did not change is shared with the last one, state included. The raw values go to the journal on the disk.
//! 5. [`table::Board`] swaps the one pointer and leaves a note in every worker's inbox. Requests that began keep the
//!    frontend and backend they found.
//! 6. Each worker answers its note; once all have, the revision is *served*, and who waited for it is told. Listeners
//!    open, change or close meanwhile.
//!
//! A change in the cluster becomes an edit by way of the registrar: `registrar::watch` sees it, `registrar::convert`
//! says what is to stand in the store, `registrar::plan` how that differs from what stands there, and
//! `registrar::runner` commits it. The documentation of `registrar` tells it hop by hop.
//!
//! # A flip, hop by hop
//!
//! 1. `cli` or `admin` asks [`flip::Request`] what is to be written, and a [`flip::Runner`] writes a record of it.
//! 2. [`control::membership`] of every proxy sees the record, connects all workers to the new side, and says how that
//!    went. [`flip::plan`] decides from what they say.
//! 3. One transaction writes all targets, if they are as they were, and moves the record on. It is an edit as any other.
//! 4. Each member says when its workers serve it, when nothing older can begin an attempt, and what is open on the old
//!    side, until it is *safe*; the record is closed into the history. If its owner dies, another process goes on.
//!
//! # A deployment, hop by hop
//!
//! 1. `cli` or a pipeline asks `deployer::api`; `deployer::desk` writes the deployment down, in the charge of this process.
//! 2. `deployer::runner` looks at its stage (`deployer::stages`) until that is done, `deployer::machine` says which comes
//!    next or what is to be undone, and that is written down before it begins. Pods become servers by way of the registrar;
//!    the traffic moves by a [`flip`].
//! 3. If the process dies, another one takes the charge over and goes on with the next look. The documentation of
//!    `deployer` says what keeps two from acting at once.
//!
//! # Within a program
//!
//! A [`Gate`](app::Gate) is a whole Flipgate without sockets of its own for clients, unless its table has listeners: a
//! store to follow, workers, and a `tower::Service` that never fails, which axum mounts as it is. This program serves
//! `/own` itself and sends everything else to where the table says:
//!
//! ```
//! use axum::extract::{ConnectInfo, Request};
//! use axum::{Router, middleware, routing::get};
//! use flipgate::app::{Gate, Peer};
//! use flipgate::store::{Area, LeaseChoice, Operation, Transaction, memory::MemoryStore};
//! use std::net::SocketAddr;
//! use std::sync::Arc;
//! use std::time::Duration;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::{TcpListener, TcpStream};
//!
//! fn put(key: &str, value: String) -> Operation {
//!     Operation::Put { area: Area::Routing, key: key.into(), value: value.into(), lease: LeaseChoice::Keep }
//! }
//!
//! /// The gate takes the client's address from an extension: who accepts the connection knows it.
//! async fn tell_peer(ConnectInfo(client): ConnectInfo<SocketAddr>, mut request: Request) -> Request {
//!     request.extensions_mut().insert(Peer(client));
//!     request
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #     tokio::runtime::Runtime::new()?.block_on(run())
//! # }
//! async fn run() -> Result<(), Box<dyn std::error::Error>> {
//!     // A server somewhere.
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let server = listener.local_addr()?;
//!     let shop = Router::new().route("/cart", get(|| async { "two apples" }));
//!     tokio::spawn(async move { axum::serve(listener, shop).await });
//!
//!     // A gate, and a table for it.
//!     let gate = Gate::builder().store(Arc::new(MemoryStore::new())).start().await?;
//!     let revision = gate
//!         .apply(Transaction {
//!             operations: vec![
//!                 put("backends/shop/backend", r#"{"Type": "http"}"#.into()),
//!                 put("backends/shop/servers/a", format!(r#"{{"URL": "http://{server}"}}"#)),
//!                 put(
//!                     "frontends/shop/frontend",
//!                     r#"{"Type": "http", "BackendId": "shop", "Route": "PathPrefix(`/cart`)"}"#.into(),
//!                 ),
//!             ],
//!             ..Transaction::default()
//!         })
//!         .await?;
//!     assert!(gate.serving(revision, Duration::from_secs(5)).await);
//!
//!     // The program, with the gate behind its own routes and layers.
//!     let app = Router::new()
//!         .route("/own", get(|| async { "the program's own" }))
//!         .fallback_service(gate.clone())
//!         .layer(middleware::map_request(tell_peer))
//!         .into_make_service_with_connect_info::<SocketAddr>();
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?;
//!     tokio::spawn(async move { axum::serve(listener, app).await });
//!
//!     // A client.
//!     let mut client = TcpStream::connect(address).await?;
//!     client.write_all(b"GET /cart HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").await?;
//!     let mut answer = String::new();
//!     client.read_to_string(&mut answer).await?;
//!     assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("two apples"), "{answer}");
//!
//!     // What is open may end; true: it did in time.
//!     assert!(gate.shutdown(Duration::from_secs(5)).await);
//!     Ok(())
//! }
//! ```
//!
//! The library installs no allocator, no crypto provider and no tracing subscriber.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod expr;
pub mod model;

pub mod config;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod message;
pub mod meter;
pub mod telemetry;
pub mod tls;
pub mod wire;

pub mod middleware;
pub mod route;
pub mod store;
pub mod upstream;
#[cfg(feature = "admin")]
pub mod web;

pub mod flip;
pub mod table;

pub mod control;
pub mod proxy;

#[cfg(feature = "admin")]
pub mod admin;
#[cfg(feature = "kubernetes")]
pub mod deployer;
#[cfg(feature = "kubernetes")]
pub mod registrar;

pub mod app;
#[cfg(feature = "cli")]
pub mod cli;
