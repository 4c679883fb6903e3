//! The way in for a program that embeds Flipgate: a `tower::Service` that hands requests to the workers.

use super::body::{Aborted, RequestBody};
use super::client::Client;
use super::listeners::Listener;
use super::stream::{self, Answer, AnswerBody, Switched};
use super::worker::{Command, Worker};
use crate::message::RequestHead;
use crate::model::ListenerId;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};

/// Pieces of a body that wait between the program and a worker, each way.
const PIECES_MAX: usize = 8;
/// The listener's name in logs and metrics.
const LISTENER: &str = "embedded";

/// A client's address, given as a request extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Why the gate has no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// The workers have ended.
    #[error("the gate is shut")]
    Shut,
}

/// Hands requests to the workers. Cheap to clone; a `tower::Service<http::Request<B>>` by [`Gate::call`].
#[derive(Clone)]
pub struct Gate {
    workers: Arc<[mpsc::Sender<Command>]>,
    next: Arc<AtomicUsize>,
}

/// A request on its way to a worker.
pub(super) struct GateRequest {
    parts: http::request::Parts,
    body: Option<mpsc::Receiver<Result<Bytes, Aborted>>>,
    length: Option<u64>,
    peer: Option<SocketAddr>,
    upgrade: Option<OnUpgrade>,
    answer: oneshot::Sender<http::Response<GateBody>>,
}

/// An answer's body on its way back.
pub struct GateBody {
    pieces: mpsc::Receiver<Result<Frame<Bytes>, Aborted>>,
    length: Option<u64>,
}

impl Gate {
    pub(super) fn new(workers: Vec<mpsc::Sender<Command>>) -> Self {
        Self { workers: workers.into(), next: Arc::default() }
    }

    /// Answers one request as the proxy would: with a server's answer or its own.
    ///
    /// The client's address is taken from a [`Peer`] extension. A request to upgrade to WebSocket is passed on where
    /// it carries hyper's `OnUpgrade`, as requests of hyper and axum servers do.
    pub async fn handle<B>(&self, request: http::Request<B>) -> Result<http::Response<GateBody>, GateError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Send,
    {
        let (mut parts, body) = request.into_parts();
        let peer = parts.extensions.remove::<Peer>().map(|peer| peer.0);
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let length = body.size_hint().exact();
        let body = if body.is_end_stream() { None } else { Some(carry(body)) };
        let (answer, answered) = oneshot::channel();
        let request = GateRequest { parts, body, length, peer, upgrade, answer };
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len().max(1);
        let worker = self.workers.get(turn).ok_or(GateError::Shut)?;
        worker.send(Command::Gate(Box::new(request))).await.map_err(|_| GateError::Shut)?;
        answered.await.map_err(|_| GateError::Shut)
    }
}

/// Polls the program's body on the program's own runtime.
fn carry<B>(body: B) -> mpsc::Receiver<Result<Bytes, Aborted>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
{
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let mut body = std::pin::pin!(body);
        while let Some(frame) = body.frame().await {
            let piece = match frame.map(Frame::into_data) {
                Ok(Ok(data)) => Ok(data),
                Ok(Err(_)) => continue,
                Err(_) => Err(Aborted),
            };
            let last = piece.is_err();
            if pieces.send(piece).await.is_err() || last {
                return;
            }
        }
    });
    receiver
}

impl<B> tower_service::Service<http::Request<B>> for Gate
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
{
    type Response = http::Response<GateBody>;
    type Error = GateError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, GateError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), GateError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let gate = self.clone();
        Box::pin(async move { gate.handle(request).await })
    }
}

/// Answers one request on a worker.
pub(super) async fn serve(worker: Rc<Worker>, request: GateRequest) {
    let GateRequest { mut parts, body, length, peer, upgrade, answer } = request;
    let Ok(id) = ListenerId::try_from(LISTENER) else { return };
    let client = Rc::new(Client::new(Arc::new(Listener::embedded(id)), peer));
    let wants_upgrade = upgrade.is_some() && asks_for_websocket(&parts.headers);
    let token = if wants_upgrade { parts.headers.remove(UPGRADE) } else { None };
    remove_hop_by_hop(&mut parts.headers);
    let limits = &worker.settings().limits;
    let head = RequestHead::from_http(&parts, length, body.is_none(), &mut worker.spare.borrow_mut(), limits);
    let head = head.map(|mut head| {
        if token.is_some() {
            head.ask_upgrade("websocket");
        }
        head
    });
    let body = body.map_or(RequestBody::Empty, RequestBody::Channel);
    let mut answer = answer;
    let answered = tokio::select! {
        answered = stream::answer(&worker, &client, head, body, wants_upgrade) => answered,
        // The program has lost interest.
        () = answer.closed() => return,
    };
    match answered {
        Answer::Response(response) => respond(response, answer).await,
        Answer::Switched(switched) => switch(&worker, *switched, upgrade, answer).await,
    }
}

/// What concerned only the program's own client connection (RFC 9110 section 7.6.1), which HTTP/2 would not let in.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let options = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let options: Vec<_> = options.flat_map(|value| value.split(',')).map(|o| o.trim().to_owned()).collect();
    for option in options {
        // `Connection` cannot take away what the request is about.
        if ![HOST, CONTENT_LENGTH, EXPECT].iter().any(|kept| option.eq_ignore_ascii_case(kept.as_str())) {
            headers.remove(option);
        }
    }
    let trailers = headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in [CONNECTION, UPGRADE, TRANSFER_ENCODING, TE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings"] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, http::HeaderValue::from_static("trailers"));
    }
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|token| token.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

async fn respond(response: http::Response<AnswerBody>, answer: oneshot::Sender<http::Response<GateBody>>) {
    let (parts, body) = response.into_parts();
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    let length = body.size_hint().exact();
    if answer.send(http::Response::from_parts(parts, GateBody { pieces: receiver, length })).is_err() {
        return;
    }
    let mut body = std::pin::pin!(body);
    loop {
        let frame = tokio::select! {
            frame = poll_fn(|cx| body.as_mut().poll_frame(cx)) => frame,
            () = pieces.closed() => return,
        };
        let Some(frame) = frame else { return };
        let last = frame.is_err();
        if pieces.send(frame).await.is_err() || last {
            return;
        }
    }
}

/// Tells the program of `101`, and tunnels once its server has handed the connection over.
async fn switch(
    worker: &Rc<Worker>,
    switched: Switched,
    upgrade: Option<OnUpgrade>,
    answer: oneshot::Sender<http::Response<GateBody>>,
) {
    let Switched { mut passage, exchange, head } = switched;
    let mut response = head.to_http();
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    let websocket = http::HeaderValue::from_static("websocket");
    response.headers_mut().insert(UPGRADE, websocket);
    response.headers_mut().insert(CONNECTION, http::HeaderValue::from_static("Upgrade"));
    let (_, pieces) = mpsc::channel(1);
    if answer.send(response.map(|()| GateBody { pieces, length: Some(0) })).is_err() {
        return;
    }
    let Some(Ok(upgraded)) = (match upgrade {
        Some(upgrade) => Some(upgrade.await),
        None => None,
    }) else {
        return;
    };
    let mut client = TokioIo::new(upgraded);
    let Some(wire) = exchange.into_wire() else { return };
    let (mut server, early) = wire.into_parts();
    if client.write_all(&early).await.is_err() {
        return;
    }
    passage.bytes_out = early.len() as u64;
    let timer = worker.timer();
    timer.set(worker.settings().tunnel_timeout);
    // A process that drains ends its tunnels.
    let copied = timer.bound_idle(tokio::io::copy_bidirectional(&mut client, &mut server));
    if let Some(Ok((inward, outward))) = copied.await {
        passage.bytes_in = inward;
        passage.bytes_out += outward;
    }
}

impl Body for GateBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.pieces.poll_recv(cx)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.length.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}
