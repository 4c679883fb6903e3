//! The API that pipelines talk to: Amdatu's, and what it lacked.
//!
//! | what | |
//! | --- | --- |
//! | who calls | [`Access`]: tokens and client certificates with namespaces, trusted networks, this machine |
//! | the same call twice | `Idempotency-Key`, on `POST` |
//! | two at once | `ETag` of a record, `If-Match` on what changes it |
//! | logs | as text, as Server-Sent Events, and over a WebSocket |
//!
//! Paths may end with a slash or not. All that a deployer knows is in the [`Book`](super::book::Book); all that is asked
//! goes to the [`Desk`].

mod access;
mod applications;
mod call;
mod deployments;
mod descriptors;
mod logs;
mod metrics;
mod office;
mod once;
mod openapi;
mod shares;
#[cfg(test)]
mod tests;

pub use access::{Access, AccessError};
pub use logs::{STREAM_TIME_MAX, STREAMS_MAX};

use super::desk::Desk;
use crate::store::Store;
use crate::web::answer::Failure;
use crate::web::{ClientName, Peer, common_fields, in_time, is_text};
use access::Origin;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post, put};
use metrics::Meters;
use office::Office;
use shares::Shares;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The API, shared by its servers.
pub struct Api {
    office: Arc<dyn Office>,
    store: Arc<dyn Store>,
    access: Arc<Access>,
    meters: Meters,
    streams: Arc<Semaphore>,
    /// Streams by namespace.
    stream_shares: Shares,
    removals: Arc<Semaphore>,
    /// Removals by namespace, and by deployment.
    removal_shares: Shares,
}

impl Api {
    /// An API over a desk. Answers that are kept for callers lie in `store`, which is the desk's.
    pub fn new(desk: Desk, store: Arc<dyn Store>, access: Arc<Access>) -> Arc<Self> {
        Self::over(Arc::new(desk), store, access)
    }

    fn over(office: Arc<dyn Office>, store: Arc<dyn Store>, access: Arc<Access>) -> Arc<Self> {
        Arc::new(Self {
            office,
            store,
            access,
            meters: Meters::default(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            removals: Arc::new(Semaphore::new(deployments::REMOVALS_MAX)),
            stream_shares: Shares::default(),
            removal_shares: Shares::default(),
        })
    }

    /// Measures how long stages take, until `stop`.
    pub async fn measure(self: Arc<Self>, stop: CancellationToken) {
        let mut changes = self.office.changes();
        loop {
            changes.borrow_and_update();
            self.meters.see(&self.office.book());
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Everything.
    pub fn router(self: &Arc<Self>) -> Router {
        routes()
            .route("/metrics", get(metrics::metrics))
            .fallback(nothing_here)
            .method_not_allowed_fallback(not_so)
            .layer(from_fn(in_time))
            .layer(from_fn_with_state(Arc::clone(self), authorise))
            .merge(probes())
            .layer(from_fn(common_fields))
            .with_state(Arc::clone(self))
    }

    /// Health and metrics alone. May be public.
    pub fn health(self: &Arc<Self>) -> Router {
        probes()
            .route("/metrics", get(metrics::metrics))
            .fallback(nothing_here)
            .method_not_allowed_fallback(not_so)
            .layer(from_fn(in_time))
            .layer(from_fn(common_fields))
            .with_state(Arc::clone(self))
    }
}

fn routes() -> Router<Arc<Api>> {
    let descriptors = get(descriptors::list).post(descriptors::create).delete(descriptors::purge);
    let descriptor = get(descriptors::get).put(descriptors::put).delete(descriptors::delete);
    let deployments = get(deployments::list).post(deployments::create).delete(deployments::purge);
    let deployment =
        get(deployments::get).put(deployments::again).patch(deployments::patch).delete(deployments::delete);
    let maintenance = put(applications::close).delete(applications::open);
    let paths: [(&str, MethodRouter<Arc<Api>>); 10] = [
        ("/descriptors", descriptors),
        ("/descriptors/validate", post(descriptors::validate)),
        ("/descriptors/{id}", descriptor),
        ("/deployments", deployments),
        ("/deployments/{id}", deployment),
        ("/deployments/{id}/logs", get(logs::logs)),
        ("/deployments/{id}/healthcheckdata", get(deployments::health)),
        ("/stream/deployments/{id}/logs", get(logs::stream)),
        ("/applications", get(applications::list)),
        ("/applications/{app}/maintenance", maintenance),
    ];
    let mut router = Router::new().route("/openapi.json", get(openapi::document));
    for (path, methods) in paths {
        router = router.route(path, methods.clone()).route(&format!("{path}/"), methods);
    }
    // What Amdatu's deployer answered before it had descriptors.
    for path in ["/deployment", "/deployment/", "/validate", "/validate/"] {
        router = router.route(path, any(gone));
    }
    router
}

/// Open to whoever reaches the address.
fn probes() -> Router<Arc<Api>> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

async fn authorise(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    // A request without a peer did not come over the network.
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip());
    let shown = request.extensions().get::<ClientName>().cloned();
    let origin = Origin {
        address: peer,
        headers: request.headers(),
        shown: shown.as_ref().map(|name| &*name.0),
        // A page may open a WebSocket to anywhere.
        guarded: !call::reads(request.method()) || request.headers().contains_key(header::UPGRADE),
    };
    match api.access.decide(&origin) {
        Ok(_) if !is_text(request.uri().path()) => call::bad("the path is not UTF-8").into_response(),
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => {
            tracing::warn!(%peer, method = %request.method(), reason = refusal.message, "request refused");
            call::refused(refusal).into_response()
        }
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(api): State<Arc<Api>>) -> Response {
    match api.office.book().revision.0 {
        0 => (StatusCode::SERVICE_UNAVAILABLE, "the store has not been read yet\n").into_response(),
        _ => "ready\n".into_response(),
    }
}

async fn gone() -> Failure {
    let message = "this call is of an older deployer; POST /deployments/?namespace= takes a descriptor, and \
                   /openapi.json says what else there is";
    Failure::new(StatusCode::GONE, message)
}

async fn nothing_here() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "there is nothing here; /openapi.json says what there is")
}

async fn not_so() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not for this path; see /openapi.json")
}
