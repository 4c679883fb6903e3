//! A request from its complete head to the decision what becomes of it. Nothing here waits.

use super::choice;
use super::client_auth;
use super::error::Failure;
use super::headers;
use super::passage::{Passage, PathAsSent};
use super::trust::{self, Trust};
use crate::message::{BodyLength, Known, Method, RequestHead};
use crate::middleware::{Ask, Question, Reply, RequestContext, Told, Verdict};
use crate::model::{BackendId, FrontendSettings, is_listed};
use crate::route::{Lookup, Params, Query};
use crate::table::{Frontend, Table};
use crate::telemetry::{PanicIn, Reason};
use crate::upstream::Backend;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What becomes of a request.
pub(super) enum Decision {
    /// It goes to a server of this backend.
    Forward(Arc<Backend>),
    /// A middleware answers.
    Reply(Reply),
    /// The proxy answers.
    Fail(Failure),
}

/// What becomes of a request, or that a service is to be asked first.
pub(super) type Decided = Result<Decision, Box<Pending>>;

/// What a request that waits for a service has got of its table, which may be another one by then.
pub(super) struct Pending {
    pub ask: Ask,
    named: Vec<(BackendId, Option<Arc<Backend>>)>,
    backend: Option<Arc<Backend>>,
    params: Params,
    host: String,
    path: String,
    scheme: &'static str,
}

impl Pending {
    /// Whom to ask. `None`: there is no such backend.
    pub(super) fn asked(&self, question: &Question) -> Option<&Arc<Backend>> {
        self.named.iter().find(|(id, _)| *id == question.backend)?.1.as_ref()
    }
}

/// Goes on with a request that waited for a service's word; `None`: it gave none.
pub(super) fn resume(passage: &mut Passage, pending: Pending, told: Option<Told>) -> Decided {
    let Pending { ask, named, backend, params, host, path, scheme } = pending;
    let Some(frontend) = passage.frontend.clone() else { return fail(Reason::NoRoute) };
    let param = |name: &str| params.get(name, &host, &path);
    let context = RequestContext { scheme, client: passage.client_ip, now: passage.started, params: &param };
    let verdict = frontend.chain.resume(&mut passage.visit, &mut passage.head, &context, &ask, told);
    note_path(passage, &path);
    passage.pass_effect();
    match verdict {
        Verdict::Continue => {
            let named = |id: &BackendId| named.iter().find(|(known, _)| known == id)?.1.clone();
            note_mirrors(passage, named);
            forward(passage, backend.as_ref())
        }
        Verdict::Reply(reply) => Ok(Decision::Reply(reply)),
        Verdict::Ask(ask) => Err(Box::new(Pending { ask, named, backend, params, host, path, scheme })),
    }
}

/// Decides from one table, loaded once; what follows a service's word comes from the same one. On the way the frontend and
/// backend are noted in `passage`, and its head is made ready for the server.
pub(super) fn decide(passage: &mut Passage) -> Decided {
    PanicIn::Request.trip();
    if let Some(limit) = passage.worker.overload() {
        passage.reached(limit);
        return Ok(Decision::Fail(Failure::of(Reason::Overload)));
    }
    if matches!(passage.head.method_kind, Method::Connect | Method::Trace) {
        return Ok(Decision::Fail(Failure::with_status(Reason::BadRequest, 405)));
    }
    if headers::loops(passage) {
        return Ok(Decision::Fail(Failure::with_status(Reason::BadRequest, 508)));
    }
    if headers::is_last_hop(&mut passage.head) {
        return Ok(Decision::Reply(Reply::of(204)));
    }
    trust::begin(passage);
    let worker = Rc::clone(&passage.worker);
    worker.with_table(|table| decide_with(passage, table))
}

fn decide_with(passage: &mut Passage, table: &Table) -> Decided {
    passage.revision = table.revision;
    passage.worker.enter(table.generation);
    passage.generation = Some(table.generation);
    // Before the routes: they may look at what it tells.
    if let Some(policies) = table.client_policies()
        && let Err(failure) = client_auth::admit(passage, policies)
    {
        return Ok(Decision::Fail(failure));
    }
    let mut params = Params::default();
    let Some(frontend) = find(passage, table, &mut params) else { return fail(Reason::NoRoute) };
    frontend.trips.at(passage.worker.index).begin();
    passage.frontend = Some(frontend.clone());
    let settings = &frontend.object.settings;
    trust::settle(passage, settings);
    if let Some(reason) = refusal(passage, settings) {
        return fail(reason);
    }
    headers::prepare(passage, settings);
    // Before the chain, which may wait: all of a request is decided from one table.
    let target = match &frontend.object.split {
        None => Some(&frontend.object.backend),
        Some(split) => choice::part_of(split, &passage.head, passage.client_ip, passage.worker.random()),
    };
    let backend = target.and_then(|target| table.backend(target));
    if frontend.chain.is_empty() {
        return forward(passage, backend);
    }
    let (host, path) = (passage.head.host().to_owned(), passage.head.path().to_owned());
    let param = |name: &str| params.get(name, &host, &path);
    let scheme = scheme(passage);
    let context = RequestContext { scheme, client: passage.client_ip, now: passage.started, params: &param };
    let verdict = frontend.chain.on_request(&mut passage.visit, &mut passage.head, &context);
    note_path(passage, &path);
    passage.pass_effect();
    match verdict {
        Verdict::Continue => {
            if !frontend.chain.backends().is_empty() {
                note_mirrors(passage, |id| table.backend(id).cloned());
            }
            forward(passage, backend)
        }
        Verdict::Reply(reply) => Ok(Decision::Reply(reply)),
        Verdict::Ask(ask) => {
            let backends = frontend.chain.backends().iter();
            let named = backends.map(|id| (id.clone(), table.backend(id).cloned())).collect();
            let backend = backend.cloned();
            Err(Box::new(Pending { ask, named, backend, params, host, path, scheme }))
        }
    }
}

/// The frontend that takes the request, where its listener lets it reach any.
fn find(passage: &Passage, table: &Table, params: &mut Params) -> Option<Arc<Frontend>> {
    let head = &passage.head;
    let query = Query {
        host: head.host(),
        path: head.path(),
        method: head.method(),
        client: passage.client_ip,
        lookup: head,
    };
    if !table.is_in_scope(&passage.client.listener.id, &query) {
        return None;
    }
    table.find(&query, params).cloned()
}

/// Why the frontend does not take the request as it is.
fn refusal(passage: &Passage, settings: &FrontendSettings) -> Option<Reason> {
    if let Some(maintenance) = &settings.maintenance
        && !is_listed(passage.client_ip, maintenance.allow.as_deref().unwrap_or_default())
    {
        return Some(Reason::Maintenance);
    }
    match (passage.head.body, settings.body_bytes_max) {
        (BodyLength::Known(length), Some(most)) if length > most => Some(Reason::BodyTooLarge),
        _ => None,
    }
}

fn fail(reason: Reason) -> Decided {
    Ok(Decision::Fail(Failure::of(reason)))
}

/// Finds the backends that get copies; where one is gone, it gets none.
fn note_mirrors(passage: &mut Passage, backend: impl Fn(&BackendId) -> Option<Arc<Backend>>) {
    let (mirrors, dropped) = passage.visit.take_mirrors();
    if dropped > 0 {
        passage.worker.shared.mirror_dropped.fetch_add(dropped.into(), Ordering::Relaxed);
    }
    let found = mirrors.into_iter().filter_map(|mirror| backend(&mirror.backend).map(|it| (mirror, it)));
    passage.mirrors = found.collect();
}

fn forward(passage: &mut Passage, backend: Option<&Arc<Backend>>) -> Decided {
    let Some(backend) = backend else { return fail(Reason::NoBackend) };
    choice::note(passage, backend);
    passage.backend = Some((backend.clone(), backend.enter()));
    Ok(Decision::Forward(backend.clone()))
}

/// Remembers the path as the client sent it, once a step has changed it.
fn note_path(passage: &mut Passage, path: &str) {
    if path != passage.head.path() && matches!(passage.path, PathAsSent::Unchanged) {
        passage.path = PathAsSent::Was(path.into());
    }
}

/// What the client used, also where a trusted proxy before us ended its TLS.
pub(super) fn scheme(passage: &Passage) -> &'static str {
    match passage.head.fields.known(Known::XForwardedProto) {
        _ if passage.trust == Trust::Nobody => passage.client.scheme(),
        Some(b"https" | b"wss") => "https",
        Some(b"http" | b"ws") => "http",
        _ => passage.client.scheme(),
    }
}

impl Lookup for RequestHead {
    fn header(&self, name: &str, fits: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.fields.get_all(name).any(fits)
    }

    fn query(&self, name: &str, fits: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.query_pairs().any(|(key, value)| key == name && fits(value.as_bytes()))
    }

    fn cookie(&self, name: &str, fits: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.cookies().any(|(key, value)| key == name && fits(value.as_bytes()))
    }
}
