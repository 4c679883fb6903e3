//! A request from its complete head to the decision what becomes of it. Nothing here waits.

use super::choice;
use super::error::Failure;
use super::headers;
use super::passage::{Passage, PathAsSent};
use crate::message::{BodyLength, Known, Method, RequestHead};
use crate::middleware::{Reply, RequestContext, Verdict};
use crate::model::FrontendSettings;
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
        return Decision::Reply(Reply { status: 204, location: None });
    }
    let worker = Rc::clone(&passage.worker);
    worker.with_table(|table| decide_with(passage, table))
}

fn decide_with(passage: &mut Passage, table: &Table) -> Decision {
    passage.revision = table.revision;
    passage.worker.enter(table.generation);
    passage.generation = Some(table.generation);
    let mut params = Params::default();
    let frontend = {
        let head = &passage.head;
        let query = Query {
            host: head.host(),
            path: head.path(),
            method: head.method(),
            client: passage.client.ip(),
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
    frontend.trips.at(passage.worker.index).begin();
    passage.frontend = Some(frontend.clone());
    let settings = &frontend.object.settings;
    if let (BodyLength::Known(length), Some(most)) = (passage.head.body, settings.body_bytes_max)
        && length > most
    {
        return Decision::Fail(Failure::of(Reason::BodyTooLarge));
    }
    headers::prepare(passage, settings);
    if !frontend.chain.is_empty() {
        let (host, path) = (passage.head.host().to_owned(), passage.head.path().to_owned());
        let param = |name: &str| params.get(name, &host, &path);
        let context = RequestContext { scheme: scheme(passage, settings), params: &param };
        let verdict = frontend.chain.on_request(&mut passage.head, &context);
        if path != passage.head.path() {
            passage.path = PathAsSent::Was(path.into());
        }
        match verdict {
            Verdict::Continue => {}
            Verdict::ContinueTo(host) => passage.host = Some(host),
            Verdict::Reply(reply) => return Decision::Reply(reply),
        }
    }
    let target = match &frontend.object.split {
        None => Some(&frontend.object.backend),
        Some(split) => choice::part_of(split, &passage.head, passage.client.ip(), passage.worker.random()),
    };
    match target.and_then(|target| table.backend(target)) {
        Some(backend) => {
            choice::note(passage, backend);
            passage.backend = Some((backend.clone(), backend.enter()));
            Decision::Forward(backend.clone())
        }
        None => Decision::Fail(Failure::of(Reason::NoBackend)),
    }
}

/// What the client used, also where a trusted proxy before us ended its TLS.
fn scheme(passage: &Passage, settings: &FrontendSettings) -> &'static str {
    let told = passage.head.fields.known(Known::XForwardedProto);
    match told {
        Some(b"https" | b"wss") if settings.trust_forward_header => "https",
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
