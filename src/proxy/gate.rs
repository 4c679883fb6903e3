//! The way in for a program that embeds Flipgate: it hands requests to the workers and gets streamed answers.
//!
//! The request's body is polled by the worker that sends it on, so it flows no faster than its server takes it, and is
//! not asked for at all where no server wants it. The answer's body comes back in pieces through a short channel. When
//! the program drops its future or the answer, the worker drops the exchange, and the server sees that nobody listens.

use super::body::{self, Aborted};
use super::client::{Client, TlsSession};
use super::error::{Failure, body_of};
use super::listeners::Listener;
use super::stream::{self, Answer, AnswerBody, Switched};
use super::tunnel;
use super::worker::{Command, Worker};
use crate::message::{RequestHead, Version};
use crate::model::ListenerId;
use crate::telemetry::Reason;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use http::uri::Scheme;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::upgrade::OnUpgrade;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};

/// Pieces of an answer's body that wait for the program.
const PIECES_MAX: usize = 8;
/// The listener's name in logs and metrics.
const LISTENER: &str = "embedded";

/// A client's address, given as a request extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Why the gate has no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// The gate is shut, or was before it could answer.
    #[error("the gate is shut")]
    Shut,
}

/// Hands requests to the workers, in turn. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    workers: Arc<[mpsc::Sender<Command>]>,
    next: Arc<AtomicUsize>,
    /// There always is one; what requests are counted and logged by.
    listener: Option<Arc<Listener>>,
}

/// A request on its way to a worker.
pub(super) struct GateRequest {
    parts: http::request::Parts,
    body: Option<UnsyncBoxBody<Bytes, Aborted>>,
    length: Option<u64>,
    client: (Arc<Listener>, Option<SocketAddr>),
    secure: bool,
    upgrade: Option<OnUpgrade>,
    answer: oneshot::Sender<http::Response<GateBody>>,
}

/// An answer's body on its way back. An answer that breaks off ends with an error, never as if it were whole.
pub struct GateBody {
    pieces: mpsc::Receiver<Piece>,
    /// What is still to come, where that is known.
    left: Option<u64>,
    ended: bool,
}

/// What a channel that closes without an end leaves behind is not whole.
enum Piece {
    Frame(Frame<Bytes>),
    End,
}

impl Gate {
    pub(super) fn new(workers: Vec<mpsc::Sender<Command>>) -> Self {
        let listener = ListenerId::try_from(LISTENER).ok().map(|id| Arc::new(Listener::embedded(id)));
        Self { workers: workers.into(), next: Arc::default(), listener }
    }

    /// Answers one request as the proxy would: with a server's answer or its own.
    ///
    /// The client's address is taken from a [`Peer`] extension; a [`Scheme::HTTPS`] extension says that the client came
    /// over TLS. A request to upgrade to WebSocket is passed on where it carries hyper's `OnUpgrade`, as requests of
    /// hyper and axum servers do. The body is polled on a worker's thread, which it must not block.
    ///
    /// # Errors
    /// The gate is shut.
    pub async fn handle<B>(&self, request: http::Request<B>) -> Result<http::Response<GateBody>, GateError>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let (mut parts, body) = request.into_parts();
        let peer = parts.extensions.remove::<Peer>().map(|peer| peer.0);
        let secure = parts.extensions.remove::<Scheme>().is_some_and(|scheme| scheme == Scheme::HTTPS);
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let length = body.size_hint().exact();
        let body = (!body.is_end_stream()).then(|| body.map_err(|_| Aborted).boxed_unsync());
        let listener = self.listener.clone().ok_or(GateError::Shut)?;
        let (answer, answered) = oneshot::channel();
        let request = GateRequest { parts, body, length, client: (listener, peer), secure, upgrade, answer };
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len().max(1);
        let worker = self.workers.get(turn).ok_or(GateError::Shut)?;
        worker.send(Command::Gate(Box::new(request))).await.map_err(|_| GateError::Shut)?;
        answered.await.map_err(|_| GateError::Shut)
    }
}

impl GateError {
    /// The answer to a client that the gate has none for: 503, as from a proxy that drains.
    pub fn response(self) -> http::Response<GateBody> {
        let failure = Failure::of(Reason::Draining);
        let (kind, body) = body_of(failure, rand::random());
        let left = Some(body.len() as u64);
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        // There is room for both.
        let _ = sender.try_send(Piece::Frame(Frame::data(body)));
        let _ = sender.try_send(Piece::End);
        let mut response = http::Response::new(GateBody { pieces, left, ended: false });
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

/// Answers one request on a worker.
pub(super) async fn serve(worker: Rc<Worker>, request: Box<GateRequest>) {
    let GateRequest { parts, body, length, client: (listener, peer), secure, upgrade, mut answer } = *request;
    let limits = &worker.settings().limits;
    let mut client = Client::new(listener, peer);
    // What the program's own handshake settled is not known here.
    client.tls = secure.then_some(TlsSession { version: "unknown", cipher: "", resumed: false });
    let client = Rc::new(client);
    let mut head =
        RequestHead::from_http(&parts, length, body.is_none(), &mut worker.spare.borrow_mut(), limits);
    let version = Version::of_http(parts.version);
    let mut switches = false;
    if let Ok(head) = &mut head {
        switches = upgrade.is_some() && head.upgrade && tunnel::is_allowed(head);
        head.upgrade = switches;
    }
    let body = body.map_or(body::Body::Empty, body::Body::Program);
    let answered = tokio::select! {
        biased;
        answered = stream::answer(&worker, &client, version, head, body, switches) => answered,
        () = answer.closed() => return,
    };
    match answered {
        Answer::Response(mut response) => {
            *response.version_mut() = parts.version;
            respond(&worker, response, answer).await;
        }
        Answer::Switched(switched) => switch(&worker, *switched, upgrade, answer).await,
    }
}

/// Hands the answer over and its body after it, as fast as the program takes it. One that takes nothing for the idle
/// timeout is gone.
async fn respond(
    worker: &Worker,
    response: http::Response<AnswerBody>,
    answer: oneshot::Sender<http::Response<GateBody>>,
) {
    let (parts, mut body) = response.into_parts();
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    let ended = body.is_end_stream();
    // An answer without a body, such as to HEAD, must not be taken for one of length 0.
    let left = body.size_hint().exact().filter(|_| !ended);
    let taken = answer.send(http::Response::from_parts(parts, GateBody { pieces: receiver, left, ended }));
    if taken.is_err() || ended {
        return;
    }
    let idle = worker.settings().idle_timeout;
    let timer = worker.timer();
    loop {
        timer.set(idle);
        let mut reserved = pin!(pieces.reserve());
        let room = timer.bound(poll_fn(|cx| {
            if body.poll_upload_beside(cx) {
                timer.set(idle);
            }
            reserved.as_mut().poll(cx)
        }));
        let Some(Ok(room)) = room.await else { return };
        timer.clear();
        let frame = tokio::select! {
            biased;
            frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)) => frame,
            () = pieces.closed() => return,
        };
        match frame {
            Some(Ok(frame)) => room.send(Piece::Frame(frame)),
            Some(Err(Aborted)) => return,
            None => return room.send(Piece::End),
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
    let Switched { passage, exchange, mut head } = switched;
    let Some(upgrade) = upgrade else { return };
    let token = head.upgrade_token().and_then(|token| HeaderValue::from_str(token).ok());
    head.fields.remove_hop_by_hop();
    let mut response = head.to_http();
    head.recycle(&mut worker.spare.borrow_mut());
    *response.version_mut() = http::Version::HTTP_11;
    response.headers_mut().extend(token.map(|token| (UPGRADE, token)));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let (_, pieces) = mpsc::channel(1);
    if answer.send(response.map(|()| GateBody { pieces, left: None, ended: true })).is_err() {
        return;
    }
    tunnel::over_upgrade(worker.clone(), passage, exchange, upgrade).await;
}

impl Body for GateBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(cx));
        let length = match &piece {
            Some(Piece::Frame(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
            Some(Piece::End) | None => 0,
        };
        self.left = self.left.map(|left| left.saturating_sub(length));
        self.ended = self.left == Some(0) || !matches!(piece, Some(Piece::Frame(_)));
        Poll::Ready(match piece {
            Some(Piece::Frame(frame)) => Some(Ok(frame)),
            Some(Piece::End) => None,
            None => Some(Err(Aborted)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) if !self.ended => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }
}
