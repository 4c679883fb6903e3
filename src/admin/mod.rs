//! The admin API: what the process serves, what is wrong, and writes to the store. Version 3 is ours; version 2 is
//! vulcand's, for its clients.
//!
//! It runs on the control plane's runtime, never on a worker. It says what this process does and not what the store
//! holds, except where an object is read by its key; it writes to the store and to nothing else.
//!
//! A write is validated as strictly as anything written through our own hands, and is in force once every worker has
//! its revision: `GET /v3/status?revision=R` waits for that.

mod access;
mod answer;
mod extract;
mod flips;
mod live;
mod objects;
mod observe;
mod openapi;
mod running;
mod secrets;
mod statsd;
#[cfg(test)]
mod tests;
mod top;
mod transactions;
mod v2;

pub use crate::web::extract::BODY_BYTES_MAX;
pub use crate::web::{CONNECTIONS_MAX, REQUEST_TIMEOUT, serve};
pub use access::{Access, AccessError, Role};
pub use live::{Live, MoreMetrics};
pub use observe::{ROUTES_MAX, WAIT_MAX};
pub use running::{ConfirmError, ListenerView, RouteView, Routes, Running, ServerView, State};
pub use statsd::{FRONTENDS_MAX, report};
pub use top::{FrontendTop, ServerTop, Stats, Top, Verdict};

use crate::store::Store;
use crate::tls::SealKeys;
use crate::web::{Peer, common_fields, in_time, is_text};
use access::Caller;
use answer::Failure;
use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use secrets::Secrets;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

/// What the API speaks for.
pub struct Parts {
    /// Where objects are read and written.
    pub store: Arc<dyn Store>,
    /// This process.
    pub running: Arc<dyn Running>,
    /// Who may use it.
    pub access: Arc<Access>,
    /// Seals key pairs that come in plain; with no key they stay so.
    pub seal: Arc<SealKeys>,
    /// Certificates named by hosts lie below it.
    pub secrets_dir: Option<PathBuf>,
}

/// The API, shared by its servers.
pub struct Admin {
    store: Arc<dyn Store>,
    running: Arc<dyn Running>,
    access: Arc<Access>,
    secrets: Secrets,
    metrics: observe::Metrics,
}

impl Admin {
    /// An API over these parts.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { store, running, access, seal, secrets_dir } = parts;
        let secrets = Secrets { seal, secrets_dir };
        Arc::new(Self { store, running, access, secrets, metrics: observe::Metrics::default() })
    }

    /// Everything, for `--admin`.
    pub fn api(self: &Arc<Self>) -> Router {
        let waits = Router::new().route("/v3/status", get(observe::status));
        let answers = Router::new()
            .route("/metrics", get(observe::metrics))
            .route("/v3/routes", get(observe::routes))
            .route("/v3/top", get(top::top))
            .route("/v3/problems", get(observe::problems))
            .route("/v3/confirm", post(observe::confirm))
            .route("/v3/transactions", post(transactions::commit))
            .route("/v3/flips", post(flips::flip))
            .route("/v3/rollback", post(flips::rollback))
            .route("/v3/fleet", get(flips::fleet))
            .route("/v3/fleet/{name}", delete(flips::forget))
            .route("/v3/history", get(flips::history))
            .route("/v3/openapi.json", get(openapi::document))
            .route("/v3/{kind}", get(objects::list))
            .route("/v3/{kind}/{id}", get(objects::get).put(objects::put).delete(objects::delete))
            .route("/v3/{kind}/{id}/{below}", get(objects::list_nested))
            .route(
                "/v3/{kind}/{id}/{below}/{nested}",
                get(objects::get_nested).put(objects::put_nested).delete(objects::delete_nested),
            )
            .merge(v2::router())
            .layer(from_fn(in_time));
        waits
            .merge(answers)
            .fallback(nothing_here)
            .method_not_allowed_fallback(not_so)
            .layer(from_fn_with_state(Arc::clone(self), authorise))
            .merge(probes())
            .layer(from_fn(common_fields))
            .with_state(Arc::clone(self))
    }

    /// Health and metrics alone, for `--health`. May be public.
    pub fn health(self: &Arc<Self>) -> Router {
        probes()
            .route("/metrics", get(observe::metrics))
            .fallback(nothing_here)
            .method_not_allowed_fallback(not_so)
            .layer(from_fn(in_time))
            .layer(from_fn(common_fields))
            .with_state(Arc::clone(self))
    }
}

/// Open to whoever reaches the address.
fn probes() -> Router<Arc<Admin>> {
    Router::new().route("/healthz", get(observe::healthz)).route("/readyz", get(observe::readyz))
}

async fn authorise(
    axum::extract::State(admin): axum::extract::State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response {
    // A request without a peer did not come over the network.
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let needs = if reads { Role::Read } else { Role::Write };
    match admin.access.decide(&Caller { address: peer, headers: request.headers(), needs }) {
        Ok(()) if is_text(request.uri().path()) => next.run(request).await,
        Ok(()) => Failure::new(StatusCode::BAD_REQUEST, "the path is not UTF-8").into_response(),
        Err(refusal) => {
            tracing::warn!(%peer, method = %request.method(), reason = refusal.message, "admin request refused");
            Failure::new(refusal.status, refusal.message).into_response()
        }
    }
}

async fn nothing_here() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "there is nothing here; /v3/openapi.json says what there is")
}

async fn not_so() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not for this path; see /v3/openapi.json")
}
