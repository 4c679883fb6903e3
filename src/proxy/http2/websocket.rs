//! WebSockets over HTTP/2 (RFC 8441): a `CONNECT` that names its protocol is to a server the upgrade that HTTP/1.1 has for
//! that, and its stream becomes the tunnel.

use crate::message::{RequestHead, Version};
use crate::proxy::body::Body;
use crate::proxy::client::Client;
use crate::proxy::error::Failure;
use crate::proxy::stream::{self, Answer, AnswerBody, Switched};
use crate::proxy::tunnel;
use crate::proxy::worker::Worker;
use crate::telemetry::Reason;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use std::rc::Rc;

const WEBSOCKET: &str = "websocket";

/// Whether a request wants to open a WebSocket.
pub(super) fn is_wanted(parts: &Parts) -> bool {
    parts.extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == WEBSOCKET)
}

/// Answers a request that wants to open one.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    mut parts: Parts,
) -> http::Response<AnswerBody> {
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    as_upgrade(worker, &mut parts);
    let limits = &worker.settings().limits;
    let mut head = RequestHead::from_http(&parts, None, true, &mut worker.spare.borrow_mut(), limits);
    drop(parts);
    if let Ok(head) = &mut head {
        head.version = Version::H2;
        head.upgrade = true;
    }
    match stream::answer(worker, client, Version::H2, head, Body::Empty, true).await {
        Answer::Switched(switched) => switch(worker, *switched, upgrade),
        // To a `CONNECT` that would say that the tunnel is open.
        Answer::Response(response) if response.status().is_success() => {
            stream::told(worker, Failure::of(Reason::BadAnswer), worker.next_request_id())
        }
        Answer::Response(response) => response,
    }
}

/// Makes it the request that HTTP/1.1 has for it. The key is only needed there.
fn as_upgrade(worker: &Worker, parts: &mut Parts) {
    parts.method = http::Method::GET;
    parts.version = http::Version::HTTP_11;
    let key = [worker.random().to_be_bytes(), worker.random().to_be_bytes()].concat();
    let key = HeaderValue::from_str(&STANDARD.encode(key));
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
    parts.headers.extend(key.map(|key| (SEC_WEBSOCKET_KEY, key)));
}

/// Says that the tunnel is open, and carries what comes.
fn switch(worker: &Rc<Worker>, switched: Switched, upgrade: Option<OnUpgrade>) -> http::Response<AnswerBody> {
    let Switched { passage, exchange, mut head } = switched;
    head.fields.remove_hop_by_hop();
    head.fields.remove("Sec-WebSocket-Accept");
    let mut response = head.to_http();
    head.recycle(&mut worker.spare.borrow_mut());
    *response.status_mut() = http::StatusCode::OK;
    if let Some(upgrade) = upgrade {
        let tunnelled = tunnel::over_upgrade(worker.clone(), passage, exchange, upgrade);
        worker.tasks.spawn_local(tunnelled);
    }
    response.map(|()| AnswerBody::Own(None))
}
