//! Asks another service whether a request may pass, and does as it says.

use super::{Ask, Outcome, Question, Reply, ServiceAnswer, Visit};
use crate::message::RequestHead;
use crate::model::ForwardAuthSpec;
use crate::telemetry::Reason;

/// What the proxy said of the client before the chain ran.
const OF_CLIENT: [&str; 5] =
    ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-Ip"];

/// The question: who asks for what, and with which credentials.
pub(super) fn on_request(
    spec: &ForwardAuthSpec,
    visit: &Visit,
    request: &RequestHead,
    scheme: &str,
    step: usize,
) -> Outcome {
    let mut fields: Vec<(Box<str>, Box<[u8]>)> = Vec::new();
    for name in spec.request_headers.iter().map(|name| &**name).chain(OF_CLIENT) {
        fields.extend(request.fields.get_all(name).map(|value| (name.into(), value.into())));
    }
    let sent = visit.rare.as_ref().and_then(|rare| rare.asked.as_deref());
    let target = sent.unwrap_or(request.target());
    let url = format!("{scheme}://{}{target}", request.authority());
    for (name, value) in [
        ("X-Forwarded-Method", request.method()),
        ("X-Forwarded-Uri", target),
        ("X-Original-Method", request.method()),
        ("X-Original-URL", &url),
    ] {
        fields.push((name.into(), value.as_bytes().into()));
    }
    Outcome::Ask(Ask::Service(Box::new(Question {
        backend: spec.backend.clone(),
        path: spec.path.clone(),
        fields,
        timeout: spec.timeout,
        step,
    })))
}

/// What the answer means; without one nobody passes, unless the middleware says so.
pub(super) fn on_told(
    spec: &ForwardAuthSpec,
    request: &mut RequestHead,
    told: Option<ServiceAnswer>,
) -> Outcome {
    let Some(told) = told else {
        if !spec.fail_open {
            return Outcome::Reply(Reply::refuse(503, Reason::Auth));
        }
        spec.response_headers.iter().for_each(|name| remove_alike(request, name));
        return Outcome::Pass;
    };
    if (200..300).contains(&told.status) {
        for name in &spec.response_headers {
            remove_alike(request, name);
            for (_, value) in told.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)) {
                let _ = request.fields.add(name, value);
            }
        }
        return Outcome::Pass;
    }
    Outcome::Reply(Reply {
        reason: Some(Reason::Auth),
        passed: told.fields,
        body: told.body,
        ..Reply::of(told.status)
    })
}

/// Takes away what a client sent under a name that the server believes, also spelled with `_`, which some servers read
/// alike.
fn remove_alike(request: &mut RequestHead, name: &str) {
    let alike = |known: &&str| {
        let same = |(a, b): (u8, u8)| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-');
        known.len() == name.len() && known.bytes().zip(name.bytes()).all(same)
    };
    let spelled: Vec<String> =
        request.fields.iter().map(|field| field.name).filter(alike).map(str::to_owned).collect();
    spelled.iter().for_each(|spelled| request.fields.remove(spelled));
}
