//! A request from its complete head to the decision what becomes of it. Nothing here waits.

use super::choice;
use super::client_auth;
use super::error::Failure;
use super::headers;
use super::passage::{Passage, PathAsSent};
use super::trust::{self, Trust};
use crate::message::{BodyLength, Known, Method, RequestHead};
use crate::middleware::{Reply, RequestContext, Verdict};
use crate::route::{Lookup, Params, Query};
use crate::table::Table;
use crate::telemetry::Reason;
use crate::upstream::Backend;
use std::rc::Rc;
use std::sync::Arc;

/// What becomes of a request.
pub(super) enum Decision {
    /// It goes to a server of this backend.
    Forward(Arc<Backend>),
    /// A middleware answers.
    Reply(Reply),
    /// The proxy answers.
    Fail(Failure),
}

/// Decides from one table, loaded once. On the way the frontend and backend are noted in `passage`, and its head is
/// made ready for the server.
pub(super) fn decide(passage: &mut Passage) -> Decision {
    if matches!(passage.head.method_kind, Method::Connect | Method::Trace) {
        return Decision::Fail(Failure::with_status(Reason::BadRequest, 405));
    }
    if headers::loops(passage) {
        return Decision::Fail(Failure::with_status(Reason::BadRequest, 508));
    }
    if headers::is_last_hop(&mut passage.head) {
        return Decision::Reply(Reply::of(204));
    }
    trust::begin(passage);
    let worker = Rc::clone(&passage.worker);
    worker.with_table(|table| decide_with(passage, table))
}

fn decide_with(passage: &mut Passage, table: &Table) -> Decision {
    passage.revision = table.revision;
    passage.worker.enter(table.generation);
    passage.generation = Some(table.generation);
    if let Some(policy) = table.client_policies().and_then(|policies| policies.of(Some(passage.head.host())))
    {
        // Before the routes: they may look at what it tells.
        if let Err(failure) = client_auth::admit(passage, policy) {
            return Decision::Fail(failure);
        }
    }
    let mut params = Params::default();
    let frontend = {
        let head = &passage.head;
        let query = Query {
            host: head.host(),
            path: head.path(),
            method: head.method(),
            client: passage.client_ip,
            lookup: head,
        };
        if !table.is_in_scope(&passage.client.listener.id, &query) {
            return Decision::Fail(Failure::of(Reason::NoRoute));
        }
        match table.find(&query, &mut params) {
            Some(frontend) => frontend.clone(),
            None => return Decision::Fail(Failure::of(Reason::NoRoute)),
        }
    };
    passage.frontend = Some(frontend.clone());
    let settings = &frontend.object.settings;
    trust::settle(passage, settings);
    if let Some(maintenance) = &settings.maintenance
        && !trust::is_listed(passage.client_ip, maintenance.allow.as_deref().unwrap_or_default())
    {
        return Decision::Fail(Failure::of(Reason::Maintenance));
    }
    if let (BodyLength::Known(length), Some(most)) = (passage.head.body, settings.body_bytes_max)
        && length > most
    {
        return Decision::Fail(Failure::of(Reason::BodyTooLarge));
    }
    headers::prepare(passage, settings);
    // Before the chain, which may wait: all of a request is decided from one table.
    let target = match &frontend.object.split {
        None => Some(&frontend.object.backend),
        Some(split) => choice::part_of(split, &passage.head, passage.client_ip, passage.worker.random()),
    };
    let backend = target.and_then(|target| table.backend(target));
    if !frontend.chain.is_empty() {
        let (host, path) = (passage.head.host().to_owned(), passage.head.path().to_owned());
        let param = |name: &str| params.get(name, &host, &path);
        let context = RequestContext {
            scheme: scheme(passage),
            client: passage.client_ip,
            now: passage.started,
            params: &param,
        };
        let verdict = frontend.chain.on_request(&mut passage.visit, &mut passage.head, &context);
        if path != passage.head.path() {
            passage.path = PathAsSent::Was(path.into());
        }
        passage.pass_effect();
        match verdict {
            Verdict::Continue => {}
            Verdict::Reply(reply) => return Decision::Reply(reply),
        }
    }
    let Some(backend) = backend else { return Decision::Fail(Failure::of(Reason::NoBackend)) };
    choice::note(passage, backend);
    passage.backend = Some((backend.clone(), backend.enter()));
    Decision::Forward(backend.clone())
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
